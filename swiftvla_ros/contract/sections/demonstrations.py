# SPDX-License-Identifier: Apache-2.0
"""The keys of a contract that say how demonstrations are recorded: the leader arm, and where actions come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from swiftvla_ros.contract.base import Finite, Name, Strict, Topic, did_you_mean

ActionSource = Literal["commands", "leader", "measured"]


class LeaderJoint(Strict):
    """Which joint of the arm a leader's joint moves, and the line between the two."""

    joint: Name = Field(description="the contract's joint that it moves")
    scale: Finite = Field(
        1.0,
        description="target = scale · the leader's position in SI + offset; -1 for a joint that turns the other way",
    )
    offset: Finite = Field(0.0, description="of the target, rad (m)")

    @model_validator(mode="after")
    def _moves(self) -> LeaderJoint:
        if self.scale == 0:
            raise ValueError("scale: 0 moves nothing; write 1, -1 or another factor")
        return self


class Leader(Strict):
    """The arm that a person moves by hand, and that the robot follows."""

    topic: Topic = Field(
        default="leader/joint_states", description="`sensor_msgs/JointState` of the arm that is moved by hand"
    )
    joints: dict[Name, LeaderJoint] = Field(
        default={},
        description="by the leader's joint names; a joint that nothing here moves has the same name there. Positions "
        "are in the driver's unit of the contract's joint",
    )


class ActionTopic(Strict):
    """A topic of positions that were commanded."""

    topic: Topic = Field(description="where positions come for all joints")
    type: Literal["JointState", "JointTrajectory", "Float64MultiArray"] = Field(description="its messages")
    unit: Literal["driver", "si"] = Field("driver", description="the joints' own `unit`, or rad and m")
    joints: Annotated[tuple[Name, ...], Field(min_length=1)] | None = Field(
        None, description="of `Float64MultiArray`: the joints in the order of its numbers, if not the contract's"
    )

    @property
    def msgtype(self) -> str:
        """The type of its messages, as ``package/msg/Name``."""
        package = {"JointState": "sensor_msgs", "JointTrajectory": "trajectory_msgs", "Float64MultiArray": "std_msgs"}
        return f"{package[self.type]}/msg/{self.type}"

    @model_validator(mode="after")
    def _named(self) -> ActionTopic:
        if self.joints is not None and self.type != "Float64MultiArray":
            raise ValueError(f"joints: a {self.type} names its joints itself; remove")
        return self


def _word_or_topic(value: object) -> str:
    return "<topic>" if isinstance(value, (dict, ActionTopic)) else "<word>"


class Demonstrations(Strict):
    """How episodes are read from a bag of a robot that a person moved."""

    actions: Annotated[
        Annotated[ActionSource, Tag("<word>")] | Annotated[ActionTopic, Tag("<topic>")], Discriminator(_word_or_topic)
    ] = Field(
        default="commands",
        description="the command topics as published, the leader's positions, the state at the next step (an arm "
        "that is guided by hand), or a topic",
    )
    instruction_topic: Topic = Field(
        default="task", description="`std_msgs/String`: what is being done; another text begins another episode"
    )
    marks_topic: Topic = Field(
        default="episode_marks",
        description="`std_msgs/String`: `begin [instruction]`, `end succeeded [note]`, `end failed [note]`, `discard`",
    )


def check_joints(leader: Leader, demonstrations: Demonstrations, names: Sequence[str]) -> None:
    """Hold both sections to the joints of the contract; raises ValueError with key and fix."""
    moved = [each.joint for each in leader.joints.values()]
    for own, each in leader.joints.items():
        if each.joint not in names:
            raise ValueError(
                f"leader.joints.{own}.joint: '{each.joint}' is not a joint of {list(names)}; "
                f"{did_you_mean(each.joint, names)}"
            )
        if moved.count(each.joint) > 1:
            raise ValueError(f"leader.joints.{own}.joint: '{each.joint}' is moved by two of the leader's; remove one")
    actions = demonstrations.actions
    if isinstance(actions, ActionTopic) and actions.joints is not None and sorted(actions.joints) != sorted(names):
        raise ValueError(
            f"demonstrations.actions.joints: {list(actions.joints)} are not the robot's joints; write {list(names)} in "
            "the order of the message"
        )
