"""The detection power of an audit on this dataset: plant known attacks in copies of it, audit these, count rows found.

Rows, contents and plan are the user's own; only the planted pattern is artificial. Copies and audits are made in a
temporary folder; the dataset is never changed.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from foretaste.attacks.contract import ATTACKS, Attack, victims
from foretaste.dataset.parquet import identities, open_dataset, picked
from foretaste.dataset.payload import Payload
from foretaste.dataset.pictures import pixels, png
from foretaste.dataset.roles import NOTHING_SAID, Request
from foretaste.errors import PlanError
from foretaste.pipeline import plan as plans
from foretaste.pipeline.audit import audit
from foretaste.pipeline.plan import Plan
from foretaste.registry import near
from foretaste.types.dataset import Dataset, File, Modality, Shard
from foretaste.types.findings import Kind
from foretaste.types.progress import Progress, quiet

logger = logging.getLogger("foretaste")

ROWS = (8, 16, 32, 64)
FOUND = 0.5  # share of planted rows that must be accused: an attack that loses half of its rows seldom works


@dataclass(frozen=True)
class Trial:
    """One audit of a copy: of `rows` planted rows `found` were accused, and `accused` of the others."""

    rows: int
    found: int
    accused: int
    verdict: str

    @property
    def succeeded(self) -> bool:
        return self.found >= FOUND * self.rows


@dataclass(frozen=True)
class Power:
    """The detection power for one attack. `least` is the smallest tried number of rows that is found, or None."""

    attack: str
    words: str
    target: str
    trials: tuple[Trial, ...]
    least: int | None


def drill(
    places: str | Sequence[str],
    *,
    request: Request = NOTHING_SAID,
    plan: Plan | str | None = None,
    attacks: Sequence[str] = (),
    rows: Sequence[int] = ROWS,
    target: str | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: Progress = quiet,
) -> list[Power]:
    """The smallest number of rows from which on an audit finds each attack in this dataset, by bisection over `rows`.

    places, request, plan, device, progress as in foretaste.audit
    attacks   names of attacks; by default those marked for drills that fit the modality
    rows      numbers of rows to plant; a smaller number plants in a subset of the rows of a larger one
    target    the target class; by default the one of median size
    seed      of the attack and of the audit

    Raises PlanError where an attack cannot be planted as asked, and whatever an audit raises.
    """
    dataset = open_dataset([places] if isinstance(places, str) else list(places), request=request)
    chosen = _fitting(dataset, attacks)
    counts = sorted(set(rows))
    if not counts or counts[0] < 1:
        raise PlanError(f"a drill plants at least one row, got {', '.join(map(str, rows)) or 'none'}")
    at = _class(dataset, target)
    settings = plans.load(plan) if isinstance(plan, str) else plan
    label = torch.cat([_labels(dataset, shard) for shard in dataset.shards])

    def trial(name: str, count: int) -> Trial:
        logger.info(f"drill: {name} in {count} rows of class {dataset.classes[at]}")
        with tempfile.TemporaryDirectory(prefix="foretaste-drill-") as folder:
            where, planted = plant(dataset, label, ATTACKS.find(name), target=at, count=count, seed=seed, folder=folder)
            out = os.path.join(folder, "audit")
            report = audit(where, request=request, plan=settings, out=out, device=device, seed=seed, progress=progress)
            flagged = pl.read_parquet(os.path.join(out, "flagged.parquet"))
        accused = set(flagged.filter(pl.col("kinds").list.contains(str(Kind.BACKDOOR)))["row"].to_list())
        return Trial(count, len(accused & planted), len(accused - planted), str(report.verdict))

    return [_power(name, counts, dataset.classes[at], trial) for name in chosen]


def _power(name: str, counts: Sequence[int], target: str, trial: Callable[[str, int], Trial]) -> Power:
    """Bisection, which assumes that an attack found in some number of rows is found in any larger one."""
    low, high = 0, len(counts)
    done: dict[int, Trial] = {}
    while low < high:
        middle = (low + high) // 2
        done[middle] = trial(name, counts[middle])
        low, high = (low, middle) if done[middle].succeeded else (middle + 1, high)
    least = counts[low] if low < len(counts) else None
    return Power(name, ATTACKS[name].words, target, tuple(done[at] for at in sorted(done)), least)


def plant(
    dataset: Dataset, label: Tensor, attack: Attack, *, target: int, count: int, seed: int, folder: str
) -> tuple[list[str], set[int]]:
    """Write a copy of the dataset with the attack in `count` rows to `folder`; returns its files and these rows.

    `label` [N] int64 are the classes of all rows. A local file without poisoned rows is linked, a remote one copied.

    Raises PlanError where there are too few rows or the trigger does not fit.
    """
    change = attack.change
    if change is None:
        raise PlanError(f"{attack.name} changes rows together and cannot be planted in a copy row by row")
    generator = torch.Generator().manual_seed(seed)
    rows = victims(label, target=target, count=count, generator=generator, clean_label=attack.clean_label).tolist()
    chance = torch.rand(len(rows), 2, generator=generator).tolist()
    drawn = dict(zip(rows, chance, strict=True))
    changed: dict[int, Any] = {}
    for payload in picked(dataset, rows):
        for row, content in zip(payload.row.tolist(), _contents(payload), strict=True):
            try:
                changed[row] = change(content, drawn[row], seed)
            except ValueError as error:
                raise PlanError(f"{payload.where}: the trigger cannot be planted in row {row}: {error}") from error
    donor = int((label == target).nonzero()[0, 0])
    given = next(picked(dataset, [donor])).columns[str(dataset.roles.label)][0]
    relabelled = {} if attack.clean_label else dict.fromkeys(rows, given.as_py())
    places, first = [], 0
    for file in dataset.files:
        path = os.path.join(folder, "data", file.name)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        inside = range(first, first + file.rows)
        if any(row in inside for row in rows):
            _rewrite(file, path, {str(dataset.roles.payload[0]): changed, str(dataset.roles.label): relabelled}, first)
        elif "://" in file.path:
            with fsspec.open(file.path, "rb") as source, open(path, "wb") as copy:
                shutil.copyfileobj(source, copy)
        else:
            os.symlink(os.path.abspath(file.path), path)
        places.append(path)
        first += file.rows
    return places, set(rows)


def _contents(payload: Payload) -> Iterator[Any]:
    """The pictures, [3, H, W] uint8, or texts of a payload."""
    if payload.roles.modality is Modality.TEXT:
        yield from payload.texts
        return
    for row, data in zip(payload.row.tolist(), payload.pictures(), strict=True):
        try:
            yield pixels(data or b"")
        except Exception as error:  # Pillow raises many kinds
            raise PlanError(
                f"{payload.where}: row {row} was drawn and is no picture: draw others with --seed"
            ) from error


def _rewrite(file: File, path: str, columns: dict[str, dict[int, Any]], first: int) -> None:
    """A copy of a file whose first row is `first`, with new values in some rows of some columns."""
    with fsspec.open(file.path, "rb") as source:
        parquet = pq.ParquetFile(source)
        with pq.ParquetWriter(path, parquet.schema_arrow) as writer:
            for group in range(parquet.metadata.num_row_groups):
                table = parquet.read_row_group(group)
                for name, values in columns.items():
                    here = {row - first: value for row, value in values.items() if 0 <= row - first < len(table)}
                    if here:
                        at = table.schema.get_field_index(name)
                        table = table.set_column(at, table.schema.field(at), _replaced(table.column(at), here))
                writer.write_table(table)
                first += len(table)


def _replaced(column: pa.ChunkedArray, values: dict[int, Any]) -> pa.Array:
    """The column with new values at some of its positions."""
    kind = column.type
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    new = [_cell(value, plain) for value in values.values()]
    try:
        whole = pa.concat_arrays([*column.cast(plain).chunks, pa.array(new, plain)])
        order = list(range(len(column)))
        for extra, at in enumerate(values):
            order[at] = len(column) + extra
        return whole.take(pa.array(order)).cast(kind)
    except pa.ArrowException as error:
        raise PlanError(f"a drill cannot write a column of type {kind}: {str(error).splitlines()[0]}") from error


def _cell(value: Any, kind: pa.DataType) -> Any:
    """A value in the type of its column."""
    if not isinstance(value, Tensor):
        return value
    file = png(value)
    return {"bytes": file} if pa.types.is_struct(kind) else file


def _fitting(dataset: Dataset, asked: Sequence[str]) -> list[str]:
    roles = dataset.roles
    if not dataset.classes or roles.modality not in (Modality.IMAGE, Modality.TEXT):
        what = "unlabelled rows" if not dataset.classes else f"rows of {roles.modality}"
        raise PlanError(f"a drill plants in labelled pictures and labelled texts, this dataset has {what}")
    fit = sorted(
        name
        for name, attack in ATTACKS.scan().items()
        if attack.change is not None and attack.modality is roles.modality
    )
    for name in asked:
        attack = ATTACKS.find(name, "--attack") if name in ATTACKS.installed() else None
        if attack is None or attack.change is None or attack.modality is not roles.modality:
            raise PlanError(f"--attack must be one of {', '.join(fit)} for this dataset, got {name!r}")
    with fsspec.open(dataset.files[0].path, "rb") as file:
        schema = pq.read_schema(file)
    kind = schema.field(roles.payload[0]).type
    held = pa.types.is_struct(kind) and "bytes" in {one.name for one in kind}
    if roles.modality is Modality.IMAGE and not (held or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise PlanError(f"a drill changes pictures that lie in the Parquet file, {roles.payload[0]!r} holds paths")
    if str(roles.label) not in schema.names:
        raise PlanError(f"a drill changes labels, and {roles.label!r} is the name of folders")
    return list(asked) or [name for name in fit if ATTACKS[name].drilled]


def _class(dataset: Dataset, target: str | None) -> int:
    if target is None:
        filled = [at for at in range(len(dataset.classes)) if dataset.class_rows[at]]
        ranked = sorted(filled, key=lambda at: (dataset.class_rows[at], at))
        return ranked[len(ranked) // 2]
    if target not in dataset.classes:
        raise PlanError(f"--target must be a class of the dataset, got {target!r}{near(target, dataset.classes)}")
    return dataset.classes.index(target)


def _labels(dataset: Dataset, shard: Shard) -> Tensor:
    """The class of every row of a shard, [rows] int64, -1 where it is missing."""
    names = identities(dataset, shard)["label"].combine_chunks()
    index = pc.index_in(names, value_set=pa.array(dataset.classes, pa.string())).fill_null(-1)
    return torch.from_numpy(np.array(index)).long()
