# SPDX-License-Identifier: Apache-2.0
"""Finds, reads and checks a contract file; every refusal names the file, the key, what is wrong and what to write."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from swiftvla_ros.contract import schema
from swiftvla_ros.contract.base import leaves_of
from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.kinematics import KinematicChain
from swiftvla_ros.errors import UserError
from swiftvla_ros.resources import shipped_robots

_UNIT_FIXES = {"degrees": "deg", "degree": "deg", "°": "deg", "radians": "rad", "radian": "rad", "%": "percent"}


class ContractError(UserError, ValueError):
    """A contract that can't be used; the message names file, key, problem and fix."""


def load_contract(path_or_name: str | Path) -> Contract:
    """Read a contract from a file, or a shipped one by name (``so101_sim``); raises :class:`ContractError`."""
    return contract_from_file(_find(path_or_name))


def contract_from_file(path: Path) -> Contract:
    """Read the contract at ``path``; raises :class:`ContractError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ContractError(f"{path}: can't be read ({error.strerror}); check the path and its permissions") from error
    return contract_from_text(text, path)


def contract_from_text(text: str, path: Path) -> Contract:
    """Check a contract's text; ``path`` is named in errors and resolves the URDF's relative path."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ContractError(f"{path}: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise ContractError(f"{path}: holds no keys; see config/robots/so101_sim.yaml for a complete contract")
    try:
        parsed = schema.ContractFile.model_validate(data)
    except ValidationError as error:
        lines = [_explain(e, data) for e in error.errors()]
        raise ContractError("\n".join(f"{path}: {line}" for line in lines)) from None
    contract = Contract(path=path, text=text, file=parsed, chain=None)
    if parsed.kinematics is None or contract.urdf_path is None:
        return contract
    try:
        chain = KinematicChain.from_urdf(
            contract.urdf_path, parsed.kinematics.end_effector, [j.name for j in parsed.joints]
        )
    except (OSError, ValueError) as error:
        raise ContractError(f"{path}: kinematics: {error}") from error
    return replace(contract, chain=chain)


def _find(path_or_name: str | Path) -> Path:
    path = Path(path_or_name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    known = shipped_robots()
    if str(path_or_name) in known:
        return known[str(path_or_name)]
    raise ContractError(
        f"robot '{path_or_name}': no such contract; write the path of a YAML file or one of {sorted(known)}"
    )


def _explain(error: Any, data: Any) -> str:
    """One line for one pydantic error: the key as a person would write it, what is wrong, what to write."""
    location = tuple(p for p in error["loc"] if not (isinstance(p, str) and p.startswith(("tuple[", "function-", "<"))))
    key = _key(location, data)
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        model_keys = list(_model_at(location[:-1]).model_fields)
        near = difflib.get_close_matches(str(location[-1]), model_keys, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known keys are {sorted(model_keys)}"
        return f"{key}: unknown key; {hint}"
    if kind == "missing":
        return f"{key}: missing; add it ({_model_at(location[:-1]).model_fields[str(location[-1])].description})"
    if location and location[-1] == "unit":
        fix = _UNIT_FIXES.get(str(error["input"]).lower())
        return f"{key}: unit '{error['input']}' is unknown; write " + (f"'{fix}'" if fix else f"one of {schema.UNITS}")
    if kind == "literal_error":
        return f"{key}: '{error['input']}' is not allowed; write {context.get('expected', 'one of the allowed values')}"
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(error["input"], dict) else f" (got {error['input']!r})"
    return f"{key}: {message}{shown}" if key else message


def _key(location: tuple[int | str, ...], data: Any) -> str:
    """``("joints", 1, "jerk")`` → ``joints.elbow_flex.jerk``, by the entry's own name where it has one."""
    parts: list[str] = []
    here = data
    for step in location:
        if isinstance(step, int) and isinstance(here, dict):
            continue  # one entry where a list may be
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            here = None
        entry = here if isinstance(here, dict) and isinstance(step, int) else {}
        name = entry.get("name", entry.get("joint"))
        parts.append(name if isinstance(name, str) else str(step))
    return ".".join(parts)


def _model_at(location: tuple[int | str, ...]) -> type[BaseModel]:
    """The model that a key belongs to; names of joints and numbers of entries on the way are no keys."""
    model: type[BaseModel] = schema.ContractFile
    for step in location:
        if step in model.model_fields:
            leaves = [leaf for _, leaf in leaves_of(model.model_fields[str(step)].annotation)]
            model = next((leaf for leaf in leaves if isinstance(leaf, type) and issubclass(leaf, BaseModel)), model)
    return model
