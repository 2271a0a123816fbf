# SPDX-License-Identifier: Apache-2.0
"""``swiftvla replay --live``: a bag's sensors and its time into the running graph."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from swiftvla_ros.cli.output import refuse


def play(bag: Path, *, robot: str | None, namespace: str | None, rate: float, loop: bool, sensors: str) -> None:
    """Play a bag until its end or Ctrl-C; raises typer.Exit with the node's exit status."""
    from swiftvla_ros.bringup.processes import describe_replay, transport_environment
    from swiftvla_ros.bringup.system_options import ReplayOptions
    from swiftvla_ros.cli.bags import open_bag
    from swiftvla_ros.episodes.bags.namespaces import shown
    from swiftvla_ros.replay.player import played_topics

    try:
        recording = open_bag(bag, robot, namespace)
        topics = played_topics(recording, recording.contract, sensors)
    except ValueError as error:
        refuse(error)
    from swiftvla_ros.nodes import replay_node

    os.environ.update(transport_environment())
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    typer.echo(f"playing {', '.join(topics)} and /clock in ROS domain {domain}; Ctrl-C ends it")
    of_several = "" if namespace is None else shown(recording.namespace)
    options = ReplayOptions(recording.path, robot or "", of_several, rate, loop, sensors)
    replay_node.main(describe_replay(options).arguments())
