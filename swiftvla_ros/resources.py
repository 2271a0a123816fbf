# SPDX-License-Identifier: Apache-2.0
"""Where the files lie that come with the package (contracts, checkpoints, messages), and which are taken by default."""

from __future__ import annotations

import sys
from pathlib import Path

DEFAULT_ROBOT = "so101_sim"
DEFAULT_CHECKPOINT = "models/swiftvla-nano-so101-v2"
DEFAULT_GEOMETRY = "models/geometry-nano"


def share_folders() -> list[Path]:
    """Return the folders of ``config``, ``models`` and ``msg``: the checkout first, then the installed shares."""
    here = Path(__file__).resolve()
    # In a colcon install the module lies in <prefix>/lib/python3.x/site-packages (or local/lib/…/dist-packages).
    prefixes = [Path(sys.prefix), *here.parents]
    folders = [here.parents[1], *(p / "share" / "swiftvla_ros" for p in prefixes)]
    return [f for f in folders if (f / "config" / "robots").is_dir()]


def share_folder() -> Path:
    """Return the first of :func:`share_folders`.

    Raises
    ------
    FileNotFoundError
        There is none: the package is not installed whole.
    """
    folder = next(iter(share_folders()), None)
    if folder is None:
        raise FileNotFoundError("swiftvla_ros: config/robots is not installed; install the package with colcon or pip")
    return folder


def shipped_robots() -> dict[str, Path]:
    """Return the contracts that come with the package, by name."""
    return {p.stem: p for folder in reversed(share_folders()) for p in (folder / "config" / "robots").glob("*.yaml")}


def model_path(name: str | Path) -> Path:
    """Return a checkpoint's folder, or a file of one, as an absolute path: from every folder the same.

    It is taken as given where it exists, else from what is shipped, ``models/NAME`` or only ``NAME``. What exists
    nowhere is returned as given: whoever opens it names it when refusing.
    """
    path = Path(name).expanduser()
    if path.exists() or path.is_absolute():
        return path.resolve()
    shipped = (place / path for folder in share_folders() for place in (folder, folder / "models"))
    return next((found for found in shipped if found.exists()), path.resolve())
