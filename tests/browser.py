"""Chromium without a window, for tests of pages: what is seen, said in the console, asked for."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: Seconds that a page may take to draw all of its plots, on a machine that is busy.
PATIENCE = 120

# Bokeh draws below shadow roots, which selectors do not pass.
DEEP = """
function deep(root, found = []) {
  for (const one of root.querySelectorAll('*')) {
    found.push(one);
    if (one.shadowRoot) deep(one.shadowRoot, found);
  }
  return found;
}
"""


def needs_browser() -> None:
    """Skip where there is no Chromium; in continuous integration there must be."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing and os.environ.get("SHOAL_BROWSER") == "required":
        pytest.fail(f"{' and '.join(missing)} must be installed here: see .ci/run")
    if missing:
        pytest.skip(f"needs {' and '.join(missing)} (Debian: apt install chromium chromium-driver)")
    pytest.importorskip("selenium")


class Page:
    """A page that is open."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, width: int = 1300, dark: bool = False) -> None:
        """Open a file, and wait until all of it is drawn."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._tell("Emulation.setEmulatedMedia", features=scheme)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self._tell("Emulation.setDeviceMetricsOverride", **size)
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(path.as_uri())
        self.wait("document.documentElement.dataset.ready === 'true'")

    def _tell(self, command: str, **values: Any) -> None:
        self.driver.execute_cdp_cmd(command, values)

    def run(self, script: str) -> Any:
        """What a script returns."""
        return self.driver.execute_script(DEEP + script)

    def wait(self, condition: str) -> None:
        """Wait for a condition."""
        end = time.monotonic() + PATIENCE
        while not self.run(f"return Boolean({condition});"):
            assert time.monotonic() < end, f"never true: {condition}; {self.complaints()}"
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        """Errors and warnings in the console."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
        ]

    def requests(self) -> list[str]:
        """Addresses that were asked for."""
        events = [json.loads(entry["message"]) for entry in self.driver.get_log("performance")]
        messages = [event["message"] for event in events]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def text(self, selector: str = "body") -> str:
        """The text that is seen."""
        found: str = self.run(f"return document.querySelector({json.dumps(selector)}).innerText;")
        return found

    def colors(self, plot: str) -> int:
        """How many colors a plot is drawn with: 1 is blank."""
        return int(
            self.run(
                f"""
                const colors = new Set();
                for (const one of deep(document.getElementById('plot-{plot}'))) {{
                  if (one.tagName !== 'CANVAS' || !one.width) continue;
                  const all = one.getContext('2d').getImageData(0, 0, one.width, one.height).data;
                  for (const color of new Uint32Array(all.buffer)) colors.add(color);
                }}
                return colors.size;
                """
            )
        )

    def move(self, x: float, y: float) -> None:
        """Move the mouse, in pixels of the window."""
        for step in (1, 0):
            self._tell("Input.dispatchMouseEvent", type="mouseMoved", x=x - step, y=y)

    def click_at(self, x: float, y: float) -> None:
        """Press and release the mouse."""
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            how = {"x": x, "y": y, "button": "left", "clickCount": 1}
            self._tell("Input.dispatchMouseEvent", type=kind, **how)

    def press(self, key: str) -> None:
        """Press a key where the focus is."""
        for kind in ("keyDown", "keyUp"):
            self._tell("Input.dispatchKeyEvent", type=kind, key=key)


@contextmanager
def browser() -> Iterator[Page]:
    """Start Chromium, and end it."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    for log in ("browser", "performance"):
        wanted = {**options.capabilities.get("goog:loggingPrefs", {}), log: "ALL"}
        options.set_capability("goog:loggingPrefs", wanted)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Page(driver)
    finally:
        driver.quit()
