# SPDX-License-Identifier: Apache-2.0
"""Whether an observation is what a policy may be given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract


def checked_state(contract: Contract, state: NDArray[np.float64]) -> NDArray[np.float64]:
    """The state [J]; raises ValueError for other than a finite position of each joint."""
    positions = np.asarray(state, dtype=np.float64)
    if positions.shape != (len(contract.joint_names),) or not np.isfinite(positions).all():
        raise ValueError(f"state: expected {len(contract.joint_names)} finite positions, got {positions}")
    return positions


def checked_image(contract: Contract, camera: str, image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """A camera's image [h, w, 3]; raises ValueError where there is none, or one of another size or type."""
    width, height = contract.camera(camera).size
    if image is None or image.shape != (height, width, 3) or image.dtype != np.uint8:
        got = "nothing" if image is None else f"{image.dtype} {list(image.shape)}"
        raise ValueError(f"camera '{camera}': expected uint8 [{height}, {width}, 3], got {got}")
    return image
