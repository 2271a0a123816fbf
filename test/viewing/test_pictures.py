# SPDX-License-Identifier: Apache-2.0
"""Film and plot of a bag, for people who want to see what the arm did."""

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from swiftvla_ros.cli.commands.plot import draw_bag
from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.topics import film_topic
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.viewing.film import film, write_gif, write_mp4, write_strip
from swiftvla_ros.viewing.run_picture import COMMANDED, MEASURED, MODE_COLORS

START_NS, FRAME_NS, TICK_NS = 10**9, 100_000_000, 10_000_000
DONE = 1


@pytest.fixture(scope="module")
def bag(contract: Contract, messages: Any, tmp_path_factory: pytest.TempPathFactory) -> Bag:
    """Record three seconds: a red front view and a blue wrist view, a chunk at 0.5 s, done at 1.5 s."""
    folder = tmp_path_factory.mktemp("run") / "bag"
    colors = {"front": (0, 0, 255), "wrist": (255, 0, 0)}  # BGR
    with BagWriter(folder, contract) as writer:
        for i in range(30):
            ns = START_NS + i * FRAME_NS
            for camera, color in colors.items():
                _, jpeg = cv2.imencode(".jpg", np.full((240, 320, 3), color, np.uint8))
                writer.write_message(f"/{film_topic(camera)}", messages.frame(ns, jpeg.tobytes()), ns)
        chunk_ns = START_NS + 5 * FRAME_NS
        writer.write_message("/action_chunk", messages.chunk(chunk_ns, chunk_ns, chunk_ns, chunk_ns), chunk_ns)
        writer.write_message("/task_verdict", messages.verdict(START_NS + 15 * FRAME_NS, DONE), chunk_ns)
        for i in range(250):
            ns = chunk_ns + i * TICK_NS
            position = contract.rest + 0.1 * np.sin(i / 50)
            writer.write_message("/observation/state", messages.measured(ns, position), ns)
            state = messages.executor_state(ns, position, chunk=chunk_ns, first=chunk_ns)
            writer.write_message("/executor_state", state, ns)
    return Bag(folder)


def test_the_film_shows_both_cameras_from_chunk_to_verdict(bag: Bag, tmp_path: Path) -> None:
    """Protects: the film begins where the arm does, and ends a moment after the verdict."""
    movie = film(bag, rate_hz=10)
    assert len(movie.frames) == 21  # one second to the verdict and one after it
    front, wrist = movie.frames[0][100, 100], movie.frames[0][100, 500]
    assert front[0] > 200 > 50 > front[2]
    assert wrist[2] > 200 > 50 > wrist[0]
    write_mp4(movie, tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 21
    write_gif(movie, tmp_path / "film.gif")
    assert (tmp_path / "film.gif").stat().st_size > 1000
    write_strip(movie, tmp_path / "film.png")
    assert cv2.imread(str(tmp_path / "film.png")).shape == (4 * movie.frames[0].shape[0], 640, 3)


def test_the_run_is_drawn(bag: Bag, tmp_path: Path) -> None:
    """Protects: the picture of a run, also of one whose observations or chunks were not recorded."""
    out = tmp_path / "run.png"
    draw_bag(bag, out, None, foresight=False)
    whole = cv2.imread(str(out))
    assert whole.shape[1] > 1000
    shown = whole.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32)  # 0xRRGGBB
    for color in (COMMANDED, MEASURED, MODE_COLORS["FRESH"]):
        assert (shown == int(color[1:], 16)).any(), color


def test_an_unknown_checkpoint_is_said_not_drawn(bag: Bag, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects: a path is never another network's than the one that moved the arm."""
    draw_bag(bag, tmp_path / "run.png", None, foresight=True)
    assert "recorded with another checkpoint" in " ".join(capsys.readouterr().out.split())


def test_a_bag_without_a_run_is_refused(contract: Contract, messages: Any, tmp_path: Path) -> None:
    """Protects: an empty picture is never made."""
    with BagWriter(tmp_path / "bag", contract) as writer:
        writer.write_message("/joint_states", messages.measured(START_NS, contract.rest), START_NS)
    with pytest.raises(BagError, match="holds no executor_state"):
        draw_bag(Bag(tmp_path / "bag"), tmp_path / "run.png", None, foresight=False)
