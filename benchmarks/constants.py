"""The numbers that stand bare in modules, where no plan can set them and no digest of a plan knows them.

python -m benchmarks.constants             of this tree, by module
python -m benchmarks.constants REVISION    of the tree as it was
"""

from __future__ import annotations

import argparse
import ast
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.structure import ROOT, checkout

DECIDES = ("decide", "detectors", "embedders", "explain", "image", "stats", "text", "pipeline")


def bare(source: str) -> Iterator[tuple[str, str]]:
    """(name, value) of every constant at the top of a module that is made of numbers."""
    for node in ast.parse(source).body:
        if (
            isinstance(node, ast.Assign)
            and len(node.targets) == 1
            and isinstance(node.targets[0], (ast.Name, ast.Tuple))
        ):
            names = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else [node.targets[0]]
            values = node.value.elts if len(names) > 1 and isinstance(node.value, ast.Tuple) else [node.value]
            for name, value in zip(names, values, strict=False):
                if _numeric(value):
                    yield ast.unparse(name), ast.unparse(value)


def _numeric(value: ast.expr) -> bool:
    """Whether an expression holds numbers and names only."""
    leaves = [node for node in ast.walk(value) if not list(ast.iter_child_nodes(node))]
    numbers = [node for node in ast.walk(value) if isinstance(node, ast.Constant)]
    plain = (ast.Constant, ast.operator, ast.unaryop, ast.expr_context, ast.Name)
    return (
        bool(numbers)
        and all(
            isinstance(node, plain)
            and not (isinstance(node, ast.Constant) and not isinstance(node.value, (int, float)))
            for node in leaves
        )
        and not any(isinstance(node, (ast.Call, ast.Subscript, ast.Attribute)) for node in ast.walk(value))
    )


def declared(source: str) -> int:
    """How many fields of settings say where their number came from."""
    return sum(
        isinstance(node, ast.Call) and ast.unparse(node.func) == "threshold" for node in ast.walk(ast.parse(source))
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", nargs="?", help="a git revision; the working tree by default")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        root = checkout(asked.revision, Path(scratch)) if asked.revision else ROOT
        total = settings = 0
        for path in sorted((root / "auditors").rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            found = list(bare(source))
            settings += declared(source)
            total += len(found)
            if found:
                print(f"{path.relative_to(root)}: {', '.join(f'{name} = {value}' for name, value in found)}")
        print(f"\n{total} constants made of numbers stand in modules; {settings} numbers are declared settings")


if __name__ == "__main__":
    main()
