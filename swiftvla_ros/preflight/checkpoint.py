# SPDX-License-Identifier: Apache-2.0
"""Rows of the checkpoint: whether its folder can be used, is what was loaded, and is of this robot's contract."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from swiftvla_ros.contract import Contract
from swiftvla_ros.policy.checkpoint import CONTRACT, ContractProblem, contract_problems
from swiftvla_ros.policy.checkpoint_fingerprint import changed_keys
from swiftvla_ros.policy.lerobot.folder import LeRobotFolder, lerobot_problems
from swiftvla_ros.preflight.facts import CheckpointFolder
from swiftvla_ros.preflight.row import Row

_SHOWN = 4
_TRAINED_ON = "trained on"
# What does not change what the policy sees or what its rows mean.
_HARMLESS = re.compile(r"contract: (kinematics|drivers|leader|demonstrations|lerobot|robot|joint_states\.|.*\.topic)\b")
_OF_ALL = ("joints", "cameras", "image sizes", "step", "actions")


def check_checkpoint(found: CheckpointFolder | None, contract: Contract, loaded_sha256: str) -> Iterator[Row]:
    """Judge the folder that the policy names; ``loaded_sha256`` is what the policy says it has loaded."""
    name = "checkpoint"
    if found is None:
        yield Row(name, "warning", "the policy names no folder: nothing of what it was trained on is known", "")
        return
    policy = found.checkpoint or found.lerobot
    if policy is None:
        finding, _, fix = found.problem.rpartition("; ")
        yield Row(name, "fail", finding or found.problem, fix if finding else "copy the whole folder again")
        return
    if not loaded_sha256:
        yield Row(name, "fail", f"{found.folder} is not loaded by the policy", "look at the policy's log; start it")
    elif loaded_sha256 != policy.sha256:
        finding = (
            f"the policy has loaded {loaded_sha256[:12]}, and {found.folder} is {policy.sha256[:12]} now: its "
            "files were changed since"
        )
        yield Row(name, "fail", finding, "start the policy again, or put the files back")
    else:
        yield Row(name, "ok", f"{found.folder.name}, {policy.sha256[:12]}, as loaded")
    if isinstance(policy, LeRobotFolder):
        yield from _against(lerobot_problems(policy, contract))
        finding = f"a policy of LeRobot's, of type '{policy.type}': its folder names no contract, joints or units"
        fix = "see that its dataset's joints are in the contract's order and units"
        yield Row(_TRAINED_ON, "warning", finding, fix)
    else:
        yield from _against(contract_problems(policy, contract))
        yield from _trained_on(found.contract, contract)


def _against(found: Iterable[ContractProblem]) -> Iterator[Row]:
    """A row for each thing that a checkpoint and a contract have to have alike."""
    problems = list(found)
    for about in _OF_ALL:
        name = f"checkpoint's {about}"
        wrong = [problem.text for problem in problems if problem.about == about]
        for text in wrong:
            finding, _, fix = text.rpartition("; ")
            yield Row(name, "fail", f"the checkpoint {finding}", fix)
        if not wrong:
            yield Row(name, "ok", "as the contract's")


def _trained_on(text: str, contract: Contract) -> Iterator[Row]:
    """What differs between the contract that the policy was trained on and the one that runs."""
    name = _TRAINED_ON
    try:
        before, now = yaml.safe_load(text), yaml.safe_load(contract.text)
    except yaml.YAMLError as error:
        yield Row(name, "fail", f"the checkpoint's {CONTRACT} is no YAML: {error}", "copy the whole folder again")
        return
    changed = [line for line in changed_keys("contract", before, now) if not _HARMLESS.match(line)]
    wrong = list(_seen_otherwise(before, now))
    if wrong:
        yield Row(name, "fail", "; ".join(wrong), "write it as the checkpoint's contract.yaml has it, or train again")
    elif changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        finding = f"another contract than the checkpoint's: {'; '.join(changed[:_SHOWN])}{more}"
        yield Row(name, "warning", finding, "see that each is meant; the policy learnt with what stands first")
    else:
        yield Row(name, "ok", "the checkpoint's contract and this one say the same of what is seen and commanded")


def _seen_otherwise(before: Any, now: Any) -> Iterator[str]:
    """Where the same sensor would be shown to the policy otherwise, or the same command would mean another motion."""
    theirs, ours = _by_name(before, "cameras"), _by_name(now, "cameras")
    for camera in theirs.keys() & ours.keys():
        old, new = theirs[camera], ours[camera]
        if old.get("source_size") != new.get("source_size"):
            continue  # another camera, which may need another crop
        for key in ("rotate_deg", "crop", "fit"):
            if old.get(key) != new.get(key):
                yield f"cameras.{camera}.{key} was {old.get(key)} and is {new.get(key)}, of pictures of the same size"
    old_joints, new_joints = _by_name(before, "joints"), _by_name(now, "joints")
    for joint in old_joints.keys() & new_joints.keys():
        was, turns = bool(old_joints[joint].get("continuous")), bool(new_joints[joint].get("continuous"))
        if was != turns:
            yield f"joints.{joint}.continuous was {was} and is {turns}"


def _by_name(contract: Any, key: str) -> dict[str, dict[str, Any]]:
    entries = contract.get(key) if isinstance(contract, dict) else None
    return {str(e.get("name")): e for e in entries or () if isinstance(e, dict)}
