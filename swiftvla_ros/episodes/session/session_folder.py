# SPDX-License-Identifier: Apache-2.0
"""The folder of a session: a bag for each episode, and beside each bag's file what it is worth, ``episode.json``.

``SESSION/episode_000004/`` is a bag like any other. What was discarded lies in ``SESSION/discarded/`` under its own
name: nothing that was recorded is deleted, and no number is used twice.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from swiftvla_ros.errors import UserError
from swiftvla_ros.files import whole_file

EPISODE_FILE = "episode.json"
DISCARDED = "discarded"
EpisodeOutcome = Literal["recording", "succeeded", "failed", "discarded", "unjudged"]
OUTCOMES: tuple[str, ...] = get_args(EpisodeOutcome)

_NAME = re.compile(r"episode_(\d{6,})")
_CUT_OFF = "the recorder ended while it was being recorded; what was written until half a second before is in the bag"


class SessionError(UserError, ValueError):
    """What a session can't do now; the message says why and what to do."""


@dataclass
class EpisodeRecord:
    """What ``episode.json`` says of an episode.

    Times are of the ROS clock, ns; ``ended_ns`` is 0 until it ended. ``warnings`` are what its operator was told while
    it was recorded: a camera too slow, say. ``counts``: by topic what was recorded and lost. ``calibrations``: by arm
    (follower, leader) what its driver told angles by, joint by joint, where it said so.
    """

    instruction: str
    outcome: EpisodeOutcome = "recording"
    note: str = ""
    operator: str = ""
    began_ns: int = 0
    ended_ns: int = 0
    warnings: list[str] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    contract_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    calibrations: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_episode_record(bag: Path) -> EpisodeRecord | None:
    """Return what lies beside a bag's file, or None where nothing does.

    Raises
    ------
    SessionError
        It is no ``episode.json``.
    """
    path = bag / EPISODE_FILE
    if not path.is_file():
        return None
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        known = {f.name for f in fields(EpisodeRecord)}
        record = EpisodeRecord(**{key: value for key, value in values.items() if key in known})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SessionError(f"{path}: can't be read ({error}); mend it or delete it") from error
    if record.outcome not in OUTCOMES or not isinstance(record.instruction, str):
        raise SessionError(f"{path}: outcome '{record.outcome}' is unknown; write one of {', '.join(OUTCOMES)}")
    return record


def write_episode_record(bag: Path, record: EpisodeRecord) -> None:
    """Write ``episode.json``, whole or not at all."""
    with whole_file(bag / EPISODE_FILE) as partial:
        partial.write_text(json.dumps(asdict(record), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class SessionFolder:
    """The episodes of a session, those of earlier sittings included.

    Raises
    ------
    SessionError
        The path is a file or can't be written to, or an ``episode.json`` in it can't be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            place = f"{path}: is a file, or lies in one"
            raise SessionError(f"{place}; name a folder, a new one or an earlier session's") from error
        except OSError as error:
            raise SessionError(
                f"{path}: can't be made ({error.strerror}); name a folder that you may write to"
            ) from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise SessionError(f"{path}: is not yours to write to; name another folder, or `sudo chown $USER {path}`")
        self.path = path

    def bags(self) -> list[Path]:
        """List the episodes' bags, discarded ones too, in the order of their numbers."""
        found = [*self.path.glob("episode_*"), *(self.path / DISCARDED).glob("episode_*")]
        return sorted((bag for bag in found if bag.is_dir() and _NAME.fullmatch(bag.name)), key=lambda bag: bag.name)

    def next_bag(self) -> Path:
        """Name the bag of the next episode; the number has never been used."""
        numbers = [int(match[1]) for bag in self.bags() if (match := _NAME.fullmatch(bag.name))]
        return self.path / f"episode_{max(numbers, default=-1) + 1:06d}"

    def records(self) -> dict[Path, EpisodeRecord]:
        """Return what each episode is worth, by its bag."""
        return {bag: record for bag in self.bags() if (record := read_episode_record(bag)) is not None}

    def recover(self) -> list[Path]:
        """Mark what a recorder that was killed left as unjudged, and return those bags."""
        cut_off = [bag for bag, record in self.records().items() if record.outcome == "recording"]
        for bag in cut_off:
            record = read_episode_record(bag)
            assert record is not None
            record.outcome, record.note = "unjudged", _CUT_OFF
            write_episode_record(bag, record)
        return cut_off

    def discard(self, bag: Path) -> Path:
        """Move a bag to the discarded ones; return where it lies now."""
        place = self.path / DISCARDED / bag.name
        place.parent.mkdir(exist_ok=True)
        return bag.rename(place)
