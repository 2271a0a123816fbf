# SPDX-License-Identifier: Apache-2.0
"""Bags as episodes: steps without a look into the future, gaps, failures, and what the policy saw."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from swiftvla_ros.contract import Contract, contract_from_text
from swiftvla_ros.contract.executor_codes import ChunkSource
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.episodes.datasets.bag_episodes import BagEpisode
from swiftvla_ros.episodes.datasets.bag_listing import open_bags
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.datasets.store import EpisodeError, load_episode, save_episode
from swiftvla_ros.episodes.session.session_folder import EpisodeRecord, write_episode_record
from swiftvla_ros.observation.message_fields import stamp_ns

T0 = 1_000_000_000_000
MS = 1_000_000
RECORDED = Path(__file__).parents[2] / "replay" / "bags" / "pick_red"


def at(seconds: float) -> int:
    """Return a stamp, ns."""
    return T0 + round(seconds * 1e9)


def measured(ns: int) -> np.ndarray:
    """Give positions that tell the time at which they were measured."""
    return np.full(6, (ns - T0) / 1e9 * 0.01)


@pytest.fixture
def record(contract: Contract, messages: Any, tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes a bag: one instruction that is carried out, and one that fails.

    The first is followed from 2.0 to 4.0 s, by chunks from 2.25 s on; the second from 5.0 to 6.0 s.
    """

    def image(ns: int, frame: int) -> Any:
        return messages.image(ns, np.full((96, 96, 3), frame, np.uint8))

    def short(message: Any) -> Any:
        return replace(message, data=message.data[:-1])

    def write(
        name: str = "run",
        without: tuple[float, float] = (0.0, 0.0),
        damaged: int = -1,
        person: tuple[float, float] = (0.0, 0.0),
    ) -> Path:
        entries: list[tuple[int, str, Any]] = []
        for frame in range(105):
            ns = at(frame / 15)
            if not without[0] < frame / 15 < without[1]:
                entries += [
                    (ns, "/observation/front", short(image(ns, frame)) if frame == damaged else image(ns, frame)),
                    (ns, "/observation/wrist", image(ns, frame + 100)),
                ]
        for tick in range(350):
            ns = at(tick / 50)
            entries.append((ns, "/observation/state", messages.measured(ns, measured(ns))))
        for tick in range(700):
            ns, seconds = at(tick / 100), tick / 100
            moving = 2.25 <= seconds < 4.5 or seconds >= 5.1
            state = messages.executor_state(ns, measured(ns) + 0.5, mode=1 if moving else 4)
            state = replace(state, chunk_id=1 if seconds < 4.5 else 2)
            if person[0] <= seconds < person[1]:
                state = replace(state, chunk_id=77, chunk_source=ChunkSource.OPERATOR)
            entries.append((ns, "/executor_state", state))
        for number, ready in ((1, at(2.2)), (2, at(5.1))):
            chunk = replace(messages.chunk(ready, ready, ready, ready), chunk_id=number, instruction_id=number)
            entries.append((ready, "/action_chunk", chunk))
        for tick in range(35):
            seconds = tick / 5
            number = 1 if 2 <= seconds < 4 else 2 if 5 <= seconds < 6 else 0
            entries.append((at(seconds), "/policy_state", messages.policy_state(at(seconds), number)))
        entries.append((at(3.95), "/task_verdict", messages.verdict(at(3.95), 1)))
        entries.append((at(5.95), "/task_verdict", replace(messages.verdict(at(5.95), 3), instruction_id=2)))
        with BagWriter(tmp_path / "bags" / name, contract) as writer:
            # Received later than stamped, each topic by another time.
            late = {"/observation/front": 40 * MS, "/observation/wrist": 70 * MS, "/policy_state": 3 * MS}
            for ns, topic, message in sorted(
                ((ns + late.get(topic, MS), topic, message) for ns, topic, message in entries), key=lambda e: e[0]
            ):
                writer.write_message(topic, message, ns)
        return tmp_path / "bags"

    return write


def test_a_damaged_picture_is_refused_and_counted(
    record: Callable[..., Path], contract: Contract, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects training (report F7): it costs no episode, the picture before it is seen on as live, and it is told."""
    (handle,) = open_episodes(record(damaged=39), contract)
    episode = handle.load()
    whole = np.floor((2.0 + 0.1 * np.arange(21)) * 15 + 1e-6)
    assert 39 in whole
    np.testing.assert_array_equal(episode.images["front"][:, 0, 0, 0], np.where(whole == 39, 38, whole))
    assert "episode_000000: refused 1 pictures of /observation/front: 27647 bytes are no image" in caplog.text


def test_steps_of_a_person_are_imitated_and_marked(
    record: Callable[..., Path], contract: Contract, tmp_path: Path
) -> None:
    """Protects corrections: what a person did over a policy is imitated, told apart, and still is after storing."""
    (handle,) = open_episodes(record(person=(3.0, 3.5)), contract)
    episode = handle.load()
    assert episode.corrections is not None
    seconds = episode.stamps_s - T0 / 1e9
    np.testing.assert_array_equal(episode.corrections, (seconds > 2.99) & (seconds < 3.49))
    assert episode.expert[episode.corrections].all()
    save_episode(tmp_path / "episode_000000.safetensors", episode, contract)
    stored = load_episode(tmp_path / "episode_000000.safetensors", contract)
    np.testing.assert_array_equal(stored.corrections, episode.corrections)
    (untouched,) = open_episodes(record("other"), contract)[:1]
    assert untouched.load().corrections is None


def test_each_step_has_the_newest_of_its_past(record: Callable[..., Path], contract: Contract) -> None:
    """Protects training: image and state are the newest that were stamped by then, the action is commanded then."""
    (handle,) = open_episodes(record(), contract)
    episode = handle.load()
    assert (handle.name, handle.steps()) == ("run_episode_000000", 21)
    times = 2.0 + 0.1 * np.arange(21)
    np.testing.assert_allclose(episode.stamps_s, T0 / 1e9 + times)
    newest = np.floor(times * 15 + 1e-6)
    np.testing.assert_array_equal(episode.images["front"][:, 0, 0, 0], newest)
    np.testing.assert_array_equal(episode.images["wrist"][:, 5, 5, 2], newest + 100)
    assert (episode.state[:, 0] <= 0.01 * times + 1e-6).all()
    # The state belongs to the image: half a period of the joint states off at most.
    np.testing.assert_allclose(episode.state[:, 0], 0.01 * newest / 15, atol=0.01 * 0.0101)
    np.testing.assert_allclose(episode.action[:, 3], 0.01 * times + 0.5, atol=1e-6)
    # Nobody acted before the first chunk.
    np.testing.assert_array_equal(episode.expert, times >= 2.25)
    assert episode.instruction == "pick up the red block"


def test_failures_are_left_out_or_labelled(record: Callable[..., Path], contract: Contract) -> None:
    """Protects from imitating failures: only what succeeded is read, and what is left out is told with its reason."""
    folder = record()
    listed = open_bags(folder, contract)
    episodes, left_out = listed.episodes, listed.left_out
    assert [e.recorded.outcome for e in episodes] == ["succeeded"]
    assert left_out == ["run_episode_000001: failed ()"]
    both = open_bags(folder, contract, ("succeeded", "failed")).episodes
    assert [e.load().metadata["outcome"] for e in both] == ["succeeded", "failed"]
    none = open_bags(folder, contract, ("canceled",))
    assert not none.episodes
    assert "no episode canceled: run_episode_000000: succeeded" in str(none.none_left(folder, ("canceled",)))


def test_a_persons_word_beside_a_bag_counts(record: Callable[..., Path], contract: Contract) -> None:
    """Protects runs on real arms, which no verdict ends: what a person wrote into episode.json is what counts."""
    folder = record()
    write_episode_record(
        folder / "run", EpisodeRecord("pick up the red block", outcome="succeeded", note="taken over once")
    )
    assert [each.recorded.outcome for each in open_bags(folder, contract).episodes] == ["succeeded", "succeeded"]
    write_episode_record(folder / "run", EpisodeRecord("pick up the red block", outcome="failed", note="dropped it"))
    assert open_bags(folder, contract).left_out == ["run: failed (dropped it)"]


def test_gaps_are_cut(record: Callable[..., Path], contract: Contract) -> None:
    """Protects chunks across a gap: steps without images are left out, and none before is taught what comes after."""
    episode = open_episodes(record(without=(2.5, 3.4)), contract)[0].load()
    steps = np.round((episode.stamps_s - T0 / 1e9 - 2) / 0.1).astype(int)
    missing = sorted(set(range(21)) - set(steps))
    assert missing
    assert not episode.expert[np.flatnonzero(steps == missing[0] - 1)].any()
    assert episode.expert[steps > missing[-1]].all()
    at_s, reason = episode.metadata["steps_left_out"][0]
    assert at_s == pytest.approx(missing[0] * 0.1)
    assert "camera 'front' stopped" in reason


def test_two_bags_of_one_name_are_told_apart(record: Callable[..., Path], contract: Contract) -> None:
    """Protects targets: they go by the episode's name, so `a/bag` and `b/bag` must not be called the same."""
    record("a/bag")
    folder = record("b/bag")
    assert [e.name for e in open_episodes(folder, contract)] == ["a_bag_episode_000000", "b_bag_episode_000000"]


def test_another_robots_bag_is_refused(record: Callable[..., Path], contract: Contract) -> None:
    """Protects from mixing robots: other joints are refused, and the message names the topic and the fix."""
    folder = record()
    data = yaml.safe_load(contract.text)
    data["joints"] = data["joints"][::-1]
    other = contract_from_text(yaml.safe_dump(data), contract.path)
    with pytest.raises(EpisodeError, match=r"has joints .* name the contract that the bag was recorded with"):
        open_episodes(folder, other)[0].load()


def test_a_frame_is_what_the_policy_saw(contract: Contract) -> None:
    """Protects parity with the live run: at the moment of a chunk's observation the frame is the one that it names."""
    bag = Bag(RECORDED)
    (handle,) = open_bags(RECORDED, contract).episodes
    pictures = {c: {stamp: image for _, stamp, image in bag.images(c)} for c in contract.camera_names}
    states = {stamp_ns(m.header.stamp): np.array(m.position) for _, m in bag.messages("observation/state")}
    chunks = [message for _, message in bag.messages("action_chunk")]
    same: list[bool] = []
    assert len(chunks) > 5
    for chunk in chunks:
        used = [stamp_ns(stamp) for stamp in chunk.camera_stamps]
        moment = max(*used, stamp_ns(chunk.state_stamp))
        recorded = replace(handle.recorded, begin_ns=moment)
        frame = BagEpisode(bag, "run", recorded, contract)._timeline(decode=True).steps[0].observation
        assert frame is not None
        assert list(frame.image_stamps_ns.values()) == used
        # The policy may not have received the nearest state yet, though it was measured: never is the frame's further.
        anchor = min(used)
        assert abs(frame.state_stamp_ns - anchor) <= abs(stamp_ns(chunk.state_stamp) - anchor)
        same.append(frame.state_stamp_ns == stamp_ns(chunk.state_stamp))
        np.testing.assert_array_equal(frame.state, states[frame.state_stamp_ns])
        for camera, stamp in zip(chunk.camera_names, used, strict=True):
            np.testing.assert_array_equal(frame.images[camera], pictures[camera][stamp])
    assert np.mean(same) > 0.5
