# SPDX-License-Identifier: Apache-2.0
"""What became of an item: plain values that pass between processes and machines."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swiftvla_ros.errors import UserError
from swiftvla_ros.extras import missing_extra


@dataclass(frozen=True)
class Made:
    """It is there now."""

    result: Any
    host: str


@dataclass(frozen=True)
class Failed:
    """It couldn't be made."""

    text: str  # why
    trace: str = ""  # of a fault of the program the way there
    passing: bool = False  # it may be made another time: a disk that is full, a share that is gone


@dataclass(frozen=True)
class Lost:
    """Who made it is gone, and may have been halfway."""

    text: str


WorkOutcome = Made | Failed | Lost


def attempt(make: Callable[[Any], Any], item: Any) -> WorkOutcome:
    """Make an item, in whatever process this is; what goes wrong is told in an outcome."""
    try:
        return Made(make(item), socket.gethostname())
    except UserError as error:
        return Failed(str(error))
    except OSError as error:
        return Failed(f"{socket.gethostname()}: {error}", passing=True)
    except Exception as error:  # noqa: BLE001  (whatever it is, it must not cost the other items)
        sentence = missing_extra(error) if isinstance(error, ModuleNotFoundError) else None
        if sentence is not None:
            return Failed(f"{socket.gethostname()}: {sentence}")
        return Failed(f"{type(error).__name__}: {error}", traceback.format_exc())
