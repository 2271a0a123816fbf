# SPDX-License-Identifier: Apache-2.0
"""The grammar of wordings: what is kept from training is, and every sentence means what it is drawn for."""

import re

import numpy as np
import pytest

from swiftvla_ros.policy.words.reader import plain
from swiftvla_ros.policy.words.vocabulary import words_of
from swiftvla_ros.sim.language import COLORS
from swiftvla_ros.sim.tasks.registry import DEFINITIONS, STANDARD_TASKS, parse, tasks_of
from swiftvla_ros.sim.wording.frames import FRAMES, NEGATIONS
from swiftvla_ros.sim.wording.free import FREE, FREE_OF_NO_TASK
from swiftvla_ros.sim.wording.grammar import Grammar, NoWordingError, slip
from swiftvla_ros.sim.wording.others import FOREIGN, TALK
from swiftvla_ros.sim.wording.parts import Parts, calibration, held_out, rest, trained
from swiftvla_ros.sim.wording.sentences import known_to, meaningless, say, training_sentences
from swiftvla_ros.sim.wording.things import COLOR_WORDS, NOUNS, OTHER_COLORS, OTHER_THINGS, PHRASES
from swiftvla_ros.sim.wording.verbs import OTHER_VERBS, VERBS

SPLIT = {
    **{f"verbs {verb} {where}": parts for (verb, where), parts in VERBS.items()},
    "nouns": NOUNS,
    "phrases": PHRASES,
    "frames": FRAMES,
    "other verbs": OTHER_VERBS,
    "other things": OTHER_THINGS,
    "other colors": OTHER_COLORS,
    "negations": NEGATIONS,
    "talk": TALK,
    "foreign": FOREIGN,
    **{f"words for {color}": parts for color, parts in COLOR_WORDS.items()},
}
# Parts by a word that no training sentence may hold, in any inflection of spelling.
TELLING = {
    *("hoist", "retrieve", "snatch", "pluck", "clutch", "snag", "heave", "gather", "clasp", "catch", "prod", "jab"),
    *("dab", "knock", "stroke", "deposit", "relocate", "brick", "item", "chunk", "dice", "cuboid", "vermilion"),
    *("maroon", "jade", "olive", "cobalt", "sapphire"),
}


@pytest.mark.parametrize("name", SPLIT)
def test_a_part_is_on_one_side_alone(name: str) -> None:
    """Held-out figures would mean nothing if a part were trained on, too; a fifth at least is held out of each."""
    parts = SPLIT[name]
    assert not set(parts.trained) & set(parts.held_out)
    assert len(parts.held_out) >= 0.2 * len(set(parts.trained) | set(parts.held_out))


@pytest.mark.parametrize("parts", [VERBS["pick", ""], VERBS["touch", ""], NOUNS, FRAMES])
def test_a_third_of_verbs_nouns_and_frames_is_held_out(parts: Parts) -> None:
    """What the documents say of the split."""
    share = len(parts.held_out) / len(set(parts.trained) | set(parts.held_out))
    assert 0.28 <= share <= 0.38


def test_no_training_sentence_holds_what_is_held_out() -> None:
    """Of 8,000 training and calibration sentences none has a held-out word, noun or frame, typed well or badly."""
    frames = [
        re.escape(frame).replace(r"\{s\}", ".+").replace(r"\{o\}", ".+").replace(r"\{it\}", ".+")
        for frame in FRAMES.held_out
    ]
    by_hand = {plain(sentence) for said in (*FREE.values(), FREE_OF_NO_TASK) for sentence in said}
    tasks = tasks_of(("pick", "touch", "place"))
    trained_on, calibrated_on = training_sentences(tasks, ["window", "because"], 6500, seed=3)
    for text, _ in [*trained_on, *calibrated_on]:
        assert not set(words_of(text)) & TELLING, text
        assert not any(re.fullmatch(frame, text.lower().rstrip(".")) for frame in frames), text
    assert not by_hand & {plain(text) for text, _ in (*trained_on, *calibrated_on)}


def test_another_thing_is_always_named() -> None:
    """What means no task because of its thing says the thing: `pick up the red` alone is a task."""
    grammar, rng = Grammar(STANDARD_TASKS, trained, held_out), np.random.default_rng(0)
    things = [grammar._other_thing("other thing", rng) for _ in range(300)]
    assert all(any(noun in thing for noun in OTHER_THINGS.held_out) for thing in things)


def test_the_list_would_be_noticed_in_training() -> None:
    """The check above can fail: held-out sentences do hold what it looks for."""
    grammar, rng = Grammar(STANDARD_TASKS, trained, held_out), np.random.default_rng(0)
    found = [
        text
        for text in (grammar.sentence(STANDARD_TASKS[k % 6], rng) for k in range(600))
        if set(words_of(text)) & TELLING
    ]
    assert len(found) > 100


def test_the_bound_is_chosen_with_parts_that_are_not_trained_on() -> None:
    """Calibration has something of every kind, and shares it with nothing that the network sees; verbs least of all."""
    for parts in (VERBS["place", "plate"], VERBS["place", "bowl"]):
        seen, kept = ({part.partition(" {o}")[0] for part in side(parts)} for side in (rest, calibration))
        assert len(kept - seen) >= 3, "words before the block that the network never saw"
    for parts in SPLIT.values():
        assert calibration(parts)
        assert not set(calibration(parts)) & set(rest(parts))
        assert set(calibration(parts)) | set(rest(parts)) == set(parts.trained)


def test_sentences_name_the_colour_that_is_meant() -> None:
    """A task's sentence has its colour, or another word for it, and another colour only to say that it isn't meant."""
    tasks = [task for task in tasks_of(DEFINITIONS) if (task.verb, task.where) in VERBS]
    grammar, rng = Grammar(tasks, trained, held_out), np.random.default_rng(1)
    clear = []
    for task in tasks * 40:
        text = grammar.sentence(task, rng).lower()
        named = (task.color, *COLOR_WORDS[task.color].trained, *COLOR_WORDS[task.color].held_out)
        others = [color for color in COLORS if color != task.color and re.search(rf"\b{color}\b", text)]
        assert not others or "not the" in text or re.search(r"\bnot?\b", text), text
        clear.append(any(name in text for name in named))
    # A slip may fall on the colour.
    assert np.mean(clear) > 0.95
    assert {(task.verb, task.where) for task in tasks} == set(VERBS)


def test_a_task_may_be_without_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said as in its demonstrations, and what asks for more names the file; no verb of a task means nothing."""
    monkeypatch.delitem(VERBS, ("touch", ""))
    task = next(task for task in STANDARD_TASKS if task.verb == "touch")
    assert say(task, np.random.default_rng(5), "known", STANDARD_TASKS) in known_to([task])
    with pytest.raises(NoWordingError, match=r"'touch': the grammar has no verbs for it; sim/wording/verbs\.py"):
        say(task, np.random.default_rng(5), "held-out", STANDARD_TASKS)
    others = [verb for side in (OTHER_VERBS.trained, OTHER_VERBS.held_out) for verb in side]
    assert not [verb for verb in others if parse(verb.format(o="the red block"))]


def test_what_means_no_task_is_no_known_sentence() -> None:
    """Negatives never teach that a wording of the demonstrations means nothing."""
    known, rng = set(known_to(STANDARD_TASKS)), np.random.default_rng(2)
    grammar = Grammar(STANDARD_TASKS, trained)
    texts = [grammar.no_task(rng, ["window", "sea"]) for _ in range(3000)]
    assert not known & {text.lower().rstrip(".") for text in texts}
    assert all(parse(text) is None or parse(text).verb == "place" for text in FREE_OF_NO_TASK)  # type: ignore[union-attr]
    assert len(meaningless(STANDARD_TASKS, 90, 0)) == 90


def test_a_slip_changes_one_word_and_no_short_one() -> None:
    """Typos are of one letter; colours of three letters stay legible."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        before, after = ["touch", "the", "red", "block"], slip("touch the red block", rng).split()
        assert [a for a, b in zip(before, after, strict=True) if a != b] in ([], ["touch"], ["block"])


def test_known_wordings_are_those_of_demonstrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """`eval` without --wordings asks what it always asked; a task that has no words of a kind is named."""
    task, kinds = STANDARD_TASKS[0], ("known", "trained", "held-out", "free")
    assert say(task, np.random.default_rng(5), "known", STANDARD_TASKS) in known_to([task])
    assert len({say(task, np.random.default_rng(5), kind, STANDARD_TASKS) for kind in kinds}) == 4  # type: ignore[arg-type]
    monkeypatch.delitem(FREE, task)
    with pytest.raises(NoWordingError, match=r"free\.py"):
        say(task, np.random.default_rng(5), "free", STANDARD_TASKS)
