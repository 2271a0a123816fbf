# SPDX-License-Identifier: Apache-2.0
"""Recorded runs as pytest tests: every ``NAME.replay.yaml`` is one, and names the bag beside it.

Use it for a folder of your own with ``pytest -p swiftvla_ros.replay.pytest_plugin FOLDER``, or with
``from swiftvla_ros.replay.pytest_plugin import pytest_collect_file`` in the folder's ``conftest.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swiftvla_ros.contract import ContractError, load_contract
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.policy.checkpoint import CheckpointError
from swiftvla_ros.replay.differences import find_checkpoint
from swiftvla_ros.replay.recorded import open_recording
from swiftvla_ros.replay.report import exit_code, judge, replay
from swiftvla_ros.replay.thresholds import ThresholdError, Thresholds, beside, load_thresholds
from swiftvla_ros.resources import model_path

SUFFIX = ".replay.yaml"


def pytest_collect_file(parent: pytest.Collector, file_path: Path) -> ReplayFile | None:
    """Take every thresholds file for a test."""
    if not file_path.name.endswith(SUFFIX):
        return None
    return ReplayFile.from_parent(parent, path=file_path)


class ReplayFile(pytest.File):
    """A thresholds file; its one test has its name."""

    def collect(self) -> Iterator[ReplayItem]:
        """Yield the test."""
        yield ReplayItem.from_parent(self, name=self.path.name.removesuffix(SUFFIX))


class ReplayFailedError(Exception):
    """What a replay broke, one line each."""


class ReplayItem(pytest.Item):
    """Replays the bag and judges it by the file."""

    def runtest(self) -> None:
        """Fail with every check that does not hold."""
        try:
            wanted = load_thresholds(self.path)
            code, failed = _judge(self.path, wanted)
        except (BagError, CheckpointError, ContractError, ThresholdError) as error:
            raise ReplayFailedError(str(error)) from error
        if code:
            raise ReplayFailedError("\n".join(f"{name}: {text}" for name, text in failed))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Show what differs, not how this module came to find it."""
        if isinstance(excinfo.value, ReplayFailedError):
            return f"{self.path}:\n{excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the test by its file."""
        return self.path, None, f"replay of {self.name}"


def _judge(file: Path, wanted: Thresholds) -> tuple[int, list[tuple[str, str]]]:
    """Replay what a file names: the exit code and the checks that fail."""
    contract = load_contract(beside(file, wanted.robot)) if wanted.robot else None
    bag = open_recording(file.parent / (wanted.bag or file.name.removesuffix(SUFFIX)), contract, wanted.namespace)
    report = replay(
        bag,
        checkpoint=model_path(beside(file, wanted.checkpoint)) if wanted.checkpoint else find_checkpoint(bag),
        contract=contract,
        override=wanted.runtime,
    )
    return exit_code(report, wanted), [(c.name, c.text) for c in judge(report, wanted) if not c.ok]
