# SPDX-License-Identifier: Apache-2.0
"""Which optional packages come with which extra of the installation, and the sentence for one that is missing."""

from __future__ import annotations

import importlib.util

# Extra of pyproject.toml → what is imported of it. One in two extras stands with the one where it is missed first.
EXTRAS = {
    "torch": ("torch", "tokenizers"),
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime",),
    "export": ("onnx", "onnxscript"),
    "train": ("accelerate", "pyarrow"),
    "sim": ("mujoco",),
    "so101": ("serial",),
    "camera": ("av",),
    "view": ("rerun", "matplotlib", "PIL"),
    "panel": ("aiohttp",),
    "cluster": ("ray",),
    "ros": ("rclpy", "transforms3d"),
}


# What pip has no use in naming: it comes with the machine.
FROM_THE_MACHINE = {
    "tensorrt": "it comes with JetPack, or from NVIDIA's packages",
    "triton": "it comes with the CUDA builds of torch",
    "cuda": "pip install cuda-python, of the version of this machine's CUDA",
}


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """Say what to install for the package that is missing; None where no extra brings it."""
    package = (error.name or "").partition(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages:
            or_ros = ", or source a ROS setup" if extra == "ros" else ""
            return f"this needs {package}, which is not installed: pip install 'swiftvla_ros[{extra}]'{or_ros}"
    if package in FROM_THE_MACHINE:
        return f"this needs {package}, which is not installed: {FROM_THE_MACHINE[package]}"
    return None


def need(*packages: str) -> None:
    """Raise ModuleNotFoundError for the first package that is missing, before anything was begun."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)
