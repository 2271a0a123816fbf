# SPDX-License-Identifier: Apache-2.0
"""Whether what was recorded fits the contract that will run: recorded and given contract, key by key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.quality.findings import Finding

# What decides what a policy sees and says; limits, patience and topics of commands may differ.
_DECIDES = ("joints", "cameras", "joint_states", "gripper", "leader", "demonstrations", "policy")
# Of these, what changes no number: topics may be remapped, a pose is for labels.
_HARMLESS = ("topic", "rate_hz", "velocity", "acceleration", "jerk", "rest", "max_image_age_s", "max_state_age_s")
_MOST = 8


class KeyDifference(NamedTuple):
    """A key of the contract, and its values as they were recorded and as they are given."""

    key: str
    then: str
    now: str


def check_agreement(recorded: Sequence[tuple[str, Sequence[KeyDifference]]]) -> list[Finding]:
    """Name the keys in which contracts of bags, by episode, differ from the one that is given: each key once."""
    found: dict[str, Finding] = {}
    for name, told in recorded:
        for key, then, now in told:
            if key not in found and len(found) < _MOST:
                text = f"recorded with {then}, and given is {now}"
                fix = "name the contract of the recording with --robot, or correct the one that will run"
                found[key] = Finding("contract", "error", name, key, 1.0, text, fix)
    return list(found.values())


def differences(recorded: Contract, given: Contract) -> Iterator[KeyDifference]:
    """Yield what differs of what decides what a policy sees and says."""
    for section in _DECIDES:
        one = dict(_leaves(getattr(recorded.file, section), section))
        other = dict(_leaves(getattr(given.file, section), section))
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key) and key.rpartition(".")[2] not in _HARMLESS and ".pose" not in key:
                yield KeyDifference(key, str(one.get(key)), str(other.get(key)))


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _leaves(getattr(value, name), f"{key}.{name}")
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from _leaves(entry, f"{key}.{name}")
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for k, entry in enumerate(value):
            yield from _leaves(entry, f"{key}.{getattr(entry, 'name', None) or getattr(entry, 'joint', k)}")
    else:
        yield key, value
