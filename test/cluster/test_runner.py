# SPDX-License-Identifier: Apache-2.0
"""Work in items: made once, wherever; what is lost is begun again, what can't be made doesn't cost the others."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from squares import file_of, kill_itself_once, make_square

from swiftvla_ros.cluster.engine import InThisProcess, on_this_machine
from swiftvla_ros.cluster.installation import difference, installation
from swiftvla_ros.cluster.outcome import Lost, WorkOutcome
from swiftvla_ros.cluster.runner import Runner, WorkError
from swiftvla_ros.cluster.settings import SettingsError, claim
from swiftvla_ros.cluster.work import Shard, Work
from swiftvla_ros.errors import UserError
from swiftvla_ros.files import partials, whole_file


def work(folder: Path, count: int = 7, how: Callable[[Path, int], Any] = make_square) -> Work[int, Any]:
    """Describe some items."""
    return Work("squares", range(count), partial(how, folder), files=lambda item: [file_of(folder, item)])


def there(folder: Path) -> dict[str, str]:
    """Read a folder."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_parts_make_the_folder_that_one_run_makes(tmp_path: Path) -> None:
    """Protects the promise of --shard: parts share no item, none is missing, and the folder is the same."""
    one, parts = tmp_path / "one", tmp_path / "parts"
    one.mkdir()
    parts.mkdir()
    whole = Runner(progress=False).run(work(one))
    assert (whole.results, whole.there, whole.failed) == ([item * item for item in range(7)], 0, [])
    counts = [len(Runner(shard=Shard(k, 3), progress=False).run(work(parts)).results) for k in (3, 1, 2)]
    assert counts == [2, 3, 2]
    assert there(parts) == there(one)
    again = Runner(progress=False).run(work(parts))
    assert (again.results, again.there) == ([], 7)


def test_leftovers_of_killed_writers_go_when_the_file_is_there(tmp_path: Path) -> None:
    """Protects: a folder is the same after a kill, and what another work is writing there is left alone."""
    others = ["item_99.json.partial12", "index.json.partial3"]
    for name in ("item_3.json.partial77", *others):
        (tmp_path / name).write_text("half")
    Runner(progress=False).run(work(tmp_path))
    assert sorted(path.name for path, _ in partials(tmp_path)) == sorted(others)


def fails_on_three(folder: Path, item: int) -> int:
    """Fail for one item, as people's data does, and for another, as a fault of the program."""
    if item == 3:
        raise UserError("item 3: is odd; mend it")
    return 1 // (item - 5) + make_square(folder, item)


def test_what_cannot_be_made_does_not_cost_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects a night's work: each failure is named once, the way to a fault of the program is told."""
    done = Runner(progress=False).run(work(tmp_path, how=fails_on_three))
    assert done.failed == ["item 3: is odd; mend it", "ZeroDivisionError: integer division or modulo by zero"]
    assert len(there(tmp_path)) == 5
    assert "fails_on_three" in capsys.readouterr().err
    with pytest.raises(WorkError, match="item 3"):
        done.check()


def always_fails(_folder: Path, item: int) -> None:
    """Fail, each time for a reason of its own."""
    raise UserError(f"item {item}: the checkpoint is not there")


def test_failures_in_a_row_end_it(tmp_path: Path) -> None:
    """Protects against ten thousand lines: where everything fails, it is not the items."""
    with pytest.raises(WorkError, match="item 0: the checkpoint is not there"):
        Runner(progress=False).run(work(tmp_path, 100, always_fails))
    make_square(tmp_path, 0)
    done = Runner(progress=False).run(work(tmp_path, 101, always_fails))
    assert len(done.failed) == 6
    assert done.failed[-1] == "95 more were not begun, since 5 failed in a row"
    assert done.problem.splitlines()[0] == "item 1: the checkpoint is not there"
    assert done.problem.splitlines()[-1] == done.failed[-1]


def disk_full_once(folder: Path, item: int) -> int:
    """Find no space at the first try of each item."""
    tried = folder / f"tried_{item}"
    if not tried.exists():
        tried.touch()
        raise OSError(28, "No space left on device")
    tried.unlink()
    return make_square(folder, item)


def test_what_passes_is_tried_again(tmp_path: Path) -> None:
    """Protects against a share that was gone for a moment, or a disk that somebody had to empty."""
    done = Runner(progress=False).run(work(tmp_path, 4, disk_full_once))
    assert (done.failed, done.again, len(there(tmp_path))) == ([], 4, 4)


class LosesEverySecond(InThisProcess):
    """Machines that go away, once for every second item and always for item 5."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        super().__init__(make)
        self.tries: dict[int, int] = {}

    def ended(self) -> list[tuple[int, WorkOutcome]]:
        """Lose some before they are made, others after."""
        ((number, _),) = self._next
        self.tries[number] = self.tries.get(number, 0) + 1
        lost = number == 5 or (number % 2 and self.tries[number] == 1)
        found = super().ended() if not lost or number == 3 else []
        self._next.clear()
        return [(number, Lost("node 7 is gone"))] if lost else found


def test_a_lost_machine_costs_its_running_items_alone(tmp_path: Path) -> None:
    """Protects: what was lost is begun again, three times at most, and nothing is doubled in the results."""
    done = Runner(LosesEverySecond, progress=False).run(work(tmp_path))
    assert done.results == [0, 1, 4, 9, 16, 36]
    assert done.failed == ["begun 3 times: node 7 is gone"]
    assert done.again == 4  # items 1 and 3, and twice item 5
    assert sum(done.hosts.values()) == 6


def test_a_killed_process_is_replaced(tmp_path: Path) -> None:
    """Protects a long run on one machine: fresh processes take over, and all items are there."""
    done = Runner(on_this_machine(2), progress=False).run(work(tmp_path, 5, kill_itself_once))
    assert (sorted(done.results), done.failed) == ([0, 1, 4, 9, 16], [])
    assert done.again >= 1


PARENT = """
import sys
from pathlib import Path
from squares import say_and_stay
from swiftvla_ros.cluster.engine import on_this_machine
from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.cluster.work import Work
Runner(on_this_machine(2), progress=False).run(Work("stays", range(2), say_and_stay, files=lambda item: []))
"""


def test_no_process_outlives_the_one_that_gave_it_work() -> None:
    """Protects the machine: a run that is killed leaves nobody who computes, or idles, for ever."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    with process.stdout as lines:
        assert [next(lines), next(lines)] == [b"stays\n"] * 2
        process.terminate()
        process.wait()
        # They hold its other end: it ends with the last of them.
        assert lines.read() == b""


def test_a_folder_is_of_one_kind(tmp_path: Path) -> None:
    """Protects against two kinds of results in one folder: what differs is named, what is the same goes on."""
    claim(tmp_path / "it" / "settings.json", {"seed": 1, "tasks": ("pick", "touch")})
    claim(tmp_path / "it" / "settings.json", {"seed": 1, "tasks": ("pick", "touch")})
    with pytest.raises(SettingsError, match=r"settings.json: seed is 1, now it would be 2; .* another folder"):
        claim(tmp_path / "it" / "settings.json", {"seed": 2, "tasks": ("pick", "touch")})
    (tmp_path / "it" / "settings.json").write_text("{")
    with pytest.raises(SettingsError, match=r"settings.json"):
        claim(tmp_path / "it" / "settings.json", {"seed": 1})


def test_another_installation_is_told() -> None:
    """Protects equal results: machines with another version of what decides numbers are named with it."""
    here = installation()
    assert difference(here, dict(here)) == ""
    assert difference(here, here | {"numpy": "1.0"}) == f"numpy {here['numpy']} (it has 1.0)"


def test_the_same_tensors_are_the_same_bytes(tmp_path: Path) -> None:
    """Protects comparing folders file by file: metadata stand in one order, and what is read is what was written."""
    for name, keys in (("a", "xyz"), ("b", "zxy")):
        with whole_file(tmp_path / f"{name}.safetensors") as path:
            save_file({"t": np.arange(3)}, path, metadata={key: f'"ä\n{key}' for key in keys})
    data = (tmp_path / "a.safetensors").read_bytes()
    assert data == (tmp_path / "b.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header["__metadata__"].items()) == [(key, f'"ä\n{key}') for key in "xyz"]
