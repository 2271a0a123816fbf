# SPDX-License-Identifier: Apache-2.0
"""Fixtures that keep every ROS test in a graph of its own, and the simulated robot's contract."""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.testing
from bag_messages import Messages
from hypothesis import settings

from swiftvla_ros.contract import Contract, load_contract

ROOT = Path(__file__).parents[1]
# Other work on the machine is no fault of what is tested.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
DISCOVERY_TIMEOUT_S = 10.0  # discovery takes 0.1 s, sometimes 2.5 s, and was seen to take 5 s


# Where tests run live nodes. scripts/run_tests.sh collects these alone for them: collecting all takes half a minute.
LIVE = tuple(
    ROOT / "test" / name
    for name in (
        "nodes",
        "launch",
        "faults",
        "doctor/test_faulty_graph.py",
        "cli/commands/test_demo.py",
        "cli/commands/test_up.py",
        "benchmarks/test_executor_rate.py",
    )
)
# Of these, where a whole system runs or a policy computes: as much as all tests of other nodes.
SYSTEMS = tuple(
    ROOT / "test" / name
    for name in (
        "cli/commands/test_demo.py",
        "cli/commands/test_up.py",
        "nodes/test_expert_node.py",
        "nodes/test_geometry_node.py",
        "nodes/test_monitor_nodes.py",
        "nodes/test_not_understood.py",
        "nodes/test_panel_controls_in_a_browser.py",
        "nodes/test_panel_in_a_browser.py",
        "nodes/test_panel_pictures.py",
        "nodes/test_policy_from.py",
        "nodes/test_policy_guidance.py",
        "nodes/test_policy_node.py",
        "nodes/test_preflight_node.py",
        "nodes/test_replay_live.py",
        "nodes/test_running_system.py",
        "nodes/test_take_over.py",
        "nodes/test_teleop_node.py",
        "nodes/test_view_live.py",
    )
)


# Where tests compute networks and simulations: as much work as all others together.
COMPUTING = tuple(
    ROOT / "test" / name for name in ("benchmarks", "deploy", "geometry", "model", "replay", "sim", "training")
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of ``scripts/run_tests.sh``."""
    parser.addoption(
        "--part",
        choices=("systems", "nodes", "computing", "others"),
        help="collect only files whose tests run a whole live system, or live nodes, or compute much, or the others",
    )
    parser.addoption(
        "--progress",
        type=Path,
        help="file that says which files' tests began and passed; those that passed are not run again",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what belongs to another part, where one is asked for."""
    part = config.getoption("--part")
    if part is None:
        return None

    def inside(places: tuple[Path, ...]) -> bool:
        return any(collection_path.is_relative_to(place) for place in places)

    def holds(places: tuple[Path, ...]) -> bool:
        return any(place.is_relative_to(collection_path) for place in places)

    if part == "others":
        return inside(COMPUTING) or None
    if part == "nodes" and inside(SYSTEMS):
        return True
    places = {"systems": SYSTEMS, "nodes": LIVE, "computing": COMPUTING}[part]
    return not (inside(places) or holds(places)) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what runs live nodes, and run it again when it failed, up to twice; the closing line counts reruns.

    The nodes are judged in real time: when the machine itself stalls for longer than a contract's 0.3 s, the executor
    holds, as it must, and the test of something else fails.
    """
    if (progress := config.getoption("--progress")) is not None:
        config.pluginmanager.register(Progress(progress, items))
    again = config.pluginmanager.hasplugin("rerunfailures")
    for item in items:
        if {"graph", "ros_environment", "system"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.ros)
        if not item.get_closest_marker("ros"):
            continue
        if not any(item.path.is_relative_to(live) for live in LIVE):
            raise pytest.UsageError(f"{item.nodeid} runs live nodes: add its file to LIVE in test/conftest.py")
        if again and not item.get_closest_marker("flaky"):
            item.add_marker(pytest.mark.flaky(reruns=2))


class Progress:
    """What is done, for the next process where one is killed, as ROS' libraries have done: it goes on from there."""

    def __init__(self, path: Path, items: list[pytest.Item]) -> None:
        self._path = path
        self._began: set[str] = set()
        self._failed: set[str] = set()
        lines = path.read_text().splitlines() if path.exists() else []
        items[:] = [item for item in items if f"passed {_file_of(item.nodeid)}" not in lines]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[Any]:
        """Write down which file's tests begin, and which one's have passed."""
        file = _file_of(item.nodeid)
        with self._path.open("a") as stream:
            if file not in self._began:
                self._began.add(file)
                print(f"began {file}", file=stream, flush=True)
            result = yield
            if (nextitem is None or _file_of(nextitem.nodeid) != file) and file not in self._failed:
                print(f"passed {file}", file=stream, flush=True)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what failed: its file is run again, so that it is told."""
        if report.failed:
            self._failed.add(_file_of(report.nodeid))


def _file_of(nodeid: str) -> str:
    return nodeid.split("::", maxsplit=1)[0]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say why tests were run again: each time was a failure, which may be rare and no less real."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.write_sep("=", f"run again: {report.nodeid}", yellow=True)
        terminalreporter.write_line(report.longreprtext)
        for name, content in report.sections:
            terminalreporter.write_sep("-", name)
            terminalreporter.write_line(content)


@pytest.fixture(scope="session", autouse=True)
def one_command_line() -> Iterator[None]:
    """Build the command line once: typer does it for each run of a command, which takes longer than many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", cache(typer.testing._get_command))
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """Return the checkpoint that the package ships, and that the stored bag was recorded with."""
    return ROOT / "models" / "swiftvla-nano-so101"


@pytest.fixture(scope="session")
def stored() -> Path:
    """Return the recorded run that is kept in the repository."""
    return ROOT / "test" / "replay" / "bags" / "pick_red"


@pytest.fixture(scope="session")
def ros_domain_id() -> Iterator[int]:
    """Reserve a ROS domain id that no other test run on this machine uses."""
    # Above 101 the ports collide with Linux' ephemeral ones; 0 is everybody's default.
    for domain_id in range(30, 102):
        with (Path(tempfile.gettempdir()) / f"swiftvla_ros_domain_{domain_id}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield domain_id
            return
    pytest.fail("every ROS domain id from 30 to 101 is in use; end other test runs first")


@pytest.fixture
def ros_environment(ros_domain_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Put this process and its children into a local graph with logs below ``tmp_path``; return their environment."""
    log = tmp_path / "ros_log"
    log.mkdir()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(ros_domain_id))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_LOG_DIR", str(log))
    profile = str(ROOT / "config" / "fastdds_shm.xml")
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", profile)
    return dict(os.environ)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Return a function that polls a condition and fails the test, naming it, when it does not come true in time."""

    def wait(condition: Callable[[], object], what: str, timeout_s: float = DISCOVERY_TIMEOUT_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {timeout_s:g} s: {what}")
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def contract() -> Contract:
    """Load the simulated robot's contract."""
    return load_contract("so101_sim")


@pytest.fixture(scope="session")
def messages(contract: Contract) -> Messages:
    """Give a maker of bags' messages for the contract's joints."""
    return Messages(contract)
