# SPDX-License-Identifier: Apache-2.0
"""The names of TensorRT engines."""

import itertools

from swiftvla_ros.policy.runtimes.engine_cache import engine_name

PARTS = ["step", "float16", "c" * 64, "9" * 64, "Orin (nvgpu)", "8.7", "12060", "10.3.0"]


def test_an_engine_of_anything_else_has_another_name() -> None:
    """Protects a robot whose JetPack, card, checkpoint or graph was exchanged: the old engine is not loaded."""
    names = {engine_name(*PARTS)}
    for i in range(len(PARTS)):
        names.add(engine_name(*(part + "x" * (i == j) for j, part in enumerate(PARTS))))
    assert len(names) == len(PARTS) + 1
    assert all(name.endswith(".engine") and "/" not in name for name in names)
    assert engine_name(*PARTS).startswith("step-float16-orin-nvgpu-")
    assert all(a != b for a, b in itertools.pairwise(sorted(names)))
