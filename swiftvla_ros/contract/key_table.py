# SPDX-License-Identifier: Apache-2.0
"""The keys of a contract as a table for people, made of the schema."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from swiftvla_ros.contract.base import leaves_of
from swiftvla_ros.contract.schema import ContractFile


def key_table() -> str:
    """Return all keys with defaults and meanings, in Markdown: what docs/own_arm.md holds."""
    return "\n".join(["| key | if left out | meaning |", "|---|---|---|", *_rows(ContractFile, "")])


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        leaves = list(leaves_of(field.annotation))
        allowed = ", ".join(f"`{leaf}`" for _, leaf in leaves if not isinstance(leaf, type))
        meaning = ": ".join(part for part in (allowed, field.description) if part)
        yield f"| `{prefix}{name}` | {_default(field)} | {meaning} |"
        for step, leaf in leaves:
            if isinstance(leaf, type) and issubclass(leaf, BaseModel):
                yield from _rows(leaf, f"{prefix}{name}{step}.")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if isinstance(field.default, BaseModel):
        return "as below"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default}`" if isinstance(field.default, (str, float, int)) else "none"
