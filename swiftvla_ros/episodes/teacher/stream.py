# SPDX-License-Identifier: Apache-2.0
"""Camera images of the running robot → the geometry transformer's features, one policy step after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.hashing import files_sha256
from swiftvla_ros.errors import UserError

if TYPE_CHECKING:
    from swiftvla_ros.geometry.feature_stream import StreamStep

CameraImages = Mapping[str, NDArray[np.uint8]]
"""Camera name → RGB uint8 [h, w, 3] of the contract's size."""

FRONT = "front"
"""The camera whose features the policy learns from, where nothing else is said."""

_CHECKPOINT_FILES = ("config.json", "model.safetensors")


class ViewError(UserError, ValueError):
    """Images that the stream can't take; the message names the camera and the fix."""


def view_order(contract: Contract, front: str = FRONT) -> tuple[str, ...]:
    """Cameras as the geometry transformer reads them: ``front`` last, so it has seen them all; raises ViewError."""
    if front not in contract.camera_names:
        raise ViewError(
            f"camera '{front}': not in {contract.path}; name the fixed camera that the features shall be of: one of "
            f"{list(contract.camera_names)}"
        )
    return (*(name for name in contract.camera_names if name != front), front)


class GeometryStream:
    """The geometry transformer over one robot's live images: the same features that ``teacher-targets`` stores.

    Parameters
    ----------
    front
        The camera whose features are returned.
    cache_steps
        K: how many steps, the newest included, the transformer looks at. Several: each is seen for itself.
    maps
        Whether depth and camera poses are computed, too.
    between_blocks
        Called between the transformer's blocks; see :class:`~swiftvla_ros.geometry.feature_stream.FeatureStream`.

    Raises
    ------
    ViewError
        The contract lacks the front camera.
    """

    def __init__(
        self,
        geometry_folder: Path,
        contract: Contract,
        *,
        front: str = FRONT,
        cache_steps: int | Sequence[int],
        device: str = "cpu",
        maps: bool = False,
        between_blocks: Callable[[], None] | None = None,
    ) -> None:
        from swiftvla_ros.geometry.feature_stream import FeatureStream

        self.views = view_order(contract, front)
        self.cache_steps = (cache_steps,) if isinstance(cache_steps, int) else tuple(cache_steps)
        self._contract = contract
        self._stream = FeatureStream(geometry_folder, device=device, maps=maps, between_blocks=between_blocks)
        self.tokens, self.dim = self._stream.tokens, self._stream.dim
        self.reset()

    def reset(self) -> None:
        """Forget all images: the next one is the first of an episode."""
        self._stream.start(1, self.cache_steps)

    def observe(self, images: CameraImages) -> Float32[np.ndarray, "tokens dim"]:
        """Take the next policy step's images and return the front view's features through the first window.

        Images are conditioned, and given once per policy step: the features depend on how much the scene moved in
        between. Raises ViewError where a camera is missing, or an image has another size than the contract's.
        """
        return self.look(images).features[0, 0]

    def look(self, images: CameraImages) -> StreamStep:
        """Do what :meth:`observe` does, and return all that was computed: a batch of one episode."""
        return self._stream.look(stack_views([images], self.views, self._contract, self._stream.image_size))


def geometry_sha256(folder: Path) -> str:
    """Hash of a geometry checkpoint's configuration and weights, 64 hexadecimal digits."""
    return files_sha256(folder, _CHECKPOINT_FILES)


def stack_views(
    steps: Sequence[CameraImages], views: tuple[str, ...], contract: Contract, size: tuple[int, int]
) -> UInt8[np.ndarray, "episodes views h w 3"]:
    """Check one step's images of b episodes, and bring them to the transformer's (height, width) and order of views."""
    return np.stack([np.stack([_view(images, name, contract, size) for name in views]) for images in steps])


def _view(images: CameraImages, name: str, contract: Contract, size: tuple[int, int]) -> NDArray[np.uint8]:
    if name not in images:
        raise ViewError(f"camera {name}: has no image; there are only {sorted(images)}")
    image = images[name]
    width, height = contract.camera(name).size
    if image.shape != (height, width, 3) or image.dtype != np.uint8:
        raise ViewError(
            f"camera {name}: expected conditioned uint8 [{height}, {width}, 3], got {image.dtype} {list(image.shape)}; "
            "use swiftvla_ros.contract.images.condition_image"
        )
    if (height, width) == size:
        return image
    shrinks = size[0] <= height and size[1] <= width
    resized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return resized.astype(np.uint8, copy=False)
