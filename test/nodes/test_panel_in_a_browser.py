# SPDX-License-Identifier: Apache-2.0
"""The operator's page in a real browser, with a real executor behind it: what an operator relies on."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from executor_arm import Arm
from operators_page import chromium, opened, served

from swiftvla_ros.msg import ExecutorState, InstructionEffect, SpeedLimit
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import header
from swiftvla_ros.srv import SetInstruction

# The page's promise for a cut connection is 1.5 s; the browser draws it on a busy machine.
LOST_MS = 2000
SCRIPT = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for the tests of this file."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about while the page was served."""
    return []


def test_an_operator_sees_stops_and_is_told_of_a_cut(arm: Arm, browser: Any, complaints: list[str]) -> None:
    """Controls, slider, space, start, Esc from a watching tab, reset; foreign text stays text; a cut is shown."""
    graph = arm.graph
    panel, url = served(arm.graph)
    page, watching = (opened(browser, url, complaints) for _ in range(2))
    page.click("#take")
    page.wait_for_selector("#give:visible")
    assert watching.locator("#stop").is_disabled(), "a page without the controls can't command"

    arm.move()
    for percent in (50, 100):
        page.fill("#speed", str(percent))
        graph.wait_until(lambda s=percent / 100: abs(arm.states.last.speed_scale - s) < 1e-3, f"speed {percent} %")
    # The slider still has the focus, as it has for an operator.
    page.keyboard.press("Space")
    arm.settle(ExecutorState.HOLD)
    page.click("#start")
    graph.wait_until(arm.moves, "the arm moves again")
    watching.keyboard.press("Escape")
    arm.settle(ExecutorState.STOPPED)
    page.wait_for_selector("#mode:has-text('STOP')")
    arm.sending.clear()

    def reset() -> bool:
        page.click("#reset")
        return arm.mode == ExecutorState.IDLE

    graph.wait_until(reset, "reset at rest")
    arm.check_limits()
    shows_foreign_text(arm, page)
    assert not complaints

    # Silent, as behind a cut cable; back again; and gone.
    for cut in (signal.SIGSTOP, signal.SIGKILL):
        page.wait_for_selector("#emergency.proven", timeout=30_000)
        panel.process.send_signal(cut)
        page.wait_for_selector("#lost.shown", timeout=LOST_MS)
        assert page.locator("#lost-word").is_visible()
        assert "DEAD" in page.inner_text("#stop-way")
        panel.process.send_signal(signal.SIGCONT)


def shows_foreign_text(arm: Arm, page: Any) -> None:
    """An answer, an instruction and a limit's reason that hold a tag are shown, and are none in the page."""
    node = arm.graph.node

    def answer(request: Any, response: Any) -> Any:
        response.success, response.message = True, f"follows {request.instruction}"
        return response

    service = node.create_service(SetInstruction, "set_instruction", answer)
    effects = node.create_publisher(InstructionEffect, "instruction_effect", qos.LATCHED)
    limits = node.create_publisher(SpeedLimit, "speed_limit", qos.SPEED_LIMIT)
    stamp = header(arm.now_ns())
    effects.publish(InstructionEffect(header=stamp, instruction=SCRIPT, instruction_id=1, accepted=stamp.stamp))

    def limited() -> bool:
        limits.publish(SpeedLimit(header=header(arm.now_ns()), source="test", percent=90.0, reason=SCRIPT))
        return bool(SCRIPT in page.inner_text("#speed-why"))

    def answered() -> bool:
        page.fill("#instruction", SCRIPT)
        page.press("#instruction", "Enter")
        return f"follows {SCRIPT}" in page.inner_text("#answers")

    arm.graph.wait_until(limited, "the limit's reason is shown")
    arm.graph.wait_until(answered, "the answer is shown")
    arm.graph.wait_until(lambda: SCRIPT in page.inner_text("#history"), "the instruction is shown")
    limits.publish(SpeedLimit(header=header(arm.now_ns()), source="test", percent=100.0, reason=""))
    assert page.locator("img[src=x]").count() == 0
    node.destroy_service(service)
    for publisher in (effects, limits):
        node.destroy_publisher(publisher)


def test_a_page_with_a_wrong_token_stays_outside(arm: Arm, browser: Any, tmp_path: Path) -> None:
    """Neither without a token nor with a wrong one does anything of the robot reach a browser; the right one opens."""
    file = tmp_path / "token"
    file.write_text("of-letters-enough-0123456789")
    file.chmod(0o600)
    panel, url = served(arm.graph, "guarded_panel", token_file=str(file))
    page = browser.new_page()
    for query in ("", "?token=wrong"):
        answer = page.goto(url + query)
        assert answer.status in (401, 403)
        assert page.locator("#token").is_visible()
        assert page.locator("#emergency").count() == 0
    page.fill("#token", file.read_text())
    page.keyboard.press("Enter")
    page.wait_for_selector("#emergency.proven", timeout=30_000)
    assert "token" not in page.url
    assert panel.end() == 0
