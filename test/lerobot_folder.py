# SPDX-License-Identifier: Apache-2.0
"""Folders as lerobot-train writes them, of a policy whose weights are nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file


def write_folder(folder: Path, joints: int, changes: dict[str, Any]) -> Path:
    """Write what ``lerobot-train`` writes, weights aside, and ``changes`` of its ``config.json``."""
    folder.mkdir()
    image = {"type": "VISUAL", "shape": [3, 96, 96]}
    config = {
        "type": "act",
        "n_obs_steps": 1,
        "input_features": {
            "observation.images.front": image,
            "observation.images.wrist": image,
            "observation.state": {"type": "STATE", "shape": [joints]},
        },
        "output_features": {"action": {"type": "ACTION", "shape": [joints]}},
    }
    for key, value in changes.items():
        part: Any = config
        *path, last = key.split("/")
        for name in path:
            part = part[name]
        part[last] = value
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"nothing": np.zeros(1)}, folder / "model.safetensors")
    for name in ("policy_preprocessor", "policy_postprocessor"):
        (folder / f"{name}.json").write_text(json.dumps({"name": name, "steps": []}))
    return folder
