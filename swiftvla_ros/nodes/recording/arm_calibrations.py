# SPDX-License-Identifier: Apache-2.0
"""By which calibrations the arms' drivers tell angles, as they say it themselves."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from std_msgs.msg import String

from swiftvla_ros.contract.sections.drivers import CALIBRATION_TOPICS
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode


class ArmCalibrations:
    """The ``newest`` calibration of each arm (follower, leader) that was heard, joint by joint."""

    def __init__(self, node: ManagedNode[Any]) -> None:
        self._node = node
        self.newest: dict[str, dict[str, Any]] = {}
        for arm, topic in CALIBRATION_TOPICS.items():
            node.subscribe(String, topic, partial(self._take, arm), qos.LATCHED, always=True)

    def _take(self, arm: str, message: String) -> None:
        try:
            calibration = json.loads(message.data)
        except ValueError:
            calibration = None
        if isinstance(calibration, dict):
            self.newest[arm] = calibration
        else:
            topic = CALIBRATION_TOPICS[arm]
            self._node.get_logger().warning(f"{topic}: is no JSON object; episodes are recorded without it")
