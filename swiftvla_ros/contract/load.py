# SPDX-License-Identifier: Apache-2.0
"""Finds, reads and checks a contract file; every refusal names the file, the key, what is wrong and what to write."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from swiftvla_ros.contract import schema
from swiftvla_ros.contract.checks.explain import at_most, explain_all
from swiftvla_ros.contract.checks.magnitudes import impossible_numbers
from swiftvla_ros.contract.checks.topics import impossible_topics
from swiftvla_ros.contract.checks.yaml_text import YamlError, parse_yaml, read_yaml_text
from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.kinematics import KinematicChain
from swiftvla_ros.errors import UserError
from swiftvla_ros.resources import shipped_robots

_MOST_LINES = 20
_SUFFIXES = (".yaml", ".yml")


class ContractError(UserError, ValueError):
    """A contract that can't be used; the message names file, key, problem and fix."""


def load_contract(path_or_name: str | Path, *, recorded: bool = False) -> Contract:
    """Read a contract from a file, or a shipped one by name (``so101_sim``); raises :class:`ContractError`.

    One that was ``recorded`` with a bag is history, and read as it ran: what no arm has, such as limits in degrees, is
    not refused.
    """
    path = _find(path_or_name)
    if not path.exists():
        raise ContractError(f"{path}: there is no such file; {_meant(path)}check the path")
    try:
        text = read_yaml_text(path)
    except YamlError as error:
        raise ContractError(str(error)) from error
    return contract_from_text(text, path, recorded=recorded)


def load_robot(path_or_name: str | Path) -> Contract:
    """Read the contract of a robot that is to be driven; raises :class:`ContractError` as :func:`load_contract` does.

    One whose policy moves a hand by Cartesian steps is refused: nothing on ROS takes those.
    """
    contract = load_contract(path_or_name)
    if contract.hand is not None:
        raise ContractError(
            f"{contract.path}: policy.actions: '{contract.policy.actions}' moves the hand of a benchmark's robot, "
            "which nothing on ROS commands; use it with `swiftvla benchmark`, `collect` and `train`"
        )
    return contract


def contract_from_text(text: str, path: Path, *, recorded: bool = False) -> Contract:
    """Check a contract's text; ``path`` is named in errors and resolves the URDF's relative path."""
    try:
        data = parse_yaml(text, path, recorded=recorded)
    except YamlError as error:
        raise ContractError(str(error)) from error
    if not isinstance(data, dict):
        what = "is empty" if data is None else "holds a list, not keys" if isinstance(data, list) else "holds no keys"
        raise ContractError(f"{path}: {what}; see config/robots/so101_sim.yaml for a complete contract")
    try:
        parsed = schema.ContractFile.model_validate(data)
    except ValidationError as error:
        lines = explain_all(error.errors(include_url=False), data)
        raise ContractError("\n".join(f"{path}: {line}" for line in lines)) from None
    if not recorded:
        lines = [*impossible_numbers(parsed), *impossible_topics(parsed)]
        if lines:
            raise ContractError("\n".join(f"{path}: {line}" for line in at_most(_MOST_LINES, lines, len(lines))))
    contract = Contract(path=path, text=text, file=parsed, chain=None)
    if parsed.kinematics is None or contract.urdf_path is None:
        return contract
    try:
        chain = KinematicChain.from_urdf(
            contract.urdf_path, parsed.kinematics.end_effector, [j.name for j in parsed.joints]
        )
    except OSError as error:
        raise ContractError(
            f"{path}: kinematics.urdf: {contract.urdf_path} can't be read ({error.strerror}); write its path, relative "
            "to the contract, or remove kinematics"
        ) from error
    except ValueError as error:
        raise ContractError(f"{path}: kinematics: {error}") from error
    return replace(contract, chain=chain)


def _meant(path: Path) -> str:
    """A file beside it, or a shipped contract, that was meant perhaps; else nothing."""
    if path.stem in shipped_robots():
        return f"did you mean the shipped '{path.stem}'? Else "
    beside = [each.name for suffix in _SUFFIXES for each in path.parent.glob(f"*{suffix}")]
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f"did you mean '{path.with_name(near[0])}'? Else " if near else ""


def _find(path_or_name: str | Path) -> Path:
    path, word = Path(path_or_name), str(path_or_name)
    if path.suffix in _SUFFIXES or path.is_file():
        return path
    known = shipped_robots()
    if word in known:
        return known[word]
    if word and path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix in _SUFFIXES)
        what = f"name a YAML file in it, such as {path / inside[0]}" if inside else "name a YAML file"
        raise ContractError(f"robot '{word}': is a folder; {what}")
    near = difflib.get_close_matches(word, known, n=1)
    meant = f"did you mean '{near[0]}'? Write" if near else "write"
    raise ContractError(f"robot '{word}': no such contract; {meant} the path of a YAML file or one of {sorted(known)}")
