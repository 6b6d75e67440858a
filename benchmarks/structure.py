"""The shape of the tree, read from its sources: modules per folder, floors, and which package imports which.

python -m benchmarks.structure                 this tree
python -m benchmarks.structure REVISION        the tree as it was
python -m benchmarks.structure --walk          also follow one audit from Parquet to report, package by package
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOPS = {"auditors": "foretaste", "flows": "foretaste.flows"}
PICTURE = ROOT / "docs" / "architecture.md"
FEW, MANY = 5, 15  # modules that a folder should hold


@dataclass(frozen=True)
class Tree:
    """Modules by their path below the root, and for each the modules that it imports, at the top or inside."""

    imports: Mapping[str, frozenset[str]]

    @property
    def folders(self) -> Counter[str]:
        """Modules per folder; an `__init__` that only says what its package holds is none."""
        return Counter(str(Path(path).parent) for path in self.imports if Path(path).name != "__init__.py")

    @property
    def floors(self) -> dict[str, int]:
        """For each module the length of the longest chain of imports below it. Raises CycleError at a circle."""
        out: dict[str, int] = {}
        for path in TopologicalSorter(self.imports).static_order():
            out[path] = 1 + max((out[below] for below in self.imports[path]), default=-1)
        return out

    @property
    def arrows(self) -> Counter[tuple[str, str]]:
        """How many imports lead from one package to another."""
        return Counter(
            (package(above), package(below))
            for above, found in self.imports.items()
            for below in found
            if package(above) != package(below)
        )


def package(path: str) -> str:
    """The package of a module's path as the picture names it: its folder, or itself where it lies in the top folder."""
    top, *inner = Path(path).with_suffix("").parts
    if top == "flows":
        return "flows"
    if inner == ["__init__"]:
        return "foretaste"
    return inner[0] if len(inner) == 1 else "/".join(inner[:-1])


def layers(picture: Path = PICTURE) -> list[list[str]]:
    """The layers that the picture draws, the topmost first: its first block of code, a line a layer."""
    block = picture.read_text(encoding="utf-8").split("```")[1]
    return [line.partition("│")[0].split() for line in block.splitlines() if line.strip()]


def layer(name: str, drawn: Sequence[Sequence[str]]) -> int:
    """The layer of a package, counted from the ground; that of the package around it where it has none of its own."""
    while name:
        for height, packages in enumerate(reversed(drawn)):
            if name in packages:
                return height
        name = name.rpartition("/")[0]
    raise KeyError(name)


def tree(root: Path = ROOT) -> Tree:
    """Read every module below `root` in the two top folders."""
    paths = sorted(str(path.relative_to(root)) for top in TOPS for path in (root / top).rglob("*.py"))
    names = {name: path for path in paths for name in _names(path)}
    return Tree({path: frozenset(_imported((root / path).read_text("utf-8"), names)) - {path} for path in paths})


def _names(path: str) -> Iterator[str]:
    """What a module is called: by the name it is installed under, and by its folder as before 0.2."""
    top, *inner = Path(path).with_suffix("").parts
    inner = [part for part in inner if part != "__init__"]
    yield ".".join([TOPS[top], *inner])
    yield ".".join([top, *inner])


def _imported(source: str, names: Mapping[str, str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (names[alias.name] for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                found = names.get(f"{node.module}.{alias.name}") or names.get(node.module)
                if found:
                    yield found


def checkout(revision: str, place: Path) -> Path:
    """The sources of a revision below a folder."""
    done = subprocess.run(["git", "-C", str(ROOT), "archive", revision, *TOPS], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(place, filter="data")
    return place


# A walk


TRACED = """
import inspect, json, os, sys, threading
sys.path[:0] = [os.environ["FARM"]]
root, steps = os.environ["ROOT"] + os.sep, []

def place(frame):
    name = os.path.realpath(frame.f_code.co_filename)
    return name[len(root):] if name.startswith((root + "auditors", root + "flows")) else ""

def step(frame, event, _):
    if event == "call" and frame.f_code.co_name != "<module>" and not frame.f_code.co_flags & inspect.CO_GENERATOR:
        above, below = frame.f_back, place(frame)
        while above is not None and not place(above):
            above = above.f_back
        if below and above is not None and place(above) != below:
            steps.append((place(above), below))

try:
    from foretaste import audit
except ImportError:
    from auditors import audit
threading.setprofile(step)
sys.setprofile(step)
audit(os.environ["DATA"], out=os.environ["OUT"])
sys.setprofile(None)
print(json.dumps(steps))
"""


def walk(root: Path, data: Path) -> list[tuple[str, str]]:
    """Every call from one module to another while an audit goes from Parquet to report, in order."""
    with tempfile.TemporaryDirectory() as scratch:
        farm = Path(scratch) / "farm" / "foretaste"
        farm.mkdir(parents=True)
        for part in [*(root / "auditors").iterdir(), root / "flows"]:
            (farm / part.name).symlink_to(part)
            if not (farm.parent / "auditors").exists():
                (farm.parent / "auditors").symlink_to(root / "auditors")
        variables = {"FARM": str(farm.parent), "ROOT": str(root), "DATA": str(data), "OUT": f"{scratch}/audit"}
        done = subprocess.run(
            [sys.executable, "-c", TRACED], env=os.environ | variables, capture_output=True, text=True, check=True
        )
    return [(above, below) for above, below in json.loads(done.stdout.splitlines()[-1])]


def _show(found: Tree) -> None:
    folders, floors, arrows = found.folders, found.floors, found.arrows
    for folder, count in sorted(folders.items()):
        said = "" if FEW <= count <= MANY else f"  fewer than {FEW}" if count < FEW else f"  more than {MANY}"
        print(f"{folder:<28} {count:>3}{said}")
    print(f"\n{sum(folders.values())} modules, {sum(map(len, found.imports.values()))} imports among them")
    print(f"{1 + max(floors.values())} floors of modules: {' '.join(map(str, Counter(floors.values()).values()))}")
    packages = sorted({package(path) for path in found.imports})
    print(f"{len(packages)} packages, {len(arrows)} arrows between them")
    drawn = layers()
    try:
        up = upward(arrows, drawn)
    except KeyError:
        print("the picture of the packages shows others")
    else:
        print(f"{len(drawn)} layers, {len(up)} arrows upward{': ' if up else ''}{', '.join(up)}")


def upward(arrows: Iterable[tuple[str, str]], drawn: Sequence[Sequence[str]]) -> list[str]:
    """Imports of a package from its own layer or one above, unless one of the two lies in the other.

    Raises KeyError for a package that is not drawn.
    """
    return [f"{a} → {b}" for a, b in arrows if layer(a, drawn) <= layer(b, drawn) and not within(a, b)]


def within(above: str, below: str) -> bool:
    """Whether one package lies in the other: those two are one layer."""
    return above.startswith(f"{below}/") or below.startswith(f"{above}/")


def _show_walk(steps: Sequence[tuple[str, str]], found: Tree) -> None:
    floors = found.floors
    moves = [(a, b) for a, b in steps if package(a) != package(b)]
    distinct = list(dict.fromkeys(moves))
    climbs = [(a, b) for a, b in distinct if floors[b] > floors[a]]
    print(f"\none audit: {len(distinct)} kinds of calls from one package's modules to another's, {len(climbs)} upward")
    for above, below in climbs:
        print(f"  {above} calls {below}")
    print("packages in the order in which they are reached:")
    print(f"  {', '.join(dict.fromkeys(package(below) for _, below in moves))}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", nargs="?", help="a git revision; the working tree by default")
    parser.add_argument("--walk", action="store_true", help="follow an audit of data/digits_badnets.parquet")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        root = checkout(asked.revision, Path(scratch)) if asked.revision else ROOT
        found = tree(root)
        _show(found)
        if asked.walk:
            _show_walk(walk(root, ROOT / "data" / "digits_badnets.parquet"), found)


if __name__ == "__main__":
    main()
