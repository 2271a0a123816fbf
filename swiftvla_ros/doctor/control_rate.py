# SPDX-License-Identifier: Apache-2.0
"""Whether this machine holds the contract's control rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.checks.magnitudes import MAGNITUDES
from swiftvla_ros.preflight.row import Row

if TYPE_CHECKING:
    from swiftvla_ros.nodes.parts.rate_trial import HeldRate

# Which one it is matters among real-time threads only.
_PRIORITY = 10
_LEAST_HZ = MAGNITUDES["control.rate_hz"].least


def look_at_rate(contract: Contract, *, real_time: bool) -> Row:
    """Measure and judge; ``real_time`` says whether the priority is granted here."""
    from swiftvla_ros.nodes.parts.rate_trial import measure_rate

    plain = measure_rate(contract)
    return check_rate(plain, measure_rate(contract, _PRIORITY) if real_time and not plain.held else None)


def check_rate(plain: HeldRate, real_time: HeldRate | None) -> Row:
    """Judge the rate as threads usually run, and with the real-time priority where it is granted and needed."""
    name, finding = "control rate", f"{plain.rate_hz:g} Hz: {plain}"
    if plain.held:
        return Row(name, "ok", finding)
    fixes = [f"set the executor's realtime_priority: {_PRIORITY}"]
    if real_time is None:
        fixes[0] += " (rtprio in /etc/security/limits.d allows it)"
    else:
        finding += f"; with SCHED_FIFO {real_time}"
    if real_time is None or not real_time.held:
        fixes.append("end what else computes here (top) or keep a core free of it (isolcpus, taskset)")
        if plain.rate_hz / 2 >= _LEAST_HZ:
            fixes.append(f"write a lower control.rate_hz in the contract ({plain.rate_hz / 2:g})")
    return Row(name, "warning", finding, "; ".join(fixes))
