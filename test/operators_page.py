# SPDX-License-Identifier: Apache-2.0
"""The operator's page in the system's own browser, for the tests that press its buttons."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

START_MS = 30_000


@contextmanager
def chromium() -> Iterator[Any]:
    """The system's Chromium without a window; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium drives the operator's page: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def served(graph: Any, name: str = "panel", robot: str = "so101_sim", **parameters: Any) -> tuple[Any, str]:
    """A panel_node on a free port, and the URL that it printed."""
    panel = graph.start("panel_node", name, robot=robot, address="127.0.0.1:0", **parameters)
    said = re.compile(r"the operator's page: (http\S+)")
    graph.wait_until(lambda: said.search(panel.output()), "the page is served", 90)
    found = said.search(panel.output())
    assert found
    return panel, found[1]


def opened(browser: Any, url: str, complaints: list[str]) -> Any:
    """A page that is connected, and whose way to the emergency stop is proven; what it complains of is noted."""
    page = browser.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
    page.goto(url)
    page.wait_for_selector("#emergency.proven", timeout=START_MS)
    return page
