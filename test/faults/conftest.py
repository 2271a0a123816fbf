# SPDX-License-Identifier: Apache-2.0
"""A running system whose parts can be broken one at a time, and the table of what happens then."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "faults.md"
_TABLE = pytest.StashKey[dict[str, "Row"]]()
_BEGIN, _END = "<!-- table: written by pytest test/faults --write-faults-table -->", "<!-- end of table -->"


def load_module(path: Path) -> Any:
    """A module of the tests by its path; pytest's importlib mode leaves folders out of ``sys.path``."""
    name = f"faults_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@dataclass(frozen=True)
class Row:
    """One fault as it was measured. Times in s; ``safe_s`` is None where the arm goes on unharmed."""

    fault: str
    injected: str
    safe: str
    safe_s: float | None
    bound_s: float | None
    codes: str
    recovery: str
    recovery_s: float

    def cells(self) -> list[str]:
        """Texts of the columns."""
        measured = "—" if self.safe_s is None else f"{self.safe_s:.2f}"
        bound = "—" if self.bound_s is None else f"{self.bound_s:.2f}"
        recovery = f"{self.recovery}: {self.recovery_s:.1f} s" if self.recovery else "none needed"
        return [self.fault, self.injected, self.safe, measured, bound, self.codes, recovery]


COLUMNS = ["fault", "how it is made", "safe state", "after s", "at most s", "told as", "recovery"]


def markdown(rows: list[Row]) -> str:
    """The rows as a table of Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the rows unless this folder is asked for: their times need a machine that does nothing else."""
    if not any("faults" in str(argument) for argument in config.invocation_params.args):
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs a quiet machine of its own: pytest test/faults"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the document."""
    parser.addoption("--write-faults-table", action="store_true", help="write what was measured into docs/faults.md")


def pytest_configure(config: pytest.Config) -> None:
    """Begin with an empty table."""
    config.stash[_TABLE] = {}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table, and write it into the document where that was asked for and every row passed."""
    rows = list(config.stash.get(_TABLE, {}).values())
    if not rows:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(markdown(rows))
    if config.getoption("--write-faults-table", default=False):
        if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
            terminalreporter.write_line("docs/faults.md is left as it was: not every row passed")
            return
        text = DOCUMENT.read_text(encoding="utf-8")
        before, after = text.split(_BEGIN)[0], text.split(_END)[1]
        DOCUMENT.write_text(f"{before}{_BEGIN}\n{markdown(rows)}\n{_END}{after}", encoding="utf-8")


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> dict[str, Row]:
    """What was measured, by fault."""
    # A conftest below the folder that pytest was called with is configured late.
    return request.config.stash.setdefault(_TABLE, {})


def _write_profile(profile: Path, copy: Path) -> None:
    """The profile that users get, on this machine alone, and with less patience so that discovery can be lost."""
    text = profile.read_text(encoding="utf-8")
    local = "<type>UDPv4</type><interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList>"
    for old, new in (("<sec>10</sec>", "<sec>4</sec>"), ("<type>UDPv4</type>", local)):
        assert old in text
        text = text.replace(old, new)
    copy.write_text(text, encoding="utf-8")


@pytest.fixture(scope="package")
def system(
    tmp_path_factory: pytest.TempPathFactory, ros_domain_id: int, repository: Path, wait_until: Callable[..., None]
) -> Iterator[Any]:
    """Start driver, nodes and policy once for all faults."""
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")
    folder = tmp_path_factory.mktemp("faults")
    for name in ("fastdds_shm.xml", "fastdds_udp.xml"):
        _write_profile(repository / "config" / name, folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(ros_domain_id))
        # With LOCALHOST the profile's transports would not be what the nodes use; its addresses stay local, too.
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
        patch.setenv("ROS_LOG_DIR", str(folder))
        patch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(folder / "fastdds_shm.xml"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONUNBUFFERED", "1")
        patch.setenv("PYTHONFAULTHANDLER", "1")
        graph = load_module(repository / "test" / "nodes" / "conftest.py").Graph(folder, wait_until)
        try:
            driver = load_module(HERE / "driver.py").Driver
            yield load_module(HERE / "system.py").System(graph, driver, repository, folder)
        finally:
            graph.close()


@pytest.fixture
def passed(table: dict[str, Row]) -> Callable[..., None]:
    """Add a row that was measured in another system than the one that all others share."""

    def add(name: str, injected: str, safe: str, codes: str) -> None:
        table[name] = Row(name, injected, safe, None, None, codes, "", 0.0)

    return add


@pytest.fixture
def fault(system: Any, table: dict[str, Row]) -> Iterator[Callable[..., Any]]:
    """Begin a row: the system runs and the arm moves; when the row is over, its faults are taken away."""
    begun: list[Any] = []

    def begin(name: str, injected: str) -> Any:
        system.ready()
        begun.append(load_module(HERE / "system.py").Fault(system, name, injected))
        return begun[-1]

    yield begin
    system.heal()
    for row in begun:
        if row.recovered:
            table[row.name] = Row(row.name, row.injected, row.safe, row.safe_s, row.bound_s, row.codes, row.recovery,
                                  row.recovery_s)  # fmt: skip
