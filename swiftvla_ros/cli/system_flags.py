# SPDX-License-Identifier: Apache-2.0
"""Gives commands the flags of the system's description, with its names, defaults and help texts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from swiftvla_ros.bringup.system_options import Option, SystemOptions, options_of


def with_system_flags(*only: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's last parameter, ``**system``, by flags: all of :class:`SystemOptions`, or ``only`` some."""

    def replace(command: Callable[..., None]) -> Callable[..., None]:
        *own, _system = inspect.signature(command, eval_str=True).parameters.values()
        flags = [
            inspect.Parameter(o.name, inspect.Parameter.KEYWORD_ONLY, default=o.default, annotation=_annotation(o))
            for o in options_of(SystemOptions, only)
        ]
        keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
        command.__signature__ = inspect.Signature([*keywords, *flags])  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in [*keywords, *flags]}
        return command

    return replace


def _annotation(option: Option) -> Any:
    kind: Any = Literal[option.choices] if option.choices else Path | None if option.kind is Path else option.kind
    return Annotated[kind, typer.Option(option.flag, help=option.help, metavar=option.metavar)]
