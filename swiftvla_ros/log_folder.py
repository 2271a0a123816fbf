# SPDX-License-Identifier: Apache-2.0
"""Where ROS writes its log files: without a folder that can be written, rclpy starts nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

# Of rcl's arguments: log to the console and /rosout alone.
NO_LOG_FILES = "--disable-external-lib-logs"


def provide_log_folder(environment: MutableMapping[str, str] | None = None) -> tuple[str, bool]:
    """Set ``ROS_LOG_DIR`` to a temporary folder where the one that ROS would take can't be written.

    Returns
    -------
    tuple of str and bool
        What was done and why, empty where nothing had to be; and whether there is a folder now. Processes that inherit
        the environment have nothing more to say.
    """
    environment = os.environ if environment is None else environment
    folder = ros_log_folder(environment)
    problem = "neither HOME nor ROS_LOG_DIR is set" if folder is None else _why_not(folder)
    if not problem:
        return "", True
    try:
        spare = Path(tempfile.gettempdir()) / f"ros-log-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
        why_not = _why_not(spare)
    except OSError as error:
        why_not = str(error)
    if why_not:
        return f"{problem}, and no other folder for log files can be written: they are left out; set ROS_LOG_DIR", False
    environment["ROS_LOG_DIR"] = str(spare)
    return f"{problem}: log files go to {spare}; set ROS_LOG_DIR for another place", True


def ros_log_folder(environment: MutableMapping[str, str]) -> Path | None:
    """The folder that rcl would take; None where it finds none."""
    home = environment.get("HOME") or environment.get("USERPROFILE") or ""
    for variable, below in (("ROS_LOG_DIR", ""), ("ROS_HOME", "log")):
        if value := environment.get(variable):
            # As rcl does: only a leading ~ is the home.
            if value.startswith("~"):
                return Path(home + value[1:]) / below if home else None
            return Path(value) / below
    return Path(home) / ".ros" / "log" if home else None


def _why_not(folder: Path) -> str:
    """Why no file can be written there; empty where one can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{folder} can't be written ({error.strerror})"
