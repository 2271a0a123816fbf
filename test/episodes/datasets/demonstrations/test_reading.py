# SPDX-License-Identifier: Apache-2.0
"""Demonstrations read from driver topics alone: right steps, right actions, right words, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from teleoperation import (
    COMMANDS,
    LAG_S,
    LEADER,
    MARKS,
    RED,
    ROBOT,
    T0,
    TASK,
    WRIST,
    scene,
    wave,
    write_teleoperation,
)

from swiftvla_ros.contract.images import condition_image
from swiftvla_ros.contract.sections.demonstrations import Demonstrations
from swiftvla_ros.episodes.datasets.bag_listing import BagEpisodes, open_bags
from swiftvla_ros.episodes.datasets.demonstrations.reading import DemonstrationEpisode
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError


def listed(folder: Path, robot: Any = ROBOT, **options: Any) -> BagEpisodes:
    """List a bag's demonstrations."""
    return open_bags(folder, robot, **options)


def loaded(folder: Path, robot: Any = ROBOT) -> Episode:
    """Load a bag's only demonstration."""
    (handle,) = listed(folder, robot).episodes
    assert isinstance(handle, DemonstrationEpisode), "not taken for a policy's run"
    episode = handle.load()
    assert handle.steps() == len(episode.state)
    return episode


def actions(source: Any) -> Any:
    """Return the robot with other actions."""
    return ROBOT.with_keys(demonstrations=Demonstrations(actions=source))


def test_a_teleoperated_bag_is_an_episode(tmp_path: Path) -> None:
    """Protects the whole way: no node of ours, 10 Hz of steps, the newest of the past, the stamps that were chosen."""
    episode = loaded(write_teleoperation(tmp_path / "run"))
    times = episode.stamps_s - T0 / 1e9
    np.testing.assert_allclose(times, 0.004 + 0.1 * np.arange(len(times)), atol=1e-5)
    assert (len(times), episode.instruction, episode.expert.all()) == (40, RED, True)
    chosen = {name: stamps - T0 / 1e9 for name, stamps in episode.chosen_s.items()}
    assert all((stamps <= times + 1e-5).all() for stamps in chosen.values())
    np.testing.assert_allclose(chosen["action"], np.floor((times - 0.002) * 50 + 1e-4) / 50 + 0.002, atol=1e-5)
    np.testing.assert_allclose(episode.action, [wave(t) for t in chosen["action"]], atol=1e-6)
    np.testing.assert_allclose(episode.state, [wave(t - LAG_S) for t in chosen["state"]], atol=1e-6)
    np.testing.assert_allclose(chosen["front"], np.floor(times * 15 + 1e-4) / 15, atol=1e-5)
    for step in (0, 17):
        seen = condition_image(scene("front", round(chosen["front"][step] * 15) / 15), ROBOT.camera("front"))
        np.testing.assert_array_equal(episode.images["front"][step], seen)


def test_stale_topics_make_no_step_and_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Protects from stale pictures and commands: steps are left out by topic, the one before is not imitated."""
    gaps = {WRIST: (1.0, 1.8), COMMANDS: (2.5, 3.0)}
    episode = loaded(write_teleoperation(tmp_path / "run", without=gaps))
    missing = episode.metadata["left_out_by_topic"]
    assert set(missing) == {WRIST, COMMANDS}
    assert missing == {WRIST: 5, COMMANDS: 2}
    steps = np.round((episode.stamps_s - T0 / 1e9) * 10).astype(int)
    np.testing.assert_array_equal(steps[~episode.expert], [steps[steps < 16].max(), steps[steps < 30][-1]][:2])
    assert f"7 of 40 steps are left out: 5 for {WRIST}, 2 for {COMMANDS}" in caplog.text


@pytest.mark.parametrize(
    ("source", "lead_s"),
    [
        ("leader", 0.001),
        ({"topic": COMMANDS, "type": "JointTrajectory"}, 0.002),
        ({"topic": LEADER, "type": "JointState"}, 0.001),
    ],
)
def test_actions_come_from_where_the_contract_says(tmp_path: Path, source: Any, lead_s: float) -> None:
    """Protects the labels: a leader's positions, or a topic's, are what is imitated."""
    episode = loaded(write_teleoperation(tmp_path / "run", seconds=1.0), actions(source))
    stamps = episode.chosen_s["action"] - T0 / 1e9
    np.testing.assert_allclose((stamps - lead_s) * 50, np.round((stamps - lead_s) * 50), atol=1e-3)
    np.testing.assert_allclose(episode.action, [wave(t) for t in stamps], atol=1e-6)


def test_a_hand_guided_arm_is_imitated_by_its_next_state(tmp_path: Path) -> None:
    """Protects kinesthetic teaching: no command is needed, and the last step has nothing to imitate."""
    folder = write_teleoperation(tmp_path / "run", seconds=1.0, drop=(COMMANDS, LEADER))
    with pytest.raises(EpisodeError, match=r"joint_trajectory .*demonstrations:"):
        raise listed(folder).none_left(folder)
    episode = loaded(folder, actions("measured"))
    np.testing.assert_array_equal(episode.action[:-1], episode.state[1:])
    assert episode.expert.tolist() == [True] * (len(episode.expert) - 1) + [False]


def test_each_text_is_an_episode(tmp_path: Path) -> None:
    """Protects the labels: the first holds from the begin, another one cuts, an empty one ends."""
    texts = [(0.5, RED), (1.0, RED), (1.5, "push the blue block"), (2.5, ""), (3.0, "wave")]
    found = [handle.load() for handle in listed(write_teleoperation(tmp_path / "run", texts=texts)).episodes]
    assert [(e.instruction, len(e.state)) for e in found] == [(RED, 15), ("push the blue block", 10), ("wave", 10)]
    assert [round(e.stamps_s[0] - T0 / 1e9, 1) for e in found] == [0.0, 1.5, 3.0]


def test_marks_cut_a_long_recording(tmp_path: Path) -> None:
    """Protects sessions in one bag: begin and end, verdicts, and a discarded one; what fails is told, not learnt."""
    marks = [(0.3, "begin"), (1.0, "end succeeded well done"), (1.1, "begin wave"), (1.5, "end failed dropped it"),
             (1.6, "begin"), (2.0, "discard"), (2.1, "begin"), (2.5, "end succeeded"), (2.6, "discard"),
             (2.7, "pause"), (3.0, "begin")]  # fmt: skip
    folder = write_teleoperation(tmp_path / "run", marks=marks)
    result = listed(folder)
    assert [(handle.name, handle.load().instruction, handle.steps()) for handle in result.episodes] == [
        ("run_episode_000000", RED, 7)
    ]
    assert [line.split(": ", 1)[1][:28] for line in result.left_out] == [
        "mark 'pause' means nothing h", "failed (dropped it)", "canceled (discarded by the o",
        "canceled (discarded by the o", "unknown (the recording ended",
    ]  # fmt: skip
    both = listed(folder, outcomes=("failed",)).episodes
    assert [handle.load().instruction for handle in both] == ["wave"]


@pytest.mark.parametrize("key", ["task", "lerobot.operator_prompt"])
def test_words_come_from_the_bag_the_session_or_the_command_line(tmp_path: Path, key: str) -> None:
    """Protects unlabelled data from being learnt: custom data, episode.json and --instruction, in this order."""
    folder = write_teleoperation(tmp_path / "run", seconds=1.0, texts=(), custom={key: "  pick it\n up "})
    assert loaded(folder).instruction == "pick it up"
    (folder / "episode.json").write_text(json.dumps({"instruction": "fold", "outcome": "succeeded", "note": ""}))
    assert loaded(folder).instruction == "fold"
    assert [h.load().instruction for h in listed(folder, instruction="hang").episodes] == ["hang"]
    (folder / "episode.json").write_text(json.dumps({"instruction": "fold", "outcome": "discarded", "note": "x"}))
    assert listed(folder).left_out == ["run: canceled (discarded by the operator)"]


def test_without_words_it_is_left_out_with_the_way_on(tmp_path: Path) -> None:
    """Protects from episodes of nothing: what to write is said."""
    folder = write_teleoperation(tmp_path / "run", seconds=1.0, drop=(TASK, MARKS))
    assert "write --instruction, or publish it on task" in listed(folder).left_out[0]


def test_degrees_in_a_contract_of_radians_are_refused(tmp_path: Path) -> None:
    """Protects from wild labels: joint, number and the unit that fits are named; one of degrees reads."""
    folder = write_teleoperation(tmp_path / "run", seconds=1.0, unit=180 / np.pi)
    (problem,) = listed(folder).problems
    assert "/joint_states: shoulder_lift is at -58" in problem
    assert "write `unit: deg`" in problem
    degrees = tuple(joint.model_copy(update={"unit": "deg"}) for joint in ROBOT.joints)
    episode = loaded(folder, ROBOT.with_keys(joints=degrees))
    stamps = episode.chosen_s["action"] - T0 / 1e9
    np.testing.assert_allclose(episode.action, [wave(t) for t in stamps], atol=1e-6)


def test_a_damaged_picture_costs_no_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Protects a long recording: the picture before is seen on, as live, and the refusal is told."""
    episode = loaded(write_teleoperation(tmp_path / "run", cut_at=2.0, seconds=3.0))
    seen = episode.chosen_s["wrist"] - T0 / 1e9
    assert len(seen) == 30
    assert seen[20] == pytest.approx(2.0 - 1 / 15 + 0.004, abs=1e-5)
    assert f"refused 1 messages of {WRIST}" in caplog.text


def test_pictures_of_another_shape_are_refused(tmp_path: Path) -> None:
    """Protects from squeezed pictures: camera, both sizes and the fix are named."""
    folder = write_teleoperation(tmp_path / "run", seconds=0.5, picture=lambda camera, t: scene(camera, t)[:, :40])
    with pytest.raises(EpisodeError, match=r"image_raw.*camera front: image of 40×48 px.*source_size is 640×480"):
        loaded(folder)


def test_a_session_is_read_as_it_was_judged(tmp_path: Path) -> None:
    """Protects `train SESSION`: each bag is an episode; what failed or was discarded is only told."""
    judged = {"episode_000000": "succeeded", "discarded/episode_000001": "discarded", "episode_000002": "failed",
              "episode_000003": "unjudged"}  # fmt: skip
    for name, outcome in judged.items():
        # Nothing had been commanded yet when it was discarded: that is no problem of the session's.
        drop = (COMMANDS,) if outcome == "discarded" else ()
        marks = [(0.2, f"begin {RED}"), (0.8, f"end {outcome}")]
        folder = write_teleoperation(tmp_path / name, seconds=1.0, texts=(), marks=marks, drop=drop)
        (folder / "episode.json").write_text(json.dumps({"instruction": RED, "outcome": outcome}))
    result = listed(tmp_path)
    assert result.problems == []
    assert [(handle.name, handle.steps()) for handle in result.episodes] == [("episode_000000", 6)]
    assert result.left_out == [
        "episode_000001: canceled (discarded by the operator)",
        "episode_000002: failed (failed)",
        "episode_000003: unknown (unjudged)",
    ]
