#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ask pip which version of each declared package each supported Python gets, and print the table.

``--write`` keeps it in ``test/newest_versions.json``, by which a test without network holds pyproject.toml to every
Python. Run it with ``.venv/bin/python`` after a requirement was changed.
"""

from __future__ import annotations

import argparse
import json
import sys

from ask_pip import ROOT, PipError, declared, resolve
from packaging.utils import canonicalize_name

PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def main() -> int:
    """Print and perhaps write the table; 1 where a Python finds no set of versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the table for the test")
    arguments = parser.parse_args()
    table: dict[str, dict[str, str]] = {}
    for python in PYTHONS:
        names = {canonicalize_name(requirement.name) for requirement in declared(python)}
        try:
            found = resolve(declared(python), python, "--no-deps")
        except PipError as error:
            print(f"Python {python}: {error}", file=sys.stderr)
            return 1
        table[python] = {name: version for name, version in sorted(found.items()) if name in names}
    print(f"{'':28}" + "".join(f"{python:16}" for python in PYTHONS))
    for name in sorted({name for versions in table.values() for name in versions}):
        print(f"{name:28}" + "".join(f"{table[python].get(name, '–'):16}" for python in PYTHONS))
    if arguments.write:
        (ROOT / "test" / "newest_versions.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
