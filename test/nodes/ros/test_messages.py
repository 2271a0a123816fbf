# SPDX-License-Identifier: Apache-2.0
"""Image messages as nodes publish them."""

import numpy as np

from swiftvla_ros.nodes.ros.messages import rgb_message
from swiftvla_ros.observation.image_decoding import rgb_of
from swiftvla_ros.observation.message_fields import stamp_ns


def test_round_trip_keeps_pixels_stamp_and_frame() -> None:
    """Protects: what is published is what was computed, with the sensor's stamp."""
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    out = rgb_message(rgb, 1_234_567_890_123, "front_optical_frame")
    np.testing.assert_array_equal(rgb_of(out), rgb)
    assert stamp_ns(out.header.stamp) == 1_234_567_890_123
    assert out.header.frame_id == "front_optical_frame"
