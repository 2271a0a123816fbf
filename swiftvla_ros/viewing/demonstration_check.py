# SPDX-License-Identifier: Apache-2.0
"""The check of a folder of demonstrations as a work: each episode is examined and drawn by itself."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from swiftvla_ros.cluster.installation import installation
from swiftvla_ros.cluster.settings import claim
from swiftvla_ros.cluster.work import Work
from swiftvla_ros.contract.store import digest_of
from swiftvla_ros.episodes.datasets.finder import EpisodeFolder
from swiftvla_ros.episodes.quality.examination import Examination, judge
from swiftvla_ros.episodes.quality.examined import Examined, examine_episode, load_examined, save_examined
from swiftvla_ros.files import whole_file

SETTINGS = "settings.json"
"""The file that says what check a folder of kept results is of."""


@dataclass(frozen=True)
class DemonstrationCheck:
    """What is checked, and where what comes of it lies; in plain values that go to other processes."""

    episodes: EpisodeFolder
    pictures: Path | None = None  # folder of a PNG for each episode; None: none are drawn
    kept: Path | None = None  # folder of what is kept of each until all are examined; None: in memory

    def picture(self, name: str) -> Path | None:
        """Say where an episode's picture lies."""
        return None if self.pictures is None else self.pictures / f"{_file_name(name)}.png"

    def kept_file(self, name: str) -> Path | None:
        """Say where lies what is kept of an episode."""
        return None if self.kept is None else self.kept / f"{_file_name(name)}.safetensors"

    def begin(self, names: Sequence[str]) -> None:
        """Make sure that what is kept already is of the same check, and of the episodes as they are now.

        Raises
        ------
        SettingsError
            It is of another one.
        """
        if self.kept is None:
            return
        folder = self.episodes
        claim(
            self.kept / SETTINGS,
            {
                "contract_sha256": digest_of(folder.contract),
                "namespace": folder.namespace,
                "instruction": folder.instruction,
                "pictures": self.pictures is not None,
                "swiftvla_ros": installation()["swiftvla_ros"],
            },
        )
        for name in names:
            kept = self.kept_file(name)
            if kept is not None and kept.exists() and kept.stat().st_mtime < folder.changed_s(name):
                kept.unlink(missing_ok=True)

    def put_together(self, names: Sequence[str], results: Sequence[Examined | None]) -> Examination:
        """Check all episodes against each other: those that are kept, or else the ``results`` of the work."""
        kept = [load_examined(path) for path in map(self.kept_file, names) if path is not None]
        return judge([*kept, *(result for result in results if result is not None)], self.episodes.contract)

    def forget(self) -> None:
        """Delete what was kept: pictures and report stay."""
        if self.kept is not None:
            shutil.rmtree(self.kept)

    def work(self, names: Sequence[str]) -> Work[str, Examined | None]:
        """Describe the check of these episodes."""
        return Work("checking", names, partial(_examine, self), files=self._files, unit="episodes")

    def _files(self, name: str) -> list[Path]:
        # An episode that can't be read has no picture: it is looked at again, as somebody may have mended it.
        kept = self.kept_file(name)
        return [] if kept is None else [path for path in (self.picture(name), kept) if path is not None]


def _file_name(name: str) -> str:
    return name.replace("/", "_")


def _examine(check: DemonstrationCheck, name: str) -> Examined | None:
    (handle,) = check.episodes.find([name])
    evidence, examined = examine_episode(handle, check.episodes.contract)
    if evidence is not None and (picture := check.picture(name)) is not None:
        from swiftvla_ros.viewing.demonstration_picture import draw_demonstration

        picture.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(picture) as partial_path:
            draw_demonstration(evidence, examined.findings, partial_path)
    if (kept := check.kept_file(name)) is None:
        return examined
    save_examined(examined, kept)
    return None
