# SPDX-License-Identifier: Apache-2.0
"""What a folder of results was made with: written once, and the same for whoever adds to it from any machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swiftvla_ros.errors import UserError
from swiftvla_ros.files import read_json_object, unreadable, whole_file


class SettingsError(UserError):
    """A folder whose results were made otherwise; the text names the file, the setting and the fix."""


def claim(path: Path, settings: dict[str, Any]) -> None:
    """Say in the file ``path`` what its folder's results are made with; where it says so already, it must be the same.

    Raises
    ------
    SettingsError
        They are others, or the file can't be read.
    """
    wanted = json.loads(json.dumps(settings))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, durable=True) as partial:
            partial.write_text(json.dumps(wanted, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    # Read again also where it was written: several machines begin at one time, and the last to write it counts.
    try:
        there = read_json_object(path)
    except (OSError, ValueError) as error:
        raise SettingsError(unreadable(path, error, "choose another folder")) from error
    for key in sorted(wanted.keys() | there.keys()):
        if wanted.get(key) != there.get(key):
            raise SettingsError(
                f"{path}: {key} is {there.get(key)!r}, now it would be {wanted.get(key)!r}; the results of both would "
                "be mixed: choose another folder, delete this one, or give the same settings"
            )
