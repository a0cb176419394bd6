"""Chromium without a window, driven by its DevTools protocol over a pipe: the standard library is enough for that."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60  # seconds


def find_chromium() -> str | None:
    """The path of a browser that speaks the protocol; None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One browser with one page.

    `problems` are the errors on the console and the exceptions of scripts; `requests` the addresses that the page asked
    for, except its own and those that hold their content themselves.
    """

    def __init__(self, executable: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._number, self._rest, self._loaded = 0, b"", False
        ours, theirs = os.pipe(), os.pipe()  # what we say, what it says
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        flags += [
            "--no-first-run",
            "--disable-extensions",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
        ]
        command = [executable, *flags, f"--user-data-dir={self.folder.name}", "about:blank"]
        script = f'exec 3<&{ours[0]} 4>&{theirs[1]} "$@"'  # it reads from descriptor 3 and writes to 4
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._to, self._from = ours[1], theirs[0]
        os.set_blocking(self._from, False)
        target = next(t for t in self._call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        os.close(self._to)
        os.close(self._from)
        shutil.rmtree(self.folder.name, ignore_errors=True)

    def open(self, address: str) -> None:
        """Go to a page and wait until it has loaded; `problems` and `requests` are then those of this page."""
        self.problems.clear()
        self.requests.clear()
        self._loaded = False
        self.call("Page.navigate", url=address)
        self._read_until(lambda: self._loaded, f"{address} to load")
        self.requests[:] = [one for one in self.requests if one != address]

    def resize(self, width: int, height: int = 900, dark: bool = False, mobile: bool = False) -> None:
        """The size of the window, and whether the system prefers dark pages."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript, or of the promise that it is.

        Raises:
            AssertionError: it raised.
        """
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(script):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)

    def screenshot(self, path: Path, whole: bool = True, clip: Sequence[float] | None = None) -> None:
        """Save the whole page as a PNG file, or the part (x, y, width, height) of it."""
        options: dict[str, Any] = {"captureBeyondViewport": whole}
        if clip is not None:
            options["clip"] = dict(zip(("x", "y", "width", "height"), clip, strict=True), scale=1)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **options)["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol to the page."""
        return self._call(method, self._session, **parameters)

    # -- the pipe: messages as JSON, each ended by a zero byte ----------------------------------------------

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        answer: dict[str, Any] = {}
        self._read_until(lambda: bool(answer), method, number, answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _read_until(self, done: Any, what: str, number: int = 0, answer: dict[str, Any] | None = None) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            assert self.process.poll() is None, f"Chromium has ended with code {self.process.returncode}"
            assert time.monotonic() < end, f"Chromium took too long: {what}"
            for message in self._messages():
                if answer is not None and message.get("id") == number:
                    answer.update(message)
                self._note(message)

    def _messages(self) -> list[dict[str, Any]]:
        try:
            self._rest += os.read(self._from, 1 << 20)
        except BlockingIOError:
            time.sleep(0.01)
        *whole, self._rest = self._rest.split(b"\0")
        return [json.loads(message) for message in whole]

    def _note(self, message: dict[str, Any]) -> None:
        method, said = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            address = said["request"]["url"]
            if not address.startswith(("data:", "blob:", "about:")):
                self.requests.append(address)
        elif method == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "assert"):
            self.problems.append(" ".join(str(one.get("value", one)) for one in said["args"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.problems.append(said["entry"]["text"])
