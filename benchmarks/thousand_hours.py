# SPDX-License-Identifier: Apache-2.0
"""What each step of docs/cluster.md costs for an hour of robot data, and what that makes for a thousand.

    python benchmarks/thousand_hours.py                            # bags of two drawn 640×480 cameras; a few minutes
    python benchmarks/thousand_hours.py --bags DATA --robot my_arm.yaml     # of your own bags (the first ones)

Measures processor time: listing a bag, reading an episode, checking and drawing it, exporting it, and geometry-nano's
targets. Of streamvggt-1b, which needs a GPU, it counts the operations of a step and the bytes of its targets; the hours
follow from `--tflops`, what a GPU reaches.
"""

import argparse
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import cv2
import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from swiftvla_ros.cli.output import print_table, write_json
from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.episodes.bags.message_types import known_types
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.episodes.datasets.bag_listing import open_bags
from swiftvla_ros.episodes.datasets.lerobot_part import PartWriter
from swiftvla_ros.episodes.datasets.store import Episode
from swiftvla_ros.episodes.quality.examined import examine_episode
from swiftvla_ros.episodes.teacher.run import stream_episodes
from swiftvla_ros.episodes.teacher.stream import view_order
from swiftvla_ros.geometry import PRESETS
from swiftvla_ros.geometry.checkpoint import build_on_meta
from swiftvla_ros.geometry.feature_stream import TOKENS, FeatureStream
from swiftvla_ros.observation.image_decoding import jpeg_of
from swiftvla_ros.resources import DEFAULT_GEOMETRY, model_path
from swiftvla_ros.viewing.demonstration_picture import draw_demonstration

_HOURS = 1000
_WINDOWS = (3, 4, 5, 6)
_BAGS, _SECONDS, _CAMERA_HZ, _JOINT_HZ = 3, 20.0, 30, 50
_SIZE = (640, 480)
_BEGIN_NS = 1_760_000_000_000_000_000


@dataclass(frozen=True)
class Cost:
    """What a step costs for an hour of data."""

    step: str
    core_hours: float = 0.0  # of this machine's cores
    gpu_hours: float = 0.0
    gigabytes: float = 0.0  # written


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bags", type=Path, help="a folder of bags; default: drawn ones")
    parser.add_argument("--robot", default="so101")
    parser.add_argument("--size", type=int, default=512, help="of the policy's images, px; 0: the contract's")
    parser.add_argument("--tflops", type=float, default=300, help="that a GPU reaches in bfloat16, 10^12/s")
    parser.add_argument("--cores", type=int, default=256, help="of the cluster that the hours are shared out to")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    contract = load_contract(options.robot)
    if options.size:
        size = (options.size, options.size)
        contract = contract.with_keys(
            cameras=tuple(camera.model_copy(update={"size": size}) for camera in contract.cameras)
        )
    with tempfile.TemporaryDirectory() as folder:
        bags = options.bags or _draw_bags(Path(folder) / "bags", contract)
        costs = [
            *_bag_costs(bags, Path(folder) / "out", contract),
            _nano_cost(contract),
            _large_cost(contract, options),
        ]
    rows = [
        (
            c.step, f"{c.core_hours:.3f}", f"{c.gpu_hours:.2f}" if c.gpu_hours else "", f"{c.gigabytes:.2f}",
            f"{_HOURS * c.core_hours:,.0f}", f"{_HOURS * c.gpu_hours:,.0f}" if c.gpu_hours else "",
            f"{_HOURS * c.gigabytes / 1000:.2f}",
            f"{_HOURS * max(c.core_hours / options.cores, c.gpu_hours / options.gpus):.1f}",
        )
        for c in costs
    ]  # fmt: skip
    cluster = f"h on {options.cores} cores, {options.gpus} GPUs"
    columns = ("step", "core h", "GPU h", "GB", f"core h of {_HOURS} h", "GPU h", "TB", cluster)
    print_table(columns, rows, title="an hour of robot data, and a thousand")
    write_json(options.json, {"costs": [asdict(cost) for cost in costs], "tflops": options.tflops})


def _bag_costs(bags: Path, out: Path, contract: Contract) -> list[Cost]:
    begin = time.process_time()
    listed = open_bags(bags, contract)
    listing = time.process_time() - begin
    if not listed.episodes:
        raise listed.none_left(bags)
    handles = listed.episodes[:_BAGS]
    seconds, size = 0.0, 0
    took = dict.fromkeys(("read", "check", "draw"), 0.0)
    for handle in handles:
        begin = time.process_time()
        episode = handle.load()
        took["read"] += time.process_time() - begin
        seconds += float(episode.stamps_s[-1] - episode.stamps_s[0]) + contract.policy.step_s
        size += sum(path.stat().st_size for path in handle.bag.folder.rglob("*.mcap"))
        begin = time.process_time()
        evidence, examined = examine_episode(handle, contract)
        took["check"] += time.process_time() - begin
        assert evidence is not None, examined.findings
        out.mkdir(exist_ok=True)
        begin = time.process_time()
        draw_demonstration(evidence, examined.findings, out / "picture.png")
        took["draw"] += time.process_time() - begin
    begin = time.process_time()
    PartWriter(contract).write(handles, out / "part")
    export = time.process_time() - begin
    written = sum(path.stat().st_size for path in (out / "part").iterdir())
    print(f"{len(listed.episodes)} bags listed in {listing:.2f} s; {seconds:.0f} s of {contract.robot} measured")
    return [
        Cost("bags as recorded", gigabytes=size / seconds * 3600 / 1e9),
        Cost("list (one process)", listing / len(listed.episodes) * len(handles) / seconds),
        Cost("read an episode", took["read"] / seconds),
        Cost("check-demonstrations", (took["check"] + took["draw"]) / seconds, gigabytes=0.0),
        Cost("export-lerobot", export / seconds, gigabytes=written / seconds * 3600 / 1e9),
    ]


def _nano_cost(contract: Contract) -> Cost:
    stream = FeatureStream(model_path(Path(DEFAULT_GEOMETRY)))
    sim = load_contract("so101_sim")
    rng = np.random.default_rng(0)
    steps = 20
    stamps, zeros = np.arange(steps) * sim.policy.step_s, np.zeros((steps, 6), np.float32)
    episodes = [
        Episode(
            "", {n: rng.integers(0, 256, (steps, 96, 96, 3), dtype=np.uint8) for n in sim.camera_names},
            zeros, zeros, np.ones(steps, bool), stamps,
        )
        for _ in range(16)
    ]  # fmt: skip
    torch.set_num_threads(1)
    stream_episodes(stream, episodes[:1], view_order(sim), sim, _WINDOWS)
    begin = time.process_time()
    stream_episodes(stream, episodes, view_order(sim), sim, _WINDOWS)
    a_step = (time.process_time() - begin) / (steps * len(episodes))
    return Cost(
        f"teacher-targets, geometry-nano, K {','.join(map(str, _WINDOWS))}",
        a_step / contract.policy.step_s,
        gigabytes=_target_bytes(stream.dim) / contract.policy.step_s * 3600 / 1e9,
    )


def _large_cost(contract: Contract, options: argparse.Namespace) -> Cost:
    config = PRESETS["streamvggt-1b"]()
    net = build_on_meta(config).to("meta")  # the few tables that it keeps elsewhere, too
    images = torch.zeros(1, len(contract.cameras), 3, *config.image_size, device="meta")
    cache = net.start(len(_WINDOWS), torch.tensor(_WINDOWS))
    # The counter knows plain products, and not fused attention.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net.step(images, cache)
    flops = float(counter.get_total_flops())
    print(f"streamvggt-1b: {flops / 1e12:.2f} TFLOP a step ({len(contract.cameras)} cameras, {len(_WINDOWS)} windows)")
    return Cost(
        f"teacher-targets, streamvggt-1b, at {options.tflops:.0f} TFLOP/s",
        gpu_hours=flops / (options.tflops * 1e12) / contract.policy.step_s,
        gigabytes=_target_bytes(config.feature_dim) / contract.policy.step_s * 3600 / 1e9,
    )


def _target_bytes(dim: int) -> int:
    return len(_WINDOWS) * TOKENS * dim * 2


def _draw_bags(folder: Path, contract: Contract) -> Path:
    """Write some bags as a person's session leaves them: two cameras as JPEG, joints and commands."""
    kinds = known_types().types
    rng = np.random.default_rng(0)
    grain = cv2.GaussianBlur(rng.integers(0, 256, (_SIZE[1], _SIZE[0], 3), dtype=np.uint8), (0, 0), 2)
    names, state = list(contract.joint_names), contract.joint_states.topic

    def header(ns: int) -> object:
        return kinds["std_msgs/msg/Header"](kinds["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9), "base")

    def pose(ns: int) -> np.ndarray:
        return np.asarray(contract.rest + 0.2 * np.sin((1 + 0.3 * np.arange(len(names))) * (ns - _BEGIN_NS) / 1e9))

    def joints(ns: int) -> object:
        return kinds["sensor_msgs/msg/JointState"](header(ns), names, pose(ns), np.zeros(0), np.zeros(0))

    def command(ns: int) -> object:
        soon = kinds["builtin_interfaces/msg/Duration"](0, 50_000_000)
        nothing = np.zeros(0)
        point = kinds["trajectory_msgs/msg/JointTrajectoryPoint"](pose(ns), nothing, nothing, nothing, soon)
        return kinds["trajectory_msgs/msg/JointTrajectory"](header(ns), names, [point])

    for number in range(_BAGS):
        entries: list[tuple[int, str, object]] = []
        for k in range(round(_SECONDS * _CAMERA_HZ)):
            ns = _BEGIN_NS + round(k / _CAMERA_HZ * 1e9)
            for camera in contract.cameras:
                picture = cv2.circle(grain.copy(), (100 + 4 * k % 440, 240), 60, (200, 40, 40), -1)
                data = np.frombuffer(jpeg_of(picture, 90), np.uint8)
                image = kinds["sensor_msgs/msg/CompressedImage"](header(ns), "jpeg", data)
                entries.append((ns, f"{camera.topic.removesuffix('/compressed')}/compressed", image))
        for k in range(round(_SECONDS * _JOINT_HZ)):
            ns = _BEGIN_NS + round(k / _JOINT_HZ * 1e9)
            entries += [(ns, state, joints(ns)), (ns + 10**6, contract.control.topic, command(ns + 10**6))]
        text = kinds["std_msgs/msg/String"]("pick up the red block")
        entries.append((_BEGIN_NS, f"/{contract.demonstrations.instruction_topic}", text))
        with BagWriter(folder / f"bag_{number}", contract) as writer:
            for ns, topic, message in sorted(entries, key=lambda entry: entry[0]):
                writer.write_message(topic, message, ns + 3_000_000)
    return folder


if __name__ == "__main__":
    main()
