# SPDX-License-Identifier: Apache-2.0
"""The topics that a contract names: what ROS refuses, what is crossed, and what looks like another topic's name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from swiftvla_ros.contract.checks.ros_names import accepted_name, is_node_private, shown, topic_fault
from swiftvla_ros.contract.schema import ContractFile
from swiftvla_ros.contract.sections.demonstrations import ActionTopic

# What the nodes of a system publish or read under fixed names, and what belongs to ROS.
_TAKEN = frozenset(
    {"observation/state", "action_chunk", "executor_state", "policy_state", "speed_scale", "speed_limit"}
    | {"task_verdict", "geometry_features", "clock", "tf", "tf_static", "rosout", "parameter_events", "diagnostics"}
    | {"robot_description"}
)
# ros2_control's names of what its controllers take.
_COMMAND_ENDINGS = {
    "joint_trajectory": "joint_trajectory",
    "follow_joint_trajectory": "follow_joint_trajectory",
    "forward_position": "commands",
    "forward_velocity": "commands",
}
_COMMANDS = frozenset(_COMMAND_ENDINGS.values())
# Of image_transport's plugins, on topics of other types than Image.
_TRANSPORTS = ("compressed", "compressedDepth", "theora", "ffmpeg", "zstd", "avif")
_NO_PICTURES = _COMMANDS | {"joint_states", "camera_info", "points"}


@dataclass(frozen=True)
class _Use:
    """One key that names a topic; ``ending`` is how a topic for it usually ends."""

    key: str
    topic: str
    ending: str = ""

    @property
    def last(self) -> str:
        return self.topic.rsplit("/", 1)[-1]


def impossible_topics(file: ContractFile) -> Iterator[str]:
    """Yield a sentence for each topic that can't be what its key says."""
    first: dict[str, str] = {}
    taken = _TAKEN | {f"observation/{camera.name}" for camera in file.cameras}
    for use in (*_uses(file), *_of_demonstrations(file)):
        name = use.topic.lstrip("/")
        if fault := topic_fault(use.topic):
            yield (
                f"{use.key}: ROS accepts no topic {shown(use.topic)}: {fault}; write the name that "
                f"`ros2 topic list` shows, such as '{accepted_name(use.topic)}'"
            )
        elif name in taken:
            yield f"{use.key}: '{use.topic}' is used by this system itself; write the robot's own topic"
        elif name in first:
            yield f"{use.key}: '{use.topic}' is that of {first[name]} already; give each its own topic"
        first.setdefault(name, use.key)


def unusual_topics(file: ContractFile) -> Iterator[str]:
    """Yield a question for each topic whose name speaks against its key."""
    for use in _uses(file):
        if is_node_private(use.topic):
            yield f"{use.key}: is '{use.topic}' meant, where each node puts its own name? Write the topic's whole name"
    yield from _unusual_cameras(file)
    states, *commands = [use for use in _uses(file) if not use.key.startswith("cameras")]
    if states.last in _COMMANDS or _is_of_images(states):
        yield f"{states.key}: has '{states.topic}' joint states? Its name says otherwise; are two topics crossed?"
    elif states.last != states.ending and difflib.get_close_matches(states.last, [states.ending], cutoff=0.85):
        right = states.topic.removesuffix(states.last) + states.ending
        yield f"{states.key}: did you mean '{right}' (got '{states.topic}')?"
    for use in commands:
        if use.last == "joint_states" or _is_of_images(use):
            yield f"{use.key}: are commands taken on '{use.topic}'? Its name says otherwise; are two topics crossed?"
        elif use.last in _COMMANDS and use.last != use.ending:
            yield (
                f"{use.key}: '{use.topic}' ends like what another kind of output is sent to; "
                f"did you mean '{use.topic.removesuffix(use.last)}{use.ending}', or another `output`?"
            )


def _unusual_cameras(file: ContractFile) -> Iterator[str]:
    raw = {camera.topic: camera.name for camera in file.cameras if camera.transport == "raw"}
    for camera in file.cameras:
        use = _Use(f"cameras.{camera.name}.topic", camera.topic)
        if use.last in _NO_PICTURES:
            yield f"{use.key}: are there pictures on '{use.topic}'? Its name says otherwise; are two topics crossed?"
        elif camera.transport == "compressed" and use.last != "compressed":
            plain = use.topic.removesuffix(f"/{use.last}") if use.last in _TRANSPORTS else use.topic
            yield (
                f"{use.key}: image_transport publishes `transport: compressed` below the raw topic; "
                f"did you mean '{plain}/compressed' (got '{use.topic}')?"
            )
        elif camera.transport == "raw" and use.last in _TRANSPORTS:
            yield (
                f"{use.key}: '{use.topic}' carries no raw images by its name; did you mean `transport: compressed`, or "
                f"'{use.topic.removesuffix(f'/{use.last}')}'?"
            )
        pictures = use.topic.removesuffix("/compressed")
        if camera.transport == "compressed" and raw.get(pictures, camera.name) != camera.name:
            yield (
                f"{use.key}: '{use.topic}' has the pictures of camera '{raw[pictures]}' again; "
                "did you mean another camera's?"
            )


def _uses(file: ContractFile) -> Iterator[_Use]:
    for camera in file.cameras:
        yield _Use(f"cameras.{camera.name}.topic", camera.topic)
    yield _Use("joint_states.topic", file.joint_states.topic, "joint_states")
    for gripper in file.gripper:
        if gripper.topic is not None:
            key = "gripper" if len(file.gripper) == 1 else f"gripper.{gripper.joint}"
            yield _Use(f"{key}.topic", gripper.topic, "commands")
    control = file.control
    if isinstance(control.output, str):
        if control.topic is not None:
            yield _Use("control.topic", control.topic, _COMMAND_ENDINGS[control.output])
        return
    for k, part in enumerate(control.output):
        yield _Use(f"control.output.{k}.topic", part.topic, _COMMAND_ENDINGS[part.kind])


def _of_demonstrations(file: ContractFile) -> Iterator[_Use]:
    shown = file.demonstrations
    if "leader" in file.model_fields_set:  # a robot without one may have its own topic of that name
        yield _Use("leader.topic", file.leader.topic)
    if isinstance(shown.actions, ActionTopic):
        yield _Use("demonstrations.actions.topic", shown.actions.topic)
    for key in ("instruction_topic", "marks_topic"):
        yield _Use(f"demonstrations.{key}", getattr(shown, key))


def _is_of_images(use: _Use) -> bool:
    return use.last.startswith("image") or use.last in (*_TRANSPORTS, "camera_info")
