"""The log: cut off, rewritten, deleted, replaced, and its heads and anchors."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from ways.contract import POISON, Options, Scene, way

from foretaste.gate.attestation import anchors, keys
from foretaste.gate.attestation import log as ledger

SHORT = "has 1 entries and must have 2, the last ones were deleted since"
FAILED = "the audit failed: poison"
NEWER = "a newer audit of these bytes"


@way("log: as it is", FAILED)
def _(_: Scene) -> Options:
    return {}


@way("log: an old passing attestation is given", NEWER)
def _(scene: Scene) -> Options:
    return {"attestation": scene.passed}


@way("log: last line deleted", SHORT)
def _(scene: Scene) -> Options:
    scene.log.write_bytes(scene.lines()[0])
    return {}


@way("log: last line and head deleted", SHORT)
def _(scene: Scene) -> Options:
    scene.log.write_bytes(scene.lines()[0])
    os.remove(f"{scene.log}.head")
    return {}


@way("log: last line deleted and head rewritten", SHORT)
def _(scene: Scene) -> Options:
    scene.log.write_bytes(scene.lines()[0])
    scene.head(1)
    return {}


@way("log: last line deleted and head rewritten, the old attestation given", SHORT)
def _(scene: Scene) -> Options:
    scene.log.write_bytes(scene.lines()[0])
    scene.head(1)
    return {"attestation": scene.passed}


@way("log: rolled back after a gate has read it on another machine", SHORT)
def _(scene: Scene) -> Options:
    scene.elsewhere()
    assert not scene.workshop.decide().allowed
    scene.log.write_bytes(scene.lines()[0])
    scene.head(1)
    return {}


@way("log: rolled back, and an entry of another audit of other bytes appended", "entry 2 was altered since it was")
def _(scene: Scene) -> Options:
    newer = scene.workshop.folder / "state"
    shutil.move(os.environ["FORETASTE_STATE"], newer)
    scene.log.write_bytes(scene.lines()[0])
    scene.head(1)
    before = (scene.workshop.data / "a.parquet").read_bytes()
    shutil.copy(scene.workshop.data / "b.parquet", scene.workshop.data / "a.parquet")
    scene.workshop.sign()
    (scene.workshop.data / "a.parquet").write_bytes(before)
    shutil.rmtree(os.environ["FORETASTE_STATE"])
    shutil.move(newer, os.environ["FORETASTE_STATE"])
    return {}


@way("log: deleted, head kept", "has 0 entries and must have 2, the last ones were deleted")
def _(scene: Scene) -> Options:
    scene.log.unlink()
    return {"attestation": scene.passed}


@way("log: empty, head kept", "has 0 entries and must have 2, the last ones were deleted")
def _(scene: Scene) -> Options:
    scene.log.write_bytes(b"")
    return {"attestation": scene.passed}


@way("log: a dangling link, head kept", "has 0 entries and must have 2, the last ones were deleted")
def _(scene: Scene) -> Options:
    scene.log.unlink()
    scene.log.symlink_to("nowhere")
    return {"attestation": scene.passed}


@way("log: log and head deleted, the old attestation given", NEWER)
def _(scene: Scene) -> Options:
    scene.without_log()
    return {"attestation": scene.passed}


@way("log: log and head deleted, and begun anew by an audit of other bytes", NEWER)
def _(scene: Scene) -> Options:
    scene.without_log()
    before = (scene.workshop.data / "a.parquet").read_bytes()
    shutil.copy(scene.workshop.data / "b.parquet", scene.workshop.data / "a.parquet")
    scene.workshop.sign()
    (scene.workshop.data / "a.parquet").write_bytes(before)
    return {"attestation": scene.passed}


@way("log: log, head and the newer attestation deleted, the old one given", "that the log names cannot be read")
def _(scene: Scene) -> Options:
    scene.without_log()
    os.remove(scene.failed)
    return {"attestation": scene.passed}


@way("log: FORETASTE_LEDGER names no file, the old attestation given", NEWER)
def _(scene: Scene) -> Options:
    os.environ["FORETASTE_LEDGER"] = str(scene.workshop.folder / "typo" / "ledger.jsonl")
    return {"attestation": scene.passed}


@way("log: FORETASTE_LEDGER names an older copy of the log", NEWER)
def _(scene: Scene) -> Options:
    place = scene.workshop.folder / "older" / "ledger.jsonl"
    place.parent.mkdir()
    place.write_bytes(scene.lines()[0])
    shutil.copytree(Path(scene.passed).parent, place.parent / "1")
    os.environ["FORETASTE_LEDGER"] = str(place)
    return {}


@way("log: deleted where nothing was seen of it, and the newest attestation given", "the audit failed: poison")
def _(scene: Scene) -> Options:
    scene.without_log()
    scene.elsewhere()
    return {"attestation": scene.failed}


@way("log: a fresh checkout with one passing attestation", "")
def _(scene: Scene) -> Options:
    return scene.given(Path(scene.passed).read_bytes())


def rolled_back_beside(scene: Scene, anchor: Path) -> Options:
    """A rolled back log on a machine that never saw it, with an anchor in a file."""
    scene.log.write_bytes(scene.lines()[0])
    scene.head(1)
    scene.elsewhere()
    os.environ["FORETASTE_ANCHOR"] = str(anchor)
    return {}


def anchored(scene: Scene) -> Path:
    """The file of FORETASTE_ANCHOR, which an audit has written."""
    anchor = scene.workshop.folder / "other disk" / "anchor.json"
    anchor.parent.mkdir()
    lines = ledger.lines(str(scene.log))
    anchors.write(str(anchor), str(scene.log), lines, lines, None)
    return anchor


@way("anchor: rolled back where only FORETASTE_ANCHOR has seen more", SHORT)
def _(scene: Scene) -> Options:
    return rolled_back_beside(scene, anchored(scene))


@way("anchor: FORETASTE_ANCHOR deleted", "FORETASTE_ANCHOR must name a file that an audit has written")
def _(scene: Scene) -> Options:
    options = rolled_back_beside(scene, anchored(scene))
    os.remove(os.environ["FORETASTE_ANCHOR"])
    return options


@way("anchor: log and head deleted where only FORETASTE_ANCHOR has seen them", NEWER)
def _(scene: Scene) -> Options:
    rolled_back_beside(scene, anchored(scene))
    scene.without_log()
    return {"attestation": scene.passed}


for name, text in {
    "garbage": b"\xff",
    "empty": b"",
    "a list": b"[]",
    "deep": b"[" * 99_999,
    "no entries": b'{"entries":0,"last":"","log":"x","newest":[]}',
    "negative": b'{"entries":-1,"last":"","log":"x","newest":[]}',
    "newest is a number": b'{"entries":1,"last":"","log":"x","newest":3}',
    "newest holds a text": b'{"entries":1,"last":"","log":"x","newest":["x"]}',
    "twice": b'{"entries":9,"entries":1,"last":"","log":"x","newest":[]}',
}.items():

    @way(f"anchor: {name}", "what was seen of the log cannot be read")
    def _(scene: Scene, text: bytes = text) -> Options:
        anchor = scene.workshop.folder / "anchor.json"
        anchor.write_bytes(text)
        return rolled_back_beside(scene, anchor)


for entries in (0, -1, -2, True, None, "2", 1.5, [2], {}):

    @way(f"head: entries {entries!r}", "the number of entries must be whole and at least 1")
    def _(scene: Scene, entries: object = entries) -> Options:
        scene.head(entries)
        return {"attestation": scene.passed}


@way("head: a huge number of entries", "must have 1000000000000000000")
def _(scene: Scene) -> Options:
    scene.head(10**18)
    return {}


for name, text in {
    "garbage": "x",
    "a list": "[]",
    "a number of 5,000 digits": '{"entries": ' + "9" * 5000 + ', "last": ""}',
    "NaN": '{"entries": NaN, "last": ""}',
    "deep": "[" * 99_999,
    "last is a number": '{"entries": 1, "last": 7}',
    "entries twice": '{"entries": 2, "last": "", "entries": 1}',
}.items():

    @way(f"head: {name}", ".head: cannot be read")
    def _(scene: Scene, text: str = text) -> Options:
        Path(f"{scene.log}.head").write_text(text)
        return {"attestation": scene.passed}


@way("head: one entry too few, as after a kill", FAILED)
def _(scene: Scene) -> Options:
    scene.head(1)
    return {}


def altered(name: str, said: str) -> object:
    """A way that rewrites the lines of the log."""

    def put(change: object) -> object:
        @way(name, said)
        def _(scene: Scene) -> Options:
            scene.log.write_bytes(b"".join(change(scene.lines())))  # type: ignore[operator]
            return {"attestation": scene.passed}

        return change

    return put


FOLLOWS = "does not follow the one before, an entry was altered or deleted"
for name, said, change in [
    ("lines swapped", FOLLOWS, lambda lines: lines[::-1]),
    ("first line deleted", FOLLOWS, lambda lines: lines[1:]),
    ("first line twice", FOLLOWS, lambda lines: [lines[0], *lines]),
    (
        "result edited",
        "entry 2 was altered since it was written",
        lambda lines: [lines[0], lines[1].replace(b"FAILED", b"PASSED")],
    ),
    ("half a line at the end", "last line is not whole", lambda lines: [*lines, lines[0][:50]]),
    ("blank line at the end", "entry 3 was altered, it cannot be read", lambda lines: [*lines, b"\n"]),
    ("garbage line", "entry 3 was altered, it cannot be read", lambda lines: [*lines, b"x\n"]),
    (
        "deep line",
        "entry 3 was altered, it cannot be read: it is nested too deeply",
        lambda lines: [*lines, b"[" * 99_999 + b"\n"],
    ),
    (
        "a number for a text",
        "entry 2 was altered, it cannot be read",
        lambda lines: [lines[0], lines[1].replace(b'"FAILED"', b"3")],
    ),
    (
        "a far time",
        "entry 2 was altered, it cannot be read: a time must lie in the years",
        lambda lines: [lines[0], re.sub(rb'"ended":"[^"]*"', b'"ended":"0001-01-01T00:00:00+14:00"', lines[1])],
    ),
]:
    altered(f"log: {name}", said)(change)


@way("log: CR LF", NEWER)
def _(scene: Scene) -> Options:
    scene.log.write_bytes(b"".join(line[:-1] + b"\r\n" for line in scene.lines()))
    return {"attestation": scene.passed}


@way("log: the newest attestation deleted", "that the log names cannot be read")
def _(scene: Scene) -> Options:
    os.remove(scene.failed)
    return {}


@way("log: the newest attestation replaced by the old one", "is not the attestation that the log names")
def _(scene: Scene) -> Options:
    shutil.copy(scene.passed, scene.failed)
    return {}


@way("log: an entry by another key that points to the old attestation", FAILED)
def _(scene: Scene) -> Options:
    other, _ = keys.generate(scene.workshop.folder / "other")
    signer = keys.signer(other)
    entry = ledger.read(str(scene.log))[0]
    ledger.append(
        str(scene.log),
        attestation=scene.passed,
        envelope=Path(scene.passed).read_bytes(),
        dataset=entry.dataset,
        root=entry.root,
        result="PASSED",
        ended=entry.ended.replace(year=9000),
        key=signer,
    )
    return {}


@way("log: 20 entries later", FAILED)
def _(scene: Scene) -> Options:
    entry, signer = ledger.read(str(scene.log))[1], keys.signer(scene.workshop.private)
    text = Path(scene.failed).read_bytes()
    for _ in range(20):
        ledger.append(
            str(scene.log),
            attestation=scene.failed,
            envelope=text,
            dataset=entry.dataset,
            root=entry.root,
            result="FAILED",
            ended=entry.ended,
            key=signer,
        )
    return {}


for name in ("ledger.jsonl", "ledger.jsonl.head", "2/attestation.json"):
    for what in ("a FIFO", "a link to /dev/zero", "a folder"):

        @way(f"log: {what} in place of {name}", "it is no regular file" if what != "a folder" else "Is a directory")
        def _(scene: Scene, name: str = name, what: str = what) -> Options:
            path = scene.log.parent / name
            path.unlink()
            if what == "a FIFO":
                os.mkfifo(path)
            elif what == "a folder":
                path.mkdir()
            else:
                path.symlink_to("/dev/zero")
            return {}


@way("attestation: a FIFO is given", "it is no regular file")
def _(scene: Scene) -> Options:
    os.mkfifo(scene.workshop.folder / "fifo")
    return {"attestation": str(scene.workshop.folder / "fifo")}


@way("log: two audits in one second, the first given", NEWER)
def _(scene: Scene) -> Options:
    passed = scene.workshop.sign()
    scene.workshop.sign(**POISON)
    return {"attestation": passed}


@way("log: two audits in one second, the second deleted", NEWER)
def _(scene: Scene) -> Options:
    passed = scene.workshop.sign()
    scene.workshop.sign(**POISON)
    scene.without_log()
    return {"attestation": passed}


@way("log: two audits in one second, the second passed", "")
def _(scene: Scene) -> Options:
    scene.workshop.sign(**POISON)
    return {"attestation": scene.workshop.sign()}
