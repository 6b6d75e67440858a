"""The cells of a row of a table, ordered by how unusual they are among the rows of its class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

FEWEST = 16  # rows of a class that are enough to say what is usual in it
SPREAD = 1.4826  # standard deviation of a Gaussian, in median absolute deviations
WIDEST = 99.0  # standard deviations: larger distances are cut off here


@dataclass(frozen=True)
class Cell:
    """A value, what is usual in its column, in a few words, and its distance from that in standard deviations."""

    name: str
    value: str
    usual: str
    distance: float


def oddities(columns: Mapping[str, pa.Array], label: np.ndarray[Any, Any], rows: Sequence[int]) -> list[list[Cell]]:
    """The cells of each of `rows` (positions), the most unusual first.

    `columns` and `label` [B] are those of a sample of the dataset. Each cell is compared with the sample's rows of the
    same class, or with all where there are fewer than FEWEST: numbers by median and median absolute deviation, other
    values by frequency (a value with the share s is sqrt(-2 log s) standard deviations away).
    """
    out: dict[int, list[Cell]] = {row: [] for row in rows}
    for known in {int(label[row]) for row in rows}:
        peers = label == known
        peers = peers if peers.sum() >= FEWEST else np.ones_like(peers)
        in_class = [row for row in rows if int(label[row]) == known]
        for name, column in columns.items():
            measure = _number if _is_number(column.type) else _name
            for row, cell in zip(in_class, measure(name, column, peers, in_class), strict=True):
                out[row].append(cell)
    return [sorted(out[row], key=lambda cell: -cell.distance) for row in rows]


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def _number(name: str, column: pa.Array, peers: np.ndarray[Any, Any], rows: Sequence[int]) -> list[Cell]:
    value = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    known = value[peers & np.isfinite(value)]
    if not len(known):
        return [Cell(name, _shown(column[row].as_py()), "", 0.0) for row in rows]
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75])  # robust against planted values
    scale = SPREAD * np.median(np.abs(known - median)) or known.std() or 1.0
    usual = f"half in {low:.4g} to {high:.4g}"
    distance = np.minimum(np.nan_to_num(np.abs(value - median) / scale, nan=0.0, posinf=WIDEST), WIDEST)
    return [Cell(name, _shown(column[row].as_py()), usual, float(distance[row])) for row in rows]


def _name(name: str, column: pa.Array, peers: np.ndarray[Any, Any], rows: Sequence[int]) -> list[Cell]:
    names = [_shown(one) for one in column.to_pylist()]
    kinds, count = np.unique([one for one, peer in zip(names, peers, strict=True) if peer], return_counts=True)
    share = dict(zip(kinds.tolist(), (count / count.sum()).tolist(), strict=True))
    most = max(share, key=lambda one: share[one])
    usual = f"{most} in {share[most]:.0%}"
    rare = 0.5 / int(count.sum())
    return [Cell(name, names[row], usual, float(np.sqrt(-2 * np.log(share.get(names[row], rare))))) for row in rows]


def _shown(value: object) -> str:
    return "missing" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
