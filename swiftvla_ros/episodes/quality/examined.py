# SPDX-License-Identifier: Apache-2.0
"""One episode examined by itself, and what is kept of that until all are: small enough for a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from swiftvla_ros.contract import Contract, ContractError
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.datasets.bag_episodes import BagEpisode
from swiftvla_ros.episodes.datasets.demonstrations.reading import DemonstrationEpisode
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle
from swiftvla_ros.episodes.datasets.store import EpisodeError
from swiftvla_ros.episodes.quality.agreement import KeyDifference, differences
from swiftvla_ros.episodes.quality.findings import Digest, ExaminedEpisode, Finding, streams_of_steps
from swiftvla_ros.episodes.quality.images import check_images, sharpness
from swiftvla_ros.episodes.quality.lag import check_lag, command_lag
from swiftvla_ros.episodes.quality.motion import check_motion
from swiftvla_ros.episodes.quality.timing import check_timing
from swiftvla_ros.files import unreadable, whole_file

_IMAGE = "image."
_POSITIONS = ("lowest", "highest", "start")


@dataclass(frozen=True)
class Examined:
    """What is kept of an episode."""

    findings: tuple[Finding, ...]  # of the episode itself
    digest: Digest | None = None  # for the checks of all; None: it can't be read, which is a finding
    differences: tuple[KeyDifference, ...] = ()  # of the contract that lies in its bag to the one that is given


def examine_episode(handle: EpisodeHandle, contract: Contract) -> tuple[ExaminedEpisode | None, Examined]:
    """Check an episode; returns it, with its pictures in memory, where it can be read."""
    try:
        evidence = _evidence(handle, contract)
    except EpisodeError as error:
        fix = "mend it, or move it out of the folder"
        return None, Examined((Finding("unreadable", "error", handle.name, "episode", 1.0, str(error), fix),))
    found = (*check_images(evidence), *check_timing(evidence), *check_motion(evidence), *check_lag(evidence))
    recorded = evidence.recorded
    return evidence, Examined(
        found, _digest(evidence), () if recorded is None else tuple(differences(recorded, contract))
    )


def _evidence(handle: EpisodeHandle, contract: Contract) -> ExaminedEpisode:
    if isinstance(handle, DemonstrationEpisode):
        episode, streams = handle.read()
    else:
        episode = handle.load()
        streams = streams_of_steps(episode)
    recorded = _recorded(handle.bag) if isinstance(handle, DemonstrationEpisode | BagEpisode) else None
    return ExaminedEpisode(handle.name, contract, episode, streams, recorded)


def _recorded(bag: Bag) -> Contract | None:
    """The contract that lies in a bag; None where there is none, or it can't be read any more."""
    try:
        return Bag(bag.path).contract
    except (BagError, ContractError):
        return None


def _digest(evidence: ExaminedEpisode) -> Digest:
    episode = evidence.episode
    left_out = len(episode.metadata.get("steps_left_out", ()))
    return Digest(
        name=evidence.name,
        instruction=episode.instruction,
        steps=len(episode.state),
        seconds=evidence.seconds,
        left_out=left_out,
        lowest=episode.state.min(axis=0).astype(np.float64),
        highest=episode.state.max(axis=0).astype(np.float64),
        start=episode.state[0].astype(np.float64),
        sharpness={camera: sharpness(images) for camera, images in episode.images.items()},
        first_images={camera: images[0] for camera, images in episode.images.items()},
        lag_s=command_lag(evidence),
        trace=hashlib.sha256(episode.state.tobytes() + episode.action.tobytes()).hexdigest(),
    )


def save_examined(examined: Examined, path: Path) -> None:
    """Write it as a safetensors file."""
    tensors: dict[str, Any] = {}
    header: dict[str, Any] = {
        "findings": [asdict(finding) for finding in examined.findings],
        "differences": examined.differences,
    }
    if (digest := examined.digest) is not None:
        tensors = {name: getattr(digest, name) for name in _POSITIONS}
        tensors |= {f"{_IMAGE}{camera}": image for camera, image in digest.first_images.items()}
        plain = ("name", "instruction", "steps", "seconds", "left_out", "sharpness", "lag_s", "trace")
        header["digest"] = {name: getattr(digest, name) for name in plain}
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, durable=True) as partial:
        save_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()},
            partial,
            metadata={"examined": json.dumps(header)},
        )


def load_examined(path: Path) -> Examined:
    """Read what :func:`save_examined` wrote; raises EpisodeError."""
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads(file.metadata()["examined"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        findings = tuple(Finding(**finding) for finding in header["findings"])
        told = tuple(KeyDifference(*difference) for difference in header["differences"])
        if "digest" not in header:
            return Examined(findings, None, told)
        images = {name.removeprefix(_IMAGE): image for name, image in tensors.items() if name.startswith(_IMAGE)}
        positions = {name: tensors[name] for name in _POSITIONS}
        return Examined(findings, Digest(**header["digest"], **positions, first_images=images), told)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise EpisodeError(unreadable(path, error, "delete it, and the episode is examined again")) from error
