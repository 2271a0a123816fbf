# SPDX-License-Identifier: Apache-2.0
"""What a running policy was set to, as far as latency depends on it and no message says it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python

from swiftvla_ros.nodes.panel.quiet_entities import QuietClient
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.policy.checkpoint import CONFIG, CheckpointError, read_json
from swiftvla_ros.resources import model_path

_ASKED = ("checkpoint", "max_rate_hz")


class PolicySettings:
    """Asks the policy node once for each checkpoint, and reads what lies in its folder, where that is on this machine.

    ``take`` is called with the keywords of
    :meth:`~swiftvla_ros.monitoring.running_latency.RunningLatency.settings`.
    """

    def __init__(self, node: ManagedNode[Any], take: Callable[..., object], policy: str = "policy") -> None:
        self._take, self._of = take, ""
        self._client = QuietClient(node, GetParameters, f"{policy}/get_parameters")

    def ask(self, checkpoint_sha256: str) -> None:
        """Ask again where the policy has another checkpoint than the last time."""
        if checkpoint_sha256 == self._of or not self._client.is_ready():
            return
        self._of = checkpoint_sha256
        request = GetParameters.Request(names=list(_ASKED))
        self._client.call(request).add_done_callback(self._answered)

    def _answered(self, called: Any) -> None:
        if called.exception() is not None or len(called.result().values) != len(_ASKED):
            return
        checkpoint, rate_hz = (parameter_value_to_python(value) for value in called.result().values)
        here, network = True, {}
        try:
            network = read_json(model_path(str(checkpoint)) / CONFIG).get("model", {})
        except CheckpointError:
            here = False  # the policy runs on another machine, or gives a bag's chunks: its cores are not known either
        self._take(
            cores=(os.cpu_count() or 0) if here else 0,
            flow_steps=int(network.get("denoise_steps", 0)),
            max_rate_hz=float(rate_hz or 0.0),
            max_delay_rows=int(network.get("max_delay_steps", 0)),
        )
