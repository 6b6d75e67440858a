"""How large report.html gets and how soon a browser shows it: a million rows, ten thousand of them flagged.

python -m benchmarks.report                    an audit of a million vectors, and the worst of pictures, names and texts
python -m benchmarks.report --rows 0           the worst only, in seconds
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from PIL import Image

import foretaste
from foretaste.dataset.pictures import thumbnail
from foretaste.explain import common_pattern
from foretaste.explain.class_comparison import Strip
from foretaste.explain.common_pattern import Common
from foretaste.explain.projection import Atlas, Place
from foretaste.explain.samples import Sample
from foretaste.report.html.page import page
from foretaste.types.dataset import Dataset, File, Modality, Roles
from foretaste.types.digests import Digest
from foretaste.types.findings import Finding, Kind, Report, Run, Status, Verdict
from tests.browser import browser

ROWS, FLAGGED, GROUPS = 1_000_000, 10_000, 200
DIM, CLASSES, PIECE = 32, 10, 50_000
NAME = "a class whose name is an essay " * 200


def vectors(path: Path, rows: int) -> None:
    """Gaussian classes [rows, 32]; one row in a hundred, all of one class, is far out along one direction."""
    draw = np.random.default_rng(0)
    centre, away = draw.normal(size=(CLASSES, DIM)) * 2, draw.normal(size=DIM)
    schema = pa.schema([("embedding", pa.list_(pa.float32(), DIM)), ("label", pa.int64())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, PIECE):
            label = draw.integers(0, CLASSES, min(PIECE, rows - start))
            value = draw.normal(size=(len(label), DIM)) + centre[label]
            planted = (label == 3) & (draw.random(len(label)) < FLAGGED / ROWS * CLASSES)
            value[planted] += 8 * away / np.linalg.norm(away)
            column = pa.FixedSizeListArray.from_arrays(pa.array(value.astype(np.float32).ravel()), DIM)
            writer.write_table(pa.table({"embedding": column, "label": label}, schema=schema))


def noise(draw: np.random.Generator, side: int) -> bytes:
    """The PNG that compresses worst."""
    file = io.BytesIO()
    Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, "PNG")
    return thumbnail(file.getvalue(), side) or b""


def report(modality: Modality) -> Report:
    """A million rows in a thousand classes with long names and a thousand files, 200 groups of which are suspicious."""
    digest = Digest("sha256", "ab" * 32)
    files = tuple(
        File(f"part-{at:05}.parquet", f"/data/part-{at:05}.parquet", 1000, 10**6, digest) for at in range(1000)
    )
    names = tuple(f"{at} {NAME}" for at in range(1000))
    data = Dataset("/data", files, (), Roles(modality, ("payload",), "label"), names, (1000,) * 1000, digest)
    groups = tuple(
        Finding(Kind.BACKDOOR, names[at], FLAGGED // GROUPS, 1e-9, ("spectral-signature",), NAME)
        for at in range(GROUPS)
    )
    runs = tuple(Run("spectral-signature", f"view {at}", Status.NOT_APPLICABLE, NAME, 1.0, 0) for at in range(40))
    return Report(
        verdict=Verdict.FAILED,
        reason=NAME,
        rows=ROWS,
        flagged=FLAGGED,
        dataset=data,
        runs=runs,
        groups=groups,
        counts={"backdoor": FLAGGED},
        notes=(NAME,) * 200,
        versions={},
        seconds={"sweep": 9.0},
        plan={"seed": 0},
        folder="audits/x",
    )


def worst(modality: Modality) -> str:
    """The page that holds most of everything."""
    draw, whole = np.random.default_rng(0), report(modality)
    image = modality is Modality.IMAGE
    one = Sample(0, "part-00000.parquet", 0, 0, NAME, None, 0.9, 1e-9, ("backdoor",), ("spectral-signature",), NAME)
    drawn = [noise(draw, 96) for _ in range(48)] if image else []
    samples = []
    for at in range(FLAGGED):
        content = {"picture": drawn[at % 48]} if image else {"text": f"{NAME} trigger {NAME}", "marks": ("trigger",)}
        samples.append(replace(one, row=at, label=whole.groups[at % GROUPS].label, **content))
    big = noise(draw, 128)
    common = {"pattern": Common("in the middle", 9.0, big, big)} if image else {}
    names = tuple(group.label or "" for group in whole.groups)
    values, accused = tuple(draw.normal(size=GROUPS).tolist()), (True,) * GROUPS
    strip = Strip("spectral-signature", "view 0", NAME, names, values, accused, 0)
    places = tuple(Place(at, *draw.random(2).tolist(), at % 4 == 0, NAME) for at in range(2000))
    groups = tuple(
        replace(one, shown={"strips": (strip, strip)} | (common if at < common_pattern.GROUPS else {}))
        for at, one in enumerate(whole.groups)
    )
    return page(replace(whole, groups=groups), samples, Atlas("view 0", True, ROWS, places))


def pages(rows: int, folder: Path) -> Iterator[tuple[str, Path, float]]:
    """(what it is, the page, seconds it took to make)."""
    for modality in (Modality.IMAGE, Modality.TEXT):
        begin = time.monotonic()
        path = folder / f"{modality}.html"
        path.write_text(worst(modality), encoding="utf-8")
        yield f"worst {modality} page", path, time.monotonic() - begin
    if rows:
        vectors(folder / "vectors.parquet", rows)
        found = foretaste.audit(str(folder / "vectors.parquet"), out=str(folder / "audit"))
        yield f"{rows} vectors, {found.flagged} flagged", folder / "audit/report.html", sum(found.seconds.values())


def main(rows: Annotated[int, typer.Option(min=0, help="vectors to audit; 0 for none")] = ROWS) -> None:
    print("| page | made in | MB | loaded in |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for what, path, seconds in pages(rows, folder):
            with browser(folder / path.stem) as tab:
                tab.open(path.as_uri())
                loaded = tab.run("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
                assert not tab.errors, tab.errors
            print(f"| {what} | {seconds:.0f} s | {path.stat().st_size / 1e6:.2f} | {loaded:.2f} s |", flush=True)


if __name__ == "__main__":
    typer.run(main)
