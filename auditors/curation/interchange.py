"""The flagged rows of an audit in the formats of embedding-atlas, FiftyOne and Label Studio.

None of these tools is needed to write them. Pictures are decoded and encoded again, so that a polyglot file (a picture
that is also, say, HTML) never reaches a tool that would serve it.
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

MOST = 2000  # flagged rows, since one JSON file holds them all, pictures included
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

    atlas.parquet          the rows of the audit's map with position, payload and flags
    label-studio.json      the flagged rows as tasks; label-studio.xml is the labelling interface to paste
    fiftyone/              for pictures: data/ and labels.json, a FiftyOneImageClassificationDataset

    Returns the number of rows in each. Raises DataError where the folder is no audit, or its dataset changed since.
    Nothing is written then.
    """
    found = read(audit)
    dataset = manifest.reopened(found)
    ranked = flagged(audit, top=top, kind=None if kind is None else str(kind))
    rows = pl.DataFrame(ranked, schema=pl.read_parquet_schema(Path(audit) / "flagged.parquet"))
    by_row = {sample.row: sample for sample in samples.samples(dataset, rows, side=SIDE)}
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
    """Tasks without predictions, which would bias the reviewer."""
    tasks = [{"data": _facts(sample) | _payload(sample)} for sample in shown]
    with open(os.path.join(folder, "label-studio.json"), "w", encoding="utf-8") as file:
        json.dump(tasks, file, ensure_ascii=True, allow_nan=False)
    tag = PICTURE if modality is Modality.IMAGE else TEXT
    with open(os.path.join(folder, "label-studio.xml"), "w", encoding="utf-8") as file:
        file.write(LABELLING.format(tag=tag))
    return len(tasks)


def _payload(sample: Sample) -> dict[str, str]:
    if sample.picture is not None:
        return {"image": "data:image/png;base64," + base64.b64encode(sample.picture).decode()}
    return {"text": visible((sample.text or "")[:LONGEST], lines=True)}


def _facts(sample: Sample) -> dict[str, Any]:
    label = "no label" if sample.label is None else f"labelled {sample.label}"
    return {
        "row": sample.row,
        "id": visible(str(sample.row if sample.id is None else sample.id)),
        "label": None if sample.label is None else visible(sample.label),
        "risk": round(sample.risk, 4),
        "kinds": ", ".join(sample.kinds),
        "detectors": ", ".join(sample.detectors),
        "reason": visible(sample.reason),
        "file": visible(sample.file),
        "about": visible(f"Row {sample.row}, {label}: {sample.reason}"),
    }


def _fiftyone(shown: Sequence[Sample], folder: str) -> int:
    """Files are named by row number, so that no text from the dataset becomes a path."""
    os.makedirs(os.path.join(folder, "data"))
    labels = {}
    for sample in shown:
        if sample.picture is None:
            continue
        with open(os.path.join(folder, "data", f"{sample.row}.png"), "wb") as file:
            file.write(sample.picture)
        facts = _facts(sample)
        # FiftyOne reserves the attribute `id` for ids of its database.
        attributes = {"sample_id": facts["id"]}
        attributes |= {name: facts[name] for name in ("row", "risk", "kinds", "detectors", "reason", "file")}
        labels[str(sample.row)] = {"label": facts["label"] or "unlabelled", "attributes": attributes}
    with open(os.path.join(folder, "labels.json"), "w", encoding="utf-8") as file:
        json.dump({"classes": None, "labels": labels}, file, ensure_ascii=True, allow_nan=False)
    return len(labels)


def _atlas(positions: Path, dataset: Dataset, path: str) -> int:
    """The audit's map with the payload, which embedding-atlas reads from the columns `image` and `text`."""
    rows = pl.read_parquet(positions)
    by_row = {sample.row: sample for sample in samples.samples(dataset, rows, side=SIDE)}
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
