"""A headless Chromium, driven over chromedriver's W3C endpoints: no package needed."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def missing() -> str:
    """Say what is not installed here; "" if nothing."""
    programs = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and no '.join(programs)} here" if programs else ""


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        """Keep the session's address."""
        self._session = session

    def call(self, path: str, **body: Any) -> Any:
        """Call an endpoint of the session."""
        return _post(f"{self._session}/{path}", body)

    def open(self, address: str) -> None:
        """Load a page."""
        self.call("url", url=address)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a JavaScript function; return its value."""
        return self.call("execute/sync", script=script, args=list(arguments))

    def find(self, css: str) -> str:
        """Return an element, as soon as it is there."""
        script = "return document.querySelector(arguments[0])"
        found: str = wait_for(lambda: self.run(script, css), css)[_ELEMENT]
        return found

    def click(self, css: str) -> None:
        """Click where an element is."""
        self.call(f"element/{self.find(css)}/click")

    def type(self, css: str, keys: str) -> None:
        """Press keys in an element; into a file input goes a path."""
        self.call(f"element/{self.find(css)}/value", text=keys)

    def text(self, css: str) -> str:
        """Return what an element shows, "" if there is none."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText || ''", css))

    def resize(self, width: int, height: int) -> None:
        """Pretend a screen of that size: headless windows are never narrower than 500."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=metrics)

    def hosts(self) -> set[str]:
        """Return the hosts that the page asked for anything since the last call."""
        found = set()
        for entry in self.call("se/log", type="performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                params = message["params"]
                address = urlsplit(params.get("url") or params["request"]["url"])
                if address.scheme in ("http", "https", "ws", "wss"):
                    found.add(str(address.hostname))
        return found


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile; end it behind the `with` block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,900"]
    wanted = {
        "goog:chromeOptions": {"args": arguments, "binary": shutil.which("chromium")},
        "goog:loggingPrefs": {"performance": "ALL"},
    }
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        root = f"http://127.0.0.1:{port}"
        wait_for(lambda: _is_there(root), "chromedriver")
        made = _post(f"{root}/session", {"capabilities": {"alwaysMatch": wanted}})
        session = f"{root}/session/{made['sessionId']}"
        try:
            yield Browser(session)
        finally:
            _send(urllib.request.Request(session, method="DELETE"))
    finally:
        driver.terminate()
        driver.wait()


def wait_for(get: Callable[[], Any], what: str, timeout_s: float = 90) -> Any:
    """Return what a function returns as soon as that is true."""
    deadline = time.monotonic() + timeout_s
    while not (value := get()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.1)
    return value


def _is_there(root: str) -> bool:
    try:
        _send(urllib.request.Request(f"{root}/status"))
    except OSError:
        return False
    return True


def _post(address: str, body: dict[str, Any]) -> Any:
    content, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
    return _send(urllib.request.Request(address, content, kind))


def _send(request: urllib.request.Request) -> Any:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return json.load(answer)["value"]
