"""What the makers of clean sets share: the list of origins, the draw of rows, and the check against the list.

An origin that is kept aside is not to be looked at while detectors are built; its name alone decides, so nobody chose.
"""

from __future__ import annotations

import hashlib
import random
import sys
import tomllib
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

FEWEST = 8  # rows of a class that is kept, and that a draw leaves it


def load(path: Path) -> list[dict[str, Any]]:
    """The origins of a list, checked: names are unique, and those are kept aside whose names say so."""
    with path.open("rb") as file:
        told: list[dict[str, Any]] = tomllib.load(file)["origin"]
    if twice := [name for name, times in Counter(origin["name"] for origin in told).items() if times > 1]:
        raise ValueError(f"{path.name} names an origin twice: {', '.join(twice)}")
    for origin in told:
        if origin["kept_aside"] != kept_aside(origin["name"]):
            raise ValueError(f"{path.name}: kept_aside of {origin['name']} is not what its name says")
    return told


def kept_aside(name: str) -> bool:
    """Whether an origin is one of the four in ten that are kept aside."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10 < 4


def draw(labels: Sequence[str], limit: int, name: str) -> list[int]:
    """Row numbers of a random draw that keeps the shares of the classes, shuffled; the name is the seed."""
    chance = random.Random(name)
    of: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        of.setdefault(label, []).append(row)
    quota = {label: len(rows) for label, rows in of.items()}
    if len(labels) > limit:
        quota = {label: max(min(size, FEWEST), size * limit // len(labels)) for label, size in quota.items()}
        quota[max(quota, key=lambda label: quota[label])] -= max(0, sum(quota.values()) - limit)
    rows = [row for label in sorted(of) for row in chance.sample(of[label], quota[label])]
    chance.shuffle(rows)
    return rows


def duplicates(rows: Sequence[Hashable]) -> float:
    """The share of rows that equal another row."""
    times = Counter(rows)
    return round(sum(times[row] > 1 for row in rows) / len(rows), 4)


def run(title: str, listed: Path, make: Callable[[Path, Path, Mapping[str, Any]], Mapping[str, Any]]) -> int:
    """The command of a maker: make the sets of a list with `make(checkouts, out, origin)`, compare them with the list.

    Returns the exit code: 1 where a figure differs.
    """
    parser = ArgumentParser(description=title)
    parser.add_argument("checkouts", type=Path, help="folder with the clones, one folder OWNER+NAME each")
    parser.add_argument("out", type=Path, help="folder for the Parquet files")
    parser.add_argument("--only", metavar="NAME", help="make this origin alone")
    told = parser.parse_args()
    origins = [origin for origin in load(listed) if told.only in (None, origin["name"])]
    return int(sum(differing(origin, make(told.checkouts, told.out, origin)) for origin in origins) > 0)


def differing(origin: Mapping[str, Any], made: Mapping[str, Any]) -> bool:
    """Say what was made of an origin, and whether it differs from what the list says."""
    wrong = [f"{key} should be {origin.get(key)}" for key, value in made.items() if origin.get(key) != value]
    figures = " ".join(f"{key}={value}" for key, value in made.items())
    print(origin["name"], figures, *wrong, sep="  ", file=sys.stderr if wrong else sys.stdout)
    return bool(wrong)
