# SPDX-License-Identifier: Apache-2.0
"""Copies a contract to where it stays: a bag, or a checkpoint."""

from __future__ import annotations

from pathlib import Path

import yaml

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.hashing import sha256


def store_contract(contract: Contract, path: Path) -> tuple[str, str]:
    """Write the contract to ``path`` and the URDF that it names beside it; return both texts."""
    text, urdf_text = _stored(contract)
    if contract.urdf_path is not None:
        (path.parent / contract.urdf_path.name).write_text(urdf_text, encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    return text, urdf_text


def digest_of(contract: Contract) -> str:
    """The SHA-256 of a contract and its URDF: the same for one as loaded and for its copy, wherever the URDF lay."""
    return contract_digest(*_stored(contract))


def contract_digest(text: str, urdf: str) -> str:
    """Return the SHA-256 of a contract and its URDF as :func:`store_contract` returned them."""
    return sha256([f"{text}\0{urdf}".encode()])


def _stored(contract: Contract) -> tuple[str, str]:
    """The texts of a contract's copy, whose URDF lies beside it, and of that URDF; empty without one."""
    if contract.urdf_path is None:
        return contract.text, ""
    urdf, text, urdf_text = contract.urdf_path, contract.text, contract.urdf_text
    if urdf_text is None:
        urdf_text = urdf.read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    if data["kinematics"]["urdf"] != urdf.name:
        data["kinematics"]["urdf"] = urdf.name
        text = yaml.safe_dump(data, sort_keys=False)
    return text, urdf_text
