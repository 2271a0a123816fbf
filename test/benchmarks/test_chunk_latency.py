# SPDX-License-Identifier: Apache-2.0
"""Figures are only as good as what they are divided by, and as the answers that they are read from."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import chunk_latency
from swiftvla_ros.model.config import swiftvla_450m

_PEERS = Path(chunk_latency.__file__).parent / "peers"
# A worker that prints, and whose chunk is twice the state.
_WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from answering import answer, command_line, parse
folder, sys.argv = Path(sys.argv[2]), ["worker", sys.argv[2], "float32", "2"]
parse(command_line("", ["float32"]))
print("while it loads")
answer(folder, lambda data: lambda: print("chatter") or 2 * data["state"], {"parameters": 3})
"""


def test_an_answer_survives_what_libraries_print(tmp_path):
    """A line of a library between two answers would be read as one."""
    save_file({"state": np.array([1.0, 2.0], np.float32)}, tmp_path / "inputs_2.safetensors")
    command = [sys.executable, "-c", _WORKER, str(_PEERS), str(tmp_path)]
    printed = subprocess.run(command, input="2\n", capture_output=True, text=True, check=True).stdout.splitlines()
    about, answer = map(json.loads, printed)
    assert about == {"parameters": 3}
    assert answer["chunk"] == [2.0, 4.0]
    assert answer["peak_mb"] >= answer["anonymous_mb"] > 1


def test_a_ratio_is_to_lerobot_at_the_same_precision_and_8_bits_to_its_best(tmp_path, monkeypatch):
    """What a row stands beside decides what the README says."""
    seconds = {"torch float32": 2.0, "openvino int8-vision": 0.5, "lerobot float32": 4.0, "lerobot bfloat16": 1.0}

    class Worker:
        about = {"parameters": 7}  # noqa: RUF012

        def __init__(self, name: str) -> None:
            self.name = name

        def chunk(self, cameras: int) -> dict[str, object]:
            chunk = [[1.0 if self.name == "torch float32" else 1.5]]
            return {"seconds": seconds[self.name] * cameras, "peak_mb": 2.0, "anonymous_mb": 1.0, "chunk": chunk}

        def close(self) -> None:
            pass

    save_file({"w": np.zeros((2, 3), np.float32)}, tmp_path / "model.safetensors")
    monkeypatch.setattr(chunk_latency.Row, "start", lambda row, *_: Worker(row.name))
    monkeypatch.setattr(chunk_latency, "measure_gflops", lambda _: 100.0)
    options = chunk_latency.argparse.Namespace(rows=list(seconds), peer_python="python", repeat=2, slow_repeat=1)
    config = swiftvla_450m()
    figures = {f["row"]: f for f in chunk_latency.Comparison(options, tmp_path, config).measure(1)}
    assert figures["torch float32"]["beside_lerobot"] == pytest.approx(2)
    assert figures["openvino int8-vision"]["beside_lerobot"] == pytest.approx(2)
    assert figures["openvino int8-vision"]["difference"] == pytest.approx(0.5)
    assert "of_the_floor" not in figures["openvino int8-vision"]
    assert figures["torch float32"]["parameters"] == 7
