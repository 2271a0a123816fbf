# SPDX-License-Identifier: Apache-2.0
"""Where the demonstrations of a bag begin and end, what was done in each, and how it ended.

A bag is one demonstration, or is cut: by marks (a String topic: ``begin [instruction]``, ``end succeeded|failed
[note]``, ``discard``), or else where the String topic of the instruction says another text. Its first text holds from
the bag's begin, as it is often sent after the recorder was started; an empty one ends the episode.

The instruction is, the first that there is: the one given on the command line, the mark's, that of ``episode.json``
beside the bag, the topic's, and ``task`` or ``lerobot.operator_prompt`` of the bag's custom data. ``episode.json``, as
a recording session writes it, makes a bag one episode and says how it ended. A demonstration of which nobody said that
it failed counts as succeeded: people keep what went well.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.episode_markers import Outcome
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.topics import STRING
from swiftvla_ros.episodes.session.session_folder import EpisodeRecord, SessionError, read_episode_record

PROMPTS = ("task", "lerobot.operator_prompt")
"""Names of the instruction in a bag's custom data."""

KEPT = "nobody judged it"
DISCARDED = "discarded by the operator"

OUTCOMES: dict[str, Outcome] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "discarded": "canceled",
    "unjudged": "unknown",
    "recording": "unknown",
}
"""What a session's verdicts are among the outcomes of episodes."""


@dataclass(frozen=True)
class ShownEpisode:
    """One episode of a bag that a person drove."""

    instruction: str
    # Times of reception; None: as soon as everything has come, and as long as something comes.
    begin_ns: int | None
    end_ns: int | None
    outcome: Outcome
    text: str  # how it ended, for people


@dataclass
class Cuts:
    """The demonstrations of a bag in the order of time, and a line for each thing that could not be understood."""

    found: list[ShownEpisode] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_demonstrations(bag: Bag, contract: Contract, instruction: str = "") -> Cuts:
    """Cut a bag; one that nobody labels has an empty ``instruction``, unless one is given here.

    Raises
    ------
    BagError
        ``episode.json`` can't be read, or the bag is damaged.
    """
    names = contract.demonstrations
    told = _changes(_texts(bag, names.instruction_topic))
    cuts = Cuts()
    session = verdict_of(bag.folder)
    if marks := _texts(bag, names.marks_topic):
        cuts = _by_marks(marks, told)
    elif session is None and len(told) > 1:
        cuts = _by_texts(told)
    else:
        cuts.found.append(ShownEpisode(told[0][1] if told else "", None, None, "succeeded", KEPT))
    if session is not None:
        cuts.found = [_judged(each, session) for each in cuts.found]
    prompt = _prompt(bag.information.get("custom_data")) or _prompt(bag.provenance)
    cuts.found = [replace(each, instruction=instruction or each.instruction or prompt) for each in cuts.found]
    return cuts


def _texts(bag: Bag, topic: str) -> list[tuple[int, str]]:
    """(time of reception, text) of a String topic."""
    full = bag.topic(topic)
    if full is None or bag.types[full] != STRING:
        return []
    return [(received_ns, " ".join(str(message.data).split())) for received_ns, message in bag.messages(full)]


def _changes(told: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Leave out texts that say again what holds already."""
    return [entry for k, entry in enumerate(told) if k == 0 or entry[1] != told[k - 1][1]]


def _by_texts(told: list[tuple[int, str]]) -> Cuts:
    begins: list[int | None] = [None, *(ns for ns, _ in told[1:])]
    ends: list[int | None] = [*(ns for ns, _ in told[1:]), None]
    cuts = Cuts()
    for begin_ns, end_ns, (_, text) in zip(begins, ends, told, strict=True):
        if text:
            cuts.found.append(ShownEpisode(text, begin_ns, end_ns, "succeeded", KEPT))
    return cuts


def _by_marks(marks: list[tuple[int, str]], told: list[tuple[int, str]]) -> Cuts:
    cuts, open_ns, text = Cuts(), None, ""
    for ns, mark in marks:
        word, _, rest = mark.partition(" ")
        if word == "begin":
            if open_ns is not None:
                cuts.found.append(ShownEpisode(text, open_ns, ns, "unknown", "another one began before it ended"))
            open_ns, text = ns, rest or _newest(told, ns)
        elif word == "end" and open_ns is not None:
            verdict, _, note = rest.partition(" ")
            outcome: Outcome = OUTCOMES.get(verdict, "unknown")
            cuts.found.append(ShownEpisode(text, open_ns, ns, outcome, note if verdict in OUTCOMES else rest))
            open_ns = None
        elif word == "discard" and open_ns is not None:
            cuts.found.append(ShownEpisode(text, open_ns, ns, "canceled", DISCARDED))
            open_ns = None
        elif word == "discard" and cuts.found:
            cuts.found[-1] = replace(cuts.found[-1], outcome="canceled", text=DISCARDED)
        else:
            cuts.notes.append(f"mark '{mark}' means nothing here: write begin, end succeeded, end failed or discard")
    if open_ns is not None:
        cuts.found.append(ShownEpisode(text, open_ns, None, "unknown", "the recording ended before it did"))
    return cuts


def _newest(told: list[tuple[int, str]], ns: int) -> str:
    """The text that held at a time, or the first that came."""
    return next((text for at, text in reversed(told) if at <= ns), told[0][1] if told else "")


def verdict_of(bag: Path) -> EpisodeRecord | None:
    """Return what a session noted beside a bag; raises ``BagError`` where it can't be read."""
    try:
        return read_episode_record(bag)
    except SessionError as error:
        raise BagError(str(error)) from error


def _judged(shown: ShownEpisode, record: EpisodeRecord) -> ShownEpisode:
    instruction = record.instruction or shown.instruction
    return replace(shown, instruction=instruction, outcome=OUTCOMES[record.outcome], text=how_it_ended(record))


def how_it_ended(record: EpisodeRecord) -> str:
    """Tell how an episode ended, for people."""
    return DISCARDED if record.outcome == "discarded" else record.note or record.outcome


def _prompt(custom: Any) -> str:
    texts = [custom.get(name) for name in PROMPTS] if isinstance(custom, dict) else []
    return next((" ".join(text.split()) for text in texts if isinstance(text, str) and text.strip()), "")
