# SPDX-License-Identifier: Apache-2.0
"""The GPU check itself, as far as a CPU goes: a rare machine's minutes must not end in a typing error."""

import json
from pathlib import Path

import pytest

import _gpu_bench
import gpu_check


def test_sections_run_and_find_the_same_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the check: figures are written, a failing section is reported, and the others run."""

    def fails(_: gpu_check.Check) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(_gpu_bench._PRECISIONS, "cpu", ("float32",))
    monkeypatch.setattr(gpu_check, "SECTIONS", (fails, gpu_check.parity_nano))
    gpu_check.main(["--device", "cpu", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["fails"] == {"failed": "RuntimeError: no such kernel"}
    assert found["parity_nano"]["float32"]["max_share_of_range"] == 0


def test_nothing_begins_after_the_budget(tmp_path: Path) -> None:
    """Protects the lease: a section that would begin too late is left out, and said so."""
    gpu_check.main(["--device", "cpu", "--budget-s", "-1", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["bits"] == found["speed"] == {"skipped": "the budget was spent"}
