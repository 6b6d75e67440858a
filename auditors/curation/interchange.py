"""What an audit found, as other tools for looking at data open it: embedding-atlas, FiftyOne and Label Studio.

None of them is needed to write this. Pictures are decoded and written anew, so that no file that hides another format
behind its picture reaches a tool which would serve it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from foretaste import atomic
from foretaste.dataset import manifest
from foretaste.explain import samples
from foretaste.explain.samples import Sample
from foretaste.report.document import read
from foretaste.report.flagged_rows import flagged
from foretaste.report.visible import visible
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.findings import Kind

MOST = 2000  # flagged rows: one JSON file holds them all, pictures included
SIDE = 256  # pixels of a picture
LONGEST = 20_000  # characters of a text
LABELLING = """<View>
  <Header value="$about"/>
  <{tag}/>
  <Choices name="choice" toName="payload" choice="single" required="true">
    <Choice value="keep" hotkey="k"/>
    <Choice value="drop" hotkey="d"/>
    <Choice value="unsure" hotkey="u"/>
  </Choices>
  <TextArea name="note" toName="payload" placeholder="note"/>
</View>
"""
PICTURE, TEXT = 'Image name="payload" value="$image"', 'Text name="payload" value="$text" valueType="text"'


def hand_over(audit: str, out: str, *, top: int = MOST, kind: Kind | None = None) -> dict[str, int]:
    """Write the `top` most suspicious rows of an audit, of one kind if one is named, to the new folder `out`.

    atlas.parquet          the rows of the audit's map with position, payload and verdict
    label-studio.json      the flagged rows as tasks; label-studio.xml is the labelling interface to paste
    fiftyone/              for pictures: data/ and labels.json, a FiftyOneImageClassificationDataset

    Returns the rows in each. Raises DataError where the folder is no audit, or its dataset no longer holds what was
    audited. Nothing is written then.
    """
    found = read(audit)
    dataset = manifest.reopened(found)
    ranked = flagged(audit, top=top, kind=None if kind is None else str(kind))
    rows = pl.DataFrame(ranked, schema=pl.read_parquet_schema(Path(audit) / "flagged.parquet"))
    by_row = {one.row: one for one in samples.samples(dataset, rows, side=SIDE)}
    shown = [by_row[row] for row in rows["row"] if row in by_row]
    with atomic.folder(out) as folder:
        done = {"label-studio.json": _label_studio(shown, folder, dataset.roles.modality)}
        if dataset.roles.modality is Modality.IMAGE:
            done["fiftyone"] = _fiftyone(shown, os.path.join(folder, "fiftyone"))
        positions = Path(audit) / "atlas.parquet"
        if positions.is_file():
            done["atlas.parquet"] = _atlas(positions, dataset, os.path.join(folder, "atlas.parquet"))
    return done


def _label_studio(shown: Sequence[Sample], folder: str, modality: Modality) -> int:
    """Tasks without a predicted choice: a reviewer who is told what to answer answers it."""
    tasks = [{"data": _facts(one) | _payload(one)} for one in shown]
    with open(os.path.join(folder, "label-studio.json"), "w", encoding="utf-8") as file:
        json.dump(tasks, file, ensure_ascii=True, allow_nan=False)
    tag = PICTURE if modality is Modality.IMAGE else TEXT
    with open(os.path.join(folder, "label-studio.xml"), "w", encoding="utf-8") as file:
        file.write(LABELLING.format(tag=tag))
    return len(tasks)


def _payload(one: Sample) -> dict[str, str]:
    if one.picture is not None:
        return {"image": "data:image/png;base64," + base64.b64encode(one.picture).decode()}
    return {"text": visible((one.text or "")[:LONGEST], lines=True)}


def _facts(one: Sample) -> dict[str, Any]:
    label = "no label" if one.label is None else f"labelled {one.label}"
    return {
        "row": one.row,
        "id": visible(str(one.row if one.id is None else one.id)),
        "label": None if one.label is None else visible(one.label),
        "risk": round(one.risk, 4),
        "kinds": ", ".join(one.kinds),
        "detectors": ", ".join(one.detectors),
        "reason": visible(one.reason),
        "file": visible(one.file),
        "about": visible(f"Row {one.row}, {label}: {one.reason}"),
    }


def _fiftyone(shown: Sequence[Sample], folder: str) -> int:
    """Files are named by row: nothing a dataset holds becomes a path."""
    os.makedirs(os.path.join(folder, "data"))
    labels = {}
    for one in shown:
        if one.picture is None:
            continue
        with open(os.path.join(folder, "data", f"{one.row}.png"), "wb") as file:
            file.write(one.picture)
        facts = _facts(one)
        # FiftyOne gives a label an `id` of its own, which must be one of its database's.
        attributes = {"sample_id": facts["id"]}
        attributes |= {name: facts[name] for name in ("row", "risk", "kinds", "detectors", "reason", "file")}
        labels[str(one.row)] = {"label": facts["label"] or "unlabelled", "attributes": attributes}
    with open(os.path.join(folder, "labels.json"), "w", encoding="utf-8") as file:
        json.dump({"classes": None, "labels": labels}, file, ensure_ascii=True, allow_nan=False)
    return len(labels)


def _atlas(positions: Path, dataset: Dataset, path: str) -> int:
    """The audit's map with what its rows hold, which embedding-atlas reads from columns `image` and `text`."""
    rows = pl.read_parquet(positions)
    by_row = {one.row: one for one in samples.samples(dataset, rows, side=SIDE)}
    shown = [by_row.get(row) for row in rows["row"]]
    table = rows.select(pl.exclude("kinds", "detectors"), pl.col("kinds", "detectors").list.join(", ")).to_arrow()
    if dataset.roles.modality is Modality.IMAGE:
        image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        cells = [one and one.picture and {"bytes": one.picture, "path": f"{one.row}.png"} for one in shown]
        table = table.append_column("image", pa.array(cells, image))
    else:
        texts = [one and one.text and visible(one.text[:LONGEST], lines=True) for one in shown]
        table = table.append_column("text", pa.array(texts, pa.string()))
    pq.write_table(table, path, compression="zstd")
    return len(table)
