# SPDX-License-Identifier: Apache-2.0
"""The recorder in a live graph: complete, self-describing bags, and a black box at the press of a button."""

import signal
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray

from swiftvla_ros.contract.sections.demonstrations import Demonstrations
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.datasets.bag_listing import open_bags

# What every graph of nodes publishes.
OTHERS = {"/diagnostics", "/rosout", "/tf_static"}


@pytest.fixture(scope="module")
def conditioned(graph: Any, sensors: Any) -> Any:
    """A graph with sensors and what conditions them."""
    assert sensors.joints_on
    for camera in ("front", "wrist"):
        graph.start("camera_node", f"camera_{camera}", robot="so101_sim", camera=camera)
    graph.start("joint_state_node", robot="so101_sim")
    nodes = ("/camera_front", "/camera_wrist", "/joint_state")
    topics = ("/observation/front", "/observation/wrist", "/observation/state")
    graph.wait_until(lambda: all(graph.node.count_publishers(t) for t in topics), f"{nodes} publish", 90)
    return graph


def listens(graph: Any, name: str, topic: str) -> bool:
    """Whether a node of that name subscribes to a topic."""
    return name in {info.node_name for info in graph.node.get_subscriptions_info_by_topic(topic)}


def size(folder: Path) -> int:
    """Bytes in the bag's file."""
    return sum(f.stat().st_size for f in folder.glob("*.mcap"))


@pytest.fixture(scope="module")
def recorded(conditioned: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record some seconds, and a black box beside them."""
    graph, folder = conditioned, tmp_path_factory.mktemp("recorded")
    bag, boxes = folder / "bag", folder / "boxes"
    recorder = graph.start("recorder_node", robot="so101_sim", bag=str(bag), black_box=str(boxes))
    topics = ("/observation/front", "/observation/state")
    graph.wait_until(lambda: all(listens(graph, "recorder", t) for t in topics), "the recorder records", 90)
    graph.wait_until(lambda: size(bag) > 2_000_000, "the bag grows", 60)
    health = graph.listen(DiagnosticArray, "/diagnostics", 10)

    def knows() -> bool:
        said = {v.key: v.value for m in health.messages for s in m.status if s.name == "/recorder" for v in s.values}
        return int(said.get("nodes_whose_parameters_are_known", 0)) >= 5  # its own and this process's among them

    graph.wait_until(knows, "it has every node's parameters", 60)
    answer = graph.trigger("/recorder/save")
    assert answer.success, answer.message
    graph.wait_until(lambda: list(boxes.glob("*/summary.md")), "the box is written", 30)
    assert recorder.end() == 0, recorder.output()
    return folder


def test_a_bag_says_what_is_in_it_and_that_nothing_is_missing(recorded: Path) -> None:
    """Protects: one bag answers what was seen, with what parameters, and whether it is complete."""
    bag = Bag(recorded / "bag")
    assert bag.damage == ""
    assert {"/observation/front", "/observation/wrist", "/observation/state", "/film/front"} <= set(bag.counts)
    assert bag.provenance["recorder"]["lost"] == 0
    assert bag.provenance["recorder"]["recorded"] == sum(bag.counts.values())
    parameters = bag.provenance["parameters"]
    assert parameters["/camera_wrist"]["camera"] == "wrist"
    assert parameters["/recorder"]["images"] == "raw"
    assert bag.contract.robot == "so101_sim"
    received, _, image = next(bag.images("front"))
    width, height = bag.contract.camera("front").size
    assert image.shape == (height, width, 3)
    assert received >= bag.start_ns


def test_the_button_writes_a_box_with_a_page(recorded: Path) -> None:
    """Protects: the last seconds are there when somebody asks for them."""
    (box,) = (recorded / "boxes").iterdir()
    bag = Bag(box)
    assert box.name.endswith("-button")
    assert bag.counts["/observation/front"] > 0
    assert "~/save was called" in (box / "summary.md").read_text()


def test_a_persons_work_is_recorded_as_the_drivers_publish_it(conditioned: Any, tmp_path: Path) -> None:
    """Protects first demonstrations: drivers' topics and the instruction, no film, and training has its steps."""
    graph, folder = conditioned, tmp_path / "shown"
    recorder = graph.start("recorder_node", robot="so101_sim", bag=str(folder), demonstrations=True, instruction="wave")
    graph.wait_until(lambda: listens(graph, "recorder", "/joint_states"), "the recorder records", 90)
    graph.wait_until(lambda: size(folder) > 40_000_000, "the bag grows", 60)
    assert recorder.end() == 0, recorder.output()
    bag = Bag(folder)
    assert {"/camera/front/image_raw", "/camera/wrist/image_raw", "/joint_states"} == set(bag.counts) - OTHERS
    shown = bag.contract.with_keys(demonstrations=Demonstrations(actions="measured"))
    (episode,) = open_bags(folder, shown).episodes
    assert episode.load().instruction == "wave"
    assert episode.steps() > 3


def test_a_killed_recorder_leaves_a_bag(conditioned: Any, tmp_path: Path) -> None:
    """Protects: a crash of the recorder, or of the machine's memory, does not take the evidence with it."""
    graph, folder = conditioned, tmp_path / "bag"
    recorder = graph.start("recorder_node", "killed", robot="so101_sim", bag=str(folder), images="jpeg", film=False)
    graph.wait_until(lambda: size(folder) > 300_000, "the bag grows", 90)
    recorder.end(signal.SIGKILL)
    bag = Bag(folder)
    assert "metadata.yaml is missing" in bag.damage
    assert bag.counts["/observation/front/compressed"] > 5
    assert sum(1 for _ in bag.images("front")) == bag.counts["/observation/front/compressed"]


def test_wrong_parameters_are_refused_by_name(graph: Any, tmp_path: Path) -> None:
    """Protects: a typing error ends with the parameter's name, not with an empty recording."""
    for name, value in {"images": "png", "ros": "foxy", "bag": str(tmp_path)}.items():
        parameters = {"robot": "so101_sim", "bag": str(tmp_path / "new"), name: value}
        process = graph.start("recorder_node", f"wrong_{name}", **parameters)
        assert process.wait() == 2
        assert (name if name != "bag" else "exists already") in process.output() or "foxy" in process.output()
