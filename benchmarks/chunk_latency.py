# SPDX-License-Identifier: Apache-2.0
"""How long one chunk of a 450M network takes on this machine's CPU, beside lerobot's SmolVLA with the same weights.

``python benchmarks/chunk_latency.py [--peer-python PYTHON] [--cameras 1 2 3] [--precisions float32 bfloat16]``

Draws random weights as a lerobot checkpoint, imports it (``swiftvla import-smolvla``'s code), and lets both compute the
same chunks in turn, each in a process of its own, so that other load meets both. PYTHON is an interpreter with lerobot
0.4.4; without it only our figures are printed. The floor is the chunk's arithmetic at the speed of the largest matrix
product of the network, measured between the chunks: what no implementation at this precision can beat here.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file

from swiftvla_ros.cli.output import write_json
from swiftvla_ros.contract import contract_from_text, load_contract
from swiftvla_ros.model.config import SwiftVLAConfig, swiftvla_450m
from swiftvla_ros.model.cpu.packing import Kernels
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.policy.runtime import RuntimeOptions
from swiftvla_ros.policy.runtimes.torch_runtime import TorchRuntime
from swiftvla_ros.training.importers.smolvla import import_smolvla, lerobot_name

_ROOT = Path(__file__).parents[1]
_PEER = Path(__file__).parent / "peers" / "smolvla_lerobot.py"
# As in lerobot's deployments: the tokens of a short sentence, padded to this length.
_TOKENS, _PADDED = 12, 48


class Worker:
    """A process that computes chunks when it is told to."""

    def __init__(self, python: str, script: Path, *arguments: str) -> None:
        command = [python, str(script), *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def chunk(self, cameras: int) -> dict[str, Any]:
        """Compute one chunk: its seconds, peak_mb and values."""
        assert self._process.stdin is not None
        print(cameras, file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._process.args} ended; its reason stands above")
        return dict(json.loads(line))


def serve(folder: Path, precision: str, threads: int) -> None:
    """Be our worker: the torch runtime's network."""
    runtime = TorchRuntime(open_checkpoint(folder / precision), RuntimeOptions("cpu", precision, threads))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        data = load_file(folder / f"inputs_{int(line)}.safetensors")
        # The runtime never pads text on a CPU.
        words = int(data["text_present"].sum())
        inputs = ModelInput(data["images"], data["text"][:, :words], data["text_present"][:, :words], data["state"])
        begin = time.perf_counter()
        with torch.inference_mode():
            chunk = runtime.model.sample_actions(inputs, data["noise"])
        answer = {
            "seconds": time.perf_counter() - begin,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "chunk": chunk[0].tolist(),
        }
        print(json.dumps(answer), flush=True)


def write_checkpoints(folder: Path, precisions: list[str]) -> SwiftVLAConfig:
    """Random weights as lerobot stores them, and what they become here, for each precision."""
    config = SwiftVLAConfig.from_json({**asdict(swiftvla_450m()), "fusion": None, "state_block": "own"})
    if all((folder / precision / "model.safetensors").is_file() for precision in precisions):
        return config
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in SwiftVLA(config).state_dict().items()}
    weights = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            weights[lerobot_name(name)] = torch.full(shape, 1.0 if "norm" in name and "weight" in name else 0.0)
        else:
            spread = 0.02 if "embed_tokens" in name else float(np.prod(shape[1:])) ** -0.5
            weights[lerobot_name(name)] = torch.randn(shape, generator=generator).mul_(spread)
    save_file(weights, folder / "model.safetensors")
    del weights
    joints = [joint.name for joint in load_contract("so101_sim").joints]
    images = {f"observation.images.{name}": {"type": "VISUAL", "shape": [3, 480, 640]} for name in "abc"}
    vector = {"shape": [len(joints)]}
    settings = {
        "type": "smolvla", "input_features": {"observation.state": {"type": "STATE", **vector}, **images},
        "output_features": {"action": {"type": "ACTION", **vector}}, "chunk_size": config.horizon, "num_steps": 10,
        "max_state_dim": config.state_dim, "max_action_dim": config.action_dim, "num_vlm_layers": 16,
        "self_attn_every_n_layers": 2, "tokenizer_max_length": _PADDED, "resize_imgs_with_padding": [512, 512],
    }  # fmt: skip
    statistics = {
        name: {"mean": [0.0] * len(joints), "std": [1.0] * len(joints)} for name in ("observation.state", "action")
    }
    (folder / "statistics.json").write_text(json.dumps(statistics))
    data = yaml.safe_load(load_contract("so101_sim").text)
    data["cameras"] = [{**data["cameras"][0], "name": name, "topic": f"/{name}"} for name in "abc"]
    contract = contract_from_text(yaml.safe_dump(data), _ROOT / "config/robots/three_cameras.yaml")
    tokenizer = (_ROOT / "models/smollm2-tokenizer/tokenizer.json").read_text(encoding="utf-8")
    for precision in precisions:
        # lerobot computes in bfloat16 when it starts from the published backbone.
        lerobot = {**settings, "load_vlm_weights": precision == "bfloat16"}
        (folder / "config.json").write_text(json.dumps(lerobot))
        import_smolvla(folder, folder / precision, contract, tokenizer, statistics=folder / "statistics.json")
    return config


def write_inputs(folder: Path, config: SwiftVLAConfig, cameras: list[int]) -> None:
    """The same random observation for both."""
    side = config.vision.image_size
    for count in cameras:
        generator = torch.Generator().manual_seed(count)
        inputs = {
            "images": torch.rand((1, count, 3, side, side), generator=generator) * 2 - 1,
            "text": torch.randint(0, 49152, (1, _PADDED), generator=generator),
            "text_present": torch.arange(_PADDED)[None] < _TOKENS,
            "state": torch.randn((1, config.state_dim), generator=generator),
            "noise": torch.randn((1, config.horizon, config.action_dim), generator=generator),
        }
        save_file(inputs, folder / f"inputs_{count}.safetensors")


def chunk_flops(config: SwiftVLAConfig, cameras: int) -> float:
    """Floating-point operations of one chunk: matrix products, twice the multiplications; text without padding."""
    vision, text, expert = config.vision, config.text, config.expert
    patches, tokens = vision.tokens * vision.scale_factor**2, cameras * vision.tokens
    layer = 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size
    tower = vision.num_layers * (patches * layer + 2 * patches**2 * vision.hidden_size)
    embed = 3 * vision.patch_size**2 * vision.hidden_size * patches
    connector = vision.tokens * vision.hidden_size * vision.scale_factor**2 * text.hidden_size
    n, width = tokens + _TOKENS + 1, text.hidden_size
    q, kv = text.num_heads * text.head_dim, text.num_kv_heads * text.head_dim
    keys = n * width * 2 * kv
    rest = n * (2 * width * q + 3 * width * text.intermediate_size) + 2 * n**2 * q
    prefix = text.num_layers * keys + (text.num_layers - 1) * rest
    h, w, joint = config.horizon, expert.hidden_size, -(-text.num_layers // expert.self_attention_every)
    crossed = (text.num_layers - joint) * n * 2 * kv * kv
    step = text.num_layers * h * (2 * w * q + 3 * w * expert.intermediate_size + 2 * n * q)
    step += joint * h * (2 * w * kv + 2 * h * q) + h * (2 * w * w + 2 * w * config.action_dim)
    return 2.0 * (cameras * (tower + embed + connector) + prefix + crossed + config.denoise_steps * step)


def measure_gflops(precision: str) -> float:
    """The best speed of the vision tower's largest layer, two images, 10⁹ operations a second."""
    rows, inner, outer = 2048, 768, 3072
    dtype = getattr(torch, precision)
    layer = Kernels(dtype).linear([torch.nn.Linear(inner, outer).to(dtype)], rows)
    x = torch.randn(rows, inner).to(dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(8):
            begin = time.perf_counter()
            layer(x)
            best = min(best, time.perf_counter() - begin)
    return 2 * rows * inner * outer / best / 1e9


def compare(folder: Path, config: SwiftVLAConfig, options: argparse.Namespace, precision: str) -> list[dict[str, Any]]:
    """Figures of each number of cameras at one precision."""
    arguments = (str(folder), precision, str(options.threads))
    workers = {"ours": Worker(sys.executable, Path(__file__), "--serve", *arguments)}
    if options.peer_python:
        workers["lerobot"] = Worker(options.peer_python, _PEER, *arguments)
    rows = []
    for cameras in options.cameras:
        first = {name: worker.chunk(cameras) for name, worker in workers.items()}
        gflops, seconds = 0.0, {name: [] for name in workers}
        for _ in range(options.repeat):
            gflops = max(gflops, measure_gflops(precision))
            for name, worker in workers.items():
                answer = worker.chunk(cameras)
                seconds[name].append(answer["seconds"])
                first[name]["peak_mb"] = answer["peak_mb"]
        floor_s = chunk_flops(config, cameras) / gflops / 1e9
        row: dict[str, Any] = {
            "cameras": cameras, "precision": precision, "gemm_gflops": gflops, "floor_s": floor_s,
            "share_of_floor": floor_s / float(np.median(seconds["ours"])),
        }  # fmt: skip
        for name in workers:
            row[name] = {
                "median_s": float(np.median(seconds[name])),
                "best_s": min(seconds[name]),
                "peak_mb": first[name]["peak_mb"],
            }
        if "lerobot" in workers:
            ours, peer = row["ours"], row["lerobot"]
            row["largest_difference"] = float(
                np.abs(np.array(first["ours"]["chunk"]) - np.array(first["lerobot"]["chunk"])).max()
            )
            row["times_faster"] = peer["median_s"] / ours["median_s"]
            row["memory_ratio"] = ours["peak_mb"] / peer["peak_mb"]
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    for worker in workers.values():
        worker.close()
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table("cameras", "", "ours s", "lerobot s", "faster", "floor s", "share", title="one chunk, medians")
    for column in ("MB", "lerobot MB", "ratio", "difference"):
        table.add_column(column)
    for row in rows:
        ours, peer = row["ours"], row.get("lerobot")
        floor = [f"{row['floor_s']:.2f}", f"{row['share_of_floor']:.0%}"]
        cells = [str(row["cameras"]), row["precision"], f"{ours['median_s']:.2f}"]
        if peer is None:
            cells += ["–", "–", *floor, f"{ours['peak_mb']:.0f}"]
        else:
            cells += [f"{peer['median_s']:.2f}", f"{row['times_faster']:.2f}", *floor, f"{ours['peak_mb']:.0f}"]
            cells += [f"{peer['peak_mb']:.0f}", f"{row['memory_ratio']:.2f}", f"{row['largest_difference']:.1e}"]
        table.add_row(*cells)
    Console(width=120).print(table)


def main() -> None:
    """Measure, print a table, and write the same figures where asked."""
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="an interpreter that has lerobot 0.4.4")
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="keep the random weights here (5 GB), and use what is there")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        config = write_checkpoints(folder, options.precisions)
        write_inputs(folder, config, options.cameras)
        rows = [row for precision in options.precisions for row in compare(folder, config, options, precision)]
    show(rows)
    write_json(options.json, {"load_average": os.getloadavg()[0], "threads": options.threads, "rows": rows})


if __name__ == "__main__":
    main()
