# SPDX-License-Identifier: Apache-2.0
"""What is otherwise now than when a bag was recorded: the checkpoint's files, the contract, how images are conditioned.

Each difference is told with its kind, so that one may be allowed on purpose, and names what differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.images import condition_image
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.topics import film_topic
from swiftvla_ros.observation.image_decoding import ImageDecodingError, conditioned_image, rgb_of
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.policy.checkpoint import CheckpointError
from swiftvla_ros.policy.checkpoint_fingerprint import changed_keys, fingerprint, read_fingerprint
from swiftvla_ros.policy.loading import policy_sha256
from swiftvla_ros.replay.recorded import RecordedRun
from swiftvla_ros.resources import share_folders

FINGERPRINT = "checkpoint.json"
"""The file in a bag that says what the checkpoint consisted of."""

CHECKPOINT, CONTRACT, CONDITIONING = "checkpoint", "contract", "conditioning"
KINDS = (CHECKPOINT, CONTRACT, CONDITIONING)

# Frames of a camera that are looked at.
_FRAMES = 12
# Mean grey levels that a film's JPEG, at its smaller size, may be off (the simulated cameras': 0.7; noise adds to it).
_GREY_LEVELS = 6.0
# Exchanged colours are told from these on, where exchanging them back halves the distance.
_EXCHANGED_GREY_LEVELS = 1.5


@dataclass(frozen=True)
class Difference:
    """One thing that is otherwise; ``kind`` is one of ``KINDS``."""

    kind: str
    text: str


def find_checkpoint(bag: Bag) -> Path:
    """The checkpoint's folder as the recording names it, or the shipped one of the same name.

    Raises CheckpointError where it names none, or the folder isn't there any more.
    """
    recorded = str(bag.provenance.get("checkpoint", ""))
    if not recorded:
        raise CheckpointError(f"{bag.folder}: doesn't say which checkpoint was used; name its folder with --checkpoint")
    places = [Path(recorded), *(share / "models" / Path(recorded).name for share in share_folders())]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise CheckpointError(
            f"{bag.folder}: was recorded with the checkpoint '{recorded}', which isn't there; name it with --checkpoint"
        )
    return found


def checkpoint_differences(run: RecordedRun, folder: Path) -> list[Difference]:
    """Compare a checkpoint with the one that the chunks name, and say which tensor, statistic or key is otherwise.

    Raises CheckpointError where the folder is no checkpoint.
    """
    now = policy_sha256(folder)
    others = sorted({chunk.checkpoint_sha256 for chunk in run.chunks} - {now})
    if not others:
        return []
    file = run.bag.folder / FINGERPRINT
    if file.is_file():
        recorded = read_fingerprint(file)
        if recorded.sha256 in others:
            lines = recorded.differences(fingerprint(folder))
            others.remove(recorded.sha256)
            return [Difference(CHECKPOINT, line) for line in lines] + [_unnamed(sha, now) for sha in others]
    return [_unnamed(sha256, now) for sha256 in others]


def _unnamed(recorded: str, now: str) -> Difference:
    return Difference(
        CHECKPOINT,
        f"recorded with checkpoint {recorded[:12]} …, now {now[:12]} …: weights, statistics, tokenizer, config or "
        f"contract differ; which one isn't known, as the bag holds no {FINGERPRINT} of it",
    )


def contract_differences(bag: Bag, contract: Contract) -> list[Difference]:
    """Compare a contract with the recorded one, key by key."""
    recorded = bag.provenance.get("contract", "") or _contract_file(bag)
    if not recorded:
        return []
    before, now = yaml.safe_load(recorded), yaml.safe_load(contract.text)
    for tree in (before, now):
        # A bag keeps the URDF beside its contract, wherever it lay before.
        if isinstance(tree, dict) and isinstance(tree.get("kinematics"), dict):
            tree["kinematics"]["urdf"] = Path(str(tree["kinematics"].get("urdf"))).name
    return [Difference(CONTRACT, line) for line in changed_keys("contract", before, now)]


def _contract_file(bag: Bag) -> str:
    files = sorted((bag.folder / "contract").glob("*.yaml"))
    return files[0].read_text(encoding="utf-8") if files else ""


def conditioning_differences(bag: Bag, contract: Contract) -> list[Difference]:
    """Condition frames of the film by ``contract`` and compare them with the conditioned images of the same stamps.

    The film is a small JPEG of what the driver sent: near enough to see exchanged colours, another crop or rotation.
    """
    return [
        Difference(CONDITIONING, text)
        for camera in contract.camera_names
        if camera in bag.contract.camera_names and (text := _conditioning(bag, contract, camera))
    ]


def _conditioning(bag: Bag, contract: Contract, name: str) -> str:
    frames = {}
    for _, message in bag.messages(film_topic(name)):
        frames[stamp_ns(message.header.stamp)] = message
    chosen = set(sorted(frames)[:: max(1, len(frames) // _FRAMES)])
    plain, exchanged = [], []
    size = bag.contract.camera(name).size
    topic = bag.image_topic(name)
    for _, message in bag.messages(topic) if topic is not None else ():
        ns = stamp_ns(message.header.stamp)
        if ns not in chosen:
            continue
        try:
            image, raw = conditioned_image(message, size), rgb_of(frames[ns])
        except ImageDecodingError:
            continue
        try:
            now = condition_image(raw, contract.camera(name))
        except ValueError as error:
            return f"camera '{name}': {error}"
        if now.shape != image.shape:
            return f"camera '{name}': recorded {image.shape[1]}×{image.shape[0]} px, now {now.shape[1]}×{now.shape[0]}"
        plain.append(_distance(now, image))
        exchanged.append(_distance(now[..., ::-1], image))
    if not plain:
        return ""
    off, off_exchanged = float(np.mean(plain)), float(np.mean(exchanged))
    if off > _EXCHANGED_GREY_LEVELS and off_exchanged < off / 2:
        return (
            f"camera '{name}': image channel order: observation/{name} has red and blue exchanged against what the "
            f"driver sent ({off:.1f} grey levels apart, {off_exchanged:.1f} when exchanged)"
        )
    if off <= _GREY_LEVELS:
        return ""
    return (
        f"camera '{name}': observation/{name} is {off:.0f} grey levels from what this contract makes of the "
        "driver's images: rotate_deg, crop or fit were otherwise, or the code that conditions images was"
    )


def _distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())
