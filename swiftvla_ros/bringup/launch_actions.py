# SPDX-License-Identifier: Apache-2.0
"""Turns process descriptions into ``launch`` actions; needs ``launch`` and ``launch_ros`` (a ROS installation)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from swiftvla_ros.bringup.processes import ProcessDescription, transport_environment
from swiftvla_ros.bringup.system_options import options_of
from swiftvla_ros.contract.exit_codes import EXIT_CONFIGURATION

_RESPAWN_DELAY_S = 1.0


def launch_description(
    kind: type, describe: Callable[[Any], Sequence[ProcessDescription]], only: Collection[str] = ()
) -> LaunchDescription:
    """Return a launch file's content: an argument for each option of ``kind``, and the processes that they make.

    ``kind`` describes options, as :class:`swiftvla_ros.bringup.system_options.SystemOptions` does; ``only`` some of
    them are asked for, or all.
    """
    options = options_of(kind, only)

    def start(context: LaunchContext) -> list[Action]:
        texts = {option: LaunchConfiguration(option.name).perform(context) for option in options}
        return launch_actions(describe(kind(**{option.name: option.parse(text) for option, text in texts.items()})))

    arguments = [
        DeclareLaunchArgument(o.name, default_value=o.default_text, description=o.help, choices=o.choices or None)
        for o in options
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])


def launch_actions(processes: Sequence[ProcessDescription]) -> list[Action]:
    """Return the actions that start ``processes`` as :class:`swiftvla_ros.bringup.supervisor.Supervisor` would.

    An essential process that may not be respawned, or can't be configured, ends the launch when it ends.
    """
    actions: list[Action] = [SetEnvironmentVariable(k, v) for k, v in transport_environment().items()]
    for process in processes:
        node = Node(
            package="swiftvla_ros",
            executable=process.executable,
            name=process.name,
            namespace=process.namespace,
            parameters=[dict(process.parameters)],
            additional_env=dict(process.environment),
            output="screen",
            emulate_tty=True,
            respawn=process.respawn,
            respawn_delay=_RESPAWN_DELAY_S,
        )
        actions += [RegisterEventHandler(OnProcessExit(target_action=node, on_exit=_end_system_if(process))), node]
    return actions


def _end_system_if(process: ProcessDescription) -> Callable[[ProcessExited, LaunchContext], list[Action]]:
    def on_exit(event: ProcessExited, context: LaunchContext) -> list[Action]:
        if not process.essential or (process.respawn and event.returncode != EXIT_CONFIGURATION):
            return []
        if context.is_shutdown:
            return []
        return [EmitEvent(event=Shutdown(reason=f"{process.name} ended with exit code {event.returncode}"))]

    return on_exit
