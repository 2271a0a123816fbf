# SPDX-License-Identifier: Apache-2.0
"""``swiftvla train``: a policy from demonstrations. Its options are in :mod:`swiftvla_ros.training.command`."""

from __future__ import annotations

import os
from functools import wraps
from pathlib import Path
from typing import Any

from swiftvla_ros.training import command as training


@wraps(training.command)
def command(
    *,
    episodes: Path,
    out: Path,
    robot: str,
    scenes: int,
    scenes_dir: Path | None,
    processes: int,
    seed: int,
    **options: Any,
) -> None:
    """Render the still scenes that are missing, and train."""
    from swiftvla_ros.cli.allocator import faster_allocator

    faster_allocator()
    from swiftvla_ros.cli.still_scenes import render_still_scenes
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.episodes.datasets.store import check_path

    # A typing error is told before a minute of rendering.
    check_path(episodes)
    workers = processes or os.cpu_count() or 1
    folder = training.scenes_folder(out, scenes, scenes_dir)
    if folder is not None:
        render_still_scenes(folder, scenes, workers=workers, seed=seed, contract=load_contract(robot))
    training.command(
        episodes=episodes,
        out=out,
        robot=robot,
        scenes=scenes,
        scenes_dir=scenes_dir,
        processes=workers,
        seed=seed,
        **options,
    )
