# SPDX-License-Identifier: Apache-2.0
"""What the machine has: shared memory, disk, a place for logs, a GPU, the right to real-time priority."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swiftvla_ros.contract import Contract
from swiftvla_ros.log_folder import provide_log_folder, ros_log_folder
from swiftvla_ros.preflight.row import Row, size
from swiftvla_ros.preflight.transport import SHARED_MEMORY, Transport

_NVIDIA = ("nvidia0", "nvhost-gpu", "nvgpu")
_ASK_GPU_S = 10.0


@dataclass(frozen=True)
class SharedMemory:
    """Where shared memory lies, in bytes; ``total`` is 0 where there is none.

    Of Fast DDS's segments, ``held`` belongs to processes that run, ``left_over`` to ones that were killed.
    """

    total: int
    free: int
    held: int = 0
    left_over: int = 0


def read_shared_memory(folder: Path = SHARED_MEMORY) -> SharedMemory:
    """Look at the shared memory and whose it is."""
    if not folder.is_dir():
        return SharedMemory(0, 0)
    usage, held, left_over = shutil.disk_usage(folder), 0, 0
    for lock in folder.glob("fast*_el"):
        segment = lock.with_name(lock.name.removesuffix("_el"))
        taken = segment.stat().st_blocks * 512 if segment.exists() else 0
        if is_held(lock):
            held += taken
        else:
            left_over += taken
    return SharedMemory(usage.total, usage.free, held, left_over)


def is_held(lock: Path) -> bool:
    """Whether a process runs that has this segment: it locks the file beside it, and its end unlocks it."""
    try:
        with lock.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True  # locked, or another user's
    return False


def check_shared_memory(memory: SharedMemory, transport: Transport, contract: Contract) -> Row:
    """Whether the segments of all processes that exchange this robot's images fit."""
    name, segment = "/dev/shm", transport.profile.segment_bytes  # noqa: S108
    if not memory.total or segment is None:
        why = "not on this system" if not memory.total else "the Fast DDS profile uses no shared memory"
        return Row(name, "skipped", why)
    # The driver, a node a camera, and the policy; a recorder comes on top.
    processes = len(contract.cameras) + 3
    needed, available = processes * segment, memory.free + memory.held
    finding = f"{size(memory.total)}, {size(memory.free)} free"
    if memory.left_over:
        finding += f", {size(memory.left_over)} left over by processes that were killed"
    clean = "fastdds shm clean, or remove /dev/shm/fastdds_* while no ROS process runs"
    if available < needed:
        finding += (
            f"; {processes} processes take {size(segment)} each for the images of {contract.robot}: {size(needed)}"
        )
        larger = "give it more: docker run --shm-size 1g or --ipc host, mount -o remount,size=1G /dev/shm"
        fix = clean if memory.total >= needed and memory.left_over else larger
        return Row(name, "fail", finding, fix)
    if memory.left_over > memory.total // 2:
        return Row(name, "warning", finding, clean)
    return Row(name, "ok", f"{finding}; {size(needed)} needed")


def check_logs(environment: Mapping[str, str]) -> Row:
    """Whether ROS can write its logs: without, its programs end at their start."""
    notice, _ = provide_log_folder(dict(environment))
    if not notice:
        return Row("logs", "ok", f"{ros_log_folder(dict(environment))} can be written to")
    problem = notice.rpartition("; ")[0]
    fix = "export HOME, or ROS_LOG_DIR with a folder of this user's"
    return Row("logs", "fail", f"{problem}; drivers and other programs of ROS do not start", fix)


def check_gpu() -> Row:
    """Whether torch computes on a GPU, where there is one."""
    device = _gpu()
    if importlib.util.find_spec("torch") is None:
        return Row("GPU", "skipped", f"{device or 'none'}; torch is not installed here")
    if not device:
        return Row("GPU", "ok", f"none: the policy computes on {os.cpu_count()} CPU cores")
    from swiftvla_ros.policy.runtimes.torch_runtime import capabilities

    problem = capabilities().devices["cuda"]
    if problem:
        finding, _, fix = problem.partition("; ")
        return Row("GPU", "warning", f"{device}, but {finding}", fix)
    return Row("GPU", "ok", device)


def _gpu() -> str:
    """Name NVIDIA's devices; empty without."""
    if not any((Path("/dev") / name).exists() for name in _NVIDIA) and shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_ASK_GPU_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "an NVIDIA GPU that nvidia-smi does not answer for"
    return "; ".join(answer.split("\n")).strip("; ")


def check_real_time(refusal: str) -> Row:
    """Whether the executor's control loop may have a real-time priority; ``refusal`` is of :func:`try_real_time`."""
    name = "real time"
    if not refusal:
        return Row(name, "ok", "SCHED_FIFO is granted: the executor's realtime_priority may be set")
    fix = "rtprio in /etc/security/limits.d, docker run --cap-add SYS_NICE --ulimit rtprio=99"
    return Row(name, "skipped", f"not granted ({refusal}); needed only for the executor's realtime_priority", fix)


def try_real_time() -> str:
    """Ask for the lowest real-time priority, in a thread of its own as the control loop does; empty if granted."""
    refusals: list[str] = []

    def ask() -> None:
        try:
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_FIFO, os.sched_param(1))
        except (OSError, AttributeError) as error:
            refusals.append(getattr(error, "strerror", None) or "not on this system")

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return "".join(refusals)
