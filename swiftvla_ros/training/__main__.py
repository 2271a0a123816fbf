# SPDX-License-Identifier: Apache-2.0
"""``accelerate launch --config_file config/accelerate/gpus.yaml -m swiftvla_ros.training EPISODES OUT …``.

The options are those of ``swiftvla train``, but the launcher says how many processes there are, and scenes are not
rendered: ``--scenes-dir`` names a folder of them, or ``--scenes 0`` trains without.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import typer

from swiftvla_ros.training.command import command


@wraps(command)
def main(**options: Any) -> None:
    """Train in the processes that a launcher started."""
    command(**{**options, "processes": 1})


if __name__ == "__main__":
    typer.run(main)
