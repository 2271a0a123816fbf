# SPDX-License-Identifier: Apache-2.0
"""What is wrong in a running system is told by the topic or node that it is about, with the fix."""

from dataclasses import replace

import pytest

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.executor_codes import Mode
from swiftvla_ros.preflight.graph import (
    ClockFacts,
    Endpoint,
    GraphFacts,
    LoadedPolicy,
    Mismatch,
    NodeFacts,
    TopicFacts,
    TopicStream,
    expected_topics,
    own_nodes,
)
from swiftvla_ros.preflight.nodes import check_graph, robot_of
from swiftvla_ros.preflight.row import Row, worst

CONTRACT = load_contract("so101_sim")
OWN = own_nodes(CONTRACT, "")
FRONT, WRIST = (camera.topic for camera in CONTRACT.cameras)
STATES = CONTRACT.joint_states.topic
[COMMANDS] = CONTRACT.command_topics


def publisher_of(role: str) -> str:
    """Who publishes a topic in a healthy system."""
    return {"camera": "/driver", "joint states": "/driver", "command": OWN[-1]}.get(role, "/some_node")


def stream(rate_hz: float, **more) -> TopicStream:
    """What a good publisher sends."""
    good = {"stamp_offsets_s": (-0.03, -0.02, -0.01), "sending_offset_s": -0.001}
    good["joints"] = frozenset(CONTRACT.joint_names)
    return TopicStream("/driver", received=30, rate_hz=rate_hz, **{**good, **more})


def healthy() -> GraphFacts:
    """A system in which nothing is wrong."""
    topics = tuple(
        TopicFacts(
            topic,
            (Endpoint(publisher_of(topic.role), topic.type, "RIHS01_a"),),
            (Endpoint("/somebody", topic.type),),
            "RIHS01_a",
            (stream(topic.rate_hz),) if topic.rate_hz else (),
        )
        for topic in expected_topics(CONTRACT, "")
    )
    nodes = {name: NodeFacts(1, "active", {"use_sim_time": False}) for name in OWN}
    return GraphFacts("", 5.0, nodes, topics, connections=12, policy=LoadedPolicy(""), executor=(Mode.FRESH, "a chunk"))


def with_topic(facts: GraphFacts, name: str, **changed) -> GraphFacts:
    """The same graph with another of its topics."""
    return replace(facts, topics=tuple(replace(t, **changed) if t.expected.topic == name else t for t in facts.topics))


def with_nodes(facts: GraphFacts, **parameters) -> GraphFacts:
    """The same graph with other parameters of its nodes."""
    return replace(facts, nodes={name: replace(node, parameters=parameters) for name, node in facts.nodes.items()})


def spoiled(facts: GraphFacts) -> dict[str, Row]:
    """The rows that are not green."""
    return {check.name: check for check in check_graph(facts, CONTRACT) if check.status != "ok"}


def test_a_healthy_system_is_all_green():
    """Protects: nobody looks for faults that are none."""
    assert spoiled(healthy()) == {}
    assert {c.name for c in check_graph(healthy(), CONTRACT)} >= {"nodes", "clock", FRONT, STATES, "policy", "executor"}


def test_nothing_that_runs_is_no_fault():
    """Protects: the machine can be checked before anything was started."""
    empty = GraphFacts("", 5.0, topics=tuple(TopicFacts(t) for t in expected_topics(CONTRACT, "")))
    [row] = check_graph(empty, CONTRACT)
    assert (row.status, worst([row])) == ("skipped", "ok")
    assert "swiftvla up" in row.fix


def test_drivers_alone_are_judged_alone():
    """Protects: drivers are tried before the system is started on them."""
    facts = replace(healthy(), nodes={"/driver": NodeFacts()}, policy=None, executor=None)
    assert list(spoiled(facts)) == ["nodes"]
    assert spoiled(facts)["nodes"].status == "skipped"


def test_a_second_publisher_of_joint_states_is_named():
    """A joint_state_publisher beside the driver, with zeros, made the arm jump (report F3)."""
    rival = Endpoint("/joint_state_publisher", "sensor_msgs/msg/JointState")
    driver = Endpoint("/driver", "sensor_msgs/msg/JointState")
    streams = stream(50), replace(stream(50), node="/joint_state_publisher")
    found = spoiled(with_topic(healthy(), STATES, publishers=(driver, rival), streams=streams))[STATES]
    assert found.status == "fail"
    assert "/joint_state_publisher" in found.finding
    assert "shoulder_pan" in found.finding


def test_an_arm_and_its_gripper_may_have_two_drivers():
    """Protects: two publishers that share no joint are no rivals."""
    *arm, gripper = CONTRACT.joint_names
    endpoints = Endpoint("/driver", "sensor_msgs/msg/JointState"), Endpoint("/hand", "sensor_msgs/msg/JointState")
    streams = (
        stream(
            50,
        ),
        replace(stream(50), node="/hand", joints=frozenset({gripper})),
    )
    streams = replace(streams[0], joints=frozenset(arm)), streams[1]
    assert spoiled(with_topic(healthy(), STATES, publishers=endpoints, streams=streams)) == {}


def test_a_second_commander_is_named():
    """Protects: two masters' commands, taken in turns, are inside nobody's limits."""
    both = Endpoint(OWN[-1], "std_msgs/msg/Float64MultiArray"), Endpoint("/teleop", "std_msgs/msg/Float64MultiArray")
    found = spoiled(with_topic(healthy(), COMMANDS, publishers=both))[COMMANDS]
    assert found.status == "fail"
    assert found.fix == "end /teleop; only one may command an arm"


def test_commands_that_nobody_takes_are_told():
    """Protects: an arm that stands still because its controller does not listen; in shadow nobody has to."""
    deaf = with_topic(healthy(), COMMANDS, subscribers=())
    assert spoiled(deaf)[COMMANDS].status == "fail"
    assert spoiled(with_nodes(deaf, use_sim_time=False, shadow=True)) == {}


def test_a_node_that_is_missing_is_told_once():
    """Protects: the silence of its topics is no fault of theirs."""
    facts = healthy()
    facts = with_topic(facts, "/observation/front", publishers=(), streams=(), causes=(("nobody publishes", "do"),))
    facts = replace(facts, nodes={name: node for name, node in facts.nodes.items() if name != OWN[0]})
    assert list(spoiled(facts)) == [OWN[0]]


def test_silence_is_explained():
    """A camera that publishes elsewhere was never found out (report F10)."""
    cause = ("nobody publishes on it", "write /camera/front/image_raw/compressed")
    facts = with_topic(healthy(), FRONT, publishers=(), streams=(), causes=(cause,))
    assert spoiled(facts)[FRONT] == Row(FRONT, "fail", *cause)


@pytest.mark.parametrize(
    ("offset_s", "sending_s", "spread_s", "status", "says"),
    [
        (-3.0, -3.0, 0.01, "fail", "clock of its machine is 3.00 s behind"),
        (-3.0, -0.001, 0.01, "fail", "stamped 3.00 s behind this clock, always alike"),
        (-3.0, -0.001, 2.0, "fail", "late"),
        (-3.0, -3.0, 2.0, "fail", "clock of its machine"),
        (0.3, 0.3, 0.01, "warning", "0.30 s ahead of this clock: the clock of its machine"),
        (0.3, -0.001, 0.01, "warning", "stamped 0.30 s ahead"),
        (-5000.0, -0.001, 0.01, "warning", "the time of arrival is used"),
    ],
)
def test_clocks_are_told_from_delays(offset_s, sending_s, spread_s, status, says):
    """Clocks that are not synchronised stop the arm, and nothing said so (report F9)."""
    offsets = offset_s - spread_s / 2, offset_s, offset_s + spread_s / 2
    off = stream(15, stamp_offsets_s=offsets, sending_offset_s=sending_s)
    found = spoiled(with_topic(healthy(), FRONT, streams=(off,)))[FRONT]
    assert found.status == status
    assert says in found.finding


def test_messages_without_stamps_are_told():
    """Protects: a driver that stamps nothing makes observations seem newer than they are."""
    assert spoiled(with_topic(healthy(), FRONT, streams=(stream(15, stamp_offsets_s=None),)))[FRONT].status == "warning"


@pytest.mark.parametrize(("rate_hz", "status"), [(5.0, "fail"), (10.0, "warning"), (30.0, "warning")])
def test_rates_are_the_contract_s(rate_hz, status):
    """Protects: the contract says 15 Hz, and the policy's pairing counts on it."""
    assert spoiled(with_topic(healthy(), FRONT, streams=(stream(rate_hz),)))[FRONT].status == status


@pytest.mark.parametrize(("lost", "status"), [(3, "warning"), (40, "fail")])
def test_losses_are_told(lost, status):
    """Without its shared-memory profile Fast DDS loses most large images silently (report F10)."""
    found = spoiled(with_topic(healthy(), FRONT, streams=(stream(15, lost=lost),)))[FRONT]
    assert found.status == status
    assert "fastdds_shm.xml" in found.fix


def test_pauses_of_a_driver_are_told():
    """Protects: an average rate that hides a second of nothing."""
    found = spoiled(with_topic(healthy(), STATES, streams=(stream(50, longest_gap_s=0.9),)))[STATES]
    assert found.status == "warning"
    assert "0.90 s" in found.finding


def test_joints_that_never_come_are_named():
    """Protects: a driver whose joints have other names."""
    found = spoiled(with_topic(healthy(), STATES, streams=(stream(50, joints=frozenset({"joint_1"})),)))[STATES]
    assert found.status == "fail"
    assert "joint_1" in found.finding


def test_images_of_another_size_are_told():
    """Protects: they are refused one by one, and only the node's log says so."""
    found = spoiled(with_topic(healthy(), FRONT, streams=(stream(15, image_size=(1, 1)),)))[FRONT]
    assert found.status == "fail"
    assert "source_size" in found.fix


def test_another_build_of_the_messages_is_told():
    """Protects: types of the same name and another definition never meet, and ROS says nothing."""
    other = Endpoint("/some_node", "swiftvla_ros/msg/ActionChunk", "RIHS01_b")
    assert spoiled(with_topic(healthy(), "/action_chunk", publishers=(other,)))["/action_chunk"].status == "fail"


def test_publishers_and_subscribers_that_never_meet_are_told():
    """Protects: a controller that asks for more than the executor offers hears no command."""
    mismatch = Mismatch(
        COMMANDS, OWN[-1], "/controller", "Volatile publisher and transient local subscription", "ask less"
    )
    found = spoiled(replace(healthy(), mismatches=(mismatch,)))[COMMANDS]
    assert (found.status, found.fix) == ("fail", "ask less")


def test_a_controller_s_other_order_is_told():
    """The elbow's command went to the shoulder, as UR's drivers list it first (report F4)."""
    found = spoiled(replace(healthy(), orders=((COMMANDS, "/controller takes b, a; write control.joints: [b, a]"),)))
    assert found[COMMANDS] == Row(COMMANDS, "fail", "/controller takes b, a", "write control.joints: [b, a]")


def test_nodes_that_are_missing_or_asleep_are_told():
    """Protects: each with what brings it back."""
    facts = healthy()
    nodes = {**facts.nodes, OWN[0]: NodeFacts(1, "inactive"), OWN[1]: NodeFacts(2, "active"), OWN[2]: NodeFacts(1, "")}
    del nodes[OWN[-1]]
    found = spoiled(replace(facts, nodes=nodes))
    assert {name: check.status for name, check in found.items()} == dict.fromkeys((*OWN[:3], OWN[-1]), "fail")
    assert f"ros2 lifecycle set {OWN[0]} activate" in found[OWN[0]].fix


def test_simulated_time_without_a_clock_is_told():
    """With use_sim_time and nobody who publishes /clock everything waits for ever."""
    facts = with_nodes(healthy(), use_sim_time=True)
    assert "nobody publishes /clock" in spoiled(facts)["clock"].finding
    ticking = ClockFacts(("/sim",), 100, 5.0)
    assert spoiled(replace(facts, clock=ticking)) == {}
    assert "stands still" in spoiled(replace(facts, clock=replace(ticking, advanced_s=0.0)))["clock"].finding


def test_nodes_on_different_clocks_are_told():
    """Protects: one node that was started without use_sim_time."""
    facts = replace(with_nodes(healthy(), use_sim_time=True), clock=ClockFacts(("/sim",), 100, 5.0))
    facts = replace(facts, nodes={**facts.nodes, OWN[0]: NodeFacts(1, "active", {"use_sim_time": False})})
    assert OWN[0] in spoiled(facts)["clock"].finding
    forgotten = replace(healthy(), clock=ClockFacts(("/sim",), 100, 5.0))
    assert spoiled(forgotten)["clock"].status == "warning"


def test_other_arms_of_the_graph_are_not_judged():
    """Protects: what sleeps, or has another clock, in another namespace is somebody else's."""
    other = NodeFacts(1, "inactive", {"use_sim_time": True})
    facts = replace(healthy(), namespace="left")
    facts = replace(
        facts, nodes={f"/left{name}": node for name, node in facts.nodes.items()} | {"/right/policy": other}
    )
    rows = check_graph(replace(facts, topics=()), CONTRACT)
    assert [row.name for row in rows if row.status != "ok"] == []


def test_a_stopped_executor_is_red():
    """Protects: the reason of the stop stands in the table."""
    found = spoiled(replace(healthy(), executor=(Mode.STOPPED, "emergency stop")))["executor"]
    assert found.status == "fail"
    assert "emergency stop" in found.finding


def test_names_are_resolved_in_a_namespace():
    """Protects: the second arm of a network is looked at by its own names."""
    assert own_nodes(CONTRACT, "/left/")[0].startswith("/left/camera_")
    topics = {topic.topic for topic in expected_topics(CONTRACT, "left")}
    assert {"/left/observation/state", STATES} <= topics
    nodes = {"/left/trajectory_executor": NodeFacts(parameters={"robot": "so101"})}
    assert (robot_of(nodes, "left"), robot_of(nodes, "")) == ("so101", "")


def test_a_session_of_demonstrations_needs_no_policy():
    """Protects `doctor` beside `swiftvla demonstrate`: no policy is missed; a blocked episode and a rival are told."""
    names = ("/demonstration", "/teleop", "/joint_state", "/trajectory_executor")
    facts = replace(
        healthy(),
        nodes={name: NodeFacts(1, "active", {"use_sim_time": False}) for name in names},
        policy=None,
        session="nobody leads the arm",
        teleop="leader: waits for ~/engage",
    )
    facts = replace(facts, topics=tuple(t for t in facts.topics if t.expected.publisher in ("", *names)))
    assert {name: row.status for name, row in spoiled(facts).items()} == {"session": "warning"}
    two = tuple(Endpoint(node, "swiftvla_ros/msg/ActionChunk") for node in ("/teleop", "/script"))
    found = spoiled(with_topic(facts, "/operator_chunk", publishers=two))
    assert "2 publishers: /script, /teleop" in found["/operator_chunk"].finding
    del facts.nodes["/trajectory_executor"]
    assert spoiled(facts)["/trajectory_executor"].status == "fail"
