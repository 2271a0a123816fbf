# SPDX-License-Identifier: Apache-2.0
"""How processes train together."""

import pytest

from swiftvla_ros.training import distributed


@pytest.mark.parametrize(
    ("flags", "found"), [("avx2 fma", "no"), ("avx512f avx512_bf16", "bf16"), ("asimd bf16", "bf16")]
)
def test_bfloat16_is_chosen_where_it_is_multiplied(monkeypatch: pytest.MonkeyPatch, flags: str, found: str) -> None:
    """Protects training on processors that would convert each number: 13 times as long."""
    monkeypatch.setattr(distributed, "_processor_flags", lambda: frozenset(flags.split()))
    assert distributed.used_precision("auto", "cpu") == found
    assert distributed.used_precision("auto", "cuda") == "bf16"
    assert distributed.used_precision("no", "cuda") == "no"
