# SPDX-License-Identifier: Apache-2.0
"""``swiftvla replay`` on the stored bag: what is the same, and that each thing that is not is caught and named."""

import contextlib
import io
import itertools
import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner, Result

from swiftvla_ros.cli.main import app
from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.latency_stages import REPLAYED, STAGES
from swiftvla_ros.episodes.bags.bag import Bag, RawMessage
from swiftvla_ros.episodes.bags.message_types import _store_for, message_types
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.monitoring.latency_advice import LatencyAdvice
from swiftvla_ros.policy import image_preprocessing, load_policy
from swiftvla_ros.replay.chunks import Policies, compare_chunks, infer_again
from swiftvla_ros.replay.recorded import observations, read_run
from swiftvla_ros.replay.report import replay
from swiftvla_ros.replay.thresholds import RuntimeChoice, Thresholds
from swiftvla_ros.viewing import latency

Rewrite = Callable[[RawMessage], bytes | None]
CHUNKS = 5  # of the stored bag's 19; bags/pick_red.replay.yaml replays all of them


def run(*arguments: object) -> Result:
    """Run ``swiftvla replay``."""
    result = CliRunner().invoke(app, ["replay", *map(str, arguments)], env={"COLUMNS": "250"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(scope="module")
def computed_here(stored: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stored bag's first chunks as this machine computes them, as if recorded here: differences are 0."""
    recorded = read_run(Bag(stored))
    policies = Policies(checkpoint, recorded.bag.contract, RuntimeChoice())
    compared = itertools.islice(compare_chunks(recorded, policies), CHUNKS)
    rows = {comparison.chunk.chunk_id: comparison.rows for comparison, _ in compared}
    types = message_types()
    after = False

    def change(raw: RawMessage) -> bytes | None:
        nonlocal after
        if after or not raw.topic.endswith("action_chunk"):
            return None if after else raw.data
        message = types.deserialize_cdr(raw.data, raw.msgtype)
        after = message.chunk_id not in rows
        if after:
            return None
        message.positions = rows[message.chunk_id].ravel()
        return bytes(types.serialize_cdr(message, raw.msgtype))

    folder = tmp_path_factory.mktemp("computed") / "bag"
    rewrite(stored, folder, change)
    return folder


def rewrite(bag: Path, folder: Path, change: Rewrite) -> None:
    """Copy a bag with messages changed, or left out where None is given."""
    original = Bag(bag)
    provenance = {k: v for k, v in original.provenance.items() if k in ("checkpoint", "checkpoint_sha256")}
    with BagWriter(folder, original.contract, provenance=provenance) as writer:
        for raw in original.raw():
            data = change(raw)
            if data is not None:
                writer.add_topic(raw.topic, raw.msgtype, definition=original.channels[raw.topic])
                writer.write(raw.topic, raw.msgtype, raw.received_ns, data)
    shutil.copyfile(bag / "checkpoint.json", folder / "checkpoint.json")


@pytest.fixture
def changed_checkpoint(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint to change something of."""
    return Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))


def test_the_same_build_gives_the_same_bits(
    computed_here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the gate's zero: chunks of this machine come out again bit for bit, and all reports agree on it."""
    advice = LatencyAdvice("inference", ("inference takes the longest",))
    monkeypatch.setattr(latency, "recorded_advice", lambda _bag: advice)
    files = {name: tmp_path / f"replay.{name}" for name in ("json", "markdown", "junit", "plot")}
    result = run(computed_here, *(x for name, file in files.items() for x in (f"--{name}", file)))
    assert result.exit_code in (0, 1), result.output
    figures = json.loads(files["json"].read_text())
    assert set(figures["max_difference"].values()) == {0.0}
    assert len(figures["chunks"]) == CHUNKS
    cases = ET.parse(files["junit"]).getroot()
    by_name = {case.get("name"): case.find("failure") is None for case in cases}
    assert by_name == {check["name"]: check["ok"] for check in figures["checks"]}
    assert all(ok for name, ok in by_name.items() if name.startswith("chunk "))
    page = files["markdown"].read_text()
    assert all(f"| {joint} | 0 |" in page for joint in figures["joints"])
    assert "- inference takes the longest" in page.splitlines()
    assert figures["latency_advice"] == list(advice.sentences)
    assert files["plot"].stat().st_size > 10_000


def test_thresholds_name_the_stages_that_a_replay_tells() -> None:
    """Protects a thresholds file: pydantic needs the names written out, so they are compared with the table's."""
    stages, _ = get_args(Thresholds.model_fields["latency_ms"].annotation)
    assert get_args(stages) == REPLAYED
    assert {*REPLAYED} <= {*STAGES}


@pytest.mark.parametrize(
    ("override", "bound"), [(RuntimeChoice(threads=2), 1e-4), (RuntimeChoice(precision="bfloat16"), 0.02)]
)
def test_another_runtime_stays_within_its_bound(
    stored: Path, checkpoint: Path, override: RuntimeChoice, bound: float
) -> None:
    """Protects the stated bounds (docs/replay.md): other threads round otherwise, bfloat16 has eight bits."""
    run = read_run(Bag(stored))
    compared = itertools.islice(compare_chunks(run, Policies(checkpoint, run.bag.contract, override)), 2)
    differences = [comparison.difference.max() for comparison, _ in compared]
    assert len(differences) == 2
    assert max(differences) <= bound
    if override.precision:
        assert max(differences) > 0.0


def test_a_changed_weight_is_named(computed_here: Path, changed_checkpoint: Path) -> None:
    """Protects against a wrong checkpoint: one number of one tensor is enough, and the tensor is named."""
    weights = load_file(changed_checkpoint / "model.safetensors")
    name = "action_out_proj.bias"
    weights[name] = weights[name].copy()
    weights[name].flat[0] += 0.01
    save_file(weights, changed_checkpoint / "model.safetensors")
    result = run(computed_here, "--checkpoint", changed_checkpoint)
    assert result.exit_code == 3
    assert f"model.safetensors: tensor {name} differs" in result.output
    assert result.output.count(": tensor ") == 1


def test_a_changed_normalisation_value_is_named(computed_here: Path, changed_checkpoint: Path) -> None:
    """Protects against statistics of another data set: the key and both values are told."""
    file = changed_checkpoint / "stats.json"
    statistics = json.loads(file.read_text())
    before = statistics["action"]["elbow_flex"]["std"]
    statistics["action"]["elbow_flex"]["std"] = 2 * before
    file.write_text(json.dumps(statistics))
    result = run(computed_here, "--checkpoint", changed_checkpoint)
    assert result.exit_code == 3
    assert f"stats.json: action.elbow_flex.std: {before!r} → {2 * before!r}" in result.output
    assert "chunk 1: joint 'elbow_flex' differs" in result.output


def test_a_changed_contract_is_named(computed_here: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects against another robot's limits: the joint and the key are told."""
    folder = tmp_path / "robot"
    shutil.copytree(computed_here / "contract", folder)
    file = next(folder.glob("*.yaml"))
    text = file.read_text()
    assert text.count("velocity: 2.5") > 1
    file.write_text(text.replace("velocity: 2.5", "velocity: 2.0", 1))
    result = run(computed_here, "--robot", file)
    assert result.exit_code == 3
    assert "contract: joints[shoulder_pan].velocity: 2.5 → 2.0" in result.output
    assert contract.robot in file.stem


def exchange_channels(camera: str) -> Rewrite:
    """Exchange red and blue of a camera's conditioned images."""
    types = message_types()

    def change(raw: RawMessage) -> bytes | None:
        if not raw.topic.endswith(f"observation/{camera}"):
            return raw.data
        message = types.deserialize_cdr(raw.data, raw.msgtype)
        message.data = message.data.reshape(-1, 3)[:, ::-1].ravel().copy()
        return bytes(types.serialize_cdr(message, raw.msgtype))

    return change


def test_a_changed_image_channel_order_is_named(computed_here: Path, tmp_path: Path) -> None:
    """Protects against a driver or a build that sends BGR: seen by the film, and by what brings the chunks back."""
    rewrite(computed_here, tmp_path / "bag", exchange_channels("front"))
    result = run(tmp_path / "bag")
    assert result.exit_code == 3
    assert "camera 'front': image channel order" in result.output
    assert "so changed, the recorded chunk comes out to 0 instead" in result.output


def test_a_channel_order_changed_in_the_policy_is_named(computed_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects against a new build that reads images otherwise: files are alike, so explanations are tried out."""
    original = image_preprocessing.to_network_range
    monkeypatch.setattr(image_preprocessing, "to_network_range", lambda images: original(images[..., ::-1].copy()))
    result = run(computed_here)
    assert result.exit_code == 1
    assert "camera 'front' and 'wrist': image channel order is changed" in result.output


def test_a_lost_image_is_counted_and_named(computed_here: Path, tmp_path: Path) -> None:
    """Protects against silence: a chunk whose image or state was not recorded is no chunk that is the same."""
    front = list(Bag(computed_here).raw(["observation/front"]))
    state = Bag(computed_here)
    used = next(message for _, message in state.messages("action_chunk") if message.chunk_id == 5)
    lost_state = (used.state_stamp.sec, used.state_stamp.nanosec)
    types = message_types()

    def change(raw: RawMessage) -> bytes | None:
        if raw.topic.endswith("observation/state"):
            message = types.deserialize_cdr(raw.data, raw.msgtype)
            stamp = message.header.stamp
            return None if (stamp.sec, stamp.nanosec) == lost_state else raw.data
        return None if raw.topic.endswith("observation/front") and raw.received_ns == front[2].received_ns else raw.data

    rewrite(computed_here, tmp_path / "bag", change)
    result = run(tmp_path / "bag", "--json", tmp_path / "replay.json")
    assert result.exit_code == 1
    figures = json.loads((tmp_path / "replay.json").read_text())
    missing = [chunk for chunk in figures["chunks"] if chunk["missing"]]
    assert len(missing) >= 2
    assert len(figures["chunks"]) == len(list(Bag(computed_here).messages("action_chunk")))
    assert "observation/front" in result.output
    assert "observation/state" in result.output


def test_guided_chunks_come_out_again(
    computed_here: Path, checkpoint: Path, contract: Contract, tmp_path: Path
) -> None:
    """Protects chunk guidance: the rows that it was given are in the chunk, so it is computed again with them."""
    bag = Bag(computed_here)
    policy = load_policy(checkpoint, contract=contract, runtime="torch", threads=1, device="cpu", guidance="identity")
    report = replay(bag, checkpoint=checkpoint)
    ahead = report.computed[0].chunk.positions[2:]
    types = message_types()
    observed = {o.chunk.chunk_id: o for o in observations(read_run(bag))}

    def change(raw: RawMessage) -> bytes | None:
        if raw.topic.endswith("policy_state"):
            # The bag's own definition: since it was recorded the message has grown.
            own = _store_for(bag.channels[raw.topic])
            message = own.deserialize_cdr(raw.data, raw.msgtype)
            message.guidance = "identity"
            return bytes(own.serialize_cdr(message, raw.msgtype))
        if raw.topic.endswith("action_chunk"):
            message = types.deserialize_cdr(raw.data, raw.msgtype)
            message.guidance, message.frozen_rows, message.rows_ahead = "identity", 3, ahead.ravel().copy()
            observation = observed[message.chunk_id]
            object.__setattr__(observation.chunk, "rows_ahead", ahead)
            object.__setattr__(observation.chunk, "frozen_rows", 3)
            message.positions = infer_again(policy, observation).ravel()
        else:
            return raw.data
        return bytes(types.serialize_cdr(message, raw.msgtype))

    rewrite(computed_here, tmp_path / "bag", change)
    guided = replay(Bag(tmp_path / "bag"), checkpoint=checkpoint)
    assert guided.difference.tolist() == [0.0] * 6
    assert np.abs(guided.computed[1].rows - report.computed[1].rows).max() > 1e-3


def test_an_excerpt_replays_alike(computed_here: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Protects kept bags: an excerpt is small, holds all chunks and commands, and replays to the same numbers."""
    result = run(computed_here, "--excerpt", tmp_path / "small")
    assert result.exit_code in (0, 1), result.output
    whole, small = (replay(Bag(f), checkpoint=checkpoint) for f in (computed_here, tmp_path / "small"))
    assert small.difference.tolist() == whole.difference.tolist() == [0.0] * 6
    assert small.commands.times_ns == whole.commands.times_ns
    assert not any(chunk.missing for chunk in small.chunks)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chunks: {max_diff: 1}", "chunks.max_diff: unknown key"),
        ("chunks: {max_difference: -1}", "chunks.max_difference"),
        ("allow: [everything]", "allow.0"),
        ("- 1", "holds no keys"),
        ("a: b: c", "not YAML"),
    ],
)
def test_a_wrong_thresholds_file_is_refused(stored: Path, tmp_path: Path, text: str, said: str) -> None:
    """Protects against a gate with a typo: unknown keys, wrong numbers and broken files end with exit code 2."""
    file = tmp_path / "t.yaml"
    file.write_text(text)
    result = run(stored, "--thresholds", file)
    assert result.exit_code == 2
    assert said in result.output


def test_a_bag_without_chunks_is_refused(stored: Path, tmp_path: Path) -> None:
    """Protects against a gate that passes because there was nothing to compare."""
    rewrite(stored, tmp_path / "bag", lambda raw: None if raw.topic.endswith("action_chunk") else raw.data)
    result = run(tmp_path / "bag")
    assert result.exit_code == 2
    assert "holds no action_chunk" in result.output


def test_the_plugin_fails_a_test_that_differs(tmp_path: Path, computed_here: Path, changed_checkpoint: Path) -> None:
    """Protects users' own folders: a YAML is a test, and fails where replay does; bags/ has one that passes.

    Replay runs in this process, which has torch; what a process of its own finds wrong is read without it.
    """
    (changed_checkpoint / "stats.json").write_text((changed_checkpoint / "stats.json").read_text() + "\n")
    folder, wrong = tmp_path / "runs", tmp_path / "wrong"
    folder.mkdir()
    wrong.mkdir()
    text = f"bag: {computed_here}\nchunks: {{max_difference: 1.0}}\ncommands: {{max_difference: 1.0}}\n"
    (folder / "other.replay.yaml").write_text(f"{text}checkpoint: {changed_checkpoint}\n")
    (wrong / "typo.replay.yaml").write_text("bags: none\n")
    # Not this project's own settings: a user's folder has none.
    words = ["-p", "swiftvla_ros.replay.pytest_plugin", f"--rootdir={tmp_path}", "-c", "/dev/null"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(wrong)], capture_output=True, text=True, check=False
    )
    assert "1 failed" in done.stdout, done.stdout
    assert "bags: unknown key" in done.stdout
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert pytest.main([*words, "--capture=no", str(folder)]) == pytest.ExitCode.TESTS_FAILED
    assert "stats.json: another layout, the same content" in told.getvalue()
