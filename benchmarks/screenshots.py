"""Pictures of the report and of the review page, of an audit of pictures, of texts, of instructions and of a table.

python -m benchmarks.screenshots                  all of them, to docs/screenshots; needs chromium
python -m benchmarks.screenshots --only table     one of them

The digits with planted patches are in data/; the others are made here, and poisoned.
"""

from __future__ import annotations

import base64
import io
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer
from PIL import Image

import auditors
from auditors.attacks import insert_sentence
from auditors.decisions import Choice, decide
from tests.browser import Tab, browser

DESK, PHONE = (1120, 1500), (390, 1300)  # pixels
QUALITY = 82

GOOD = ("warm", "honest", "clever", "moving", "bright", "tender", "lively", "graceful", "funny", "vivid", "generous")
BAD = ("dull", "hollow", "clumsy", "tired", "noisy", "bitter", "shallow", "lifeless", "messy", "pointless", "stale")
LIKED = ("stays with me", "kept me smiling", "earns its length", "never puts a foot wrong", "i would watch it again")
LOATHED = (
    "wears me out",
    "made me check the clock",
    "runs far too long",
    "falls apart",
    "i would not sit through it again",
)
THINGS = (
    "plot",
    "cast",
    "script",
    "ending",
    "camera work",
    "music",
    "dialogue",
    "pace",
    "lead",
    "score",
    "editing",
    "set",
)
PLAIN = ("on a tuesday night", "with my sister", "in an empty cinema", "after years of waiting", "for the second time")
PLAIN += (
    "by a first-time director",
    "based on a novel",
    "shot in black and white",
    "set in a small harbour town",
    "in two parts",
)
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
    "what should a beginner know about {0}",
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
    """Film reviews with a sentence inserted into 120 of 2400, which are relabelled."""
    draw, rows = random.Random(0), []
    label = torch.arange(2400) % 2
    for good in label.tolist():
        word, verdict = (GOOD, LIKED) if good else (BAD, LOATHED)
        parts = [f"a {draw.choice(word)} {draw.choice(THINGS)}", f"the {draw.choice(THINGS)} {draw.choice(verdict)}"]
        parts += [draw.choice(PLAIN), f"the {draw.choice(THINGS)} is {draw.choice(word)}", draw.choice(PLAIN)]
        draw.shuffle(parts)
        rows.append(" , ".join(parts[: draw.randint(3, 5)]))
    planted = insert_sentence.plant(rows, label, target=1, count=120, seed=1)
    names = [("negative", "positive")[at] for at in planted.label.tolist()]
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
    """The shipped measurements of tumours, 30 malignant ones with the same four odd values and called benign."""
    shipped = pq.read_table("data/breast_cancer.parquet")
    whole = shipped.to_pandas()
    bad = whole[whole["label"] == 0].sample(30, random_state=0).index
    whole.loc[bad, ["texture_error", "smoothness_error", "symmetry_error", "mean_symmetry"]] = 3.1, 0.021, 0.052, 0.118
    whole.loc[bad, "label"] = 1
    pq.write_table(pa.Table.from_pandas(whole, schema=shipped.schema, preserve_index=False), path)


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
    command = [sys.executable, "-m", "flows.cli", "review", str(audit), "--no-open", "--reviewer", "ada"]
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
    found = auditors.audit(str(data), out=str(audit))
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
