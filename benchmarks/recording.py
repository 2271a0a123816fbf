# SPDX-License-Identifier: Apache-2.0
"""What recording costs: two 640×480 cameras at 30 Hz, joints and executor states, into a bag, as a live system does it.

    python benchmarks/recording.py                               # 60 s each of raw, raw+lz4, raw+zstd, jpeg
    python benchmarks/recording.py --seconds 10 --mode jpeg

Publishes from this process, on this machine alone, and runs the recorder as a process of its own. Prints for each mode
the bag's size, the recorder's share of a core, the most that waited in its queue, and how many messages were sent and
are missing in the bag. The pictures are blocks on a table with a camera's noise (2 of 255), other ones in each frame.
Exit code 1 if a message is missing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

MODES = {"raw": {}, "raw+lz4": {"compression": "lz4"}, "raw+zstd": {"compression": "zstd"}, "jpeg": {"images": "jpeg"}}
WIDTH, HEIGHT, CAMERA_HZ = 640, 480, 30.0
STATE_HZ, TICK_HZ = 50.0, 100.0
_CAMERAS = ("front", "wrist")
_START_S = 60.0
# What was sent last may still be on its way when the sender is done.
_ON_THE_WAY_S = 3.0


def main() -> int:
    """Measure every mode; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--mode", choices=MODES, action="append", help="default: all of them")
    parser.add_argument("--folder", type=Path, help="where the bags are written; default: the system's folder for them")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from swiftvla_ros.bringup.processes import transport_environment
    from swiftvla_ros.cli.live.graph import own_domain
    from swiftvla_ros.cli.output import write_json

    os.environ.update({**own_domain(), **transport_environment()})
    console = Console(highlight=False)
    figures = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.environ["ROS_LOG_DIR"] = folder
        for mode in options.mode or MODES:
            console.print(f"{mode}: recording for {options.seconds:g} s")
            figures[mode] = measure(Path(folder) / "bag", MODES[mode], options.seconds)
    table = Table("mode", "MB", "MB/s", "recorder's CPU", "most queued MB", "sent", "missing", title="Recording")
    for mode, f in figures.items():
        table.add_row(
            mode,
            f"{f['bytes'] / 1e6:.0f}",
            f"{f['bytes'] / 1e6 / f['seconds']:.1f}",
            f"{100 * f['cpu_share']:.0f} % of a core",
            f"{f['most_queued_bytes'] / 1e6:.1f}",
            str(f["sent"]),
            str(f["missing"]) + (f" {f['missing_by_topic']}" if f["missing"] else ""),
        )
    console.print(table)
    write_json(options.json, figures)
    return 1 if any(f["missing"] for f in figures.values()) else 0


def measure(bag: Path, parameters: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Record once into ``bag``, which is removed afterwards; return what it cost."""
    from swiftvla_ros.bringup.processes import describe_recorder
    from swiftvla_ros.bringup.system_options import SystemOptions
    from swiftvla_ros.episodes.bags.bag import Bag

    options = SystemOptions(record=bag, checkpoint="")
    description = describe_recorder(options, **{"film": False, "min_free_mb": 0, **parameters})
    with subprocess.Popen(description.command(), env={**os.environ, **description.environment}) as recorder:
        try:
            sent, cpu_s, sent_s = publish(seconds, recorder.pid)
        finally:
            recorder.send_signal(2)
            recorder.wait(60)
    whole = Bag(bag)
    found = {topic: whole.counts.get(topic, 0) + whole.counts.get(f"{topic}/compressed", 0) for topic in sent}
    missing = {topic: sent[topic] - found[topic] for topic in sent if sent[topic] != found[topic]}
    report = whole.provenance["recorder"]
    size = sum(f.stat().st_size for f in bag.rglob("*") if f.is_file())
    shutil.rmtree(bag)
    return {
        "bytes": size,
        "seconds": sent_s,
        "cpu_share": cpu_s / sent_s,
        "most_queued_bytes": report["most_queued_bytes"],
        "sent": sum(sent.values()),
        "missing": sum(missing.values()),
        "missing_by_topic": missing,
        "told_lost": report["lost"],
        "stopped": report["stopped"],
    }


def publish(seconds: float, recorder: int) -> tuple[dict[str, int], float, float]:
    """Publish all topics at their rates; return what was sent, the recorder's CPU time and the time it took."""
    import rclpy
    from rclpy.node import Node
    from sensor_msgs.msg import Image, JointState

    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.msg import ExecutorState
    from swiftvla_ros.nodes.ros import qos
    from swiftvla_ros.nodes.ros.messages import rgb_message

    rclpy.init()
    node = Node("benchmark")
    names = list(load_contract("so101_sim").joint_names)
    publishers = {f"/observation/{c}": node.create_publisher(Image, f"observation/{c}", qos.IMAGE) for c in _CAMERAS}
    publishers["/observation/state"] = node.create_publisher(JointState, "observation/state", qos.STATE)
    publishers["/executor_state"] = node.create_publisher(ExecutorState, "executor_state", qos.EXECUTOR_STATE)
    pictures = make_pictures()
    sent = dict.fromkeys(publishers, 0)
    zeros = [0.0] * len(names)

    def send(topic: str) -> None:
        now_ns = node.get_clock().now().nanoseconds
        if topic.startswith("/observation/") and topic != "/observation/state":
            message: Any = rgb_message(pictures[sent[topic] % len(pictures)], now_ns, "camera")
        elif topic == "/executor_state":
            message = ExecutorState(joint_names=names, commanded_position=zeros, tracking_error=zeros)
            message.header.stamp = node.get_clock().now().to_msg()
        else:
            message = JointState(name=names, position=zeros)
            message.header.stamp = node.get_clock().now().to_msg()
        publishers[topic].publish(message)
        sent[topic] += 1

    rates = {**dict.fromkeys(sent, CAMERA_HZ), "/observation/state": STATE_HZ, "/executor_state": TICK_HZ}
    try:
        deadline = time.monotonic() + _START_S
        while not all(p.get_subscription_count() for p in publishers.values()):
            if time.monotonic() > deadline:
                raise TimeoutError("the recorder did not come up; its lines above say why")
            rclpy.spin_once(node, timeout_sec=0.05)
        time.sleep(0.5)  # what is matched here may not be matched there yet
        cpu_s, began = cpu_seconds(recorder), time.monotonic()
        # The cameras half a period apart, as two drivers are.
        due = {topic: began + i * 0.5 / CAMERA_HZ for i, topic in enumerate(sent)}
        while (now := time.monotonic()) < began + seconds:
            topic = min(due, key=lambda t: due[t])
            if due[topic] > now:
                time.sleep(due[topic] - now)
                continue
            send(topic)
            due[topic] += 1.0 / rates[topic]
        took = time.monotonic() - began
        time.sleep(_ON_THE_WAY_S)
        return sent, cpu_seconds(recorder) - cpu_s, took
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def make_pictures(count: int = 12) -> list[NDArray[np.uint8]]:
    """Make pictures RGB uint8 [480, 640, 3]: three blocks on a table, moved and with new noise in each."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    table = np.stack([150 + x // 16, 130 + y // 12, 110 + (x + y) // 40], axis=-1).astype(np.float64)
    pictures = []
    for i in range(count):
        picture = table.copy()
        for block, color in enumerate(((200, 40, 40), (40, 160, 60), (40, 60, 190))):
            top, left = 200 + 40 * block, 80 + 160 * block + 6 * i
            picture[top : top + 60, left : left + 60] = color
        noisy = picture + rng.normal(0.0, 2.0, picture.shape)
        pictures.append(noisy.clip(0, 255).astype(np.uint8))
    return pictures


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process used so far, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
