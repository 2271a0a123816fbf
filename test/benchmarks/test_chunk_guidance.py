# SPDX-License-Identifier: Apache-2.0
"""The figures of the chunk guidance benchmark, on motions whose figures are known."""

import numpy as np
import pytest

from chunk_guidance import Episode, disagreement, peak_jerk, seam_jump, summarise, table
from swiftvla_ros.motion.chunk import JointChunk

DT = 0.01


def test_jerk_of_a_cubic() -> None:
    """Protects the jerk's unit: q = t³ has a jerk of 6 everywhere, and a step one of height / dt³."""
    t = DT * np.arange(50)[:, None]
    assert peak_jerk(t**3, DT) == pytest.approx(6.0, rel=1e-6)
    step = np.where(t < 0.2, 0.0, 0.02)
    # A step's third difference is 1, -2, 1 times its height.
    assert peak_jerk(step, DT) == pytest.approx(2 * 0.02 / DT**3, rel=1e-6)
    assert peak_jerk(t[:2], DT) == 0.0


def test_jump_is_judged_at_seams_alone() -> None:
    """Protects the comparison: steady motion is no jump, and a step counts only where a newer chunk took over."""
    commands = 0.5 * DT * np.arange(50)[:, None]
    assert seam_jump(commands, [10, 20]) == pytest.approx(0.0, abs=1e-12)
    commands[20:] += 0.03
    assert seam_jump(commands, [10]) == pytest.approx(0.0, abs=1e-12)
    assert seam_jump(commands, [10, 20]) == pytest.approx(0.03)
    assert seam_jump(commands, []) == 0.0


def test_disagreement_is_the_chunks_not_the_commands() -> None:
    """Protects the figure of guidance itself: a chunk's position for now against where the commands led."""
    chunk = JointChunk(0, 100_000_000, 0.5 * 0.1 * np.arange(10)[:, None])
    led = [np.array([0.5 * (0.25 - k * DT)]) for k in (2, 1)]
    assert disagreement(chunk, 250_000_000, led) == pytest.approx(0.0, abs=1e-12)
    assert disagreement(chunk, 250_000_000, [q + 0.2 for q in led]) == pytest.approx(0.2)


def test_rows_are_compared_with_the_queue() -> None:
    """Protects the printed ratios: the same delay's queue over the mode's own figure."""

    def episodes(mode: str, jerk: float, jump: float) -> list[Episode]:
        return [Episode(mode, 300, k, v, 2.0, 0.4, jerk, 1.0, 0.1, jump, 9) for k, v in enumerate(("DONE", "PENDING"))]

    rows = [summarise("queue", 300, episodes("queue", 50_000.0, 0.02))]
    rows.append(summarise("splice", 300, episodes("splice", 100.0, 0.001)))
    assert (rows[1].done.count, rows[1].done.total, rows[1].seam_jump) == (1, 2, 0.001)
    cells = [list(column.cells) for column in table(rows).columns]
    assert cells[0][1] == "300 (10)"
    assert cells[-1][1] == "jerk 500, jump 20"
