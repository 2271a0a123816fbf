# SPDX-License-Identifier: Apache-2.0
"""A person engages, follows, takes over from a policy, lets go, and what ends an engagement by itself."""

import numpy as np
import pytest

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.executor_codes import ChunkSource, Mode
from swiftvla_ros.motion import check_limits
from swiftvla_ros.teleop.hand import TeleopPhase
from teleop_rig import TeleopRig

CONTRACT = load_contract("so101_sim")
REST = CONTRACT.rest
NEAR = REST + 0.05
FAR = REST + np.array([0.9, 0.3, -0.3, 0.0, 0.0, 0.2])


def wave(seconds: float) -> np.ndarray:
    """A person's motion [6] about the arm's rest."""
    return REST + 0.3 * np.sin(2 * seconds) * np.array([1.0, 0.4, -0.4, 0.5, 0.5, 0.3])


def limits_kept(rig: TeleopRig) -> bool:
    """Whether all commands keep the limits."""
    stamps = np.array([c.stamp_ns for c in rig.commands])
    return check_limits(stamps, rig.positions, CONTRACT.limits, CONTRACT.joint_names, tick_s=0.01).ok


def test_nothing_moves_before_somebody_engages():
    """Protects people near the arm: a leader that moves leads nothing until it is told to."""
    rig = TeleopRig(CONTRACT, wave)
    rig.run(1.0)
    assert not rig.commands
    assert rig.engagement.engage(rig.ns)[0]
    rig.run(3.0)
    assert rig.engagement.phase is TeleopPhase.FOLLOWING
    target = wave(rig.seconds)
    np.testing.assert_allclose(rig.arm, target, atol=0.05)
    assert limits_kept(rig)


def test_a_far_leader_is_approached_slowly_or_refused_by_name():
    """Protects gears and bystanders: a far leader never makes the arm leap, and the joint is named."""
    refusing = TeleopRig(CONTRACT, lambda _: FAR, far="refuse")
    refusing.run(0.2)
    done, text = refusing.engagement.engage(refusing.ns)
    assert not done
    assert "'shoulder_pan' is at 0.000, the leader at 0.900" in text
    assert "far_leader" in text
    rig = TeleopRig(CONTRACT, lambda _: FAR)
    rig.run(0.2)
    assert rig.engagement.engage(rig.ns)[0]
    rig.run(CONTRACT.control.approach_s + 1.0)
    assert rig.engagement.phase is TeleopPhase.FOLLOWING
    np.testing.assert_allclose(rig.arm, FAR, atol=2e-3)
    assert max(np.abs(c.velocity).max() for c in rig.commands) < 2.0 * 0.9 / CONTRACT.control.approach_s
    assert limits_kept(rig)


@pytest.mark.parametrize("leader", [NEAR, FAR], ids=["near", "far"])
def test_a_policy_is_taken_over_and_goes_on_after_release(leader: np.ndarray):
    """Protects corrections: over a running policy and back, each command inside the limits of the one before."""
    rig = TeleopRig(CONTRACT, lambda _: leader, policy=lambda s: REST + 0.1 * np.sin(s))
    rig.run(1.5)
    assert rig.sources[-1] is ChunkSource.POLICY
    assert rig.engagement.engage(rig.ns)[0]
    rig.run(6.0)
    assert rig.engagement.phase is TeleopPhase.FOLLOWING
    assert rig.sources[-1] is ChunkSource.OPERATOR
    np.testing.assert_allclose(rig.arm, leader, atol=2e-3)
    rig.motion = None
    rig.policy = lambda s: leader + 0.1 * np.sin(s - 7.6)
    rig.engagement.release()
    rig.run(1.0)
    assert rig.sources[-1] is ChunkSource.POLICY
    assert limits_kept(rig)


def test_a_leader_that_falls_silent_holds_the_arm_and_is_named():
    """Protects against a pulled cable: rest within the prediction, the reason says which topic, and no policy moves."""
    rig = TeleopRig(CONTRACT, wave)
    rig.run(0.1)
    rig.engagement.engage(rig.ns)
    rig.run(2.0)
    rig.motion = None
    before = rig.arm.copy()
    rig.policy = lambda _: REST
    rig.run(1.0)
    assert rig.engagement.phase is TeleopPhase.HELD
    assert "leader/joint_states is silent" in rig.engagement.reason
    assert rig.executor.mode is Mode.HOLD
    assert rig.executor.operator_holds
    assert np.abs(rig.arm - before).max() < 0.15
    rig.motion = lambda _: rig.arm
    rig.run(0.1)
    assert rig.engagement.phase is TeleopPhase.HELD, "each engagement is armed anew"
    assert rig.engagement.engage(rig.ns)[0]
    assert limits_kept(rig)


def test_one_bad_pose_is_left_out_and_a_jump_holds():
    """Protects against a slipping servo: a wild reading changes nothing, a leader elsewhere ends it, named."""
    rig = TeleopRig(CONTRACT, lambda _: REST)
    rig.run(0.1)
    rig.engagement.engage(rig.ns)
    rig.run(0.5)
    rig.leader.take(FAR, rig.ns, rig.ns)
    rig.run(0.3)
    assert rig.engagement.phase is TeleopPhase.FOLLOWING
    assert rig.leader.refused == 1
    np.testing.assert_allclose(rig.arm, REST, atol=2e-3)
    rig.motion = lambda _: FAR
    rig.run(0.3)
    assert rig.engagement.phase is TeleopPhase.HELD
    assert "joint 'shoulder_pan' jumped from 0.000 to 0.900" in rig.engagement.reason
    np.testing.assert_allclose(rig.arm, REST, atol=2e-3)


def test_an_executor_that_is_stopped_ends_the_engagement():
    """Protects the stop button: after it nothing moves until somebody engages again."""
    rig = TeleopRig(CONTRACT, wave)
    rig.run(0.1)
    rig.engagement.engage(rig.ns)
    rig.run(1.0)
    rig.executor.stop()
    rig.run(1.5)
    assert rig.engagement.phase is TeleopPhase.HELD
    assert "stopped" in rig.engagement.reason
    rig.executor.start()
    rig.run(0.5)
    assert rig.executor.mode is Mode.HOLD


def test_a_jog_moves_from_where_the_arm_is_and_expires():
    """Protects the deadman: without another jog the arm rests within moments; at a limit it stops by itself."""
    rig = TeleopRig(CONTRACT, jogs=True)
    assert rig.engagement.engage(rig.ns)[0]
    rig.run(0.1)
    assert not rig.commands
    assert rig.executor.operator_holds, "nothing else moves the arm before the jog does"
    for _ in range(50):
        rig.jog.take(["shoulder_pan"], [0.5], rig.ns)
        rig.run(0.02)
    assert 0.3 < rig.arm[0] < 0.55
    there = rig.arm[0]
    rig.run(1.0)
    assert rig.executor.mode is Mode.HOLD
    assert rig.arm[0] - there < 0.2
    for _ in range(150):
        rig.jog.take(["shoulder_pan"], [9.0], rig.ns)
        rig.run(0.02)
    assert rig.arm[0] == pytest.approx(CONTRACT.limits.max_position[0], abs=0.01)
    assert rig.engagement.phase is TeleopPhase.FOLLOWING
    assert not rig.jog.take(["elbow"], [0.1], rig.ns)
    assert "'elbow'" in rig.jog.last_refusal
    assert limits_kept(rig)
