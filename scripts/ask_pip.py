# SPDX-License-Identifier: Apache-2.0
"""What pip would install for another Python or another machine; asked for by ``check_pins`` and ``aarch64_wheels``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]


class PipError(Exception):
    """pip finds no set of versions; its last lines."""


def declared(python: str, extras: Sequence[str] | None = None) -> list[Requirement]:
    """Return what pyproject.toml asks for on a Python: the bare install, and these extras or all of them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    tables = [project["dependencies"], *(optional[extra] for extra in (optional if extras is None else extras))]
    found = {text: Requirement(text) for table in tables for text in table}
    environment = {"python_version": python, "extra": ""}
    return [
        r for r in found.values()
        if r.name != project["name"] and (r.marker is None or r.marker.evaluate(environment))
    ]  # fmt: skip


def resolve(requirements: Sequence[Requirement], python: str, *options: str) -> dict[str, str]:
    """Ask pip, which downloads metadata only: name → version of what it would install."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--target", folder,
            "--report", str(report), "--only-binary", ":all:", "--python-version", python, *options,
            *(f"{r.name}{r.specifier}" for r in requirements),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise PipError("\n".join(errors[-2:]))
        found = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    return {canonicalize_name(entry["name"]): entry["version"].partition("+")[0] for entry in found}
