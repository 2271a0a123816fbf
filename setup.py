# SPDX-License-Identifier: Apache-2.0
"""Build the ROS messages with CMake during a pip install, against the ROS wheels of PyPI.

Everything static is in ``pyproject.toml``. On a ROS machine colcon reads ``CMakeLists.txt`` and never this file.

With ``SWIFTVLA_WITHOUT_ROS=1`` no message is built: for whoever wants network, training and simulation alone, as
LeRobot's users do, also where there are no ROS wheels and no compiler. pip then needs ``--no-build-isolation``, for it
installs all of ``build-system.requires`` otherwise.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Distribution, setup
from setuptools.command.build import build

ROOT = Path(__file__).parent.resolve()
PACKAGE = "swiftvla_ros"
GENERATED = ("msg", "srv", "action")
WITHOUT_ROS = os.environ.get("SWIFTVLA_WITHOUT_ROS") == "1"


class MessageDistribution(Distribution):
    """A distribution with compiled messages and with files for the prefix (``lib/``, ``share/``)."""

    def has_ext_modules(self) -> bool:
        """Say yes: the wheel holds shared libraries for one Python version, unless there are no messages."""
        return not WITHOUT_ROS

    def has_data(self) -> bool:
        """Say whether there are files for the prefix.

        setuptools' ``editable_wheel`` asks for this method and drops ``data_files`` where it is missing.
        """
        return bool(self.data_files)


class BuildMessages(Command):
    """Generate and compile the messages: beside the modules, and what belongs to the prefix as data files.

    A command of its own, since setuptools hides the errors of a changed ``build_py`` in an editable install.
    """

    editable_mode = False
    user_options: ClassVar[list[tuple[str, str | None, str]]] = []

    def initialize_options(self) -> None:
        """Declare the folders that setuptools decides."""
        self.build_lib: str | None = None
        self.build_base: str | None = None

    def finalize_options(self) -> None:
        """Take the folders from the build command."""
        self.set_undefined_options("build", ("build_lib", "build_lib"), ("build_base", "build_base"))

    def run(self) -> None:
        """Build in place for an editable install, into ``build_lib`` otherwise."""
        if WITHOUT_ROS:
            self.distribution.data_files = _shared_files()
            return
        package = ROOT / PACKAGE if self.editable_mode else Path(self.build_lib).resolve() / PACKAGE
        # Not in a temporary folder: data_files are read after this method has ended.
        staging = Path(self.build_base).resolve() / "messages"
        shutil.rmtree(staging, ignore_errors=True)
        _cmake_install(staging)
        built = next(staging.glob(f"lib/python*/site-packages/{PACKAGE}"))
        for name in GENERATED:
            shutil.rmtree(package / name, ignore_errors=True)
            shutil.copytree(built / name, package / name, ignore=shutil.ignore_patterns("*.c"))
        for library in built.glob("*.so"):
            shutil.copy2(library, package)
        self.distribution.data_files = _prefix_files(staging)


class Build(build):
    """setuptools' build, with the messages."""

    sub_commands: ClassVar = [*build.sub_commands, ("build_messages", None)]


def _wheel_prefix() -> Path:
    """Find the folder whose ``share/`` holds the ROS wheels: the environment, or pip's isolated build overlay."""
    import ament_package

    for folder in Path(ament_package.__file__).parents:
        if (folder / "share" / "ament_cmake" / "cmake").is_dir():
            return folder
    raise SystemExit(
        "swiftvla_ros: the ROS wheels are not beside ament_package; on a ROS machine use colcon, elsewhere "
        "pip install with build isolation, or first install what pyproject.toml names under build-system.requires"
    )


def _cmake_install(staging: Path) -> None:
    """Configure, build and install ``CMakeLists.txt`` into ``staging``."""
    from cmake import CMAKE_BIN_DIR
    from ninja import BIN_DIR

    prefix = _wheel_prefix()
    environment = dict(os.environ)
    environment["AMENT_PREFIX_PATH"] = environment["CMAKE_PREFIX_PATH"] = str(prefix)
    environment["PATH"] = os.pathsep.join([CMAKE_BIN_DIR, BIN_DIR, str(prefix / "bin"), environment["PATH"]])
    # A compiler with the paths of another ROS underlay would mix two distributions.
    for name in ("AMENT_CURRENT_PREFIX", "COLCON_PREFIX_PATH", "ROS_DISTRO"):
        environment.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="swiftvla_ros-build-") as build:
        configure = [
            "cmake", "-G", "Ninja", "-S", str(ROOT), "-B", build,
            "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF", f"-DCMAKE_INSTALL_PREFIX={staging}",
            f"-DPython3_EXECUTABLE={sys.executable}", f"-DPython3_INCLUDE_DIR={sysconfig.get_path('include')}",
        ]  # fmt: skip
        for command in (configure, ["cmake", "--build", build], ["cmake", "--install", build]):
            # CMake's thousands of lines go to stderr's place in pip's log, which pip shows when the build fails.
            subprocess.run(command, env=environment, check=True)


def _shared_files() -> list[tuple[str, list[str]]]:
    """List what belongs below the prefix without ROS: contracts and checkpoints."""
    files: dict[str, list[str]] = {}
    for path in sorted(path for folder in ("config", "models") for path in (ROOT / folder).rglob("*")):
        if path.is_file():
            files.setdefault(f"share/{PACKAGE}/{path.parent.relative_to(ROOT)}", []).append(str(path.relative_to(ROOT)))
    return list(files.items())


def _prefix_files(staging: Path) -> list[tuple[str, list[str]]]:
    """List what belongs below the prefix: libraries, executables for ``ros2 run`` and ``share/``.

    What only a colcon workspace or a C++ package needs (environment hooks, CMake exports, headers) is left out.
    """
    files: dict[str, list[str]] = {}
    share = f"share/{PACKAGE}"
    wanted = ["lib/*.so", f"lib/{PACKAGE}/*", "share/ament_index/**/*", f"{share}/package.xml"]
    wanted += [f"{share}/{folder}/**/*" for folder in (*GENERATED, "launch", "config", "models")]
    for path in sorted(path for pattern in wanted for path in staging.glob(pattern)):
        if path.is_file():
            files.setdefault(str(path.parent.relative_to(staging)), []).append(str(path))
    return list(files.items())


setup(cmdclass={"build": Build, "build_messages": BuildMessages}, distclass=MessageDistribution)
