#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ask pip which requirements have wheels for a 64-bit ARM machine (a Jetson, a Raspberry Pi), and print the table.

For the bare install and the extras ``torch``, ``openvino``, ``onnxruntime`` and ``ros``, on the Pythons of Ubuntu 22.04
and 24.04. What has no wheel is named with what to do. 1 where something has neither. Run it with ``.venv/bin/python``.
"""

from __future__ import annotations

import sys

from ask_pip import PipError, declared, resolve

PYTHONS = ("3.10", "3.12")
# Of glibc 2.35, Ubuntu 22.04's; the older ones run there, too.
PLATFORMS = [f"--platform=manylinux_2_{minor}_aarch64" for minor in range(17, 36)] + [
    "--platform=manylinux2014_aarch64"
]
WHAT_TO_DO = {
    "ruckig": "pip builds it from source with a C++ compiler and CMake, in some minutes",
    "ros-": "install ROS 2 from Debian packages and build with colcon (README.md)",
}


def main() -> int:
    """Print one line per requirement."""
    unanswered = 0
    print(f"{'':28}" + "".join(f"{python:16}" for python in PYTHONS) + "where there is none")
    for requirement in declared(PYTHONS[0], ["torch", "openvino", "onnxruntime", "ros"]):
        versions = []
        for python in PYTHONS:
            try:
                (version,) = resolve([requirement], python, "--no-deps", *PLATFORMS).values()
            except PipError:
                version = "none"
            versions.append(version)
        advice = next((text for name, text in WHAT_TO_DO.items() if requirement.name.startswith(name)), "")
        unanswered += "none" in versions and not advice
        line = f"{requirement.name:28}" + "".join(f"{version:16}" for version in versions)
        print(line + (advice if "none" in versions else ""), flush=True)
    return min(unanswered, 1)


if __name__ == "__main__":
    sys.exit(main())
