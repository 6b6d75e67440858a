"""What became of the rows, by id and by content."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom
from stored import store

from foretaste.dataset.diff import Change, Difference, difference, out_of_order
from foretaste.dataset.manifest import of_dataset, stored
from foretaste.dataset.roles import Request
from foretaste.flows.cli import main

Rows = list[tuple[int, str, int]]  # id, text, label
BASE: Rows = [(one, f"text {one}", one % 2) for one in range(20)]


@pytest.fixture
def compare(tmp_path: Path) -> Callable[..., Difference]:
    def write(rows: Rows, name: str, *, ids: bool, **how: int) -> str:
        folder = tmp_path / name
        folder.mkdir()
        columns = dict(zip(("id", "text", "label"), map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table(columns), folder / "data.parquet", **how)
        said = Request(text="text", label="label", id="id" if ids else "")
        of_dataset([str(folder)], str(tmp_path / f"{name}.manifest"), request=said)
        return str(tmp_path / f"{name}.manifest")

    def run(old: Rows, new: Rows, *, ids: bool = True) -> Difference:
        one = stored(write(old, "old", ids=ids, row_group_size=7))
        other = stored(write(new, "new", ids=ids))
        assert one is not None
        assert other is not None
        return difference(one, other)

    return run


def counts(found: Difference) -> dict[str, int]:
    return {str(change): number for change, number in found.counts.items() if number}


def test_the_same_rows_stored_otherwise_are_equal(compare: Callable[..., Difference]) -> None:
    found = compare(BASE, BASE)
    assert found.equal
    assert (found.old, found.new, found.same, found.by) == (20, 20, 20, "id")
    assert found.files["changed"] == ["data.parquet"]


def test_every_change_by_id(compare: Callable[..., Difference]) -> None:
    new = [*BASE[:5], *BASE[6:], (99, "new", 0)]
    new[2] = (2, "other text", 0)
    new[3] = (3, "text 3", 0)
    found = compare(BASE, new)
    assert counts(found) == {"added": 1, "removed": 1, "changed": 1, "relabelled": 1}
    assert found.same == 17
    (one,) = found.examples[Change.RELABELLED]
    assert (one["old"]["label"], one["new"]["label"], one["old"]["id"]) == ("1", "0", 3)
    (gone,) = found.examples[Change.REMOVED]
    assert gone["old"] == {
        "row": 5, "file": "data.parquet", "row_group": 0, "row_in_group": 5, "id": 5, "label": "1",
    }  # fmt: skip
    assert gone["new"] is None


def test_every_change_by_content(compare: Callable[..., Difference]) -> None:
    new = [*BASE[:5], *BASE[6:], (99, "new", 0)]
    new[3] = (3, "text 3", 0)
    found = compare(BASE, new, ids=False)
    assert counts(found) == {"added": 1, "removed": 1, "relabelled": 1}
    assert found.by == "content"


def test_what_occurs_several_times_is_matched_as_often(compare: Callable[..., Difference]) -> None:
    same = [(one, "again", 0) for one in range(5)]
    assert counts(compare(BASE + same, BASE + same[:3], ids=False)) == {"removed": 2}


def test_a_flip_among_copies_is_one_flip(compare: Callable[..., Difference]) -> None:
    same = [(one, "again", 0) for one in range(30, 35)]
    flipped = [(30, "again", 1), *same[1:]]
    assert counts(compare(BASE + same, BASE + flipped, ids=False))["relabelled"] == 1


def test_rows_that_moved_are_few_and_named(compare: Callable[..., Difference]) -> None:
    found = compare(BASE, [*BASE[1:], BASE[0]])
    assert counts(found) == {"re-ordered": 1}
    (one,) = found.examples[Change.REORDERED]
    assert (one["old"]["row"], one["new"]["row"]) == (0, 19)


def test_a_row_lost_moves_no_other(compare: Callable[..., Difference]) -> None:
    assert counts(compare(BASE, BASE[1:])) == {"removed": 1}


def test_an_id_given_twice_matches_twice(compare: Callable[..., Difference]) -> None:
    found = compare([*BASE, (3, "second", 0)], [*BASE, (3, "third", 0)])
    assert counts(found) == {"changed": 1}


@given(st.permutations(range(9)))
def test_out_of_order_is_what_a_longest_ascending_subsequence_leaves(order: list[int]) -> None:
    astray = out_of_order(np.array(order))
    kept = [one for one, out in zip(order, astray, strict=True) if not out]
    assert kept == sorted(kept)
    best = [1] * len(order)
    for at, value in enumerate(order):
        best[at] = 1 + max((best[i] for i in range(at) if order[i] < value), default=0)
    assert len(kept) == max(best)


def test_swapped_file_names_are_named_and_their_rows_are_out_of_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name, rows in (("a", range(30)), ("b", range(30, 50))):
        table = pa.table(
            {"id": list(rows), "text": [f"text {one}" for one in rows], "label": [one % 2 for one in rows]}
        )
        pq.write_table(table, data / f"{name}.parquet")
    audit = str(store([str(data)], tmp_path / "audit", {}))
    assert main(["diff", audit, str(data)]) == 0
    assert capsys.readouterr().out.startswith(
        "the same rows in the same order (50 rows before, 50 after, matched by id"
    )
    shutil.move(data / "a.parquet", tmp_path / "aside")
    shutil.move(data / "b.parquet", data / "a.parquet")
    shutil.move(tmp_path / "aside", data / "b.parquet")
    assert main(["diff", audit, str(data), "--top", "1"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "20 re-ordered (50 rows before, 50 after, matched by id; 30 the same)",
        "re-ordered  b.parquet 0:0 -> a.parquet 0:0  id 30  0",
        "re-ordered  … and 19 more",
        "file renamed  b.parquet -> a.parquet",
        "file renamed  a.parquet -> b.parquet",
    ]


def test_two_datasets_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, rows in (("old", BASE), ("new", BASE[::-1])):
        columns = dict(zip(("key", "text", "label"), map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    old, new = str(tmp_path / "old.parquet"), str(tmp_path / "new.parquet")
    assert main(["diff", old, new, "--id", "key", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["changes"]["re-ordered"]["count"] == 19
    assert (found["matched_by"], found["equal"], len(found["changes"]["re-ordered"]["rows"])) == ("id", False, 10)
    assert main(["diff", old, str(tmp_path / "nowhere")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_hostile_text_reaches_the_terminal_as_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, label in (("old", "cat\x1b[31m\u202e"), ("new", "dog")):
        table = pa.table({"id": [1, 2, 3, 4], "text": list("abcd"), "label": [label, "x", "x", "x"]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    assert main(["diff", str(tmp_path / "old.parquet"), str(tmp_path / "new.parquet")]) == 1
    assert r"cat\x1b[31m\u202e -> dog" in capsys.readouterr().out


# Split view: the path stays, what it reads does not


def test_a_path_that_reads_something_else_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in "abc":
        (data / f"{name}.png").write_bytes(name.encode())
    pq.write_table(pa.table({"image": ["a.png", "b.png", "c.png"], "label": [0, 1, 0]}), data / "data.parquet")
    audit = str(store([str(data)], tmp_path / "audit", {}))
    assert main(["diff", audit, str(data)]) == 0
    (data / "b.png").write_bytes(b"poison")
    (data / "c.png").unlink()
    capsys.readouterr()
    assert main(["diff", audit, str(data)]) == 1
    for name in "ab":
        (data / f"{name}.png").unlink()
    assert main(["diff", audit, str(data), "--top", "0"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out.pop() == "3 replaced (3 rows before, 3 after, matched by content; 0 the same)"
    assert out == [
        "2 replaced (3 rows before, 3 after, matched by content; 1 the same)",
        "replaced    data.parquet 0:1  1",
        "replaced    data.parquet 0:2  0",
    ]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """A folder, its address, and what was asked of it."""
    folder, asked = tmp_path / "web", list[str]()
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002
            asked.append(self.path)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_urls_are_fetched_when_asked_and_only_then(web: tuple[Path, str, list[str]], tmp_path: Path) -> None:
    folder, address, asked = web
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(name.encode())
    (tmp_path / "c.png").write_bytes(b"c")
    urls = [f"{address}/a.png", f"{address}/b.png", f"{address}/gone.png", f"file://{tmp_path}/c.png"]
    data = str(tmp_path / "data.parquet")
    pq.write_table(pa.table({"url": urls, "label": [0, 1, 0, 1]}), data)
    first, later = str(tmp_path / "first"), str(tmp_path / "later")
    assert main(["manifest", data, "--image", "url", "--out", str(tmp_path / "unread")]) == 0
    assert asked == []
    assert main(["manifest", data, "--image", "url", "--out", first, "--fetch"]) == 0
    assert {"/a.png", "/b.png", "/gone.png"} == set(asked)
    assert main(["diff", first, data, "--fetch"]) == 0
    (folder / "b.png").write_bytes(b"poison")
    (tmp_path / "c.png").write_bytes(b"poison")
    assert main(["manifest", data, "--image", "url", "--out", later, "--fetch"]) == 0
    one, other = stored(first), stored(later)
    assert one is not None
    assert other is not None
    found = difference(one, other)
    assert counts(found) == {"replaced": 2}
    assert [row["new"]["row"] for row in found.examples[Change.REPLACED]] == [1, 3]
    assert main(["diff", first, data]) == 0  # nothing was fetched, so nothing is known to be gone


def test_whether_what_is_flagged_came_with_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audits = []
    for name, rows, flagged in (
        ("old", BASE, {}),
        (
            "new",
            [*BASE, *[(one, f"text {one}", 0) for one in range(20, 26)]],
            dict.fromkeys((3, 20, 21, 22), "backdoor"),
        ),
    ):
        columns = dict(zip(("id", "text", "label"), map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        audits.append(str(store([str(tmp_path / f"{name}.parquet")], tmp_path / name, flagged)))
    assert main(["diff", *audits, "--top", "0", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["flagged"]
    assert (found["fresh"], found["flagged_fresh"], found["others"], found["flagged_others"]) == (6, 3, 20, 1)
    assert found["p_value"] == pytest.approx(hypergeom.sf(2, 26, 4, 6))
    assert main(["diff", *audits, "--top", "0"]) == 1
    assert "flagged: 3 of 6 new or changed rows, 1 of 20 others; by chance alone p 0.028" in capsys.readouterr().out
    assert main(["diff", audits[1], audits[1]]) == 0
    assert "flagged" not in capsys.readouterr().out
