# SPDX-License-Identifier: Apache-2.0
"""What lerobot does before and after a SmolVLA: the steps of its two processor files, each honoured or refused by name.

Checkpoints of before lerobot 0.4 have no such files; their policy normalises by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from swiftvla_ros.contract.sections.lerobot import ACTION, STATE
from swiftvla_ros.errors import in_a_sentence
from swiftvla_ros.policy.checkpoint import CheckpointError, read_json
from swiftvla_ros.training.importers.smolvla_settings import KNOWN_BACKBONES, Settings

BEFORE, AFTER = "policy_preprocessor.json", "policy_postprocessor.json"
MEAN_STD, IDENTITY = "MEAN_STD", "IDENTITY"
# lerobot divides by the deviation and this.
_EPS = 1e-8


class _Step(BaseModel):
    registry_name: str = ""
    # Of steps that are no registered ones.
    class_name: str = Field("", alias="class")
    config: dict[str, Any] = Field(default_factory=dict)
    state_file: str | None = None

    @property
    def name(self) -> str:
        return self.registry_name or self.class_name


class _Pipeline(BaseModel):
    model_config = ConfigDict(extra="allow")

    steps: list[_Step]


@dataclass
class Processors:
    """What of the steps must be imitated.

    ``renamed`` are cameras' names before and behind the policy's; ``files`` those of the statistics of "state" and
    "action", None in an older checkpoint; ``eps`` is added to the state's deviation.
    """

    renamed: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] | None = None
    eps: float = _EPS


def read_processors(folder: Path, settings: Settings) -> Processors:
    """Read both files; raises CheckpointError for a step that changes numbers in a way that isn't imitated."""
    _check_modes(folder / "config.json", "normalization_mapping", settings.normalization_mapping)
    there = [name for name in (BEFORE, AFTER) if (folder / name).is_file()]
    found = Processors()
    if not there:
        return found
    if len(there) == 1:
        absent = ({BEFORE, AFTER} - set(there)).pop()
        raise CheckpointError(f"{folder}: has {there[0]} and no {absent}; copy the whole folder again")
    found.files = {}
    before, after = (_steps(folder / name) for name in (BEFORE, AFTER))
    known: dict[str, _Take] = {
        "rename_observations_processor": _rename,
        "to_batch_processor": _nothing,
        "smolvla_new_line_processor": _nothing,
        "tokenizer_processor": _tokenizer,
        "device_processor": _device,
        "normalizer_processor": _normalizer,
    }
    _walk(folder / BEFORE, before, known, settings, found)
    behind: dict[str, _Take] = {"device_processor": _device, "unnormalizer_processor": _normalizer}
    _walk(folder / AFTER, after, behind, settings, found)
    for path, steps, needed in (
        (folder / BEFORE, before, ("smolvla_new_line_processor", "tokenizer_processor", "normalizer_processor")),
        (folder / AFTER, after, ("unnormalizer_processor",)),
    ):
        for name in needed:
            count = sum(step.name == name for step in steps)
            if count != 1:
                raise CheckpointError(
                    f"{path}: steps: has {count} of '{name}', SmolVLA's has one; save the policy again with lerobot 0.4"
                )
    order = [step.name for step in before]
    if order.index("smolvla_new_line_processor") > order.index("tokenizer_processor"):
        raise CheckpointError(
            f"{folder / BEFORE}: steps: the newline comes behind the tokenizer, so lerobot's text has none; save the "
            "policy again with lerobot 0.4"
        )
    return found


@dataclass(frozen=True)
class _At:
    """A step of a file, and what is found of all."""

    path: Path
    step: _Step
    settings: Settings
    found: Processors

    @property
    def where(self) -> str:
        return f"{self.path}: step '{self.step.name}'"


_Take = Callable[[_At], None]


def _steps(path: Path) -> list[_Step]:
    try:
        return _Pipeline.model_validate(read_json(path)).steps
    except ValidationError as error:
        raise CheckpointError(f"{path}: {in_a_sentence(error)}; save the policy again with lerobot 0.4") from None


def _walk(path: Path, steps: list[_Step], known: dict[str, _Take], settings: Settings, found: Processors) -> None:
    for step in steps:
        if step.config.get("enabled") is False:
            continue  # relative_actions_processor and its inverse, which newer versions write without using them
        at = _At(path, step, settings, found)
        if step.name not in known:
            raise CheckpointError(
                f"{at.where}: can't be imitated, so chunks would be others; known are {sorted(known)}: train and save "
                "the policy without it"
            )
        known[step.name](at)


def _nothing(at: _At) -> None:
    """A step that is done here, too: the newline behind the text, and a batch of one."""


def _rename(at: _At) -> None:
    names = at.step.config.get("rename_map") or {}
    cameras = at.settings.images
    if not isinstance(names, dict) or not all(isinstance(new, str) and new in cameras for new in names.values()):
        raise CheckpointError(f"{at.where}: rename_map {names} renames others than cameras, which can't be imitated")
    at.found.renamed = {new: old for old, new in names.items()}


def _tokenizer(at: _At) -> None:
    config = at.step.config
    name = str(config.get("tokenizer_name") or KNOWN_BACKBONES[0])
    wrong = [
        f"{key} {config[key]!r} (only {wanted!r} can be imitated)"
        for key, wanted in (
            ("max_length", at.settings.tokenizer_max_length),
            ("padding_side", "right"),
            ("task_key", "task"),
        )
        if key in config and config[key] != wanted
    ]
    if name.rpartition("/")[2] not in KNOWN_BACKBONES:
        wrong.append(f"tokenizer_name '{name}' (known are {list(KNOWN_BACKBONES)})")
    if wrong:
        raise CheckpointError(f"{at.where}: {', '.join(wrong)}; save the policy again with lerobot's own settings")


def _device(at: _At) -> None:
    if at.step.config.get("float_dtype") not in (None, "float32"):
        raise CheckpointError(
            f"{at.where}: float_dtype {at.step.config['float_dtype']!r}: images and state are computed in "
            "float32 here; write null there"
        )


def _normalizer(at: _At) -> None:
    config, where, path = at.step.config, at.where, at.path
    feature, kind = (STATE, "STATE") if path.name == BEFORE else (ACTION, "ACTION")
    modes = config.get("norm_map")
    if modes is None or not isinstance(modes, dict):
        raise CheckpointError(f"{where}: norm_map is missing; save the policy again with lerobot 0.4")
    _check_modes(path, f"step '{at.step.name}': norm_map", modes, kind)
    keys, features = config.get("normalize_observation_keys"), config.get("features")
    chosen = keys is None or kind == "ACTION" or (isinstance(keys, list) and feature in keys)
    if not chosen or not isinstance(features, dict) or feature not in features:
        raise CheckpointError(f"{where}: leaves {feature} as it is, which can't be imitated; normalise it")
    eps = config.get("eps", _EPS)
    if not isinstance(eps, int | float) or not 0 <= eps < 1:
        raise CheckpointError(f"{where}: eps {eps!r} is no small number; lerobot's is {_EPS}")
    if kind == "STATE":
        at.found.eps = float(eps)
    name = at.step.state_file
    if name is None or Path(name).name != name:
        raise CheckpointError(
            f"{where}: state_file {name!r} is no file beside it; save the policy again with lerobot 0.4"
        )
    assert at.found.files is not None
    at.found.files[kind.lower()] = path.parent / name


def _check_modes(path: Path, where: str, modes: dict[str, Any], *kinds: str) -> None:
    """Only joints by mean and deviation, and images as they are, can be imitated."""
    wanted = {"STATE": MEAN_STD, "ACTION": MEAN_STD, "VISUAL": IDENTITY}
    for kind in kinds or wanted:
        default = IDENTITY if kinds else wanted[kind]
        if modes.get(kind, default) != wanted[kind]:
            raise CheckpointError(
                f"{path}: {where}.{kind} is {modes.get(kind, default)}; only {wanted[kind]} can be imported: train the "
                "policy with it"
            )
    if kinds and modes.get("VISUAL", IDENTITY) != IDENTITY:
        raise CheckpointError(f"{path}: {where}.VISUAL is {modes['VISUAL']}; only {IDENTITY} can be imported")
