# SPDX-License-Identifier: Apache-2.0
"""Hold the files around the code to the code: interfaces, requirements, package.xml, entry points, licences."""

import ast
import json
import re
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from swiftvla_ros.cli.main import app
from swiftvla_ros.contract.executor_codes import ChunkSource, Mode, Reason, Refusal, TaskVerdictCode
from swiftvla_ros.extras import EXTRAS, FROM_THE_MACHINE, missing_extra

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
INTERFACES = sorted(path for folder in ("msg", "srv", "action") for path in (ROOT / folder).glob("*.*"))
LOCKS = sorted(ROOT.glob("requirements-3.*.txt"))
UNITS = (
    *("s", "rad", "m", "Count", "Row", "Rows", "No unit", "Time", "Seconds", "ROS clock"),
    *("Text", "Name", "Names", "One of", "True when", "hexadecimal", "device name", "std_msgs"),
)
UNIT = re.compile(rf"\b({'|'.join(UNITS)})\b")
# ROS packages come from package.xml, and from wheels where there is no ROS.
ROS_PACKAGE = re.compile(
    r"^(rclpy|launch|launch_ros|ament_index_python|tf_transformations|std_srvs|\w+_(msgs|interfaces))$"
)


@pytest.fixture(scope="module")
def project():
    """The project table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(project, *extras):
    """Return what a bare install and some extras ask for; an extra that names others of this project holds theirs."""
    tables = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    found = [Requirement(text) for table in tables for text in table]
    return [requirement for requirement in found if requirement.name != project["name"]]


@pytest.fixture(scope="module")
def ros_dependencies():
    """The packages that package.xml names."""
    return {element.text for element in ET.parse(ROOT / "package.xml").getroot() if "depend" in element.tag}


@cache
def third_party_imports():
    """Return the top-level packages that the hand-written code imports, each with one place where it does."""
    found = {}
    for path in [*(ROOT / "swiftvla_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        if path.relative_to(ROOT).parts[1] in {"msg", "srv", "action"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in names:
                found.setdefault(name.split(".")[0], f"{path.relative_to(ROOT)}:{node.lineno}")
    return {name: place for name, place in found.items() if name not in sys.stdlib_module_names | {"swiftvla_ros"}}


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.name)
def test_every_field_has_unit_and_meaning(path):
    """Whoever reads an interface file learns each field's meaning and unit without the code."""
    comment: list[str] = []
    for line in path.read_text().splitlines():
        code, _, trailing = line.partition("#")
        if not code.strip():
            comment = [*comment, trailing.strip()] if trailing else []
            continue
        if "=" in code:
            assert trailing.strip() or comment, f"{path.name}: constant without meaning: {line}"
        elif code.strip() != "---":
            text = " ".join(comment)
            assert len(text) > 15, f"{path.name}: field without a comment above it: {line}"
            assert UNIT.search(text), f"{path.name}: the comment tells no unit: {line}"
            comment = []


@pytest.mark.parametrize(
    ("message", "prefix", "enum"),
    [
        ("ExecutorState", "", Mode),
        ("ExecutorState", "REASON_", Reason),
        ("ExecutorState", "REFUSAL_", Refusal),
        ("ExecutorState", "SOURCE_", ChunkSource),
        ("TaskVerdict", "", TaskVerdictCode),
    ],
)
def test_codes_are_the_message_s(message, prefix, enum):
    """A code that means one thing in the executor and another in its message would misreport why the arm stopped."""
    text = (ROOT / "msg" / f"{message}.msg").read_text()
    constants = dict(re.findall(rf"^uint\d+ {prefix}(?!REASON_|REFUSAL_|SOURCE_)(\w+)=(\d+)", text, flags=re.MULTILINE))
    assert {name: int(value) for name, value in constants.items()} == {code.name: code.value for code in enum}


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_pins_are_installable_on_every_python(project, version):
    """Protects every Python that the README promises: `scripts/check_pins.py --write` asked pip for this table."""
    table = json.loads((ROOT / "test" / "newest_versions.json").read_text())[version]
    environment = {"python_version": version, "extra": ""}
    for requirement in requirements(project, *project["optional-dependencies"]):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name in table, f"{name}: run scripts/check_pins.py --write"
            assert requirement.specifier.contains(table[name]), f"{requirement}: Python {version} has {table[name]}"


# What `make setup` leaves out: nothing that it is for needs 285 MB of Ray.
NOT_LOCKED = {"cluster"}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_lock_fits_what_is_declared(path, project):
    """A change of pyproject.toml that the lock does not follow would be tested with the wrong versions."""
    pins = dict(line.split("==") for line in path.read_text().splitlines() if line and line[0] != "#")
    environment = {"python_version": path.stem.rpartition("-")[2], "extra": ""}
    for requirement in requirements(project, *(project["optional-dependencies"].keys() - NOT_LOCKED)):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name in pins, f"{path.name} lacks {name}"
            assert requirement.specifier.contains(pins[name]), (
                f"{path.name}: {name}=={pins[name]}, declared {requirement}"
            )


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_lock_holds_versions_only(path):
    """No index, address, hash or build tag: the same lock serves CPU and GPU machines and every mirror."""
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []


@pytest.fixture(scope="module")
def providers():
    """Import name → the distributions that bring it; what Python 3.10 has for this knows only some."""
    found = defaultdict(set)
    for distribution in distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        for line in (distribution.read_text("RECORD") or "").splitlines():
            found[re.split(r"[/.,]", line, maxsplit=1)[0]].add(name)
    return found


def test_every_imported_package_is_declared(project, ros_dependencies, providers):
    """A package that is only here by chance would be missing on the next machine."""
    # Only pytest itself imports the plugin for replay tests.
    declared = {canonicalize_name(requirement.name) for requirement in requirements(project, *EXTRAS)} | {"pytest"}
    missing = {}
    for name, place in third_party_imports().items():
        if name in FROM_THE_MACHINE:
            continue
        if ROS_PACKAGE.match(name):
            known = name in ros_dependencies
        else:
            known = not declared.isdisjoint(providers.get(name, {canonicalize_name(name)}))
        if not known:
            missing[name] = place
    assert missing == {}


def test_every_declared_package_is_imported(project, providers):
    """A requirement that nothing uses costs every user its download."""
    used = set().union(*(providers.get(name, {canonicalize_name(name)}) for name in third_party_imports()))
    declared = {canonicalize_name(requirement.name) for requirement in requirements(project, *EXTRAS)}
    assert {name for name in declared - used if not name.startswith("ros-")} == set()


def test_every_dependency_of_package_xml_is_imported():
    """What colcon installs on a robot is what runs there; tests may need more, on the machine that runs them."""
    # Found by ROS itself, not by an import.
    by_ros = {"rosidl_default_runtime", "rmw_fastrtps_cpp"}
    named = {"python3-opencv": "cv2", "python3-pil": "PIL"}
    wanted = {element.text for element in ET.parse(ROOT / "package.xml").getroot().iter("exec_depend")} - by_ros
    imported = set(third_party_imports())
    assert {name for name in wanted if named.get(name, name.removeprefix("python3-")) not in imported} == set()


@pytest.mark.parametrize("extra", EXTRAS)
def test_sentence_names_the_right_extra(project, extra, providers):
    """Whoever follows the sentence about a missing package gets that package."""
    declared = {canonicalize_name(Requirement(text).name) for text in project["optional-dependencies"][extra]}
    for package in EXTRAS[extra]:
        # What isn't installed here is known by its own name.
        assert (providers.get(package, {canonicalize_name(package)}) | {f"ros-{package}"}) & declared, (
            f"{package} does not come with the extra {extra}"
        )


def test_missing_extra_is_a_sentence(monkeypatch):
    """A command that lacks an extra tells the line to type, without a traceback; any other failure keeps its own."""

    def lacks(package):
        def find(name, _path=None, _target=None):
            if name.partition(".")[0] == package:
                raise ModuleNotFoundError(f"No module named '{name}'", name=name)

        return SimpleNamespace(find_spec=find)

    monkeypatch.setattr(sys, "meta_path", [lacks("mujoco"), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "mujoco", raising=False)
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 2
    assert "this needs mujoco, which is not installed: pip install 'swiftvla_ros[sim]'" in result.output
    assert missing_extra(ModuleNotFoundError("no", name="no_such_package")) is None


def ros_machine_requirements(file):
    """Read a requirements file, without the one that it includes."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("-r ")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def test_ros_machines_get_the_same_packages(project, ros_dependencies):
    """On a ROS machine each package comes from package.xml or a requirements file; a robot's has the bare install's."""
    from_debian = {"matplotlib": "matplotlib", "opencv-python-headless": "opencv", "pillow": "pil", "pyyaml": "yaml"}
    of_the_robot = ros_machine_requirements("requirements-robot.txt")
    from_pip = of_the_robot | ros_machine_requirements("requirements-colcon.txt")
    assert not {"torch", "mujoco"} & set(of_the_robot)
    bare = {canonicalize_name(requirement.name) for requirement in requirements(project)}
    assert bare - set(from_debian) <= set(of_the_robot)
    for requirement in requirements(project, "torch", "train", "sim", "view"):
        name = canonicalize_name(requirement.name)
        if name == "rerun-sdk":
            continue  # for the desk, not the robot
        if name in from_debian:
            assert f"python3-{from_debian[name]}" in ros_dependencies
        else:
            assert name in from_pip, f"the requirements files lack {requirement}"
            assert set(map(str, requirement.specifier)) <= set(map(str, from_pip[name].specifier))


def test_ros_packages_have_wheels_or_an_adapter(project):
    """The ROS packages that nodes import come from wheels, too, but for those that have none."""
    without_wheels = {"tf2_msgs", "tf_transformations", "launch", "launch_ros"}
    wheels = {
        Requirement(text).name.removeprefix("ros-").replace("-", "_")
        for text in project["optional-dependencies"]["ros"]
    }
    brought_by_rclpy = {
        "ament_index_python",
        "action_msgs",
        "builtin_interfaces",
        "rcl_interfaces",
        "unique_identifier_msgs",
    }
    imported = {name for name in third_party_imports() if ROS_PACKAGE.match(name)}
    assert imported - without_wheels - brought_by_rclpy <= wheels


def test_every_node_has_its_command(project):
    """A node without an entry point could not be started by name after a pip install."""
    nodes = {path.stem for path in (ROOT / "swiftvla_ros" / "nodes").glob("*_node.py")}
    assert {name: target for name, target in project["scripts"].items() if name.endswith("_node")} == {
        name: f"swiftvla_ros.nodes.{name}:main" for name in nodes
    }


def test_one_version(project):
    """pip, colcon and the code tell the same version."""
    import swiftvla_ros

    xml = ET.parse(ROOT / "package.xml").getroot().findtext("version")
    assert project["version"] == swiftvla_ros.__version__ == xml


def test_every_python_file_names_its_licence():
    """Each file keeps its licence when it is copied out of the project."""
    files = [
        path
        for folder in ("swiftvla_ros", "launch", "test", "docs", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ]
    files = [path for path in files if not {"msg", "srv", "action"} & set(path.relative_to(ROOT).parts)]
    assert files
    wrong = [str(path) for path in files if not path.read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n")]
    assert wrong == []


def test_the_container_copies_what_is_there():
    """A file that the Dockerfile names and the checkout lacks would stop its build on a machine far away."""
    lines = (ROOT / "docker" / "jetson.Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert "requirements-robot.txt" in copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
