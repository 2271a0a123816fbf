# SPDX-License-Identifier: Apache-2.0
"""Sessions of demonstrations: which episode is recorded when, and what stays of it."""

from pathlib import Path

import pytest

from swiftvla_ros.episodes.session.session import DemonstrationSession, Phase
from swiftvla_ros.episodes.session.session_folder import (
    EpisodeRecord,
    SessionError,
    SessionFolder,
    read_episode_record,
)
from swiftvla_ros.episodes.session.topic_rates import NeededTopic, TopicRates

_S = 1_000_000_000


def _session(path: Path, wanted: int = 3, reset_s: float = 0.0) -> DemonstrationSession:
    return DemonstrationSession(
        SessionFolder(path),
        "pick up the red block",
        wanted=wanted,
        reset_s=reset_s,
        longest_s=60.0,
        template=lambda: EpisodeRecord("", operator="Ada"),
    )


def _record(session: DemonstrationSession, begin_s: int, outcome: str = "succeeded", note: str = "") -> Path:
    bag = session.begin(begin_s * _S)
    bag.mkdir()
    session.opened()
    session.end(outcome, note, (begin_s + 5) * _S)  # type: ignore[arg-type]
    assert session.bag is not None
    return session.bag


def test_no_number_is_used_twice_and_nothing_is_deleted(tmp_path: Path) -> None:
    """Protects recordings: a discarded episode is moved, and the next one gets a number of its own."""
    session = _session(tmp_path)
    kept = _record(session, 10)
    gone = _record(session, 20, "discarded")
    assert [kept.name, gone.relative_to(tmp_path).as_posix()] == ["episode_000000", "discarded/episode_000001"]
    assert session.begin(30 * _S).name == "episode_000002"


def test_a_verdict_is_changed_until_the_next_episode(tmp_path: Path) -> None:
    """Protects the operator's second thought: counts and files follow it, and the session's end is taken back."""
    session = _session(tmp_path, wanted=1)
    bag = _record(session, 10)
    assert session.phase is Phase.ENDED
    session.judge("failed", "it slipped")
    record = read_episode_record(bag)
    assert record is not None
    assert (record.outcome, record.note, record.ended_ns) == ("failed", "it slipped", 15 * _S)
    assert session.phase is Phase.RESETTING
    assert (session.counts["succeeded"], session.counts["failed"]) == (0, 1)


def test_what_a_killed_recorder_left_is_kept_and_told(tmp_path: Path) -> None:
    """Protects against a half episode that is learnt from: it is unjudged in the next sitting, and counted so."""
    session = _session(tmp_path)
    session.begin(0).mkdir()
    session.opened()
    again = _session(tmp_path)
    assert [bag.name for bag in again.cut_off] == ["episode_000000"]
    assert again.counts["unjudged"] == 1
    assert again.next_bag.name == "episode_000001"


def test_the_next_episode_begins_after_the_reset_time(tmp_path: Path) -> None:
    """Protects the pace of a sitting: not before the scene is put back, never by itself unasked."""
    session = _session(tmp_path, reset_s=4.0)
    _record(session, 10)
    assert session.reset_left_s(17 * _S) == pytest.approx(2.0)
    assert not session.is_due(17 * _S)
    assert session.is_due(20 * _S)
    waiting = _session(tmp_path / "other")
    _record(waiting, 10)
    assert not waiting.is_due(10_000 * _S)


@pytest.mark.parametrize("act", ["begin", "finish"])
def test_an_episode_that_runs_is_ended_first(tmp_path: Path, act: str) -> None:
    """Protects the running episode: nothing begins or ends the session over it, and the sentence says what to do."""
    session = _session(tmp_path)
    session.begin(0).mkdir()
    with pytest.raises(SessionError, match="episode_000000 is being recorded; end or discard it first"):
        session.begin(_S) if act == "begin" else session.finish()


def test_a_spoiled_episode_file_is_named(tmp_path: Path) -> None:
    """Protects whoever edits verdicts by hand: the file and what may be written are named."""
    bag = tmp_path / "episode_000000"
    bag.mkdir()
    (bag / "episode.json").write_text('{"instruction": "x", "outcome": "good"}')
    with pytest.raises(SessionError, match=r"episode\.json: outcome 'good' is unknown; write one of recording, succ"):
        read_episode_record(bag)


def test_slow_and_silent_topics_are_told() -> None:
    """Protects against a camera that comes at half its rate: told with both numbers; silence after a second."""
    rates = TopicRates({"/front": NeededTopic("camera front", 30.0), "/joints": NeededTopic("joint states", 50.0)})
    for k in range(60):
        rates.heard("/front", k * _S // 15)
    for k in range(200):
        rates.heard("/joints", k * _S // 50)
    now_ns = 4 * _S
    (told,) = rates.slow(now_ns).values()
    assert told.startswith("camera front: 15.")
    assert told.endswith("Hz on /front, 30 Hz expected")
    assert rates.silent(now_ns) == {}
    assert rates.silent(now_ns + 2 * _S) == {"/front": "camera front", "/joints": "joint states"}


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    """Protects the first minute: a file, or a place under one, is named before anything starts."""
    (tmp_path / "notes").write_text("x")
    for path in (tmp_path / "notes", tmp_path / "notes" / "session"):
        with pytest.raises(SessionError, match="is a file, or lies in one; name a folder"):
            SessionFolder(path)
