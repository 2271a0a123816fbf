# SPDX-License-Identifier: Apache-2.0
"""What the torch runtime does on a GPU: the same chunks, bit for bit where they shall be, and how fast.

``python benchmarks/gpu_check.py [--peer-python PYTHON] [--budget-s 330] [--json FILE]``

For a GPU machine without a network, in less than six minutes. PYTHON is an interpreter with lerobot 0.4.4. Without a
GPU, ``--device cpu`` runs what can be run, on the small shipped network. A section that fails is reported, and the
others run; the most important come first, and none is begun after the budget.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from _chunk_networks import chunk_flops
from _gpu_bench import (
    PEERS,
    Array,
    Check,
    Peer,
    between_events,
    differences,
    eager,
    lengths_to_try,
    median,
    observation,
    wait,
)
from chunk_latency import Worker
from swiftvla_ros.cli.output import write_json
from swiftvla_ros.model.guidance import Guidance
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.observation.observation import RowsAhead
from swiftvla_ros.policy.runtime import NetworkInput
from swiftvla_ros.policy.runtimes.captured_chunk import CapturedChunk, _Captured
from swiftvla_ros.policy.runtimes.torch_runtime import TorchRuntime


def parity_nano(check: Check) -> dict[str, Any]:
    """Trained weights: the shipped small network."""
    observations = [observation(check.nano, words, words) for words in lengths_to_try(check, check.nano)]
    return differences(check, check.nano, observations)


def parity_large(check: Check) -> dict[str, Any]:
    """Random weights: the 450M network."""
    return differences(check, check.large, [observation(check.large, words, words) for words in (5, 12, 33)])


def bits(check: Check) -> dict[str, Any]:
    """Graphs give the bits of the same computation without them, again and again, whatever came between."""
    rows: dict[str, Any] = {}
    for name, checkpoint in {"nano": check.nano, **({"450M": check.large} if check.cuda else {})}.items():
        for precision in check.precisions:
            runtime = check.runtime(checkpoint, precision)
            observations = [observation(checkpoint, words, words) for words in lengths_to_try(check, checkpoint)]
            chunks = [runtime.infer(*each) for each in observations]
            again = [runtime.infer(*each) for each in reversed(observations)][::-1]
            plain = [eager(runtime, *each) for each in observations]
            batched = [eager(runtime, *each, batched=True) for each in observations]
            span = float(np.max(chunks) - np.min(chunks))
            rows[f"{name} {precision}"] = {
                "words": [len(each[0].token_ids) for each in observations],
                "repeated_equal": bool(np.array_equal(chunks, again)),
                "graph_equals_eager": bool(np.array_equal(chunks, plain)),
                "cameras_batched_share_of_range": float(np.abs(np.array(batched) - chunks).max() / span),
            }
    return rows


def guided(check: Check) -> dict[str, Any]:
    """Chunks that continue a plan: captured where there is no backward pass."""
    rows: dict[str, Any] = {}
    inputs, noise = observation(check.large, 12, 0)
    plan = np.zeros_like(noise)
    plan[:20] = np.random.default_rng(1).standard_normal((20, noise.shape[1]))
    ahead = RowsAhead(plan[:20], 4)
    for method in ("identity", "vjp"):
        runtime = check.runtime(check.large, check.precisions[-1], guidance=method)
        chunk, free = runtime.infer(inputs, noise, ahead), runtime.infer(inputs, noise)
        rows[method] = {
            "repeated_equal": bool(np.array_equal(chunk, runtime.infer(inputs, noise, ahead))),
            "distance_to_the_plan_of_free": float(np.abs(chunk - plan)[:4].mean() / np.abs(free - plan)[:4].mean()),
            "ms": 1e3 * median(partial(runtime.infer, inputs, noise, ahead), 10),
        }
        if method == "identity":
            guidance = Guidance.over("identity", torch.from_numpy(plan)[None].to(check.device), 4, 20)
            plain = eager(runtime, inputs, noise, guidance=guidance)
            rows[method]["graph_equals_eager"] = bool(np.array_equal(chunk, plain))
    return rows


def ceilings(check: Check) -> dict[str, Any]:
    """What this machine multiplies and moves: the largest matrix product and a copy, on random data."""
    rows: dict[str, Any] = {}
    side = 8192 if check.cuda else 1024
    timed = between_events if check.cuda else median
    for precision in check.precisions:
        a, b = (torch.randn(side, side, device=check.device).to(getattr(torch, precision)) for _ in range(2))
        rows[precision] = 2 * side**3 / timed(lambda a=a, b=b: a @ b, 6) / 1e12
    x = torch.randn(1 << (30 if check.cuda else 24), device=check.device)
    y = torch.empty_like(x)
    rows["copy_gb_s"] = 2 * x.nbytes / timed(lambda: y.copy_(x), 6) / 1e9
    return rows


def weight_bytes(model: SwiftVLA) -> float:
    """What a chunk must read of the weights: each once, the expert's in every step; of the words' table nothing."""
    parts = dict(model.named_parameters())
    table = model.backbone.text_model.embed_tokens.weight.nbytes
    expert = sum(weight.nbytes for name, weight in parts.items() if name.startswith("expert."))
    everything = sum(weight.nbytes for weight in parts.values())
    return everything - table + (model.config.denoise_steps - 1) * expert


def speed(check: Check) -> list[dict[str, Any]]:
    """One chunk from arrays to an array: graphs, the same without, and lerobot, in turn."""
    rows = []
    ceiling = check.found.get("ceilings", {})
    for cameras in check.cameras:
        for precision in check.precisions:
            check.forget()
            if check.cuda:
                torch.cuda.reset_peak_memory_stats()
            begin = time.perf_counter()
            runtime = check.runtime(check.seen_by(cameras), precision)
            to_start = time.perf_counter() - begin
            peers = {name: peer for name, peer in check.peers.items() if f" {precision}" in name}
            # It was compiled for two.
            peers = {n: peer for n, peer in peers.items() if (cameras == 2 or "compiled" not in n) and peer.ready()}
            rows.append({**_measure(check, runtime, precision, cameras, peers), "to_start_s": to_start})
            weights_bytes = weight_bytes(runtime.model)
            del runtime
            if precision in ceiling:
                flops = chunk_flops(check.large.model, cameras) / ceiling[precision] / 1e12
                moved = weights_bytes / ceiling["copy_gb_s"] / 1e9
                rows[-1] |= {"floor_ms": 1e3 * max(flops, moved), "floor_flops_ms": 1e3 * flops}
                rows[-1] |= {
                    "floor_bytes_ms": 1e3 * moved,
                    "share_of_floor": 1e3 * max(flops, moved) / rows[-1]["ours"]["ms"],
                }
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def _measure(
    check: Check, runtime: TorchRuntime, precision: str, cameras: int, peers: dict[str, Peer]
) -> dict[str, Any]:
    if check.cuda:
        data = load_file(check.folder / f"inputs_{cameras}.safetensors")
        words = int(data["text_present"].sum())
        images, text = data["images"][0].numpy(), data["text"][0, :words].numpy()
        inputs, noise = NetworkInput(images, text, data["state"][0].numpy()), data["noise"][0].numpy()
    else:
        inputs, noise = observation(check.large, 12, 0, cameras)
    work: dict[str, Callable[[], Any]] = {
        "ours": lambda: runtime.infer(inputs, noise),
        "ours, eager": lambda: eager(runtime, inputs, noise, batched=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in (*work, *peers)}
    chunks = {name: compute() for name, compute in work.items()}
    memory: dict[str, float] = {}
    for name, peer in peers.items():
        chunks[name] = np.array(peer.chunk(cameras)["chunk"])
    for _ in range(7):
        for name, compute in work.items():
            for _ in range(4 if name == "ours" else 1):
                begin = time.perf_counter()
                compute()
                seconds[name].append(time.perf_counter() - begin)
        for name, peer in peers.items():
            answer = peer.chunk(cameras)
            seconds[name].append(answer["seconds"])
            memory[name] = answer.get("device_peak_mb", 0.0)
    row: dict[str, Any] = {"cameras": cameras, "precision": precision}
    for name, each in seconds.items():
        row[name] = {"ms": 1e3 * float(np.median(each)), "best_ms": 1e3 * min(each), "worst_ms": 1e3 * max(each)}
        row[name]["difference"] = float(np.abs(chunks[name] - chunks["ours"]).max())
        if name in memory:
            row[name]["peak_mb"] = memory[name]
    if check.cuda:
        row["ours"]["peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
        row["ours"]["reserved_mb"] = torch.cuda.max_memory_reserved() / 2**20
    return row


def stages(check: Check) -> dict[str, Any]:
    """Where the time goes on the GPU at two cameras, and what it gives that towers run beside copies and each other."""
    checkpoint = check.seen_by(2)
    inputs, noise = observation(checkpoint, 12, 0)
    return {precision: _stages(check.runtime(checkpoint, precision), inputs, noise) for precision in check.precisions}


@torch.inference_mode()
def _stages(runtime: TorchRuntime, inputs: NetworkInput, noise: Array) -> dict[str, float]:
    captured = runtime._captured
    assert captured is not None
    runtime.infer(inputs, noise)
    towers, rest = captured._towers, captured._denoising[16, False]
    images = torch.from_numpy(inputs.images)[None].to(runtime.device)
    batched = _Captured(lambda: runtime.model.backbone.vision_features(images), torch.cuda.Stream())

    def side_by_side() -> None:
        now = torch.cuda.current_stream()
        for tower in towers:
            tower.stream.wait_stream(now)
            with torch.cuda.stream(tower.stream):
                tower.replay()
        for tower in towers:
            now.wait_stream(tower.stream)

    def copied_first() -> None:
        for tower, upload, image in zip(towers, captured._images, inputs.images, strict=True):
            with torch.cuda.stream(tower.stream):
                upload.send(image[None, None])
        torch.cuda.synchronize()
        for tower in towers:
            with torch.cuda.stream(tower.stream):
                tower.replay()
        captured.denoise(inputs, noise)

    on_gpu = {"one_tower": towers[0].replay, "towers_side_by_side": side_by_side, "towers_batched": batched.replay}
    on_gpu["rest"] = rest.replay
    return {
        **{f"{name}_ms": 1e3 * between_events(work) for name, work in on_gpu.items()},
        "whole_ms": 1e3 * median(lambda: runtime.infer(inputs, noise), 40),
        "whole_images_copied_first_ms": 1e3 * median(copied_first, 40),
    }


def launches(check: Check) -> dict[str, Any]:
    """Kernels and copies of one chunk, and the calls that started them."""
    from torch.profiler import ProfilerActivity, profile

    rows: dict[str, Any] = {}
    checkpoint = check.seen_by(2)
    inputs, noise = observation(checkpoint, 12, 0)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if check.cuda else [])]
    for precision in check.precisions:
        runtime = check.runtime(checkpoint, precision)
        ways: dict[str, Callable[..., Array]] = {"ours": runtime.infer}
        if check.cuda:
            ways["ours, eager"] = partial(eager, runtime, batched=True)
        for name, work in ways.items():
            work(inputs, noise)
            with profile(activities=activities) as profiler:
                work(inputs, noise)
                wait(check)
            rows[f"{name} {precision}"] = summary(profiler)
    return rows


def summary(profiler: Any) -> dict[str, Any]:
    """Number of launches from the host, kernels on the device, and the largest of them."""
    averages = profiler.key_averages()
    starts = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaGraphLaunch")
    calls = {each.key: each.count for each in averages if each.key.startswith(("cuda", "cuL"))}
    kernels = [each for each in averages if each.self_device_time_total > 0 and each.self_cpu_time_total == 0]
    kernels.sort(key=lambda each: -each.self_device_time_total)
    return {
        "launches": sum(calls.get(start, 0) for start in starts), "calls": calls,
        "kernels": sum(each.count for each in kernels),
        "kernels_ms": sum(each.self_device_time_total for each in kernels) / 1e3,
        "largest": [[each.key[:90], each.count, each.self_device_time_total] for each in kernels[:30]],
    }  # fmt: skip


def compiled(check: Check) -> dict[str, Any]:
    """Ours with the layers of expert and text fused by torch.compile: what it gives, and what it costs to start."""
    whole, precision = check.seen_by(2), "bfloat16"
    # One length of instructions: each other would be compiled, too.
    checkpoint = replace(whole, model=replace(whole.model, text=replace(whole.model.text, max_tokens=16)))
    runtime = check.runtime(checkpoint, precision)
    inputs, noise = observation(checkpoint, 12, 0)
    plain, plain_s = runtime.infer(inputs, noise), median(lambda: runtime.infer(inputs, noise), 40)
    model, begin = runtime.model, time.perf_counter()
    for layer in (*model.expert.layers, *model.backbone.text_model.layers):
        layer.compile(dynamic=False)
    runtime._captured = CapturedChunk(model, None)
    to_start = time.perf_counter() - begin
    chunk = runtime.infer(inputs, noise)
    seconds = median(lambda: runtime.infer(inputs, noise), 40)
    return {
        "precision": precision, "ms": 1e3 * seconds, "without_ms": 1e3 * plain_s, "to_start_s": to_start,
        "graph_equals_eager": bool(np.array_equal(chunk, eager(runtime, inputs, noise))),
        "difference_share_of_range": float(np.abs(chunk - plain).max() / float(plain.max() - plain.min())),
    }  # fmt: skip


def pi0(check: Check) -> dict[str, Any]:
    """Lerobot's π0 with random weights, 3.5 G parameters in bfloat16, 2 cameras."""
    if check.peer_python is None:
        return {"skipped": "no --peer-python"}
    begin = time.perf_counter()
    worker = Worker(check.peer_python, PEERS / "pi0_lerobot.py", str(check.folder), "bfloat16", "4", "cuda")
    started = time.perf_counter() - begin
    answers = [worker.chunk(2) for _ in range(8)]
    worker.close()
    seconds = [answer["seconds"] for answer in answers[3:]]
    return {"ms": 1e3 * float(np.median(seconds)), "peak_mb": answers[-1].get("device_peak_mb"), "to_start_s": started}


def show(found: dict[str, Any], name: str) -> None:
    """Print the table."""
    table = Table(
        "cameras", "", "", "ms", "best", "times", "peak MB", "difference", title=f"one chunk on {name}, medians"
    )
    for row in found["speed"] if isinstance(found.get("speed"), list) else []:
        ours = row["ours"]["ms"]
        for which in (key for key in row if isinstance(row[key], dict)):
            figures = row[which]
            cells = [str(row["cameras"]), row["precision"], which, f"{figures['ms']:.2f}", f"{figures['best_ms']:.2f}"]
            cells += [f"{figures['ms'] / ours:.2f}", f"{figures.get('peak_mb', 0):.0f}", f"{figures['difference']:.1e}"]
            table.add_row(*cells)
    Console(width=130).print(table)


# The most important first, after what they need.
SECTIONS: tuple[Callable[[Check], Any], ...] = (
    Check.make_large, Check.start_peers, parity_nano, bits, parity_large, ceilings, stages, launches, speed, guided,
    compiled, pi0,
)  # fmt: skip
_GPU_ONLY = (parity_large, guided, stages, compiled, pi0)


def run(check: Check, section: Callable[[Check], Any], left_s: float) -> Any:
    """What a section found, or why it did not."""
    if left_s < 0:
        return {"skipped": "the budget was spent"}
    try:
        return section(check)
    except Exception as error:  # noqa: BLE001  (the other sections shall run)
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"[:500]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sections, print a table, and write all figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--peer-python", help="an interpreter that has lerobot 0.4.4")
    parser.add_argument("--cameras", type=int, nargs="+", default=[2, 1, 3])
    parser.add_argument("--budget-s", type=float, default=330)
    parser.add_argument("--only", nargs="+", help="names of sections")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    on_gpu = options.device == "cuda"
    sections = [section for section in SECTIONS if on_gpu or section not in _GPU_ONLY]
    name = torch.cuda.get_device_name() if on_gpu else platform.processor() or "a CPU"
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        check = Check(options.device, Path(folder), options.peer_python, options.cameras if on_gpu else [2])
        check.found |= {"device": name, "torch": torch.__version__, "python": platform.python_version()}
        check.found |= {"cpus": os.cpu_count(), "seconds": {}}
        for section in sections:
            if options.only and section.__name__ not in options.only:
                continue
            begin = time.monotonic()
            check.found[section.__name__] = run(check, section, began + options.budget_s - begin)
            check.found["seconds"][section.__name__] = round(time.monotonic() - begin, 1)
            print(f"{time.monotonic() - began:6.1f} s {section.__name__}", file=sys.stderr, flush=True)
            write_json(options.json, check.found)
        check.close()
    show(check.found, name)


if __name__ == "__main__":
    main()
