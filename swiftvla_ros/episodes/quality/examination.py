# SPDX-License-Identifier: Apache-2.0
"""All checks over the episodes of a folder, one episode in memory at a time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swiftvla_ros.contract import Contract, ContractError
from swiftvla_ros.episodes.bags.bag import Bag, BagError
from swiftvla_ros.episodes.datasets.bag_episodes import BagEpisode
from swiftvla_ros.episodes.datasets.demonstrations.reading import DemonstrationEpisode
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle
from swiftvla_ros.episodes.datasets.store import EpisodeError
from swiftvla_ros.episodes.quality.agreement import check_agreement
from swiftvla_ros.episodes.quality.coverage import check_coverage
from swiftvla_ros.episodes.quality.findings import Digest, ExaminedEpisode, Finding, Level, streams_of_steps
from swiftvla_ros.episodes.quality.images import check_images, check_sharpness, sharpness
from swiftvla_ros.episodes.quality.lag import check_lag, command_lag
from swiftvla_ros.episodes.quality.motion import check_joints, check_motion
from swiftvla_ros.episodes.quality.timing import check_timing
from swiftvla_ros.episodes.quality.words import check_words

_NAMED = 5


@dataclass
class Examination:
    """What was found: ``findings`` of episodes and of all of them, and a digest of each episode that could be read."""

    digests: list[Digest] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def of(self, episode: str) -> list[Finding]:
        """The findings of one episode; of all of them for an empty name."""
        return [finding for finding in self.findings if finding.episode == episode]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.level == "error" for finding in self.findings)

    def lines(self) -> list[tuple[Level, str]]:
        """Tell the findings in lines; what several episodes have in one place is one line, with the first of them."""
        alike: dict[tuple[str, Level, str], list[Finding]] = {}
        for finding in self.findings:
            one = (finding.check, finding.level, finding.where)
            alike.setdefault(one if finding.episode else (*one[:2], finding.line()), []).append(finding)
        lines: list[tuple[Level, str]] = []
        for found in sorted(alike.values(), key=lambda found: found[0].level):
            names = [finding.episode for finding in found[1:]]
            shown = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
            more = f" (so in {len(names)} more: {shown})" if names else ""
            lines.append((found[0].level, found[0].line() + more))
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        keys = ("name", "instruction", "steps", "seconds", "left_out", "lag_s", "sharpness")
        return {
            "episodes": [{key: getattr(digest, key) for key in keys} for digest in self.digests],
            "findings": [vars(finding) for finding in self.findings],
            "errors": self.errors,
            "warnings": len(self.findings) - self.errors,
        }


def examine(
    handles: Sequence[EpisodeHandle],
    contract: Contract,
    on_episode: Callable[[ExaminedEpisode, list[Finding]], object] | None = None,
) -> Examination:
    """Check episodes one by one, and then all of them against each other.

    ``on_episode`` is called with each, while its pictures are in memory. An episode that can't be read is a finding.
    """
    done = Examination()
    recorded: list[tuple[str, Contract]] = []
    for handle in handles:
        try:
            evidence = _evidence(handle, contract)
        except EpisodeError as error:
            fix = "mend it, or move it out of the folder"
            done.findings.append(Finding("unreadable", "error", handle.name, "episode", 1.0, str(error), fix))
            continue
        found = [*check_images(evidence), *check_timing(evidence), *check_motion(evidence), *check_lag(evidence)]
        done.digests.append(_digest(evidence))
        done.findings += found
        if evidence.recorded is not None:
            recorded.append((evidence.name, evidence.recorded))
        if on_episode is not None:
            on_episode(evidence, found)
    if done.digests:
        done.findings += check_agreement(recorded, contract)
        done.findings += check_sharpness(done.digests)
        done.findings += check_joints(done.digests, contract)
        done.findings += check_words(done.digests)
        done.findings += check_coverage(done.digests, contract)
    return done


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


def episode_rows(done: Examination) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the columns and rows of a table for people, a row for each episode."""
    columns = ("episode", "instruction", "s", "steps", "left out", "lag ms", "errors", "warnings")
    rows: list[tuple[str, ...]] = []
    for digest in done.digests:
        found = done.of(digest.name)
        errors = sum(finding.level == "error" for finding in found)
        lag = "" if math.isnan(digest.lag_s) else f"{1000 * digest.lag_s:.0f}"
        counts = (str(digest.steps), str(digest.left_out), lag, str(errors), str(len(found) - errors))
        rows.append((digest.name, digest.instruction, f"{digest.seconds:.1f}", *counts))
    return columns, rows
