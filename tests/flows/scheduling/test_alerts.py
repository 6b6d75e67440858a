"""Notifications to a real web server and a real command."""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from foretaste.errors import PlanError
from foretaste.flows.scheduling import alerts
from foretaste.flows.scheduling.alerts import Channels, NotDelivered, channels, environment, send

MESSAGE = {"text": "ünsafe", "rows": 3}


@pytest.fixture
def hook(monkeypatch):
    """A web server that answers as `codes` say, then 200; what it was told is in `heard`."""
    monkeypatch.setattr(alerts, "PAUSE", 0.01)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            server.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(server.slow)
            code = server.codes.pop(0) if server.codes else 200
            self.send_response(code)
            if code == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.heard, server.codes, server.slow = [], [], 0
    server.url = f"http://127.0.0.1:{server.server_port}/secret"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("codes", "times"), [([], 1), ([503, 429], 3)])
def test_a_webhook_is_told(hook, codes, times):
    hook.codes += codes
    send(MESSAGE, Channels(url=hook.url))
    assert hook.heard == [MESSAGE] * times


@pytest.mark.parametrize(
    ("codes", "times", "why"), [([500] * 5, 3, "answered 500"), ([403], 1, "answered 403"), ([302], 1, "answered 302")]
)
def test_a_webhook_that_refuses_is_said_without_its_secret(hook, codes, times, why):
    hook.codes += codes
    with pytest.raises(NotDelivered, match=why) as caught:
        send(MESSAGE, Channels(url=hook.url))
    assert len(hook.heard) == times
    assert "secret" not in str(caught.value)


def test_nobody_waits_for_ever(hook, monkeypatch):
    monkeypatch.setattr(alerts, "ANSWER", 0.05)
    monkeypatch.setattr(alerts, "ATTEMPTS", 1)
    hook.slow = 0.3
    with pytest.raises(NotDelivered, match="timed out"):
        send(MESSAGE, Channels(url=hook.url))


def test_a_command_is_told_and_no_shell_is_between(tmp_path):
    out = tmp_path / "a $(touch b); c"
    program = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"
    send(MESSAGE, Channels(command=(sys.executable, "-c", program, str(out))))
    assert json.loads(out.read_text()) == MESSAGE
    assert [one.name for one in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ((sys.executable, "-c", "import sys; sys.exit('no mail today')"), "ended with 1 and said: no mail today"),
        (("/no/such/program",), "No such file"),
        ((sys.executable, "-c", "import time; time.sleep(9)"), "timed out"),
    ],
)
def test_a_command_that_fails_is_said(command, why, monkeypatch):
    monkeypatch.setattr(alerts, "FINISH", 0.5)
    with pytest.raises(NotDelivered, match=why):
        send(MESSAGE, Channels(command=command))


def test_one_broken_channel_does_not_silence_the_other(hook):
    with pytest.raises(NotDelivered, match="No such file"):
        send(MESSAGE, Channels(url=hook.url, command=("/no/such/program",)))
    assert hook.heard == [MESSAGE]


def test_channels_come_from_options_or_the_environment(monkeypatch):
    assert channels() == Channels()
    there = channels("https://x/y", "mail -s 'two words' me")
    assert there == Channels("https://x/y", ("mail", "-s", "two words", "me"))
    for name, value in environment(there).items():
        monkeypatch.setenv(name, value)
    assert channels() == there
    assert channels("", "") == Channels()


@pytest.mark.parametrize(("url", "command"), [("file:///etc/passwd", None), ("x", None), (None, "mail 'me")])
def test_what_is_no_channel_is_refused(url, command):
    with pytest.raises(PlanError):
        channels(url, command)
