# SPDX-License-Identifier: Apache-2.0
"""A checkpoint folder: which files it has, how they are checked, and the hash that names it.

::

    config.json         the network's sizes, the robot's joints and cameras, the policy's step
    model.safetensors   weights
    stats.json          statistics of state and action, by joint name
    tokenizer.json      the instruction tokenizer
    contract.yaml       the contract it was trained on (with its URDF)
    card.md             data, steps, measured success
    auxiliary.safetensors  (optional) what only training needs: trajectory head, 4D branch, reconstruction heads
    deploy.json         (optional) graphs of the network, which lie beside it; with them the weights may be absent

Only safetensors and JSON are read: no pickle, no remote code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.action_coding import ACTION_KINDS, RELATIVE
from swiftvla_ros.contract.hashing import files_sha256
from swiftvla_ros.errors import UserError, in_a_sentence
from swiftvla_ros.files import read_json_object, unreadable, where_else
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.policy.deployment import Deployment, read_deployment
from swiftvla_ros.policy.image_preprocessing import EXACT, PAD_TOP_LEFT
from swiftvla_ros.policy.normalization import Normalizer, StatisticsError

FORMAT = "swiftvla_ros/1"
CONFIG, WEIGHTS, STATS, TOKENIZER, CONTRACT, CARD, AUXILIARY = (
    "config.json",
    "model.safetensors",
    "stats.json",
    "tokenizer.json",
    "contract.yaml",
    "card.md",
    "auxiliary.safetensors",
)
_AGAIN = "copy it again, or train it again"
_REQUIRED = (CONFIG, WEIGHTS, STATS, TOKENIZER, CONTRACT)
# With graphs of its own a folder needs no weights.
_REQUIRED_BESIDE_GRAPHS = (CONFIG, STATS, TOKENIZER, CONTRACT)

# What the network's rows are: a kind of ActionCoding, and what config.json's key "action" calls it. A policy whose
# contract says `policy.actions: absolute` may learn positions in two ways (ours: relative to the state).
ACTION_KEYS = {kind: kind for kind in ACTION_KINDS} | {
    "absolute": "absolute positions",
    RELATIVE: "positions relative to the observation's state",
}


class CheckpointError(UserError, ValueError):
    """A checkpoint that can't be used; the message names the folder, the file, what is wrong and the fix."""


class _Description(BaseModel):
    """What ``config.json`` says beside the network and its format."""

    model_config = ConfigDict(strict=True)

    joint_names: Annotated[list[str], Field(min_length=1)]
    action_names: Annotated[list[str], Field(min_length=1)] | None = None
    camera_names: Annotated[list[str], Field(min_length=1)]
    step_s: Annotated[float, Field(gt=0, le=60)]


@dataclass(frozen=True)
class Checkpoint:
    """A checked folder, ready for a runtime."""

    folder: Path  # where it lies
    model: SwiftVLAConfig  # the network's sizes
    # In the order in which the network reads them.
    joint_names: tuple[str, ...]
    action_names: tuple[str, ...]  # a row's columns: the joints, or the parts of a hand's step
    camera_names: tuple[str, ...]
    step_s: float  # time between two rows of a chunk, s
    # Normalisers in the order of `joint_names` and `action_names`.
    state: Normalizer
    action: Normalizer
    action_kind: str  # what its rows are: the kind of `ActionCoding`
    # "exact": images have the network's size. "pad top and left": they are fitted, as lerobot does.
    image_fit: str
    # Hash over all files that decide what the policy does; where the weights are absent, of what was exported.
    sha256: str
    deployment: Deployment | None = None  # graphs that lie in the folder and are of its weights
    why_no_graphs: str = ""  # what is to be done for graphs, where there are none

    @property
    def actions(self) -> str:
        """The contract's ``policy.actions`` that it was trained for."""
        return "absolute" if self.action_kind == RELATIVE else self.action_kind

    @property
    def weights(self) -> Path:
        """The weights file."""
        return self.folder / WEIGHTS

    @property
    def auxiliary(self) -> Path:
        """Weights that only training and studies need."""
        return self.folder / AUXILIARY

    @property
    def tokenizer(self) -> Path:
        """The tokenizer file."""
        return self.folder / TOKENIZER


def open_checkpoint(folder: Path | str) -> Checkpoint:
    """Read and check a checkpoint's files (the weights' header only).

    Raises
    ------
    CheckpointError
        A file is missing, corrupt, of another format, or statistics don't fit the joints.
    """
    folder = Path(folder)
    if not folder.is_dir():
        hint = where_else(folder, CONFIG) or "train one with `swiftvla train`, or see models/README.md"
        raise CheckpointError(f"checkpoint '{folder}': no such folder; {hint}")
    if (folder / CONFIG).is_file() and "type" in (theirs := read_json(folder / CONFIG)) and "format" not in theirs:
        ways = {
            "swiftvla": f"make it ours with `swiftvla import-lerobot {folder} OUT`",
            "smolvla": f"make it ours with `swiftvla import-smolvla {folder} OUT --robot ROBOT`",
        }
        way = ways.get(str(theirs["type"]), "it can be run and replayed, as docs/lerobot.md says, and nothing else")
        raise CheckpointError(f"{folder / CONFIG}: is lerobot's, of a policy of type '{theirs['type']}'; {way}")
    try:
        deployment = read_deployment(folder)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    alone = deployment is not None and not (folder / WEIGHTS).is_file()
    missing = [n for n in (_REQUIRED_BESIDE_GRAPHS if alone else _REQUIRED) if not (folder / n).is_file()]
    if missing:
        hint = (where_else(folder, CONFIG) if CONFIG in missing else "") or "copy the whole folder that training wrote"
        raise CheckpointError(f"checkpoint '{folder}': lacks {missing}; {hint}")
    config = read_json(folder / CONFIG)
    if config.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder / CONFIG}: format '{config.get('format')}' is not '{FORMAT}': a checkpoint of something else, or "
            "of another version; name a policy's, or train it again"
        )
    network = network_config(config, folder / CONFIG)
    joint_names, action_names, camera_names, step_s = _described(config, network, folder / CONFIG)
    action_key, image_fit = config.get("action"), config.get("image_fit", EXACT)
    for key, value, known in (
        ("action", action_key, tuple(ACTION_KEYS.values())),
        ("image_fit", image_fit, (EXACT, PAD_TOP_LEFT)),
    ):
        if value not in known:
            raise CheckpointError(f"{folder / CONFIG}: {key} '{value}' is unknown; this version knows {list(known)}")
    statistics = read_json(folder / STATS)
    try:
        state = Normalizer.from_statistics(statistics, "state", joint_names)
        action = Normalizer.from_statistics(statistics, "action", action_names)
    except StatisticsError as error:
        raise CheckpointError(f"{folder / STATS}: {error}") from error
    digest = deployment.checkpoint_sha256 if deployment is not None and alone else _with_weights(folder)
    why_no_graphs = f"{folder} has no graphs; `swiftvla export {folder} OUT` makes some"
    if deployment is not None and digest != deployment.checkpoint_sha256:
        # Trained on, or edited: the graphs are of what it was before.
        why_no_graphs = (
            f"the graphs in {folder} are of checkpoint {deployment.checkpoint_sha256[:12]}, which it is no more "
            f"({digest[:12]}); export it again with `swiftvla export`"
        )
        deployment = None
    return Checkpoint(
        folder,
        network,
        joint_names,
        action_names,
        camera_names,
        step_s,
        state,
        action,
        action_kind=next(kind for kind, key in ACTION_KEYS.items() if key == action_key),
        image_fit=image_fit,
        sha256=digest,
        deployment=deployment,
        why_no_graphs=why_no_graphs,
    )


def _with_weights(folder: Path) -> str:
    """The hash of a folder whose weights can be read, at least their header."""
    try:
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            file.keys()
    except (OSError, SafetensorError) as error:
        raise CheckpointError(unreadable(folder / WEIGHTS, error, _AGAIN)) from error
    return files_sha256(folder, _REQUIRED)


def _described(
    config: dict[str, Any], network: SwiftVLAConfig, path: Path
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], float]:
    """Joints, columns of actions, cameras and step; for as many of them as the network has room."""
    try:
        described = _Description.model_validate(config)
    except ValidationError as error:
        raise CheckpointError(f"{path}: {in_a_sentence(error)}; {_AGAIN}") from None
    joints, cameras = tuple(described.joint_names), tuple(described.camera_names)
    actions = joints if described.action_names is None else tuple(described.action_names)
    for key, names in (("joint_names", joints), ("action_names", actions), ("camera_names", cameras)):
        if len(set(names)) != len(names):
            raise CheckpointError(f"{path}: {key} {list(names)} names one twice; {_AGAIN}")
    if len(joints) > network.state_dim or len(actions) > network.action_dim or len(cameras) != network.num_cameras:
        raise CheckpointError(
            f"{path}: {len(joints)} joint_names and {len(cameras)} camera_names, but model has room for "
            f"{min(network.state_dim, network.action_dim)} joints and {network.num_cameras} cameras; {_AGAIN}"
        )
    return joints, actions, cameras, described.step_s


def check_against_contract(checkpoint: Checkpoint, contract: Contract) -> None:
    """Refuse a checkpoint for other joints, cameras, image sizes, actions or another step than the contract's.

    Raises CheckpointError, which names what differs.
    """
    for _, problem in contract_problems(checkpoint, contract):
        raise CheckpointError(f"checkpoint '{checkpoint.folder}': {problem}")


class ContractProblem(NamedTuple):
    """What keeps a checkpoint from a contract: what it is ``about``, and a sentence with the fix."""

    about: str
    text: str


def contract_problems(checkpoint: Checkpoint, contract: Contract) -> Iterator[ContractProblem]:
    """Yield what keeps a checkpoint from this contract."""
    if set(checkpoint.joint_names) != set(contract.joint_names):
        yield ContractProblem(
            "joints",
            f"was trained for joints {list(checkpoint.joint_names)}, but {contract.path} has "
            f"{list(contract.joint_names)}; use the robot's own checkpoint or contract",
        )
    absent = [name for name in checkpoint.camera_names if name not in contract.camera_names]
    if absent:
        yield ContractProblem(
            "cameras",
            f"reads cameras {absent}, but {contract.path} has {list(contract.camera_names)}; name them as the "
            "checkpoint does",
        )
    side = checkpoint.model.vision.image_size
    for name in checkpoint.camera_names:
        if checkpoint.image_fit == EXACT and name not in absent and contract.camera(name).size != (side, side):
            yield ContractProblem(
                "image sizes",
                f"reads images of {side}×{side} px, but {contract.path} cameras.{name}.size is "
                f"{list(contract.camera(name).size)}; write [{side}, {side}]",
            )
    if abs(checkpoint.step_s - contract.policy.step_s) > 1e-9:
        yield ContractProblem(
            "step",
            f"has steps of {checkpoint.step_s} s, but {contract.path} policy.step_s is {contract.policy.step_s}; "
            f"write {checkpoint.step_s}",
        )
    if checkpoint.actions != contract.policy.actions:
        yield ContractProblem(
            "actions",
            f"was trained for actions '{checkpoint.actions}', but {contract.path} policy.actions is "
            f"'{contract.policy.actions}'; write '{checkpoint.actions}' there, or train it again",
        )


def network_config(config: dict[str, Any], path: Path) -> SwiftVLAConfig:
    """The network of a ``config.json`` that was read from ``path``; raises :class:`CheckpointError`."""
    try:
        return SwiftVLAConfig.from_json(config.get("model"))
    except ValueError as error:
        raise CheckpointError(f"{path}: model: {error}; it was written by another version: train it again") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises :class:`CheckpointError` where there is none."""
    try:
        return read_json_object(path)
    except (OSError, ValueError) as error:
        sentence = unreadable(path, error, _AGAIN)
        raise CheckpointError(sentence.replace(": corrupt (", ": not JSON (", 1)) from error
