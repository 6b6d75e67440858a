"""The review page: who may see it, what it shows of hostile rows, and that nothing decided is lost."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, browser
from places import DATA
from reviewed import audited, group, served
from starlette.testclient import TestClient

import foretaste
from foretaste.curation.review_decisions import Choice, decide, latest, precision, settled
from foretaste.errors import DataError
from foretaste.flows.cli import main
from foretaste.flows.review.queue import Filter, ReviewQueue
from foretaste.flows.review.server import application, cookie

HOST, TOKEN = "127.0.0.1:8765", "a-token"
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u202e\x07"
ROWS = 60


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """An audit of texts; its flagged rows are written as a detector that flags the first ROWS would."""
    folder = tmp_path_factory.mktemp("review")
    text = [f"{HOSTILE} {n}" if n % 3 == 0 else f"row {n}" for n in range(200)]
    table = pa.table(
        {"text": text, "label": ["cat", "<b>dog</b>"] * 100, "source": [f"site {n % 5}" for n in range(200)]}
    )
    plan = '[embedders.tokens]\n[detectors.spectral-signature]\n[decide]\ncontent = "tokens"\n'
    found = [group("backdoor", "<b>dog</b>", ROWS // 2, phrases=["row"])]
    return audited(folder, table, plan, rows=ROWS, groups=found)


@pytest.fixture
def queue(audit):
    (audit / "decisions.sqlite").unlink(missing_ok=True)
    return ReviewQueue.of(str(audit))


def client(queue: ReviewQueue, reviewer: str = "ada") -> TestClient:
    app = application(queue, reviewer=reviewer, token=TOKEN, hosts=frozenset({HOST}))
    return TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)


@pytest.fixture
def page(queue):
    made = client(queue)
    made.cookies.set(cookie(HOST), TOKEN)
    return made


def test_the_token_opens_the_page_once_and_becomes_a_cookie(queue):
    fresh = client(queue)
    assert fresh.get("/").status_code == 403
    assert fresh.get("/?token=wrong").status_code == 403
    welcome = fresh.get(f"/?token={TOKEN}")
    assert welcome.status_code == 303
    assert "httponly" in welcome.headers["set-cookie"].lower()
    assert "samesite=strict" in welcome.headers["set-cookie"].lower()
    assert fresh.get("/").status_code == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/rows", {"Host": "evil.example"}),
        ("/rows", {"Host": "localhost.evil.example:8765"}),
        ("/rows", {"Origin": "http://evil.example"}),
        ("/rows", {"Origin": "null"}),
        ("/start", {"Origin": f"https://{HOST}"}),
    ],
)
def test_other_places_are_refused(page, path, headers):
    assert page.get(path, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "path", ["/static/../queue.py", "/static/%2e%2e%2fdesk.py", "/static/page.html", "/picture/..%2fx", "/report.json"]
)
def test_nothing_else_is_served(page, path):
    assert page.get(path).status_code == 404


def test_every_answer_forbids_what_is_not_needed(page):
    for path in ("/", "/start", "/static/page.js", "/nowhere"):
        headers = page.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_rows_come_in_pages_by_risk_and_filter(page):
    first = page.get("/rows").json()
    assert (first["total"], len(first["cards"])) == (ROWS, 48)
    assert [card["row"] for card in first["cards"]] == list(range(48))
    rest = page.get("/rows", params={"first": 48}).json()
    assert [card["row"] for card in rest["cards"]] == list(range(48, ROWS))
    assert page.get("/rows", params={"kind": "label"}).json()["total"] == ROWS // 2
    assert page.get("/rows", params={"label": "cat", "kind": "backdoor"}).json()["total"] == 0
    assert page.get("/rows", params={"source": "site 1"}).json()["total"] == ROWS // 5
    assert page.get("/rows", params={"file": "data.parquet"}).json()["total"] == ROWS
    rising = page.get("/rows", params={"order": "rising"}).json()["cards"]
    assert [card["row"] for card in rising] == list(range(ROWS - 1, ROWS - 49, -1))
    around = page.get("/rows", params={"row": 50}).json()
    assert (around["first"], around["cards"][2]["row"]) == (48, 50)
    assert page.get("/rows", params={"first": "x"}).status_code == 400
    assert page.get("/rows", params={"state": "x"}).status_code == 400


def test_decisions_are_made_and_told(page, queue):
    said = page.post("/decide", json={"rows": [3, 4], "choice": "drop", "note": "a token"}).json()
    assert said["settled"] == {"keep": 0, "drop": 2, "unsure": 0}
    card = page.get("/rows").json()["cards"][3]
    assert (card["choice"], card["note"]) == ("drop", "a token")
    assert page.get("/rows", params={"state": "open"}).json()["total"] == ROWS - 2
    group = {"choice": "keep", "group": {"kind": "label"}}
    assert page.post("/decide", json=group).json()["rows"] == ROWS // 2
    page.post("/decide", json={"rows": [3], "choice": "open"})
    assert 3 not in settled(queue.folder)


def test_filters_are_offered_where_there_is_something_to_choose(page):
    offered = page.get("/start").json()["filters"]
    assert offered["kind"] == [["backdoor", "backdoor", ROWS // 2], ["label", "label", ROWS // 2]]
    assert [value for value, _, _ in offered["source"]] == [f"site {n}" for n in range(5)]
    assert offered["file"] == offered["detector"] == []


def test_a_row_is_shown_beside_its_group_and_the_nearest_rows(page):
    said = page.get("/beside/1").json()
    assert said["group"] == {"kind": "backdoor", "label": "<b>dog</b>"}
    assert (said["rows"], said["left"], said["reason"]) == (ROWS // 2, ROWS // 2, "they share a pattern")
    assert [card["row"] for card in said["cards"]] == list(range(3, 27, 2))
    near = page.get("/near/1").json()
    assert (near["view"], near["looked"], near["rows"]) == ("tokens", 200, 200)
    assert len(near["cards"]) == 8
    alike = [card["alike"] for card in near["cards"]]
    assert alike == sorted(alike, reverse=True)
    assert all(card["text"][0][0].startswith("row") for card in near["cards"])  # the hostile ones are others
    assert {card["flagged"] for card in near["cards"]} <= {True, False}
    assert page.get("/beside/199").status_code == page.get("/near/199").status_code == 404
    assert page.get("/near/99999999999999999999").status_code == 404


def test_what_the_group_shares_is_marked_in_the_text(page):
    one, other = page.get("/rows").json()["cards"][1:3]
    assert one["text"] == [["row", True], [" 1", False]]
    assert other["text"] == [["row 2", False]]  # of another group
    assert page.get("/text/1").json() == {"pieces": [["row", True], [" 1", False]], "characters": 5}


def test_one_undo_takes_back_one_act_however_many_rows(page, queue):
    page.post("/decide", json={"rows": [1], "choice": "keep", "note": "mine"})
    group = {"kind": "backdoor", "label": "<b>dog</b>"}
    assert page.get("/beside/1").json()["left"] == ROWS // 2 - 1
    assert page.post("/decide", json={"group": group, "choice": "drop", "left": True}).json()["rows"] == ROWS // 2 - 1
    assert settled(queue.folder)[1] is Choice.KEEP
    said = page.post("/undo", json={}).json()
    assert (said["rows"], said["row"], said["choice"], said["mine"]) == (ROWS // 2 - 1, 3, "drop", 1)
    assert page.post("/undo", json={}).json()["mine"] == 0
    assert page.post("/undo", json={}).json()["rows"] == 0
    assert page.post("/undo", content="{}", headers={"Content-Type": "text/plain"}).status_code == 415


def test_a_note_without_a_choice_is_kept_and_seen_by_others(page, queue):
    page.post("/decide", json={"rows": [2], "choice": "open", "note": "ask <i>Bob</i>"})
    card = page.get("/rows").json()["cards"][2]
    assert (card["choice"], card["note"]) == (None, "ask <i>Bob</i>")
    assert page.get("/start").json()["mine"] == 0
    other = client(queue, "bob")
    other.cookies.set(cookie(HOST), TOKEN)
    assert other.get("/rows").json()["cards"][2]["others"] == [
        {"who": "ada", "choice": "open", "note": "ask <i>Bob</i>"}
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"rows": [199], "choice": "drop"}, 400),
        ({"rows": [], "choice": "drop"}, 400),
        ({"rows": [1], "choice": "burn"}, 400),
        ({"rows": "abc", "choice": "drop"}, 400),
        ([], 400),
        ({"rows": [float("inf")], "choice": "drop"}, 400),
        ({"rows": [1], "choice": "drop", "note": "\ud800"}, 400),
        ({"rows": [1], "choice": "drop", "note": "x" * 2001}, 400),
    ],
)
def test_bad_decisions_change_nothing(page, queue, body, status):
    sent = {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}  # json= refuses infinity
    assert page.post("/decide", **sent).status_code == status
    assert latest(queue.folder) == []


def test_a_form_of_another_page_cannot_decide(page, queue):
    body = json.dumps({"rows": [1], "choice": "drop"})
    assert page.post("/decide", content=body, headers={"Content-Type": "text/plain"}).status_code == 415
    assert latest(queue.folder) == []


def test_two_reviewers_see_each_other_and_overwrite_nothing(page, queue):
    other = client(queue, "bob")
    other.cookies.set(cookie(HOST), TOKEN)
    page.post("/decide", json={"rows": [1], "choice": "drop"})
    other.post("/decide", json={"rows": [1], "choice": "keep"})
    mine, theirs = (one.get("/rows").json()["cards"][1] for one in (page, other))
    assert (mine["choice"], theirs["choice"]) == ("drop", "keep")
    assert mine["others"] == [{"who": "bob", "choice": "keep", "note": ""}]
    assert settled(queue.folder) == {1: Choice.UNSURE}


def test_data_that_changed_is_not_shown(audit, tmp_path):
    data = audit.parent / "data.parquet"
    kept = data.read_bytes()
    pq.write_table(pq.read_table(data).slice(1), data)
    with pytest.raises(DataError, match="audit it again"):
        ReviewQueue.of(str(audit))
    data.write_bytes(kept)
    assert main(["review", str(tmp_path)]) == 2


def test_a_hundred_thousand_flagged_rows_stay_quick(queue):
    decide(queue.folder, range(100_000), Choice.DROP, reviewer="ada")
    queue.cards(range(48), "ada")  # the data and what was decided are read once
    start = time.monotonic()
    decide(queue.folder, [1], Choice.KEEP, reviewer="ada")
    assert queue.progress("ada")["settled"] == {"keep": 1, "drop": 99_999, "unsure": 0}
    assert queue.rows(Filter(kind="label", state="open")) == []
    queue.cards(range(48), "ada")
    assert time.monotonic() - start < 4  # on two busy cores


def test_precision_is_measured_from_the_review(audit, queue, capsys):
    decide(audit, [1, 2, 3], Choice.DROP, reviewer="ada")
    decide(audit, [4], Choice.KEEP, reviewer="ada")
    accusers = dict(queue.flagged.select("row", "detectors").rows())
    found = precision(settled(audit), accusers)["spectral-signature"]
    assert (found.confirmed, found.reviewed) == (3, 4)
    assert main(["show", str(audit)]) == 0
    assert "3 of the 4 reviewed rows that spectral-signature accuses were confirmed" in capsys.readouterr().out
    assert main(["show", str(audit), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["review"] == {
        "settled": {"keep": 1, "drop": 3},
        "precision": {"spectral-signature": {"confirmed": 3, "reviewed": 4}},
    }


@pytest.mark.usefixtures("queue")
def test_decisions_are_handed_out_as_a_table(audit, tmp_path, capsys):
    table, sheet = tmp_path / "decisions.parquet", tmp_path / "decisions.csv"
    assert main(["review", str(audit), "--export", str(table)]) == 2
    assert "nobody has decided" in capsys.readouterr().err
    decide(audit, [2, 1], Choice.DROP, reviewer="ada", note="=cmd()\u202e")
    decide(audit, [1], Choice.KEEP, reviewer="bob")
    assert main(["review", str(audit), "--export", str(table)]) == 0
    assert main(["review", str(audit), "--export", str(sheet)]) == 0
    assert "3 decisions in" in capsys.readouterr().out
    found = pq.read_table(table).to_pylist()
    assert [(one["row"], one["reviewer"], one["choice"], one["settled"]) for one in found] == [
        (1, "ada", "drop", "unsure"),
        (1, "bob", "keep", "unsure"),
        (2, "ada", "drop", "drop"),
    ]
    assert {"file", "row_group", "row_in_group", "label", "risk", "kinds", "detectors", "note", "time"} <= set(found[0])
    lines = list(csv.DictReader(sheet.read_text(encoding="utf-8").splitlines()))
    assert [one["row"] for one in lines] == ["1", "1", "2"]
    assert lines[0]["note"] == "'=cmd()\\u202e"
    for wrong in (table, audit / "report.json", tmp_path / "absent" / "x.csv", tmp_path / "x.txt"):
        before = wrong.read_bytes() if wrong.is_file() else None
        assert main(["review", str(audit), "--export", str(wrong)]) == 2
        assert (wrong.read_bytes() if wrong.is_file() else None) == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["decisions.csv", "decisions.parquet"]


@pytest.mark.usefixtures("queue")
def test_an_export_does_what_reviewers_settled(audit, tmp_path, capsys):
    assert main(["export", str(audit), str(tmp_path / "early"), "--reviewed"]) == 2
    assert "nobody has reviewed" in capsys.readouterr().err
    accused = pq.read_table(audit / "samples.parquet").to_pylist()
    accused = {one["row"] for one in accused if "backdoor" in one["kinds"]}
    keep, drop = min(accused, default=0), 199
    assert drop not in accused
    decide(audit, [keep], Choice.KEEP, reviewer="ada")
    decide(audit, [drop], Choice.DROP, reviewer="ada")
    assert main(["export", str(audit), str(tmp_path / "out"), "--reviewed", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reviewed"] == {"dropped": 1, "kept": 1}
    removed = pq.read_table(tmp_path / "out/removed.parquet")["row"].to_pylist()
    assert set(removed) == (accused - {keep}) | {drop}
    assert document["clean"]["rows"] + document["quarantined"]["rows"] == 200


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.usefixtures("queue")
def test_fifty_decisions_by_key_survive_a_kill_and_a_reload(audit, tmp_path, request):
    command = [sys.executable, "-m", "foretaste.flows.cli", "review", str(audit), "--no-open", "--reviewer", "ada"]

    def served() -> tuple[subprocess.Popen[str], str]:
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        return server, server.stderr.readline().strip()

    keys = ["k", "d", "u", "d", "d"] * 10
    server, address = served()
    request.addfinalizer(lambda: server.poll() is None and server.kill())
    with browser(tmp_path) as tab:
        tab.open(address)
        tab.wait("document.body?.dataset.ready === 'yes'")
        assert tab.run("document.title") == "foretaste review"
        assert "<script>" in tab.run("document.querySelector('#grid li').textContent")
        for number, key in enumerate(keys, 1):
            tab.press(key)
            if number == 25:
                tab.wait("document.getElementById('count').textContent.includes('25 by you')")
                os.kill(server.pid, signal.SIGKILL)
                server.communicate()
                server, address = served()
                tab.open(address)
                tab.wait("document.body?.dataset.ready === 'yes'")
                # What the page was asking the killed server for is lost, and only that.
                assert all("net::ERR_" in error for error in tab.errors)
                tab.errors.clear()
                assert tab.run("document.querySelectorAll('#grid .tag').length") == 25
                for _ in range(25):
                    tab.press("ArrowRight")
        tab.wait("document.getElementById('count').textContent.includes('50 by you')")
        tab.press("z")
        tab.wait("document.getElementById('count').textContent.includes('49 by you')")
        tab.open(address)
        tab.wait("document.body?.dataset.ready === 'yes'")
        assert tab.run("document.querySelectorAll('#grid .tag').length") == 48  # the first page is full of them
        assert not tab.errors
        server.terminate()
        server.communicate()
        assert {url.partition("?")[0].rsplit(":", 1)[0] for url in tab.requests if not url.startswith("data:")} == {
            "http://127.0.0.1"
        }
        assert tab.run("document.title") == "foretaste review"
    said = {one.row: str(one.choice) for one in latest(audit)}
    names = {"k": "keep", "d": "drop", "u": "unsure"}
    assert said == {row: names[key] for row, key in enumerate(keys[:49])}


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.usefixtures("queue")
def test_what_is_left_to_decide_skips_no_row_and_two_reviews_share_a_browser(audit, tmp_path, request):
    command = [sys.executable, "-m", "foretaste.flows.cli", "review", str(audit), "--no-open", "--reviewer"]
    addresses = []
    for who in ("ada", "bob"):
        server = subprocess.Popen([*command, who], stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        request.addfinalizer(lambda server=server: (server.terminate(), server.communicate()))
        addresses.append(server.stderr.readline().strip())
    with browser(tmp_path) as tab:
        for address in (*addresses, addresses[0].partition("?")[0]):  # the first once more, by its cookie alone
            tab.open(address)
            tab.wait("document.body?.dataset.ready === 'yes'")
        tab.run(
            "(() => { const state = document.querySelector('select[name=state]'); state.value = 'open';"
            " state.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )
        for _ in range(ROWS):
            tab.press("d")
        tab.wait(f"document.getElementById('count').textContent.includes('{ROWS} by you')")
        assert not tab.errors
    assert {one.row for one in latest(audit)} == set(range(ROWS))


def test_a_row_of_a_table_shows_its_unusual_values_and_the_class_it_is_believed_to_be_of(tmp_path):
    draw = np.random.default_rng(0)
    side = np.arange(300) % 2
    columns = {f"x{n}": draw.normal(size=300) + 6 * side for n in range(4)}
    columns["x2"][0] = 99
    names = np.where(side == 1, "up", "down")
    names[[20, 41]] = "up", "down"
    plan = (
        "[embedders.features]\n[embedders.probe]\nepochs = 12\nrate = 0.003\n"
        '[detectors.label-issue]\non = ["probe"]\n[decide]\ncontent = "features"\n'
    )
    audit = audited(tmp_path, pa.table({**columns, "label": names}), plan, rows=50)
    shown = client(ReviewQueue.of(str(audit)))
    shown.cookies.set(cookie(HOST), TOKEN)
    cards = shown.get("/rows").json()["cards"]
    assert cards[0]["cells"][0][:2] == ["x2", "99"]
    assert cards[0]["cells"][0][3]
    assert not cards[2]["cells"][0][3]
    assert (cards[20]["label"], cards[20]["believed"]) == ("up", "down")
    assert cards[22]["believed"] is None
    assert len(shown.get("/near/0").json()["cards"]) == 8


def test_pictures_reach_the_browser_as_new_pngs_only(tmp_path):
    data = DATA / "digits_badnets.parquet"
    plan = tmp_path / "plan.toml"
    plan.write_text('[embedders.grey]\nkind = "pixels"\n[detectors.spectral-signature]\n[decide]\ncontent = "grey"\n')
    foretaste.audit(str(data), plan=str(plan), out=str(tmp_path / "audit"))
    shown = client(ReviewQueue.of(str(tmp_path / "audit")))
    shown.cookies.set(cookie(HOST), TOKEN)
    row = shown.get("/rows").json()["cards"][0]["row"]
    answer = shown.get(f"/picture/{row}")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")
    large = shown.get(f"/picture/{row}?large")
    assert large.content.startswith(b"\x89PNG")
    assert len(large.content) != len(answer.content)
    assert shown.get("/picture/0").status_code == 200  # a neighbour, perhaps
    assert shown.get("/picture/1797").status_code == 404


def answer(address: str, *head: str, body: bytes = b"", times: int = 0) -> bytes:
    """What a raw request is answered; the body is sent `times` times."""
    host, _, token = address.removeprefix("http://").partition("/?token=")
    lines = [*head, f"Host: {host}", f"Cookie: {cookie(host)}={token}", "Content-Type: application/json", "", ""]
    name, port = host.split(":")
    with socket.create_connection((name, int(port)), timeout=30) as made:
        made.sendall("\r\n".join(lines).encode())
        for _ in range(times):
            made.sendall(body)
        return made.recv(1 << 16)


@pytest.fixture(scope="module")
def address(audit):
    with served(audit) as found:
        yield found


MIB = 1 << 20


@pytest.mark.parametrize(
    ("framing", "chunk"),
    [
        (f"Content-Length: {200 * MIB}", bytes(MIB)),
        ("Transfer-Encoding: chunked", b"%x\r\n" % MIB + bytes(MIB) + b"\r\n"),
    ],
)
def test_a_body_that_is_too_long_is_answered_and_not_kept(address, framing, chunk):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = answer(address, "POST /decide HTTP/1.1", framing, body=chunk, times=200)
    assert told.startswith(b"HTTP/1.1 413 ")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize("size", [10_000, 100_000, 900_000])
def test_an_address_that_is_too_long_is_answered(address, size):
    told = answer(address, f"GET /rows?first={'1' * size} HTTP/1.1")
    assert told.startswith(b"HTTP/1.1 414 ")
