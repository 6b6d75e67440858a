"""Which code computed a result: a digest of its sources, or the release where no sources are installed."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from foretaste.registry import HOME, release
from foretaste.types.digests import Digest

RECIPE = "sha256-sources-1"  # version of the digest's definition: change it with any change below


@cache
def sources(*names: str) -> Digest:
    """Digest of the sources of these modules and packages, submodules included.

    Comments, docstrings and blank lines are ignored. If any source is missing, as in a compiled distribution, the
    release of that distribution is the digest.
    """
    whole = hashlib.sha256()
    for module, path in sorted({found for name in names for found in _files(name)}, key=str):
        if path is None:
            return Digest("release", _release(module.partition(".")[0]))
        whole.update(f"{module}\n{code(path.read_text(encoding='utf-8'))}\n".encode())
    return Digest(RECIPE, whole.hexdigest())


def code(source: str) -> str:
    """A Python source without comments, docstrings, blank lines and trailing blanks."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                for row in range(first.lineno - 1, first.end_lineno or first.lineno):
                    lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _release(package: str) -> str:
    """The release of the distribution that provides a package."""
    if package == HOME:
        return release()
    from importlib.metadata import packages_distributions, version

    owners = packages_distributions().get(package, [])
    return ", ".join(f"{owner} {version(owner)}" for owner in sorted(set(owners))) or "unknown"


def _files(name: str) -> Iterator[tuple[str, Path | None]]:
    """The modules of a package, or the module itself, with their source files; None where a module has none."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a module created at run time
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        yield name, None
        return
    if spec.submodule_search_locations is None:
        yield name, Path(spec.origin)
        return
    for folder in spec.submodule_search_locations:
        for path in sorted(Path(folder).rglob("*.py")):
            inner = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix("__init__").rstrip(".")
            yield f"{name}.{inner}" if inner else name, path
