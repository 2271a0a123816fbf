# SPDX-License-Identifier: Apache-2.0
"""What the viewer shows of a bag is what the bag holds; nothing leaves the machine."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from swiftvla_ros.cli.main import app
from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.latency_stages import CHAIN
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.viewing.rerun.output import ViewerError

SECOND, TICK, STEP = 10**9, 10**7, 10**8
FRESH, HOLD = 1, 4
CHECKPOINT = "models/swiftvla-nano-so101"


def image(messages: Any, contract: Contract, camera: str, ns: int, seed: int) -> Any:
    """Make a conditioned image of noise."""
    width, height = contract.camera(camera).size
    data = np.random.default_rng(seed).integers(0, 255, 3 * width * height, dtype=np.uint8)
    return messages.image(ns, data.reshape(height, width, 3))


@pytest.fixture(scope="module")
def bag(contract: Contract, messages: Any, tmp_path_factory: pytest.TempPathFactory) -> Bag:
    """Record three overlapping chunks of ten rows, their observations and 60 ticks; the last ten hold."""
    folder = tmp_path_factory.mktemp("run") / "bag"
    with BagWriter(folder, contract) as writer:
        for k in range(3):
            ns = SECOND + 2 * k * STEP
            for camera in contract.camera_names:
                # The front view is 5 ms older, as in the chunk's message.
                stamp = ns - 5_000_000 if camera == "front" else ns
                writer.write_message(f"/observation/{camera}", image(messages, contract, camera, stamp, k), ns)
            writer.write_message("/observation/state", messages.measured(ns, contract.rest + 0.01 * k), ns)
            chunk = messages.chunk(ns, ns + TICK, ns + TICK, ns + 4 * TICK)
            chunk.chunk_id, chunk.rows = k + 1, 10
            chunk.positions = np.tile(contract.rest + 0.1 * k, 10)
            writer.write_message("/action_chunk", chunk, ns + 5 * TICK)
            for i in range(20):
                at = ns + 5 * TICK + i * TICK
                state = messages.executor_state(at, contract.rest + 0.001 * i, first=ns + 5 * TICK, chunk=ns)
                state.chunk_id, state.mode = k + 1, HOLD if (k, i // 10) == (2, 1) else FRESH
                writer.write_message("/executor_state", state, at)
    return Bag(folder)


@pytest.fixture(scope="module")
def predictor(contract: Contract) -> Any:
    """Load the shipped policy."""
    from swiftvla_ros.viewing.predicted_paths import PathPredictor

    return PathPredictor(Path(CHECKPOINT), contract)


def stored(path: Path) -> dict[str, list[Any]]:
    """Read a recording: entity → its chunks of rows."""
    from rerun.chunk import RrdReader

    found: dict[str, list[Any]] = {}
    for chunk in RrdReader(path).stream():
        found.setdefault(str(chunk.entity_path).lstrip("/"), []).append(chunk)
    return found


def entities(contract: Contract) -> list[str]:
    """List the entities that any run with chunks and images has."""
    stages = CHAIN[:-1]
    counts = ("position_limit", "velocity_limit", "acceleration_limit", "refused_chunks")
    of_joint = (
        "joints/{}/commanded",
        "joints/{}/measured",
        "joints/{}/planned/0",
        "joints/{}/seam",
        "tracking_error/{}",
        "limit_excess/{}",
    )
    return [
        *(f"observation/{camera}" for camera in contract.camera_names),
        *(part.format(name) for name in contract.joint_names for part in of_joint),
        *(f"latency/{stage}" for stage in stages),
        *(f"counts/{kind}" for kind in counts),
        *("latency/camera_to_first_command", "speed_scale", "executor/mode", "executor/reason", "told/instruction"),
        *("policy", "events", "about"),
    ]


def scalars(chunks: list[Any]) -> np.ndarray:
    """Return the logged numbers of an entity, in order of time."""
    values: list[float] = []
    for chunk in chunks:
        batch = chunk.to_record_batch()
        names = [name for name in batch.schema.names if name.endswith("Scalars:scalars")]
        values += [v for name in names for row in batch.column(name).to_pylist() for v in row]
    return np.array(values)


def test_a_recording_holds_what_the_bag_holds(
    bag: Bag, contract: Contract, predictor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects: every entity that the screen shows is there, with the numbers of the bag."""
    pytest.importorskip("rerun", reason="the viewer is not installed: pip install '.[view]'")
    from swiftvla_ros.viewing import run_frames
    from swiftvla_ros.viewing.rerun.bag import log_bag
    from swiftvla_ros.viewing.rerun.output import open_output

    # The same policy, loaded once for all tests.
    monkeypatch.setattr(run_frames, "PathPredictor", lambda *_: predictor)
    with open_output(tmp_path / "run.rrd", None) as stream:
        log_bag(Console(), bag, stream, CHECKPOINT, budget_s=60.0)
    found = stored(tmp_path / "run.rrd")
    # No policy_state was recorded.
    assert set(entities(contract)) - set(found) == {"policy"}
    assert {f"observation/front/foreseen/{part}" for part in ("path", "steps", "goal")} <= set(found)
    elbow = contract.joint_names.index("elbow_flex")
    commanded = scalars(found["joints/elbow_flex/commanded"])
    assert commanded == pytest.approx(np.tile(contract.rest[elbow] + 0.001 * np.arange(20), 3))
    assert len(scalars(found["joints/elbow_flex/seam"])) == 3
    # The chunks overlap: each has a lane of its own, and a value that is none at its end.
    for lane in range(3):
        planned = scalars(found[f"joints/elbow_flex/planned/{lane}"])
        assert planned[:-1] == pytest.approx(np.full(10, contract.rest[elbow] + 0.1 * lane))
        assert np.isnan(planned[-1])
    assert scalars(found["latency/inference"]) == pytest.approx([30.0] * 3)
    assert sum(chunk.num_rows for chunk in found["observation/wrist"]) == 3
    # In any order of its chunks: that of the style has no time.
    timelines = [set(chunk.timeline_names) for chunk in found["joints/elbow_flex/commanded"]]
    assert any({"run", "ros_time"} <= names for names in timelines)


def test_the_path_is_what_the_policy_tells_of_the_recorded_observation(
    bag: Bag, contract: Contract, predictor: Any
) -> None:
    """Protects: paths come from the very images, state and words that each chunk was computed from."""
    from swiftvla_ros.policy import Observation, load_policy
    from swiftvla_ros.viewing.predicted_paths import predicted_paths

    paths = list(predicted_paths(bag, predictor, front="front", budget_s=60.0))
    images = {camera: [rgb for *_, rgb in bag.images(camera)] for camera in contract.camera_names}
    seen = {camera: frames[1] for camera, frames in images.items()}
    expected = load_policy(CHECKPOINT, contract=contract, runtime="torch").keypoints(
        Observation(seen, contract.rest + 0.01, "pick up the red block")
    )
    assert [p.chunk_id for p in paths] == [1, 2, 3]
    assert np.array_equal(paths[1].image, seen["front"])
    assert np.array_equal(paths[1].uv, expected)


def test_without_time_most_paths_are_left_out(bag: Bag, predictor: Any) -> None:
    """Protects: a long bag does not take for ever."""
    from swiftvla_ros.viewing.predicted_paths import predicted_paths

    assert len(list(predicted_paths(bag, predictor, front="front", budget_s=0.0))) == 1


def test_an_unfinished_recording_is_removed(tmp_path: Path) -> None:
    """Protects: a file that is there is whole."""
    pytest.importorskip("rerun", reason="the viewer is not installed: pip install '.[view]'")
    from swiftvla_ros.viewing.rerun.output import open_output

    with pytest.raises(KeyboardInterrupt), open_output(tmp_path / "run.rrd", None):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    """Protects: who asks for a recording hears why there is none, in a sentence."""
    pytest.importorskip("rerun", reason="the viewer is not installed: pip install '.[view]'")
    from swiftvla_ros.viewing.rerun.output import open_output

    (tmp_path / "file").touch()
    with pytest.raises(ViewerError, match="can't be written"), open_output(tmp_path / "file" / "run.rrd", None):
        pass


def test_the_window_is_quiet_and_listens_on_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    """Protects: no usage statistics and no open port, although both are rerun's defaults."""
    pytest.importorskip("rerun", reason="the viewer is not installed: pip install '.[view]'")
    from swiftvla_ros.viewing.rerun.output import quiet_environment, window_command

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("FORCE_RERUN_ANALYTICS", "1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*window_command(port), "--headless"]
    log = (tmp_path / "log").open("w+")
    viewer = subprocess.Popen(command, env=quiet_environment(), stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: listening(port) or viewer.poll() is not None, "the viewer listens", 30.0)
        if viewer.poll() is not None:
            pytest.skip("rerun's viewer does not start here: " + (tmp_path / "log").read_text()[-300:])
        assert listening(port) == {"0100007F"}
    finally:
        # The viewer is a child of the program that finds it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(viewer.pid, signal.SIGTERM)
        viewer.wait(15.0)
        log.close()
    assert not list(tmp_path.rglob("analytics*"))


def listening(port: int) -> set[str]:
    """Return the local addresses (hexadecimal, as Linux tells them) on which somebody listens on a port."""
    if not sys.platform.startswith("linux"):
        pytest.skip("Linux tells who listens")
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:
                found.add(address)
    return found


@pytest.mark.parametrize("arguments", [["BAG"], ["--live"]])
def test_a_missing_viewer_is_named_with_its_remedy(
    bag: Bag, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects: without the optional package the command says how to get it."""
    monkeypatch.setitem(sys.modules, "rerun", None)
    result = CliRunner().invoke(app, ["view", *(a.replace("BAG", str(bag.folder)) for a in arguments)])
    assert result.exit_code == 2
    assert "pip install 'swiftvla_ros[view]'" in result.output


def test_a_bag_or_the_live_system_must_be_named() -> None:
    """Protects: neither and both are refused before anything is loaded."""
    for arguments in (["view"], ["view", "somewhere", "--live"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert "--live" in result.output
    began = time.monotonic()
    assert CliRunner().invoke(app, ["view", "--foxglove", "x.json"]).exit_code == 2
    assert time.monotonic() - began < 5
