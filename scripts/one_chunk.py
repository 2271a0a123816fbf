#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compute one chunk of the shipped policy from drawn images with ONNX Runtime, and keep it or compare it.

The same observation on every machine, so that two machines can be compared: ``one_chunk.py FILE`` writes the chunk,
``one_chunk.py --beside FILE`` prints the largest difference to it; 1 where that is above 0.5 mrad.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path

import numpy as np

from swiftvla_ros.contract import load_contract
from swiftvla_ros.observation.observation import Observation
from swiftvla_ros.policy.checkpoint_policy import load_policy
from swiftvla_ros.resources import DEFAULT_CHECKPOINT, DEFAULT_ROBOT, model_path, shipped_robots

BOUND_MRAD = 0.5


def main() -> int:
    """Compute, then write or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="the chunk, .npy")
    parser.add_argument("--beside", action="store_true", help="compare with the file")
    arguments = parser.parse_args()
    contract = load_contract(shipped_robots()[DEFAULT_ROBOT])
    policy = load_policy(model_path(DEFAULT_CHECKPOINT), contract=contract, runtime="onnxruntime", device="cpu")
    draw = np.random.default_rng(0)
    sizes = {name: contract.camera(name).size for name in policy.camera_names}
    images = {n: draw.integers(0, 256, (height, width, 3), dtype=np.uint8) for n, (width, height) in sizes.items()}
    observation = Observation(images, contract.rest, "pick up the red block")
    policy.warm_up()
    began = time.perf_counter()
    chunk = policy.infer(observation, noise=policy.sample_noise(0))
    print(f"{platform.machine()}: {chunk.shape[0]} rows in {(time.perf_counter() - began) * 1e3:.0f} ms")
    print(f"torch imported: {'yes' if 'torch' in sys.modules else 'no'}")
    if not arguments.beside:
        np.save(arguments.file, chunk)
        return 0
    mrad = float(np.abs(chunk - np.load(arguments.file)).max()) * 1e3
    print(f"largest difference to {arguments.file.name}: {mrad:.2g} mrad (bound {BOUND_MRAD})")
    return int(mrad > BOUND_MRAD)


if __name__ == "__main__":
    sys.exit(main())
