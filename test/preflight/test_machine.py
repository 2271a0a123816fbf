# SPDX-License-Identifier: Apache-2.0
"""What a Jetson holds back is told from the files that its kernel writes; any other machine is left alone."""

from pathlib import Path

import pytest

from swiftvla_ros.preflight.machine import check_board, read_board
from swiftvla_ros.preflight.row import Row

MAXN = "NV Power Mode: MAXN\n0\n"
HEALTHY = {
    "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    "sys/class/devfreq/17000000.gpu/available_frequencies": "306000000 612000000 1300500000",
    "sys/class/devfreq/17000000.gpu/max_freq": "1300500000",
    "sys/devices/system/cpu/online": "0-11",
    "sys/devices/system/cpu/present": "0-11",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "2201600",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2201600",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "52000",
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "99000",
}


def board(root: Path, mode: str = MAXN, device: str = "cuda:0", **changed: str) -> Row:
    """The row of a Jetson whose files hold this."""
    for name, text in (HEALTHY | changed).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    [row] = check_board(read_board(root, lambda: mode), device)
    return row


def test_a_jetson_at_full_power_is_green(tmp_path: Path) -> None:
    """Protects: nobody turns clocks that are as they should be."""
    assert board(tmp_path).status == "ok"


def test_any_other_machine_is_left_alone(tmp_path: Path) -> None:
    """Protects: a PC's clocks are none of a pre-flight's business, nor is nvpmodel asked there."""
    [row] = check_board(read_board(tmp_path, lambda: pytest.fail("asked")), "cpu")
    assert row.status == "skipped"


@pytest.mark.parametrize(
    ("mode", "changed", "status", "says"),
    [
        ("NV Power Mode: MODE_15W\n2\n", {}, "warning", "MODE_15W"),
        (MAXN, {"sys/class/devfreq/17000000.gpu/max_freq": "612000000"}, "warning", "GPU held to 612 of 1300 MHz"),
        (MAXN, {"sys/devices/system/cpu/online": "0-3"}, "warning", "of the cores 0-11 only 0-3 run"),
        (MAXN, {"sys/class/thermal/thermal_zone0/temp": "96000"}, "warning", "96 °C"),
        (MAXN, {"sys/class/thermal/thermal_zone0/temp": "99500"}, "fail", "too hot"),
    ],
)
def test_what_it_holds_back_is_told(mode: str, changed: dict[str, str], status: str, says: str, tmp_path: Path) -> None:
    """Protects: a latency that was measured cold or at full power is not trusted at another one."""
    row = board(tmp_path, mode, **changed)
    assert row.status == status
    assert says in row.finding
    assert row.fix


def test_a_policy_beside_the_gpu_is_told(tmp_path: Path) -> None:
    """Protects: a Jetson whose GPU is not used is noticed before its latency is."""
    assert "beside a GPU" in board(tmp_path, device="cpu").finding
