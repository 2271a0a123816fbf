# SPDX-License-Identifier: Apache-2.0
"""The choice of a kernel by timing: kept between starts, and nothing that lies in its file can break a start."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from swiftvla_ros.model.cpu.kernel_choice import Call, KernelChoice, cache_file


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep choices in a folder of the test; returns the file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_file()


def taking(milliseconds: float) -> Callable[[], Call]:
    """Return a candidate that takes so long."""

    def call() -> None:
        end = time.perf_counter() + milliseconds / 1000
        while time.perf_counter() < end:
            pass

    return lambda: call


def never() -> Call:
    """Be a candidate that must not be timed."""
    pytest.fail("this was chosen before")


def test_a_clearly_faster_kernel_is_taken_and_kept() -> None:
    """Protects replay: the next start takes the same kernel without timing, so that it rounds alike."""
    first = KernelChoice(torch.float32)
    assert first.fastest("layer", {"default": taking(4), "faster": taking(0.4)}) == "faster"
    first.save()
    assert KernelChoice(torch.float32).fastest("layer", {"default": never, "faster": never}) == "faster"


def test_the_default_is_taken_unless_another_is_clearly_faster() -> None:
    """Protects from choices by chance."""
    assert KernelChoice(torch.float32).fastest("layer", {"default": taking(1), "other": taking(0.97)}) == "default"


def test_types_and_numbers_of_threads_are_chosen_for_apart(cache: Path) -> None:
    """Protects speed: what is fastest at one type says nothing of another."""
    choice = KernelChoice(torch.float32)
    choice.fastest("layer", {"default": taking(0.1)})
    choice.save()
    other = KernelChoice(torch.bfloat16)
    other.fastest("layer", {"only here": taking(0.1)})
    other.save()
    assert len(json.loads(cache.read_text())) == 2


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", "\x00", '{"a": 1}', '{"%s": {"layer": "gone"}}', '{"%s": {"layer": 3}}', '{"%s": 1}']
)
def test_a_broken_or_foreign_file_is_timed_anew_and_rewritten(cache: Path, content: str) -> None:
    """Protects starts: whatever lies in the file, the network loads, and the file is good afterwards."""
    probe = KernelChoice(torch.float32)
    probe.fastest("layer", {"default": taking(0.1)})
    probe.save()
    machine = next(iter(json.loads(cache.read_text())))
    cache.write_text(content.replace("%s", machine))
    choice = KernelChoice(torch.float32)
    assert choice.fastest("layer", {"default": taking(0.1)}) == "default"
    choice.save()
    assert json.loads(cache.read_text())[machine] == {"layer": "default"}


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects read-only systems: choices are made for this start alone."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    choice = KernelChoice(torch.float32)
    assert choice.fastest("layer", {"default": taking(0.1)}) == "default"
    choice.save()
