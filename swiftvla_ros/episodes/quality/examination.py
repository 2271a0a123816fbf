# SPDX-License-Identifier: Apache-2.0
"""All checks over the episodes of a folder, and what they found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle
from swiftvla_ros.episodes.quality.agreement import check_agreement
from swiftvla_ros.episodes.quality.coverage import check_coverage
from swiftvla_ros.episodes.quality.examined import Examined, examine_episode
from swiftvla_ros.episodes.quality.findings import Digest, ExaminedEpisode, Finding, FindingLevel
from swiftvla_ros.episodes.quality.images import check_sharpness
from swiftvla_ros.episodes.quality.motion import check_joints
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

    def lines(self) -> list[tuple[FindingLevel, str]]:
        """Tell the findings in lines; what several episodes have in one place is one line, with the first of them."""
        alike: dict[tuple[str, FindingLevel, str], list[Finding]] = {}
        for finding in self.findings:
            one = (finding.check, finding.level, finding.where)
            alike.setdefault(one if finding.episode else (*one[:2], finding.line()), []).append(finding)
        lines: list[tuple[FindingLevel, str]] = []
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
    on_episode: Callable[[ExaminedEpisode, Sequence[Finding]], object] | None = None,
) -> Examination:
    """Check episodes one by one, and then all of them against each other.

    ``on_episode`` is called with each, while its pictures are in memory. An episode that can't be read is a finding.
    """
    kept = []
    for handle in handles:
        evidence, examined = examine_episode(handle, contract)
        kept.append(examined)
        if evidence is not None and on_episode is not None:
            on_episode(evidence, examined.findings)
    return judge(kept, contract)


def judge(kept: Sequence[Examined], contract: Contract) -> Examination:
    """Check episodes that were examined one by one against each other."""
    digests = [examined.digest for examined in kept if examined.digest is not None]
    done = Examination(digests, [finding for examined in kept for finding in examined.findings])
    if digests:
        recorded = [(e.digest.name, e.differences) for e in kept if e.digest is not None]
        done.findings += check_agreement(recorded)
        done.findings += check_sharpness(digests)
        done.findings += check_joints(digests, contract)
        done.findings += check_words(digests)
        done.findings += check_coverage(digests, contract)
    return done


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
