# SPDX-License-Identifier: Apache-2.0
"""Which episodes bags hold, and why the others are left out: those of this package's runs, and those of a person."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from swiftvla_ros.contract import Contract, ContractError
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.episode_markers import Outcome
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.namespaces import IMAGES, OWN, STATE
from swiftvla_ros.episodes.datasets.bag_episodes import BagEpisode
from swiftvla_ros.episodes.datasets.bag_folders import bag_labels, find_bags
from swiftvla_ros.episodes.datasets.demonstrations.cuts import (
    OUTCOMES,
    Cuts,
    find_demonstrations,
    how_it_ended,
    verdict_of,
)
from swiftvla_ros.episodes.datasets.demonstrations.reading import DemonstrationEpisode, check_first_state
from swiftvla_ros.episodes.datasets.demonstrations.reading import lacking as demonstration_lacks
from swiftvla_ros.episodes.datasets.store import EpisodeError, check_path

ONLY_SUCCESSES: tuple[Outcome, ...] = ("succeeded",)
"""Which episodes are demonstrations where nothing else is asked for."""

DEMONSTRATIONS = (
    "Episodes are read from what `swiftvla record` writes, and from any bag with the topics of the contract: name this "
    "robot's with --robot, and where its commands are under `demonstrations:` (docs/data.md)"
)
"""The way on from a bag that lacks topics."""

_NAMED = 5


@dataclass
class BagEpisodes:
    """The episodes of bags, none loaded, in the order of the bags' names and of time.

    ``left_out`` says of each episode, and of each bag, that isn't among them why; ``problems`` names, a line each, the
    bags that can't be read.
    """

    episodes: list[BagEpisode | DemonstrationEpisode] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def none_left(self, path: Path, outcomes: Collection[Outcome] = ONLY_SUCCESSES) -> EpisodeError:
        """Say why no episode of ``path`` is left."""
        reasons = [*self.problems, *self.left_out] or ["there is no bag"]
        more = "; …" if len(reasons) > _NAMED else ""
        return EpisodeError(f"{path}: no episode {' or '.join(outcomes)}: {'; '.join(reasons[:_NAMED])}{more}")


def open_bags(
    path: Path,
    contract: Contract,
    outcomes: Collection[Outcome] = ONLY_SUCCESSES,
    *,
    namespace: str | None = None,
    instruction: str = "",
) -> BagEpisodes:
    """List the episodes that ended with one of ``outcomes``, of a bag, a lone file or the bags of a folder.

    A bag in which a policy followed instructions has an episode for each; another one has those that a person showed,
    if it holds the topics of the robot. ``namespace`` is the robot's in bags of several; ``instruction`` is what was
    done in bags that a person drove, whatever they say themselves. There may be no episode.
    """
    check_path(path)
    found = find_bags(path)
    listed = BagEpisodes(left_out=found.notes, problems=found.problems)
    wanted = WantedEpisodes(contract, outcomes, namespace, instruction)
    for label, bag in zip(bag_labels(path, found.bags), found.bags, strict=True):
        list_bag(bag, label, wanted, listed)
    return listed


@dataclass(frozen=True)
class WantedEpisodes:
    """How bags are to be read, and which of their episodes are meant; as :func:`open_bags` says."""

    contract: Contract
    outcomes: Collection[Outcome] = ONLY_SUCCESSES
    namespace: str | None = None
    instruction: str = ""


def list_bag(path: Path, label: str, wanted: WantedEpisodes, listed: BagEpisodes) -> None:
    """Add the episodes of one bag, which is called ``label`` among the others."""
    if problem := _list(path, label, wanted, listed):
        listed.problems.append(problem)


def _list(path: Path, label: str, wanted: WantedEpisodes, listed: BagEpisodes) -> str:
    """Add the episodes of one bag; return what keeps it from being read, else nothing."""
    contract, outcomes = wanted.contract, wanted.outcomes
    try:
        record = verdict_of(path)
        if record is not None and (outcome := OUTCOMES[record.outcome]) not in outcomes:
            listed.left_out.append(f"{label}: {outcome} ({how_it_ended(record)})")
            return ""
        bag = Bag(path, contract, namespace=wanted.namespace)
        recorded = bag.episodes()
        lacking = bag.lacks(needed_topics(contract))
        shown_lacks = "" if recorded else demonstration_lacks(bag, contract)
        cuts = Cuts() if recorded or shown_lacks else find_demonstrations(bag, contract, wanted.instruction)
        if cuts.found:
            check_first_state(bag, contract)
    except OSError as error:
        return f"{path}: can't be read ({error.strerror})"
    except (BagError, ContractError) as error:
        return str(error)
    if not any(bag.counts.values()):
        listed.left_out.append(f"{label}: holds no message")
        return ""
    if len(bag.namespaces) > 1:
        # So that what is computed of one robot is not taken for another's.
        label = f"{label}_{bag.namespace.strip('/').replace('/', '_') or 'root'}"
    if not recorded and not shown_lacks:
        _list_shown(bag, label, contract, outcomes, cuts, listed)
        return ""
    if lacking:
        own = any(bag.topic(name) is not None for name in OWN)
        return f"{path}: holds no {lacking if own else shown_lacks}. {DEMONSTRATIONS}"
    if not recorded:
        listed.left_out.append(f"{label}: no instruction was followed in it")
    if record is not None:
        # What a person wrote beside the bag counts: few real scenes have a verdict of their own.
        verdict = OUTCOMES[record.outcome], how_it_ended(record)
        recorded = [replace(entry, outcome=verdict[0], text=verdict[1]) for entry in recorded]
    for entry in recorded:
        if entry.outcome in outcomes:
            listed.episodes.append(BagEpisode(bag, label, entry, contract))
        else:
            listed.left_out.append(f"{label}_{entry.name}: {entry.outcome} ({entry.text})")
    return ""


def _list_shown(
    bag: Bag, label: str, contract: Contract, outcomes: Collection[Outcome], cuts: Cuts, listed: BagEpisodes
) -> None:
    """Add the episodes that a person showed."""
    listed.left_out += [f"{label}: {note}" for note in cuts.notes]
    for number, shown in enumerate(cuts.found):
        name = label if len(cuts.found) == 1 else f"{label}_episode_{number:06d}"
        if shown.outcome not in outcomes:
            listed.left_out.append(f"{name}: {shown.outcome} ({shown.text})")
        elif not shown.instruction and bag.topic("policy_state") is not None:
            listed.left_out.append(f"{label}: no instruction was followed in it")
        elif not shown.instruction:
            listed.left_out.append(
                f"{name}: nothing says what was done in it; write --instruction, or publish it on "
                f"{contract.demonstrations.instruction_topic} while recording"
            )
        else:
            listed.episodes.append(DemonstrationEpisode(bag, name, shown, contract))


def needed_topics(contract: Contract) -> dict[str, str]:
    """The topics, and their types, without which a bag holds no episode."""
    seen = {f"observation/{name}": IMAGES[0] for name in contract.camera_names}
    own = {name: OWN[name] for name in ("policy_state", "executor_state")}
    return {**own, **seen, "observation/state": STATE}
