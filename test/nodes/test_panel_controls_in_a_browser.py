# SPDX-License-Identifier: Apache-2.0
"""Each control of the operator's page, pressed in a real browser before a running simulated system.

Its cameras are slow and small, and joint states may be late: what the policy makes of them is no matter here, and two
cores carry a browser beside all nodes.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from easier_robot import easier_robot
from operators_page import chromium, opened, served
from rcl_interfaces.srv import GetParameters
from std_msgs.msg import Float64

from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.session.session_folder import read_episode_record
from swiftvla_ros.msg import (
    DemonstrationState,
    ExecutorState,
    MonitorVerdict,
    PolicyState,
    PreflightReport,
    TeleopState,
)
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import header
from swiftvla_ros.policy.checkpoint import CARD

TAG = "<img src=x onerror=alert(1)>"
MOVING = (ExecutorState.FRESH, ExecutorState.TAIL, ExecutorState.DECELERATING)
PAGE = Path(__file__).parents[2] / "swiftvla_ros" / "panel" / "page" / "index.html"
# A phone held upright, in CSS pixels.
PHONE = {"width": 390, "height": 844}


class Operators:
    """A whole system with all that the page has buttons for, and a tab that holds the controls."""

    def __init__(self, graph: Any, browser: Any, checkpoint: Path, folder: Path) -> None:
        self.graph, self.browser, self.folder = graph, browser, folder
        self.complaints: list[str] = []
        self.robot = easier_robot(folder)
        self.start("loopback_robot_node")
        for camera in load_contract(self.robot).camera_names:
            self.start("camera_node", f"camera_{camera}", camera=camera)
        for node in ("joint_state_node", "trajectory_executor_node"):
            self.start(node)
        self.start("teleop_node", hand="jog")
        self.start("policy_node", checkpoint=str(checkpoint), threads=1, second_opinion=False, max_rate_hz=3.0)
        self.start("recorder_node", black_box=str(folder / "boxes"), black_box_after_s=0.1)
        self.states = graph.listen(ExecutorState, "executor_state", qos.EXECUTOR_STATE)
        self.teleop = graph.listen(TeleopState, "teleop_state", qos.LATCHED)
        self.sessions = graph.listen(DemonstrationState, "demonstration_state", qos.LATCHED)
        policy = graph.listen(PolicyState, "policy_state", qos.LATCHED)
        _, self.url = served(graph, robot=self.robot)
        self.page = self.open()
        graph.wait_until(lambda: policy.last, "the policy speaks", 90)
        self.page.click("#take")
        self.page.wait_for_selector("#give:visible")

    def start(self, node: str, name: str = "", **parameters: Any) -> Any:
        """Start a node."""
        return self.graph.start(node, name, robot=self.robot, **parameters)

    def open(self) -> Any:
        """Open one more tab."""
        return opened(self.browser, self.url, self.complaints)

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 30.0) -> None:
        """Wait for it, while the browser goes on."""

        def looks() -> object:
            self.page.wait_for_timeout(20)
            return condition()

        self.graph.wait_until(looks, what, timeout_s)

    def shows(self, selector: str, text: str, page: Any = None) -> None:
        """Wait until a page shows a text there."""
        page = page or self.page
        self.until(lambda: text in page.inner_text(selector), f"'{text}' in {selector}")

    def press(self, selector: str, answer: str) -> None:
        """Press a button with the keyboard, as one who has no mouse, and wait for the answer that is shown."""
        self.page.evaluate("document.getElementById('answers').replaceChildren()")
        self.page.focus(selector)
        self.page.keyboard.press("Enter")
        self.shows("#answers", answer)

    def moves(self) -> None:
        """Wait until the policy moves the arm."""
        source = ExecutorState.SOURCE_POLICY
        self.until(
            lambda: self.states.last.mode == ExecutorState.FRESH and self.states.last.chunk_source == source,
            "the policy moves the arm",
        )

    def rests(self) -> None:
        """Wait until it rests."""
        self.until(lambda: self.states.last.mode not in MOVING, "the arm rests")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for the tests of this file."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def watching(operators: Operators) -> Iterator[Any]:
    """A second tab, which looks on."""
    page = operators.open()
    yield page
    page.close()


@pytest.fixture(scope="module")
def operators(graph: Any, browser: Any, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Operators:
    """Start everything once; the tests follow one another."""
    return Operators(graph, browser, checkpoint, tmp_path_factory.mktemp("panel"))


def test_an_instruction_moves_the_arm_and_its_latency_is_told(operators: Operators) -> None:
    """What was given stands in the history with its effect, is offered again, and stages and their sum are shown."""
    page = operators.page
    page.fill("#instruction", "touch the red block")
    page.press("#instruction", "Enter")
    operators.moves()
    operators.shows("#history", "in effect")
    operators.shows("#arm-now", "the policy")
    operators.shows("#latency", "camera stamp → first command")
    row = page.locator("#latency tr", has_text="inference").first
    assert re.search(r"\d+ ms\s+\d+ ms", row.inner_text()), "half within, and 95 % within"
    page.fill("#instruction", "")
    page.click("#history .again")
    assert page.input_value("#instruction") == "touch the red block"
    # A joint of the plot is chosen, and stays chosen.
    page.select_option("#plot-joint", label="gripper")
    assert page.locator("#plot-joint option:checked").inner_text() == "gripper"


def test_a_person_takes_over_and_gives_back(operators: Operators, watching: Any) -> None:
    """Every tab says plainly who has the arm; the policy is refused until it has it again."""
    page = operators.page
    assert page.locator("#give_back").is_hidden(), "nobody has taken it"
    operators.press("#take_over", "take over:")
    operators.until(lambda: operators.states.last.operator_holds, "the executor knows it")
    for each in (page, watching):
        operators.shows("#hand", "A PERSON HAS THE ARM", each)
        operators.shows("#arm-now", "a person", each)
    operators.until(lambda: operators.teleop.last.phase == TeleopState.FOLLOWING, "the jog leads")
    refused = ExecutorState.REFUSAL_OPERATOR_HOLDS
    operators.until(lambda: operators.states.last.last_refusal == refused, "the policy is refused")
    assert watching.locator("#give_back").is_disabled(), "it doesn't hold the controls"
    operators.press("#give_back", "the arm is given back")
    operators.moves()
    operators.shows("#arm-now", "the policy", watching)
    assert page.locator("#hand").is_hidden()


def test_each_page_shows_the_speed_that_holds(operators: Operators, watching: Any) -> None:
    """The slider stands where the executor goes by it: on the other tab, after a reload, and when a script sets it."""
    page = operators.page
    page.fill("#speed", "40")
    operators.shows("#speed-asked", "40 %", watching)
    operators.until(lambda: abs(operators.states.last.speed_scale - 0.4) < 1e-3, "the executor goes by it")
    watching.reload()
    operators.shows("#speed-asked", "40 %", watching)
    node = operators.graph.node
    script = node.create_publisher(Float64, "speed_scale", qos.LATCHED)

    def told(percent: float) -> bool:
        script.publish(Float64(data=percent))
        return all(each.inner_text("#speed-asked") == f"{percent:.0f} %" for each in (page, watching))

    for percent in (70.0, 100.0):
        operators.until(lambda p=percent: told(p), f"both sliders stand at {percent:.0f} %")
    assert page.input_value("#speed") == "100"
    node.destroy_publisher(script)


def test_the_controls_go_from_tab_to_tab(operators: Operators, watching: Any) -> None:
    """One asks, the other gives; who has them commands and who hasn't watches; one that is gone is not waited for."""
    page = operators.page
    watching.click("#take")
    operators.shows("#request", "asks for the controls")
    assert page.locator("#stop").is_enabled(), "asking takes nothing"
    page.click("#give")
    watching.wait_for_selector("#give:visible")
    page.wait_for_selector("#stop:disabled")
    watching.click("#stop")
    operators.rests()
    watching.click("#start")
    operators.moves()
    watching.close()
    operators.shows("#holder", "is gone")
    page.click("#take")
    page.wait_for_selector("#give:visible")


def test_the_black_box_is_saved(operators: Operators) -> None:
    """The answer names the folder, and there it is written."""
    operators.press("#save_black_box", "save black box: writing")
    boxes = operators.folder / "boxes"
    operators.until(lambda: list(boxes.glob("*-button/summary.md")), "the box is written")


def test_a_pre_flight_is_made_and_shown(operators: Operators) -> None:
    """Each row of the report stands in the table with its status, the worst first."""
    reports = operators.graph.listen(PreflightReport, "preflight", qos.LATCHED)
    operators.press("#check_preflight", "start what offers it: swiftvla up --preflight")
    node = operators.start("preflight_node", listen_s=1.0)
    operators.until(lambda: reports.last, "it looks by itself", 60)
    reports.clear()
    operators.press("#check_preflight", "check preflight:")
    operators.until(lambda: reports.last, "it looks again")
    rows = operators.page.locator("#preflight tbody tr")
    operators.until(lambda: rows.count() == len(reports.last.rows), "the page shows it")
    told = [rows.nth(k).inner_text() for k in range(rows.count())]
    assert all(any(name in row for row in told) for name in reports.last.rows)
    order = ["red", "yellow", "green"]
    found = [next(k for k, word in enumerate(order) if word in row.split("\t")[0]) for row in told]
    assert found == sorted(found)
    node.end()  # a red one would be made again and again beside the tests that follow


def test_a_monitor_is_shown(operators: Operators) -> None:
    """Its verdict comes as monitors publish it, and its words are text."""
    verdicts = operators.graph.node.create_publisher(MonitorVerdict, "monitor_verdicts", qos.VERDICTS)
    verdict = MonitorVerdict(monitor="envelope", level=MonitorVerdict.SLOW, percent=60.0, text=TAG)
    verdict.parts, verdict.values, verdict.slow_at, verdict.hold_at = ["image"], [2.0], [1.0], [3.0]

    def shown() -> bool:
        verdict.header = header(operators.graph.node.get_clock().now().nanoseconds)
        verdicts.publish(verdict)
        return TAG in operators.page.inner_text("#monitors")

    operators.until(shown, "the verdict is shown")
    assert "image 2.00 (slows from 1.00" in operators.page.inner_text("#monitors")
    operators.graph.node.destroy_publisher(verdicts)


def test_a_session_is_recorded_from_the_page(operators: Operators, tmp_path: Path) -> None:
    """What each button says is what lies on the disk; buttons of a node that has ended go away."""
    page, session = operators.page, tmp_path / "session"
    asked = {"session": str(session), "instruction": "pick up the red block", "episodes": 2}
    demonstration = operators.start("demonstration_node", operator="Ada", **asked)
    operators.until(lambda: operators.sessions.last and not operators.sessions.last.blocked, "nothing is missing", 60)
    begin, recording = "#demonstration_begin", "recording"
    page.wait_for_selector(begin, state="visible")

    def judged(button: str, answer: str, note: str = "") -> None:
        page.fill("#note", note)
        operators.until(lambda: operators.sessions.last.elapsed_s > 0.3, "something was recorded")
        operators.press(button, answer)

    operators.press(begin, recording)
    operators.shows("#demonstration-word", "RECORDING")
    judged("#succeeded", "episode_000000: succeeded", TAG)
    page.fill("#shown", "touch the green block")
    operators.press("#demonstration_instruct", "the next episode shows: touch the green block")
    operators.press(begin, recording)
    judged("#demonstration_re_record", recording)
    judged("#failed", "episode_000002: failed (it slipped)", "it slipped")
    operators.press(begin, recording)
    judged("#discarded", "episode_000003: discarded")
    operators.shows("#demonstration", "1 of 2")
    operators.press("#demonstration_finish", "demonstration finish:")
    operators.shows("#demonstration-word", "ENDED")
    found = {bag: read_episode_record(session / bag) for bag in ("episode_000000", "episode_000002")}
    discarded = [read_episode_record(session / "discarded" / f"episode_00000{k}") for k in (1, 3)]
    assert [record.outcome for record in (*found.values(), *discarded)] == ["succeeded", "failed", *2 * ["discarded"]]
    assert found["episode_000000"].note == TAG
    assert found["episode_000002"].instruction == "touch the green block"
    assert demonstration.end() == 0
    page.wait_for_selector(begin, state="hidden", timeout=30_000)


def test_another_checkpoint_is_taken_with_its_card_read(operators: Operators, checkpoint: Path, tmp_path: Path) -> None:
    """Not while the arm moves; one that can't be loaded leaves the one before; its card is text."""
    page, other = operators.page, tmp_path / "other"
    shutil.copytree(checkpoint, other)
    (other / CARD).write_text(f"# Another one\n{TAG}\n", encoding="utf-8")
    page.fill("#checkpoint", str(other))
    page.click("#read_card")
    operators.shows("#card", TAG)
    operators.moves()
    operators.press("#use_checkpoint", "the arm moves")
    operators.press("#stop", "slowing down to rest")
    operators.rests()
    page.fill("#checkpoint", "/nowhere")
    operators.press("#read_card", "no checkpoint's folder")
    operators.press("#use_checkpoint", "as before")
    page.fill("#checkpoint", str(other))
    operators.press("#use_checkpoint", f"the policy computes {other}")
    answer = operators.graph.call(GetParameters, "policy/get_parameters", GetParameters.Request(names=["checkpoint"]))
    assert answer.values[0].string_value == str(other)
    operators.press("#start", "chunks are accepted")
    page.fill("#instruction", "touch the red block")
    page.press("#instruction", "Enter")
    operators.moves()


def test_everything_is_reached_on_a_phone(operators: Operators) -> None:
    """Nothing is wider than the screen, and the emergency stop is in sight wherever one has scrolled to."""
    phone = operators.open()
    phone.set_viewport_size(PHONE)
    for part in (0, 0.5, 1):
        phone.evaluate("part => window.scrollTo(0, part * document.body.scrollHeight)", part)
        box = phone.locator("#emergency").bounding_box()
        assert box is not None
        assert 0 <= box["y"] <= PHONE["height"] - box["height"]
    wider = "w => [...document.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > w).map(e => e.id)"
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], phone.evaluate(
        wider, PHONE["width"]
    )
    phone.click("#emergency")
    operators.until(lambda: operators.states.last.mode == ExecutorState.STOPPED, "it stops")
    phone.close()
    operators.until(
        lambda: (operators.page.click("#reset"), operators.states.last.mode)[1] != ExecutorState.STOPPED, "reset"
    )
    assert operators.page.locator("img").count() == 0, "what came from outside made no element"
    assert not operators.complaints


def test_no_control_is_left_out() -> None:
    """A control that somebody adds is pressed by a test of a browser, too."""
    html = PAGE.read_text(encoding="utf-8")
    controls = re.findall(r'<(?:button|input|select)\b[^>]*\bid="([\w-]+)"', html)
    assert len(controls) > 20
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_panel*browser.py"))
    assert [control for control in controls if f'"#{control}"' not in tests] == []
