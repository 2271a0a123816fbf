# SPDX-License-Identifier: Apache-2.0
"""Copies a contract to where it stays: a bag, or a checkpoint."""

from __future__ import annotations

from pathlib import Path

import yaml

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.hashing import sha256


def store_contract(contract: Contract, path: Path) -> tuple[str, str]:
    """Write the contract to ``path`` and the URDF that it names beside it; return both texts."""
    text, urdf_text = contract.text, ""
    if contract.urdf_path is not None:
        urdf = contract.urdf_path.resolve()
        urdf_text = urdf.read_text(encoding="utf-8")
        (path.parent / urdf.name).write_text(urdf_text, encoding="utf-8")
        data = yaml.safe_load(text)
        if data["kinematics"]["urdf"] != urdf.name:
            data["kinematics"]["urdf"] = urdf.name
            text = yaml.safe_dump(data, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return text, urdf_text


def digest_of(contract: Contract) -> str:
    """The SHA-256 of a contract as it was loaded, and of its URDF as it lies there."""
    urdf = contract.urdf_path.read_text(encoding="utf-8") if contract.urdf_path is not None else ""
    return contract_digest(contract.text, urdf)


def contract_digest(text: str, urdf: str) -> str:
    """Return the SHA-256 of a contract and its URDF as :func:`store_contract` returned them."""
    return sha256([f"{text}\0{urdf}".encode()])
