# SPDX-License-Identifier: Apache-2.0
"""Rows of topics: who publishes, how often, with which stamps and joints, and who else does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.clock_offset import FUTURE_TOLERANCE_S, SYNCHRONISE, off_this_clock
from swiftvla_ros.preflight.graph import GraphFacts, Mismatch, TopicFacts, TopicStream
from swiftvla_ros.preflight.row import Row, names

# Of what the contract promises. A loaded machine gives a little less; below the half, observations seldom pair.
_SLOW, _FAR_TOO_SLOW, _FAST = 0.8, 0.5, 1.5
_SOME_LOST, _MANY_LOST = 0.05, 0.3
# Further behind, the nodes take the time of arrival instead (observation/stamp_clock.py).
_OTHER_CLOCK_S = 10.0
# Beyond this a difference of two clocks is no delay on the way any more.
_CLOCKS_DIFFER_S = 0.2
# An offset that keeps to this part of itself is a clock's; what varies more is late.
_CONSTANT = 0.25
_PROFILE = "set FASTDDS_DEFAULT_PROFILES_FILE to config/fastdds_shm.xml where it is started"


def check_topics(facts: GraphFacts, contract: Contract) -> list[Row]:
    """Judge every expected topic: a row for each fault, or one that says how it is."""
    checks = []
    for topic in facts.topics:
        # What a node publishes that does not run is told by the node's own row; unless somebody else does.
        node = topic.expected.publisher
        if node and node not in facts.nodes and not topic.publishers:
            continue
        problems = list(_problems(topic, facts, contract))
        checks += problems or [Row(topic.expected.topic, "ok", _healthy(topic))]
    return [*checks, *check_connections(facts)]


def check_connections(facts: GraphFacts) -> list[Row]:
    """Whether all publishers and subscribers of this system's topics meet."""
    if not facts.connections and not facts.mismatches:
        return []
    rows = [_mismatch(m) for m in facts.mismatches]
    return rows or [Row("types and QoS", "ok", f"{facts.connections} pairs of publisher and subscriber meet")]


def _mismatch(mismatch: Mismatch) -> Row:
    finding = f"{mismatch.publisher} publishes and {mismatch.subscriber} hears nothing: {mismatch.problem}"
    return Row(mismatch.topic, "fail", finding, mismatch.fix)


def _problems(topic: TopicFacts, facts: GraphFacts, contract: Contract) -> Iterator[Row]:
    expected = topic.expected
    yield from _rivals(topic, contract)
    yield from _types(topic)
    if expected.role == "command":
        yield from _commands(topic, facts)
    if not topic.streams and (expected.rate_hz or expected.role == "state"):
        for finding, fix in topic.causes:
            yield Row(expected.topic, "fail", finding, fix)
    elif not topic.publishers and expected.role == "chunks":
        yield Row(expected.topic, "fail", "nobody publishes chunks", "look at the policy's log; start it again")
    for stream in topic.streams if expected.rate_hz else ():
        yield from _rate(stream, topic)
        yield from _gap(stream, topic, contract)
        yield from _losses(stream, topic)
        yield from _stamps(stream, topic, contract)
    if expected.role == "joint states" and topic.streams:
        yield from _joints(topic, contract)
    if expected.role == "camera":
        yield from _image_size(topic, contract)


def _who(stream: TopicStream, topic: TopicFacts) -> str:
    return stream.node or names({p.node for p in topic.publishers}) or "somebody"


def _rivals(topic: TopicFacts, contract: Contract) -> Iterator[Row]:
    expected, publishers = topic.expected, sorted(p.node for p in topic.publishers)
    if expected.role == "command" and (others := {p for p in publishers if p != expected.publisher}):
        finding = f"{names(others)} commands the arm, too: nothing limits what it is told"
        yield Row(expected.topic, "fail", finding, f"end {names(others)}; only one may command an arm")
    if len(publishers) < 2 or expected.role == "command":
        return
    finding = f"{len(publishers)} publishers: {', '.join(publishers)}"
    fix = "end one of the two systems, or give it another --namespace or ROS_DOMAIN_ID"
    if expected.role == "joint states":
        shared = _said_twice(topic, contract)
        if shared == []:
            return  # the joints of an arm and of its gripper may come from two drivers
        finding += f", both with {', '.join(shared)}" if shared else ""
        fix = "end all but the driver (a joint_state_publisher beside it sends zeros)"
    elif not expected.publisher:
        fix = "end one of them: their pictures would alternate"
    yield Row(expected.topic, "fail", finding, fix)


def _said_twice(topic: TopicFacts, contract: Contract) -> list[str] | None:
    """The contract's joints that more than one publisher tells; None where they can't be told apart."""
    known = [s.joints for s in topic.streams if s.node]
    if len(known) < len(topic.publishers):
        return None
    return [j for j in contract.joint_names if sum(j in joints for joints in known) > 1]


def _types(topic: TopicFacts) -> Iterator[Row]:
    for publisher in topic.publishers:
        same_name = publisher.type == topic.expected.type
        if same_name and publisher.type_hash and topic.type_hash and publisher.type_hash != topic.type_hash:
            finding = f"{publisher.node} was built with another definition of {publisher.type}"
            yield Row(topic.expected.topic, "fail", finding, "install the same version of the messages on both sides")


def _commands(topic: TopicFacts, facts: GraphFacts) -> Iterator[Row]:
    executor = topic.expected.publisher
    node = facts.nodes.get(executor)
    if node is None or node.parameters.get("shadow"):
        return
    if not topic.publishers and node.state == "active":
        finding = f"{executor} publishes no commands here"
        yield Row(topic.expected.topic, "fail", finding, "start it with this robot's contract (--robot)")
    elif not topic.subscribers:
        finding = "nobody takes the commands: the arm does not move"
        yield Row(topic.expected.topic, "fail", finding, "start the driver or its controller, or correct control.topic")


def _rate(stream: TopicStream, topic: TopicFacts) -> Iterator[Row]:
    name, wanted, who = topic.expected.topic, topic.expected.rate_hz, _who(stream, topic)
    if stream.received < 2:
        yield Row(name, "fail", f"{who} sent one message", "look at the driver: it stands still")
    elif stream.rate_hz < _SLOW * wanted:
        finding = f"{who} publishes at {stream.rate_hz:.1f} Hz, and the contract says {wanted:g}"
        fix = "correct rate_hz in the contract, or the driver's rate; is the machine at its limit (top)?"
        yield Row(name, "fail" if stream.rate_hz < _FAR_TOO_SLOW * wanted else "warning", finding, fix)
    elif stream.rate_hz > _FAST * wanted:
        finding = f"{who} publishes at {stream.rate_hz:.1f} Hz, and the contract says {wanted:g}"
        yield Row(name, "warning", finding, "correct rate_hz in the contract, or the driver's rate")


def _gap(stream: TopicStream, topic: TopicFacts, contract: Contract) -> Iterator[Row]:
    policy = contract.policy
    longest = policy.max_image_age_s if topic.expected.type.endswith("Image") else policy.max_state_age_s
    # Told as the rate already where it is as slow as that.
    if stream.longest_gap_s > longest and stream.rate_hz * longest > 1:
        finding = f"{_who(stream, topic)} was silent for {stream.longest_gap_s:.2f} s: with older than {longest:g} s"
        finding += " nothing is inferred"
        fix = "look at the driver's log, its cable and the machine's load (top)"
        yield Row(topic.expected.topic, "warning", finding, fix)


def _losses(stream: TopicStream, topic: TopicFacts) -> Iterator[Row]:
    part = stream.lost / max(1, stream.lost + stream.received)
    if part > _SOME_LOST:
        finding = f"{part:.0%} of what {_who(stream, topic)} publishes is lost on the way"
        fix = f"{_PROFILE}; look at /dev/shm above, and at the machine's load (top)"
        yield Row(topic.expected.topic, "fail" if part > _MANY_LOST else "warning", finding, fix)


def _stamps(stream: TopicStream, topic: TopicFacts, contract: Contract) -> Iterator[Row]:
    name, who, policy = topic.expected.topic, _who(stream, topic), contract.policy
    if stream.stamp_offsets_s is None:
        finding = f"{who} does not stamp its messages; the time of arrival is used"
        yield Row(name, "warning", finding, "let the driver stamp them when it measures")
        return
    lowest, median, highest = stream.stamp_offsets_s
    oldest = policy.max_image_age_s if topic.expected.type.endswith("Image") else policy.max_state_age_s
    if -oldest <= median <= FUTURE_TOLERANCE_S:
        return
    offset = f"{who}'s messages are {off_this_clock(median)}"
    sending = stream.sending_offset_s
    if abs(median) > _OTHER_CLOCK_S:
        finding = f"{offset}; the time of arrival is used"
        fix = "let the driver stamp with this system's clock (use_sim_time alike everywhere?)"
        yield Row(name, "warning", finding, fix)
    elif sending is not None and abs(sending) > _CLOCKS_DIFFER_S and sending * median > 0:
        other = f"{abs(sending):.2f} s {'ahead of' if sending > 0 else 'behind'} this one"
        finding = f"{offset}: the clock of its machine is {other}"
        yield Row(name, "warning" if median > 0 else "fail", finding, SYNCHRONISE)
    elif highest - lowest > max(0.1, _CONSTANT * abs(median)):
        finding = f"{who}'s messages come {-highest:.2f} to {-lowest:.2f} s after their stamp: they are late"
        yield Row(name, "fail", finding, "find what delays them: the driver's queue, the network, the machine's load")
    else:
        finding = f"{offset}, always alike, and sent at once: the stamps are of another clock, or late"
        fix = f"let the driver stamp when it measures, with this system's clock; else {SYNCHRONISE}"
        yield Row(name, "warning" if median > 0 else "fail", finding, fix)


def _joints(topic: TopicFacts, contract: Contract) -> Iterator[Row]:
    told = {joint for stream in topic.streams for joint in stream.joints}
    missing = [joint for joint in contract.joint_names if joint not in told]
    if missing:
        finding = f"no message names {', '.join(missing)}; there are {names(told) or 'none'}"
        yield Row(topic.expected.topic, "fail", finding, "write the driver's names into the contract's joints")


def _image_size(topic: TopicFacts, contract: Contract) -> Iterator[Row]:
    expected = contract.camera(topic.expected.source).source_size
    for found in {stream.image_size for stream in topic.streams} - {None, expected}:
        assert found is not None
        finding = f"images of {found[0]}×{found[1]} px, and the contract says {expected[0]}×{expected[1]}"
        fix = "correct source_size in the contract, or the driver's resolution"
        yield Row(topic.expected.topic, "fail", f"{finding}: they are refused", fix)
    for problem in {stream.image_problem for stream in topic.streams} - {""}:
        fix = "let the driver publish colour pictures (rgb8, bgr8), or name the topic that has them"
        yield Row(topic.expected.topic, "fail", f"pictures that can't be used: {problem}", fix)


def _healthy(topic: TopicFacts) -> str:
    parts: list[str] = []
    for stream in topic.streams if topic.expected.rate_hz else ():
        text = f"{stream.rate_hz:.1f} of {topic.expected.rate_hz:g} Hz"
        if stream.stamp_offsets_s is not None:
            text += f", {_age(-stream.stamp_offsets_s[1])}"
        parts.append(text)
    if topic.expected.role == "command" and topic.subscribers:
        parts.append(f"taken by {names({s.node for s in topic.subscribers})}")
    publishers = names({p.node for p in topic.publishers})
    return (
        f"{'; '.join(parts)} from {publishers}" if parts and publishers else "; ".join(parts) or publishers or "quiet"
    )


def _age(seconds: float) -> str:
    return f"{max(0.0, seconds) * 1e3:.0f} ms old"


def expected_silence(topics: Sequence[TopicFacts]) -> bool:
    """Whether nothing at all publishes on any expected topic: no system of this robot runs here."""
    return not any(topic.publishers for topic in topics)
