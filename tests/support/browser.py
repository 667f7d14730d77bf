"""A real browser: Debian's Chromium, without a window, by the WebDriver protocol.

Chromium's own driver is asked over HTTP as https://www.w3.org/TR/webdriver2/ says.
What it has the page run comes from outside, and is not held back by the page's
Content-Security-Policy: so axe-core can look at a page that lets no script of others
in.
"""

from __future__ import annotations

import base64
import functools
import importlib.resources
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.support.daemon import free_port

DRIVER, CHROMIUM = "/usr/bin/chromedriver", "/usr/bin/chromium"
#: What is on the keys that have no letter.
TAB, ENTER, SPACE, DOWN = "\ue004", "\ue007", " ", "\ue015"
#: The package that brings axe-core.
AXE = "axe_playwright_python"
#: Calls back with what is wrong, and with what axe cannot tell: a line for each.
ASK_AXE = """
const done = arguments[arguments.length - 1];
const words = rule => rule.nodes.map(node => [rule.id, node.html.slice(0, 200),
    node.failureSummary || rule.help].join(": "));
const asked = {rules: {"target-size": {enabled: true}},
    resultTypes: ["violations", "incomplete"]};
axe.run(document, asked).then(
    found => done([...found.violations, ...found.incomplete].flatMap(words)),
    error => done([String(error)]));
"""


def why_not(*, with_axe: bool = True) -> str:
    """Return why there is no browser here, or no axe-core; empty if there is."""
    missing = [path for path in (DRIVER, CHROMIUM) if not shutil.which(path)]
    if missing:
        return f"apt-get install chromium chromium-driver: no {missing}"
    if with_axe and not find_spec(AXE):
        return f"{AXE} is missing: make integration installs it"
    return ""


@functools.cache
def _axe() -> str:
    return (importlib.resources.files(AXE) / "axe.min.js").read_text("utf-8")


class Browser:
    """A window of so many pixels."""

    def __init__(self, base: str, session: str) -> None:
        self._base, self._session = base, session

    def open(self, url: str) -> None:
        """Load a page."""
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """Return what the body of a function in JavaScript returns."""
        body = {"script": script, "args": list(arguments)}
        return self._ask("POST", "/execute/sync", body)

    def barriers(self) -> list[str]:
        """Return what axe-core finds that keeps people from using the page."""
        self.run(_axe())
        body = {"script": ASK_AXE, "args": []}
        return [str(line) for line in self._ask("POST", "/execute/async", body)]

    def tab_to(self, selector: str, most: int = 100) -> None:
        """Press Tab until what a selector names has the focus, which can be seen."""
        for _press in range(most):
            self.type(TAB)
            seen, is_there = self.run(
                "const one = document.activeElement;"
                "const line = getComputedStyle(one).outlineStyle;"
                "return [line, one.matches(arguments[0])]",
                selector,
            )
            assert seen != "none", self.run("return document.activeElement.outerHTML")
            if is_there:
                return
        raise AssertionError(f"Tab does not reach {selector}")

    def source(self) -> str:
        """Return the page as it is now, as HTML."""
        return str(self._ask("GET", "/source"))

    def type(self, *keys: str) -> None:
        """Press keys, one after the other."""
        actions = [
            {"type": kind, "value": key}
            for key in keys
            for kind in ("keyDown", "keyUp")
        ]
        source = {"type": "key", "id": "keyboard", "actions": actions}
        self._ask("POST", "/actions", {"actions": [source]})

    def said(self) -> list[str]:
        """Return what the console has had since it was last asked."""
        found = self._ask("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in found]

    def picture(self, path: Path, width: int, height: int) -> None:
        """Keep a picture of the upper part of the page, with few colors."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shown = {"captureBeyondViewport": True, "format": "png", "clip": clip}
        body = {"cmd": "Page.captureScreenshot", "params": shown}
        found = self._ask("POST", "/goog/cdp/execute", body)
        assert shutil.which("pngquant"), "apt-get install pngquant"
        command = ["pngquant", "--strip", "--speed", "1", "--force", "--output", path]
        subprocess.run(
            [*command, "-"], input=base64.b64decode(found["data"]), check=True
        )

    def look(self, scheme: str) -> None:
        """Prefer ``dark`` or ``light`` from here on."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        body = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}}
        self._ask("POST", "/goog/cdp/execute", body)

    def close(self) -> None:
        """End it."""
        self._ask("DELETE", "")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return _asked(method, f"{self._base}/session/{self._session}{path}", body)


def _asked(method: str, url: str, body: dict[str, Any] | None) -> Any:
    data = json.dumps(body or {}).encode() if method == "POST" else None
    request = urllib.request.Request(url, data, method=method)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.load(response)["value"]


@contextmanager
def driver() -> Iterator[str]:
    """Start Chromium's driver; yield its address."""
    port = free_port()
    process = subprocess.Popen(
        [DRIVER, f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    base = f"http://127.0.0.1:{port}"
    try:
        for _attempt in range(200):
            try:
                _asked("GET", f"{base}/status", None)
                break
            except OSError:
                time.sleep(0.05)
        yield base
    finally:
        process.terminate()
        process.wait()


@contextmanager
def window(
    base: str, width: int, height: int = 900, *, script: bool = True
) -> Iterator[Browser]:
    """Open a window of so many pixels; yield it; close it."""
    metrics = {"width": width, "height": height, "pixelRatio": 1.0}
    options: dict[str, Any] = {
        "binary": CHROMIUM,
        "args": [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ],
        "mobileEmulation": {"deviceMetrics": metrics},
    }
    if not script:
        options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
    always = {
        "browserName": "chrome",
        "goog:chromeOptions": options,
        "goog:loggingPrefs": {"browser": "ALL"},
    }
    # A page of 1,000 jobs takes axe its time.
    always["timeouts"] = {"script": 290_000}
    found = _asked("POST", f"{base}/session", {"capabilities": {"alwaysMatch": always}})
    browser = Browser(base, found["sessionId"])
    try:
        yield browser
    finally:
        browser.close()
