"""A Chromium that a test drives over the pipe of its debugging protocol: no port, no package."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip


class Tab:
    """A page in the browser.

    Attributes:
        console: What the page said on its console, and its uncaught exceptions.
        requests: Addresses that it asked for, without its own.
    """

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._rest, self._number = write, read, b"", 0
        self._session = ""
        self.console: list[str] = []
        self.requests: list[str] = []
        self._events: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next_message()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has ended"
            self._rest += data
        head, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(head)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        self._events.append(method)
        if method == "Runtime.consoleAPICalled":
            self.console.append(str([arg.get("value") for arg in params["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.console.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent" and params["request"]["url"][:5] != "data:":
            self.requests.append(params["request"]["url"])

    def open(
        self,
        url: str,
        ready: str = "!document.querySelector('#data') || document.querySelector('main, [role=alert]')",
    ) -> None:
        """Load a page, and wait until it is ready: a report, when its script has built the page."""
        for address in ("about:blank", url):  # from a page to a place in it there would be no load
            self._events.clear()
            self.call("Page.navigate", url=address)
            while "Page.loadEventFired" not in self._events:
                self._next_message()
        self.wait(f"document.readyState === 'complete' && ({ready})")
        self.requests = [
            request for request in self.requests if request.split("#")[0] != url.split("#", maxsplit=1)[0]
        ]

    def run(self, script: str) -> Any:
        """Return the value of an expression, of a promise what it resolves to."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait, frame by frame, until a condition holds."""
        frame = "new Promise((done) => setTimeout(done, 10))"
        script = f"(async () => {{ for (let n = 0; n < 1000; n += 1) {{ if ({condition}) return true; await {frame}; }} return false; }})()"
        assert self.run(script), f"never: {condition}\n{self.console}"

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            code = {"Enter": 13, "Escape": 27}.get(key, 0)
            for kind in ("keyDown", "keyUp"):
                more = {"text": text} if text and kind == "keyDown" else {}
                self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)
        self.settle()

    def settle(self) -> None:
        """Wait for two frames, so that what is scrolled to is drawn."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Set the size of the window; a phone has a touch screen of twice the density."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def emulate(self, *, media: str = "", **features: str) -> None:
        """Set the medium (``print``) and features such as ``prefers_color_scheme``."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", media=media, features=named)

    def screenshot(self, path: Path) -> None:
        """Save what the window shows."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def open_tab(folder: Path) -> Iterator[Tab]:
    """Start a browser with a fresh profile in a folder, and end it after the block."""
    to_browser, from_browser = os.pipe(), os.pipe()

    def set_pipes() -> None:
        # The protocol reads descriptor 3 and writes 4; both ends are moved out of the way first.
        ends = os.dup(to_browser[0]), os.dup(from_browser[1])
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    process = subprocess.Popen(
        [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
        preexec_fn=set_pipes, close_fds=False,  # noqa: PLW1509 -- `pass_fds` keeps numbers, and the protocol wants 3 and 4
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(to_browser[0])
    os.close(from_browser[1])
    try:
        tab = Tab(to_browser[1], from_browser[0])
        tab.resize(1280, 900)
        yield tab
    finally:
        os.close(to_browser[1])
        os.close(from_browser[0])
        process.terminate()
        process.wait()
