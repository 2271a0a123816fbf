# SPDX-License-Identifier: Apache-2.0
"""Rows of nodes: which run and in which state, on which clock, and what policy and executor say of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.executor_codes import Mode
from swiftvla_ros.preflight.graph import GraphFacts, NodeFacts, full_name, own_nodes
from swiftvla_ros.preflight.row import Row, names
from swiftvla_ros.preflight.topics import check_topics, expected_silence

_LOG = "look at its log (in the terminal of swiftvla up, or in ~/.ros/log)"


def check_graph(facts: GraphFacts, contract: Contract) -> list[Row]:
    """Judge a running graph; where none runs, one row that says so: it is no fault of the machine."""
    own = own_nodes(contract, facts.namespace, facts.nodes)
    if not any(node in facts.nodes for node in own) and expected_silence(facts.topics):
        others = f"; there are {names(facts.nodes)}" if facts.nodes else ""
        finding = f"nothing of {contract.robot} runs in this ROS domain{others}"
        fix = "swiftvla up; or give this command the --robot, --namespace and ROS_DOMAIN_ID of what runs"
        return [Row("graph", "skipped", finding, fix)]
    return [
        *_nodes(facts, own),
        *_simulated_time(facts, own),
        *check_topics(facts, contract),
        *_actions(facts, contract),
        *_orders(facts),
        *_states(facts),
    ]


def _nodes(facts: GraphFacts, own: tuple[str, ...]) -> Iterator[Row]:
    running = {node: facts.nodes[node] for node in own if node in facts.nodes}
    if not running:
        yield Row("nodes", "skipped", "only the drivers run", "swiftvla up starts the rest")
        return
    fine = dict(running)
    for node in own:
        if node not in running:
            yield Row(node, "fail", "does not run", f"swiftvla up starts it; where it ended by itself, {_LOG}")
        elif problem := _node_problem(node, running[node]):
            del fine[node]
            yield problem
    for node, other in facts.nodes.items():
        # Those of other arms in the same graph are not looked at.
        if node not in own and node.startswith(full_name("", facts.namespace)) and other.state not in ("", "active"):
            yield Row(node, "warning", f"is {other.state}", f"ros2 lifecycle set {node} activate, or {_LOG}")
    if len(fine) == len(own):
        yield Row("nodes", "ok", f"{names(n.rpartition('/')[2] for n in own)} are active")


def _node_problem(node: str, facts: NodeFacts) -> Row | None:
    if facts.count > 1:
        finding = f"runs {facts.count} times: two systems in one graph"
        return Row(node, "fail", finding, "end one of them, or give it another --namespace or ROS_DOMAIN_ID")
    if not facts.state:
        return Row(node, "fail", "does not say in which state it is: it hangs, or still loads", f"wait; else {_LOG}")
    if facts.state != "active":
        step = {"unconfigured": "configure", "inactive": "activate"}.get(facts.state, "configure")
        return Row(node, "fail", f"is {facts.state}", f"{_LOG}; then ros2 lifecycle set {node} {step}")
    return None


def _simulated_time(facts: GraphFacts, own: tuple[str, ...]) -> Iterator[Row]:
    concerned = {*own, *(publisher.node for topic in facts.topics for publisher in topic.publishers)}
    told = {
        name: bool(node.parameters["use_sim_time"])
        for name, node in facts.nodes.items()
        if name in concerned and "use_sim_time" in node.parameters
    }
    simulated = {node for node, value in told.items() if value}
    real = set(told) - simulated
    clock = facts.clock
    if not simulated:
        if clock.publishers and told:
            finding = f"{names(clock.publishers)} publishes /clock, and no node of {len(told)} has use_sim_time"
            yield Row("clock", "warning", finding, "start the nodes with use_sim_time:=true, or end that publisher")
        elif told:
            yield Row("clock", "ok", "the machine's, on all nodes")
        return
    if real:
        finding = f"use_sim_time is true for {names(simulated)}, and false for {names(real)}"
        yield Row("clock", "fail", finding, "give all nodes the same use_sim_time")
    if not clock.publishers:
        finding = f"use_sim_time is true for {names(simulated)}, and nobody publishes /clock: their time stands at 0"
        yield Row("clock", "fail", finding, "start the simulator (or its bridge of /clock), or set use_sim_time false")
    elif len(clock.publishers) > 1:
        finding = f"{names(clock.publishers)} publish /clock: time jumps between them"
        yield Row("clock", "fail", finding, "end all but one")
    elif not clock.received or clock.advanced_s <= 0:
        what = "stands still" if clock.received else "is silent"
        yield Row("clock", "fail", f"/clock of {names(clock.publishers)} {what}", "let the simulation run")
    elif not real:
        pace = clock.advanced_s / facts.seconds
        yield Row("clock", "ok", f"/clock of {names(clock.publishers)}, {pace:.2f} times as fast as the machine's")


def _actions(facts: GraphFacts, contract: Contract) -> Iterator[Row]:
    started = any(node in facts.nodes for node in own_nodes(contract, facts.namespace, facts.nodes))
    for part in contract.command_parts if started else ():
        if part.message_type is None and f"{part.topic}/_action/send_goal" not in facts.services:
            finding = "no server of this action: the arm does not move"
            yield Row(part.topic, "fail", finding, "start the controller, or correct control.topic")


def _orders(facts: GraphFacts) -> Iterator[Row]:
    for topic, problem in facts.orders:
        finding, _, fix = problem.rpartition("; ")
        yield Row(topic, "fail", finding, fix)


def _states(facts: GraphFacts) -> Iterator[Row]:
    if facts.session is not None:
        fix = "mend it, or see what `swiftvla demonstrate` says"
        yield Row("session", "warning", facts.session, fix) if facts.session else Row("session", "ok", "may begin")
    if facts.teleop is not None:
        yield Row("teleop", "ok", facts.teleop)
    if facts.policy is not None:
        # Without an instruction there is nothing to compute.
        waits = facts.policy.reason and facts.policy.instruction
        finding = facts.policy.reason or "computes chunks"
        yield Row("policy", "warning" if waits else "ok", finding, "see what it waits for above" if waits else "")
    if facts.executor is not None:
        mode, reason = facts.executor
        if mode == Mode.STOPPED:
            yield Row(
                "executor",
                "fail",
                f"STOPPED: {reason}",
                "mend the cause, then ros2 service call /trajectory_executor/reset std_srvs/srv/Trigger",
            )
        else:
            yield Row("executor", "ok", f"{Mode(mode).name}: {reason}" if reason else Mode(mode).name)


def robot_of(nodes: Mapping[str, NodeFacts], namespace: str) -> str:
    """Return the contract that a running executor has; empty without one."""
    executor = nodes.get(full_name("trajectory_executor", namespace))
    return str(executor.parameters.get("robot", "")) if executor else ""
