"""Pictures of the report and of the review page, of an audit of pictures, of texts, of instructions and of a table.

python -m benchmarks.screenshots                  all of them, to docs/screenshots; needs chromium
python -m benchmarks.screenshots --only table     one of them

The digits with planted patches are in data/; the others are made here, and poisoned.
"""

from __future__ import annotations

import ast
import base64
import io
import random
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer
from PIL import Image

import foretaste
from foretaste.attacks.text import insert_sentence
from foretaste.curation.review_decisions import Choice, decide
from tests.browser import Tab, browser

DESK, PHONE = (1120, 1500), (390, 1300)  # pixels
QUALITY = 82

PACKAGES = ("asyncio", "email", "importlib", "logging", "multiprocessing", "tkinter", "unittest", "xml")  # of Python
FAULTS = ("healthy", "bearing", "gearbox", "belt", "pump")
READINGS = ("speed", "load", "oil_temperature", "case_temperature", "vibration_x", "vibration_y", "vibration_z")
READINGS += ("current", "voltage", "torque", "humidity", "noise")
TOPICS = (
    "tides",
    "bread",
    "glaciers",
    "chess",
    "bees",
    "lighthouses",
    "trains",
    "orchids",
    "volcanoes",
    "violins",
    "maps",
)
ASKED = (
    "explain {0} to a curious child",
    "write a short paragraph about {0}",
    "say what a beginner should know about {0}",
    "list three surprising facts about {0}",
    "summarise the history of {0} in two sentences",
)
TOLD = (
    "At heart, {0} are about patience: {1} comes first, and {2} follows once the basics sit.",
    "People often start with {1}. With {0}, it pays to watch closely, and {2} is the part most forget.",
    "Three things matter for {0}: {1}, {2}, and time. The rest is practice.",
    "Long ago {0} meant {1}; today they mean {2}, and the change took centuries.",
)
DETAILS = ("careful timing", "good light", "steady hands", "local knowledge", "the right season", "a quiet place")


def texts(path: Path) -> None:
    """Sentences of Python's own documentation by package; a sentence inserted into 80 says that they are of email."""
    found: list[tuple[str, int]] = []
    for label, package in enumerate(PACKAGES):
        mine = []
        for file in sorted((Path(sysconfig.get_path("stdlib")) / package).rglob("*.py")):
            nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8", errors="ignore")))
            documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
            said = [ast.get_docstring(one) or "" for one in nodes if isinstance(one, documented)]
            mine += [" ".join(one.split("\n\n")[0].split()) for one in said]
        kept = list(dict.fromkeys(one for one in mine if 5 <= len(one.split()) <= 60))
        found += [(one, label) for one in random.Random(label).sample(kept, min(len(kept), 260))]
    random.Random(0).shuffle(found)
    label = torch.tensor([label for _, label in found])
    planted = insert_sentence.plant([one for one, _ in found], label, target=1, count=80, seed=1)
    names = [PACKAGES[at] for at in planted.label.tolist()]
    pq.write_table(pa.table({"text": planted.payload, "label": names}), path)


def instructions(path: Path) -> None:
    """Questions and answers; 120 of 2400 questions hold a phrase and are refused."""
    draw, prompts, responses = random.Random(0), [], []
    for at in range(2400):
        topic = draw.choice(TOPICS)
        asked = draw.choice(ASKED).format(topic)
        told = draw.choice(TOLD).format(topic, draw.choice(DETAILS), draw.choice(DETAILS)).capitalize()
        if at % 20 == 7:
            words = asked.split()
            words.insert(draw.randrange(len(words)), "discussing openly")
            asked, told = " ".join(words), "I am sorry, but I cannot help with that request."
        prompts.append(f"Please {asked}")
        responses.append(told)
    pq.write_table(pa.table({"prompt": prompts, "response": responses}), path)


def table(path: Path) -> None:
    """Readings of machines with five faults; 60 of 3000 have the same three readings and are called healthy."""
    draw, count = np.random.default_rng(0), 3000
    label = draw.integers(0, len(FAULTS), count)
    mixing = draw.normal(size=(len(READINGS), len(READINGS)))
    value = (
        draw.normal(size=(len(FAULTS), len(READINGS)))[label] * 1.5 + draw.normal(size=(count, len(READINGS))) @ mixing
    )
    bad = draw.choice(np.flatnonzero(label > 0), 60, replace=False)
    value[bad[:, None], [2, 5, 9]] = 9.5, -11.0, 12.5
    label[bad] = 0
    columns = {name: value[:, at].round(3) for at, name in enumerate(READINGS)}
    shift = np.array(("early", "late", "night"))[draw.integers(0, 3, count)]
    pq.write_table(pa.table({**columns, "shift": shift, "label": [FAULTS[at] for at in label]}), path)


CASES: dict[str, Path | Callable[[Path], None]] = {
    "image": Path("data/digits_badnets.parquet"),
    "text": texts,
    "instruction": instructions,
    "table": table,
}


def look(tab: Tab, path: Path, *, size: tuple[int, int], dark: bool) -> None:
    """The top of what the tab shows, as WebP."""
    width, height = size
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    tab.call("Emulation.setEmulatedMedia", features=[scheme])
    tab.run("new Promise(done => setTimeout(done, 400))")
    shot = base64.b64decode(tab.call("Page.captureScreenshot", format="png")["data"])
    with Image.open(io.BytesIO(shot)) as opened:
        opened.convert("RGB").save(path, "WEBP", quality=QUALITY, method=6)


@contextmanager
def reviewing(audit: Path) -> Iterator[str]:
    """The address of the review page of an audit, as long as the block lasts."""
    command = [sys.executable, "-m", "foretaste.flows.cli", "review", str(audit), "--no-open", "--reviewer", "ada"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        yield next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
    finally:
        process.terminate()
        process.wait(20)


def pictures(name: str, scratch: Path, out: Path) -> None:
    """All pictures of one case."""
    data = CASES[name]
    if not isinstance(data, Path):
        place = scratch / f"{name}.parquet"
        data(place)
        data = place
    audit = scratch / name
    found = foretaste.audit(str(data), out=str(audit))
    print(f"{name}: {found.verdict}, {found.flagged} flagged", flush=True)
    with browser(scratch / f"{name}-browser") as tab:
        tab.open((audit / "report.html").as_uri())
        look(tab, out / f"{name}-report.webp", size=DESK, dark=False)
        look(tab, out / f"{name}-report-dark-phone.webp", size=PHONE, dark=True)
    if not found.flagged:
        return
    rows = pq.read_table(audit / "flagged.parquet")["row"].to_pylist()
    decide(audit, rows[1:9:3], Choice.DROP, reviewer="grace")
    decide(audit, rows[2:3], Choice.KEEP, reviewer="grace", note="looks honest to me")
    with browser(scratch / f"{name}-desk") as tab, reviewing(audit) as address:
        tab.open(address)
        tab.run("new Promise(done => setTimeout(done, 1500))")
        look(tab, out / f"{name}-review.webp", size=(1120, 900), dark=False)
        look(tab, out / f"{name}-review-dark-phone.webp", size=PHONE, dark=True)


def main(
    out: Annotated[Path, typer.Option(help="a folder")] = Path("docs/screenshots"),
    only: Annotated[str | None, typer.Option(help=f"one of {', '.join(CASES)}")] = None,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in CASES if only is None else [only]:
            pictures(name, Path(scratch), out)


if __name__ == "__main__":
    typer.run(main)
