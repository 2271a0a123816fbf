# SPDX-License-Identifier: Apache-2.0
"""Which kernel is fastest here: timed once for each shape, and kept in a file.

Which library multiplies fastest differs between processors, shapes and types, several times over. A choice by timing
must not change from one start to the next, since another kernel rounds differently: so choices are kept, and the
first candidate is taken unless another one is clearly faster.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from swiftvla_ros.files import read_json_object, whole_file

# A gain of less than a tenth is not worth a choice that the next timing may not make again.
_CLEARLY_FASTER = 0.9
# Rounds of one timing: as many as fit into this time, but at least so many.
_SECONDS, _ROUNDS = 0.2, 8

Call = Callable[[], object]


class KernelChoice:
    """The choices of one machine, at one type and number of threads; new ones are kept by :meth:`save`."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._path = cache_file()
        self._machine = f"{_processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads, {dtype}"
        self._kept = _read(self._path).get(self._machine, {})
        self._new: dict[str, str] = {}

    def fastest(self, what: str, candidates: Mapping[str, Callable[[], Call]]) -> str:
        """The name of the fastest candidate for ``what``; a candidate is prepared, then called.

        The first candidate is the default.
        """
        chosen = self._new.get(what) or self._kept.get(what)
        if chosen is None or chosen not in candidates:
            chosen = self._new[what] = _race({name: prepare() for name, prepare in candidates.items()})
        return chosen

    def save(self) -> None:
        """Keep what was chosen; where the folder can't be written, the next start times again."""
        if not self._new:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            machines = _read(self._path)
            machines[self._machine] = {**machines.get(self._machine, {}), **self._new}
            with whole_file(self._path) as partial:
                partial.write_text(json.dumps(machines, indent=1, sort_keys=True), encoding="utf-8")
        except OSError:
            return


def cache_file() -> Path:
    """Where choices are kept."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "swiftvla_ros" / "cpu_kernels.json"


def _race(calls: Mapping[str, Call]) -> str:
    """The first, or one that is clearly faster in three of four rounds; they take turns, so other load meets all."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    begin, rounds = time.perf_counter(), 0
    while rounds < _ROUNDS or time.perf_counter() - begin < _SECONDS:
        rounds += 1
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    first, *_ = calls
    share = {
        name: sorted(mine / default for mine, default in zip(times, seconds[first], strict=True))
        for name, times in seconds.items()
    }
    clear = [name for name in calls if share[name][rounds * 3 // 4] < _CLEARLY_FASTER]
    return min(clear, key=lambda name: share[name][rounds // 2], default=first)


def _read(path: Path) -> dict[str, dict[str, str]]:
    """What a file keeps; one that is damaged or of something else keeps nothing."""
    try:
        data = read_json_object(path)
    except (OSError, ValueError):
        return {}
    return {
        machine: {what: kernel for what, kernel in choices.items() if isinstance(kernel, str)}
        for machine, choices in data.items()
        if isinstance(choices, dict)
    }


def _processor() -> str:
    """The first processor's name and model, as Linux tells them, and which instructions torch uses of it."""
    wanted = ("model name", "cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU variant")
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        first = ""
    fields = dict(line.split(":", 1) for line in first.splitlines() if ":" in line)
    named = {name.strip(): value.strip() for name, value in fields.items()}
    known = [f"{name} {named[name]}" for name in wanted if name in named]
    return ", ".join([*known, torch.backends.cpu.get_cpu_capability()])
