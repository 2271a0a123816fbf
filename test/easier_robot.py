# SPDX-License-Identifier: Apache-2.0
"""The simulated robot for two cores that carry much beside it: slow, small cameras, and states that may be late."""

import shutil
from pathlib import Path

from swiftvla_ros.contract import load_contract

EASIER = {
    "rate_hz: 15.0": "rate_hz: 5.0",
    "source_size: [640, 480]": "source_size: [320, 240]",
    "max_state_age_s: 0.3": "max_state_age_s: 2.0",
    "max_image_age_s: 0.5": "max_image_age_s: 2.0",
    "rate_hz: 50.0": "rate_hz: 25.0",
}


def easier_robot(folder: Path) -> str:
    """Write its contract into a folder, and give the file."""
    shipped = load_contract("so101_sim")
    assert shipped.urdf_path is not None
    shutil.copy(shipped.urdf_path, folder)
    text = shipped.text
    for usual, easier in EASIER.items():
        assert usual in text
        text = text.replace(usual, easier)
    (folder / "robot.yaml").write_text(text, encoding="utf-8")
    return str(folder / "robot.yaml")
