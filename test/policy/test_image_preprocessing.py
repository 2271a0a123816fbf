# SPDX-License-Identifier: Apache-2.0
"""Images as a network reads them: what numpy prepares is what torch prepared before, to the last bit."""

import numpy as np
import pytest
import torch

from swiftvla_ros.policy.image_preprocessing import EXACT, PAD_TOP_LEFT, prepare_images


def picture(height: int, width: int) -> np.ndarray:
    """Return a random but fixed image."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_an_exact_image_is_only_scaled() -> None:
    """Protects old bags: every value of a byte, and the strides by which kernels choose how they sum."""
    images = [np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)] * 2
    expected = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    found = torch.from_numpy(prepare_images(images, EXACT, 16))
    assert torch.equal(found, expected)
    assert found.stride() == expected.stride()


@pytest.mark.parametrize(
    ("size", "side"), [((480, 640), 512), ((1080, 1920), 512), ((480, 640), 96), ((48, 64), 96), ((96, 96), 96)]
)
def test_an_image_is_padded_as_lerobot_does(size: tuple[int, int], side: int) -> None:
    """Protects imported checkpoints: larger and smaller images come to the network as torch's interpolate made them."""
    image, ratio = picture(*size), max(size) / side
    inner = int(size[0] / ratio), int(size[1] / ratio)
    expected = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    expected = torch.nn.functional.interpolate(expected, size=inner, mode="bilinear", align_corners=False)
    expected = torch.nn.functional.pad(expected, (side - inner[1], 0, side - inner[0], 0))[0] * 2 - 1
    found = torch.from_numpy(prepare_images([image], PAD_TOP_LEFT, side)[0])
    # Processors without fused products round torch's own sum otherwise, by the last bit.
    torch.testing.assert_close(found, expected, atol=5e-7, rtol=0)
