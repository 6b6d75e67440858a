"""A real Chromium without a window, driven over its DevTools protocol."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Tab:
    """One page, with everything it requested and complained about."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.number = socket, 0
        self.requests: list[str] = []
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            said = json.loads(self.socket.recv(timeout=30))
            self._note(said)
            if said.get("id") == self.number:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result

    def _note(self, said: dict[str, Any]) -> None:
        params = said.get("params", {})
        match said.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(str(params["exceptionDetails"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.errors.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" if params["type"] == "error":
                self.errors.append(str(params["args"]))

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        said = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def wait(self, script: str, seconds: float = 20) -> None:
        """Until the expression is true."""
        end = time.monotonic() + seconds
        while not self._holds(script):
            assert time.monotonic() < end, f"not within {seconds} s: {script}; {self.errors}"
            time.sleep(0.05)

    def _holds(self, script: str) -> bool:
        try:
            return bool(self.run(script))
        except AssertionError as error:
            if "navigated" not in str(error):
                raise
            return False  # asked of a page that is on its way out

    def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        text |= {"code": "Tab", "windowsVirtualKeyCode": 9} if key == "Tab" else {}  # which the browser itself acts on
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    """A tab of a browser that lives as long as the block; `folder` is for its profile."""
    assert CHROMIUM is not None
    profile = folder / "profile"
    command = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _written(profile / "DevToolsActivePort").split()[0]
        yield from _tab(port)
    finally:
        process.terminate()
        process.wait(20)


def _tab(port: str) -> Iterator[Tab]:
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{port}/json") as answer:
        (page,) = (one for one in json.load(answer) if one["type"] == "page")
    with connect(page["webSocketDebuggerUrl"], max_size=None) as socket:
        yield Tab(socket)


def _written(path: Path) -> str:
    for _ in range(400):
        if path.exists() and len(path.read_text().split()) == 2:
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written")
