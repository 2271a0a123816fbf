# SPDX-License-Identifier: Apache-2.0
"""Hold the code to the rooms of the package: who may import whom, and where torch and ROS may be imported."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from package_source import GENERATED, ROOT, Import, modules, parse_imports, parsed, room_of

from swiftvla_ros.extras import EXTRAS, FROM_THE_MACHINE
from swiftvla_ros.runtime_registry import RUNTIMES

# Each room, what it may import, itself aside. None: everything.
ROOMS: dict[str, set[str] | None] = {
    "cluster": set(),
    "contract": set(),
    "observation": {"contract"},
    "model": {"contract"},
    "geometry": {"contract"},
    "policy": {"contract", "observation", "model"},
    "motion": {"contract"},
    "episodes": {"cluster", "contract", "observation", "policy", "motion", "geometry"},
    "replay": {"contract", "observation", "policy", "motion", "episodes", "monitoring"},
    "deploy": {"cluster", "contract", "observation", "model", "policy", "episodes", "sim"},
    "training": {"cluster", "contract", "observation", "model", "geometry", "policy", "episodes", "monitoring"},
    "sim": {"cluster", "contract", "observation", "policy", "motion", "episodes"},
    "drivers": {"contract", "observation"},
    "teleop": {"contract", "observation", "motion"},
    "bringup": {"contract"},
    "preflight": {"contract", "observation", "policy"},
    "monitoring": {"contract", "observation", "policy", "motion"},
    "viewing": {"cluster", "contract", "observation", "policy", "motion", "episodes", "replay", "monitoring"},
    "panel": {"contract", "observation", "monitoring"},
    "nodes": {
        "contract",
        "observation",
        "model",
        "geometry",
        "policy",
        "motion",
        "episodes",
        "replay",
        "sim",
        "drivers",
        "teleop",
        "monitoring",
        "preflight",
        "panel",
    },
    "doctor": {"contract", "policy", "bringup", "nodes", "preflight"},
    "cli": None,
}
# Modules that every room may import.
BESIDE_THE_ROOMS = {"errors", "extras", "files", "log_folder", "resources", "runtime_registry"}
TORCH_ROOMS = {"model", "geometry", "training", "deploy"}
# Runtimes that read weights rather than graphs may, and one of them's captured graph.
TORCH_MODULES = {line.module for line in RUNTIMES.values() if not line.graphs} | {
    "swiftvla_ros.policy.runtimes.captured_chunk"
}
NEEDS_TORCH = {"torch"}
NEEDS_ROS = {"rclpy", "cv_bridge", "tf_transformations"}


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    """Every import of the package."""
    found = [entry for module, path in modules().items() for entry in parse_imports(module, path)]
    assert len(found) > 50, "the parser sees the package"
    return found


def test_every_folder_is_a_known_room():
    """A new folder needs its place in the order of the rooms before anything imports it."""
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - GENERATED <= set(ROOMS)


def test_no_import_runs_upward(imports):
    """A room imports only the rooms below it, also inside functions."""
    wrong = []
    for entry in imports:
        own, target = room_of(entry.module), room_of(entry.target)
        if own is None or target is None or target == own or target in GENERATED | BESIDE_THE_ROOMS:
            continue
        allowed = ROOMS[own]
        if allowed is not None and target not in allowed:
            wrong.append(str(entry))
    assert wrong == []


def test_torch_only_where_the_network_runs(imports):
    """Nodes, tools and the robot's side stay usable on a machine without torch."""
    wrong = [
        str(entry)
        for entry in imports
        if entry.target.split(".")[0] in NEEDS_TORCH
        and room_of(entry.module) not in TORCH_ROOMS
        and entry.module not in TORCH_MODULES
    ]
    assert wrong == []


def test_no_module_imports_transformers(imports):
    """Its import takes seconds in each process; the network needs none of it, and the tests compare with it."""
    assert [str(entry) for entry in imports if entry.target.split(".")[0] == "transformers"] == []


def test_ros_only_in_nodes_and_live_commands(imports):
    """The rooms below the nodes know no ROS, so that they run and are tested without one."""
    wrong = []
    for entry in imports:
        needs_ros = entry.target.split(".")[0] in NEEDS_ROS or room_of(entry.target) in GENERATED
        inside_command = room_of(entry.module) == "cli" and not entry.on_import
        if needs_ros and room_of(entry.module) != "nodes" and not inside_command:
            wrong.append(str(entry))
    assert wrong == []


@pytest.mark.parametrize("of", ["modules", "folders"])
def test_no_circle(imports, of):
    """Modules and folders of one room have an order, too: nobody has to read two of them to understand one.

    A folder and those inside it count as one. What is imported for types alone counts.
    """
    paths = modules()
    place = {name: name for name in paths}
    if of == "folders":
        place = {n: n if path.name == "__init__.py" else n.rpartition(".")[0] for n, path in paths.items()}
    graph: dict[str, set[str]] = {name: set() for name in place.values()}
    for entry in imports:
        own, target = place[entry.module], place.get(entry.target)
        if target is not None and not f"{own}.".startswith(f"{target}.") and not f"{target}.".startswith(f"{own}."):
            graph[own].add(target)
    circles = []
    for start, first in graph.items():
        seen: set[str] = set()
        ahead = list(first)
        while ahead:
            folder = ahead.pop()
            if folder not in seen:
                seen.add(folder)
                ahead += graph[folder]
        if start in seen:
            circles.append(start)
    assert sorted(circles) == []


def test_a_listing_explains_each_folder():
    """A folder has at most sixteen modules and says its job in a line; command and node folders list their kind."""
    wrong = []
    for path in modules().values():
        if path.name == "__init__.py":
            count = sum(1 for module in path.parent.glob("*.py") if module.name != "__init__.py")
            if count > 16 and path.parent.name not in ("commands", "nodes"):
                wrong.append(f"{path.parent.name}: {count} modules")
            if not ast.get_docstring(parsed(path)):
                wrong.append(f"{path.parent.name}: no docstring")
    assert wrong == []
    strangers = [path.name for path in (ROOT / "nodes").glob("*.py") if not path.stem.endswith("_node")]
    assert strangers == ["__init__.py"]
    without = [p.name for p in (ROOT / "cli" / "commands").glob("[!_]*.py") if "\ndef command(" not in p.read_text()]
    assert without == []


def test_files_are_read_in_one_sitting():
    """No module is longer than 400 lines, no node than 300."""
    lines = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: n for name, n in lines.items() if n > 400} == {}
    assert {name: n for name, n in lines.items() if name.endswith("_node") and n >= 300} == {}


MESSAGES = {path.stem for folder in GENERATED for path in (ROOT.parent / folder).glob("*.*")}
# Names that may mean two things, and why.
TWO_MEANINGS = {
    "Array": "the floats that a file computes with, of 64 or of 32 bits",
    "InstructionEffect": "what a policy measured, and the message that tells it",
}


def names_of_types(module: ast.Module) -> dict[str, str]:
    """Each class, and each capitalised alias, at a module's top level, with the alias' meaning; none for a class."""
    found = {}
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = ""
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            name = target.id if isinstance(target, ast.Name) else ""
            if name.lstrip("_")[:1].isupper() and not name.isupper() and node.value is not None:
                found[name] = ast.unparse(node.value)
    return found


def test_no_class_name_twice():
    """One name is one thing, wherever it is met: a class, a private one, an alias or a message."""
    meanings: dict[str, dict[str, str]] = {name: {"a message": "messages"} for name in MESSAGES}
    for module, path in modules().items():
        for name, meaning in names_of_types(parsed(path)).items():
            meanings.setdefault(name, {})[meaning or f"class of {module}"] = module
    twice = {name: sorted(where.values()) for name, where in meanings.items() if len(where) > 1}
    assert {name: where for name, where in twice.items() if name not in TWO_MEANINGS} == {}
    assert twice.keys() >= TWO_MEANINGS.keys(), "what isn't met twice needs no leave"


def test_a_message_and_its_twin_are_told_apart():
    """Within a folder the bare name of a message that has a twin is the message or the twin, never both."""
    bare: dict[tuple[Path, str], set[str]] = {}
    for path in modules().values():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    if alias.name in MESSAGES and alias.asname is None:
                        kind = "message" if room_of(node.module) in GENERATED else "twin"
                        bare.setdefault((path.parent, alias.name), set()).add(kind)
    assert {f"{folder.relative_to(ROOT)}: {name}" for (folder, name), kinds in bare.items() if len(kinds) > 1} == set()


TESTS = ROOT.parent / "test"
# What is measured and run as a whole, whatever it is made of.
TESTS_OF_THE_WHOLE = {"benchmarks", "faults", "launch"}
HELPERS = {path.stem: path for folder in (TESTS, ROOT.parent / "benchmarks") for path in folder.glob("*.py")}


def uses(test: Path, folder: Path) -> bool:
    """Whether a test imports something of a folder, itself or through a helper, or names a node or the like of it."""
    found = [entry.target for entry in parse_imports(test.stem, test)]
    found += [e.target for name in found if name in HELPERS for e in parse_imports(name, HELPERS[name])]
    mirrored = ".".join((ROOT.name, *folder.parts))
    if any(f"{target}.".startswith(f"{mirrored}.") for target in found):
        return True
    started = {path.stem for path in (ROOT / folder).glob("*_node.py")}
    started |= {name for name, line in RUNTIMES.items() if line.module.startswith(f"{mirrored}.")}
    if folder.name == "commands":
        started = {path.stem.replace("_", "-") for path in (ROOT / folder).glob("*.py")}
    words = {n.value for n in ast.walk(parsed(test)) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return not words.isdisjoint(started) or any(f"{mirrored}." in word for word in words)


def test_tests_mirror_the_package():
    """Whoever changes a folder finds its tests under the same path, and nothing but its tests."""
    wrong = []
    for path in sorted(TESTS.rglob("test_*.py")):
        folder = path.relative_to(TESTS).parent
        whole = not folder.parts or folder.parts[0] in TESTS_OF_THE_WHOLE
        if not whole and not ((ROOT / folder).is_dir() and uses(path, folder)):
            wrong.append(str(path.relative_to(TESTS)))
    assert wrong == []


BLOCKED_IMPORT = """
import importlib, importlib.util, json, sys, traceback

blocked, modules = json.loads(sys.argv[1]), json.loads(sys.argv[2])

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked by the test", name=name)

sys.meta_path.insert(0, Blocker())
failed = {}
for module in modules:
    try:
        importlib.import_module(module)
    except BaseException:
        failed[module] = traceback.format_exc(limit=-2)
print(json.dumps(failed))
"""


def import_without(blocked: set[str], names: list[str]) -> dict[str, str]:
    """Import modules in a new process in which some packages do not exist; return the failures."""
    command = [sys.executable, "-c", BLOCKED_IMPORT, json.dumps(sorted(blocked)), json.dumps(names)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def without_torch() -> list[str]:
    """Return the modules that must import without torch."""
    return [name for name in modules() if room_of(name) not in TORCH_ROOMS and name not in TORCH_MODULES]


# Modules that exist only for a ROS installation: they import launch at the top.
LAUNCH_MODULES = {"swiftvla_ros.bringup.launch_actions"}
# Modules of an extra import it at the top, and are imported when a command or a node needs them.
VIEWER_MODULES = {name for name in modules() if ".viewing.rerun." in name} | {"swiftvla_ros.cli.live.view"}
PAGE_MODULES = {f"swiftvla_ros.panel.{name}" for name in ("server", "connection")}
SIMULATOR_MODULES = {
    "swiftvla_ros.cli.live.scenes",
} | {name for name in modules() if room_of(name) == "sim"}
DATASET_MODULES = {
    f"swiftvla_ros.episodes.datasets.lerobot_{name}" for name in ("dataset", "part", "reader", "video", "writer")
}
RUNTIME_MODULES = {line.module for name, line in RUNTIMES.items() if line.graphs and name not in FROM_THE_MACHINE}
CLUSTER_MODULES = {"swiftvla_ros.cluster.ray_engine"}
# Needs what only NVIDIA's machines have.
JETSON_MODULES = {line.module for name, line in RUNTIMES.items() if name in FROM_THE_MACHINE} | {
    "swiftvla_ros.model.gpu.triton_kernels"
}
# What a robot's machine has not: everything of the extras but ROS.
NOT_ON_A_ROBOT = {package for extra, packages in EXTRAS.items() if extra != "ros" for package in packages}


def test_imports_of_a_bare_install():
    """A robot's machine needs no torch, MuJoCo, matplotlib or pyarrow for contract, motion, bags and command line."""
    left_out = LAUNCH_MODULES | VIEWER_MODULES | SIMULATOR_MODULES | DATASET_MODULES | RUNTIME_MODULES | JETSON_MODULES
    left_out |= PAGE_MODULES | CLUSTER_MODULES
    # Where ROS is installed every node's process starts, too, and tells at configure which extra it lacks.
    if not importlib.util.find_spec("rclpy"):
        left_out |= {name for name in modules() if room_of(name) == "nodes"}
    names = [name for name in without_torch() if name not in left_out]
    assert import_without(NOT_ON_A_ROBOT, names) == {}


def test_simulator_datasets_and_runtimes_import_without_torch():
    """The simulated robot, the datasets of others and the runtimes beside torch need their own extra only."""
    names = [name for name in without_torch() if name in SIMULATOR_MODULES | DATASET_MODULES | RUNTIME_MODULES]
    assert import_without({"torch", "tokenizers"}, names) == {}


def test_imports_without_ros():
    """Training, simulation and the command line import where ROS is not installed."""
    left_out = LAUNCH_MODULES | VIEWER_MODULES | JETSON_MODULES | CLUSTER_MODULES
    names = [name for name in modules() if room_of(name) != "nodes" and name not in left_out]
    # Nor is the viewer needed for anything but the viewer.
    assert import_without({"rclpy", "rpyutils", "launch", "launch_ros", "cv_bridge", "rerun"}, names) == {}


def test_the_parser_sees_every_kind_of_import(tmp_path):
    """An import in a function, a relative one or one for the type checker cannot hide from these rules."""
    source = tmp_path / "module.py"
    source.write_text(
        "from typing import TYPE_CHECKING\n"
        "from swiftvla_ros import sim\n"
        "from ..model import expert\n"
        "from . import sibling\n"
        "if TYPE_CHECKING:\n    import rclpy\n"
        "def f():\n    import torch.nn\n"
    )
    seen = {(entry.target, entry.on_import) for entry in parse_imports("swiftvla_ros.policy.module", source)}
    assert seen == {
        ("typing", True),
        ("swiftvla_ros.sim", True),
        ("swiftvla_ros.model", True),
        ("swiftvla_ros.policy", True),
        ("rclpy", False),
        ("torch.nn", False),
    }
