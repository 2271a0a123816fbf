# SPDX-License-Identifier: Apache-2.0
"""Stamps that are not of this machine's present: how far off they may be, and how that is told."""

FUTURE_TOLERANCE_S = 0.05
"""How far ahead a stamp may lie, for clocks that are nearly, not quite, the same."""

SYNCHRONISE = "synchronise the clocks (chrony)"


def off_this_clock(offset_s: float) -> str:
    """How a stamp lies to this clock, such as "stamped 0.30 s ahead of this clock"; behind it, ``offset_s`` is < 0."""
    size = abs(offset_s)
    digits = f"{size:.2f}" if size < 100 else f"{size:.0f}"
    return f"stamped {digits} s {'ahead of' if offset_s > 0 else 'behind'} this clock"


def lag_text(shortest_s: float, longest_s: float) -> str:
    """Tell of messages that come so long after their stamps: a clock that is behind delays each of them by as much.

    A clock that is ahead is certain, as nothing comes before its time; what is behind may just as well be late.
    """
    if longest_s - shortest_s <= max(0.1, 0.1 * longest_s):
        return f"{off_this_clock(-shortest_s)}, or that late each time; {SYNCHRONISE}, or find what delays it"
    return f"{shortest_s:.2f} to {longest_s:.2f} s late; find what delays it, or {SYNCHRONISE}"


def off_clock_text(offset_s: float, limit_s: float | None) -> str:
    """What is wrong with a stamp that lies so far ahead (> 0) of its arrival, or before it; empty where nothing is.

    ``limit_s`` is how old it may be; None: as old as it likes.
    """
    if offset_s > FUTURE_TOLERANCE_S:
        return f"{off_this_clock(offset_s)}; {SYNCHRONISE}"
    return lag_text(-offset_s, -offset_s) if limit_s is not None and -offset_s > limit_s else ""
