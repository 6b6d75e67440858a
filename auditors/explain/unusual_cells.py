"""What is unusual about a row of a table: its cells, those first that lie farthest from the rows of its class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

FEWEST = 16  # rows of a class that say what is usual in it
SPREAD = 1.4826  # standard deviations of a Gaussian in its median absolute deviation
WIDEST = 99.0  # deviations: how far is too far to matter


@dataclass(frozen=True)
class Cell:
    """A value, what is usual in its place in a few words, and how far from that it lies, in standard deviations."""

    name: str
    value: str
    usual: str
    distance: float


def oddities(columns: Mapping[str, pa.Array], label: np.ndarray[Any, Any], rows: Sequence[int]) -> list[list[Cell]]:
    """The cells of each of `rows` (positions), the most unusual first.

    `columns` and `label` [B] are those of some rows of the dataset, which say what is usual: those of the same class,
    or all where the class has few. Numbers are held against median and median absolute deviation, anything else against
    how rare it is: a value that a share s of rows has lies sqrt(-2 log s) deviations out.
    """
    out: dict[int, list[Cell]] = {row: [] for row in rows}
    for one in {int(label[row]) for row in rows}:
        peers = label == one
        peers = peers if peers.sum() >= FEWEST else np.ones_like(peers)
        mine = [row for row in rows if int(label[row]) == one]
        for name, column in columns.items():
            judge = _number if _is_number(column.type) else _name
            for row, cell in zip(mine, judge(name, column, peers, mine), strict=True):
                out[row].append(cell)
    return [sorted(out[row], key=lambda cell: -cell.distance) for row in rows]


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def _number(name: str, column: pa.Array, peers: np.ndarray[Any, Any], rows: Sequence[int]) -> list[Cell]:
    value = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    known = value[peers & np.isfinite(value)]
    if not len(known):
        return [Cell(name, _shown(column[row].as_py()), "", 0.0) for row in rows]
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75])  # a planted value may not count as usual
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
