# SPDX-License-Identifier: Apache-2.0
"""Which topics a recording holds."""

from __future__ import annotations

from dataclasses import dataclass

from swiftvla_ros.contract import Camera, Contract
from swiftvla_ros.contract.sections.demonstrations import ActionTopic
from swiftvla_ros.contract.sections.drivers import CALIBRATION_TOPICS
from swiftvla_ros.episodes.bags.episode_markers import STATUS_TOPIC, STATUS_TYPE

STRING = "std_msgs/msg/String"
_JOINT_STATE = "sensor_msgs/msg/JointState"
_CAMERA_TYPES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}


@dataclass(frozen=True)
class RecordedTopic:
    """A topic that the recorder stores: its relative (or absolute) name and type, as ``package/msg/Name``."""

    name: str
    msgtype: str


def recorded_topics(contract: Contract, *, raw: bool = False) -> list[RecordedTopic]:
    """List what a recording holds: what the policy saw and wanted, what was commanded and what was measured.

    With ``raw`` also the cameras' own topics, from which everything can be conditioned again.
    """
    return [
        *(RecordedTopic(f"observation/{name}", "sensor_msgs/msg/Image") for name in contract.camera_names),
        RecordedTopic("observation/state", _JOINT_STATE),
        RecordedTopic(contract.joint_states.topic, _JOINT_STATE),
        RecordedTopic("action_chunk", "swiftvla_ros/msg/ActionChunk"),
        RecordedTopic("operator_chunk", "swiftvla_ros/msg/ActionChunk"),
        RecordedTopic("teleop_state", "swiftvla_ros/msg/TeleopState"),
        RecordedTopic("executor_state", "swiftvla_ros/msg/ExecutorState"),
        RecordedTopic("policy_state", "swiftvla_ros/msg/PolicyState"),
        RecordedTopic("task_verdict", "swiftvla_ros/msg/TaskVerdict"),
        RecordedTopic("speed_scale", "std_msgs/msg/Float64"),
        RecordedTopic("speed_limit", "swiftvla_ros/msg/SpeedLimit"),
        RecordedTopic("vision_features", "swiftvla_ros/msg/VisionFeatures"),
        RecordedTopic("action_chunk_sample", "swiftvla_ros/msg/ActionChunk"),
        RecordedTopic("monitor_verdicts", "swiftvla_ros/msg/MonitorVerdict"),
        RecordedTopic("instruction_effect", "swiftvla_ros/msg/InstructionEffect"),
        RecordedTopic("preflight", "swiftvla_ros/msg/PreflightReport"),
        RecordedTopic("shadow/predicted", "trajectory_msgs/msg/JointTrajectory"),
        RecordedTopic("shadow/error", _JOINT_STATE),
        RecordedTopic("geometry_features", "swiftvla_ros/msg/GeometryFeatures"),
        RecordedTopic(STATUS_TOPIC, STATUS_TYPE),
        *(RecordedTopic(topic, STRING) for topic in CALIBRATION_TOPICS.values()),
        RecordedTopic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray"),
        RecordedTopic("/rosout", "rcl_interfaces/msg/Log"),
        RecordedTopic("/tf_static", "tf2_msgs/msg/TFMessage"),
        # Goals of an action are not among them: what they command is in executor_state, as for every output.
        *(RecordedTopic(*topic) for topic in contract.command_topics.items()),
        *(RecordedTopic(c.topic, camera_type(c)) for c in contract.cameras if raw),
    ]


def demonstration_topics(contract: Contract) -> list[RecordedTopic]:
    """List what an episode of a robot that a person moves is read from: the drivers' topics, the leader's, the words.

    What this package's nodes say of themselves is recorded with it where they run.
    """
    shown = contract.demonstrations
    topics = [
        *(RecordedTopic(camera.topic, camera_type(camera)) for camera in contract.cameras),
        RecordedTopic(contract.joint_states.topic, _JOINT_STATE),
        *(RecordedTopic(*topic) for topic in contract.command_topics.items()),
        RecordedTopic(contract.leader.topic, _JOINT_STATE),
        RecordedTopic(shown.instruction_topic, STRING),
        RecordedTopic(shown.marks_topic, STRING),
        RecordedTopic("executor_state", "swiftvla_ros/msg/ExecutorState"),
        RecordedTopic("operator_chunk", "swiftvla_ros/msg/ActionChunk"),
        RecordedTopic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray"),
        RecordedTopic("/rosout", "rcl_interfaces/msg/Log"),
        RecordedTopic("/tf_static", "tf2_msgs/msg/TFMessage"),
        RecordedTopic("/robot_description", STRING),
    ]
    if isinstance(shown.actions, ActionTopic) and shown.actions.topic not in {topic.name for topic in topics}:
        topics.append(RecordedTopic(shown.actions.topic, shown.actions.msgtype))
    return topics


def camera_type(camera: Camera) -> str:
    """Return the type of the messages that a camera's driver publishes."""
    return _CAMERA_TYPES[camera.transport]


def film_topic(camera: str) -> str:
    """Name the topic of small JPEGs of a camera's raw images, recorded for people; no policy sees them.

    Their time of reception in the bag is when the driver published the raw image.
    """
    return f"film/{camera}"
