# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one network: forked on a CPU, or started by ``accelerate launch``.

On CPUs, two processes of one thread train about 1.5 times as fast as one process of two threads, since most of a small
network's kernels are too short to share.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, GradientState
from torch.multiprocessing.spawn import start_processes

from swiftvla_ros.training.options import MixedPrecision

# What Linux calls instructions that multiply bfloat16: of x86 and of ARM processors.
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


def run_processes(work: Callable[[], None], processes: int, folder: Path) -> None:
    """Run ``work`` in forked processes, which share all memory that was filled before; a single one is this one.

    They find each other through a file in ``folder``, and an :class:`accelerate.Accelerator` made in ``work`` joins
    them. What one of them raises ends all, and is raised here.
    """
    if processes == 1:
        work()
        return
    rendezvous = folder / f"rendezvous{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // processes)

    def run(rank: int) -> None:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(processes),
            LOCAL_WORLD_SIZE=str(processes),
            OMP_NUM_THREADS=str(threads),
        )
        torch.set_num_threads(threads)
        dist.init_process_group("gloo", init_method=f"file://{rendezvous.resolve()}", rank=rank, world_size=processes)
        work()
        dist.destroy_process_group()

    # OpenMP's threads would not survive the fork.
    own_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start_processes(run, nprocs=processes, start_method="fork")
    finally:
        torch.set_num_threads(own_threads)
        rendezvous.unlink(missing_ok=True)


def used_precision(precision: MixedPrecision, device: str) -> MixedPrecision:
    """What "auto" is on a device.

    A processor without instructions for bfloat16 converts every number: a step of swiftvla-nano then takes 13 times as
    long as in float32.
    """
    if precision != "auto":
        return precision
    return "bf16" if device != "cpu" or _BFLOAT16 & _processor_flags() else "no"


def _processor_flags() -> frozenset[str]:
    """What the processor can do, as Linux names it; empty where nobody tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(flags.split())


def join_processes(
    device: str, precision: MixedPrecision, accumulate: int, *, find_unused: bool = False
) -> Accelerator:
    """Make the accelerator of this process: alone, forked or launched, as the environment says.

    ``find_unused`` costs time and is needed where a trained parameter may have no part in the losses.
    """
    if precision == "fp16" and device == "cpu":
        raise ValueError("--precision fp16 needs a GPU; on a CPU write bf16 or no")
    # accelerate keeps its state in globals, which a forked process inherits from whatever its parent did before.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision=used_precision(precision, device),
        gradient_accumulation_steps=accumulate,
        kwargs_handlers=[
            DistributedDataParallelKwargs(gradient_as_bucket_view=True, find_unused_parameters=find_unused)
        ],
    )
