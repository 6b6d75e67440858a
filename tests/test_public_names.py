"""What `import foretaste` offers: lazily, typed, and written down."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

import foretaste

FACE = ast.parse((ROOT / "auditors" / "__init__.py").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", foretaste.__all__)
def test_every_public_name_is_there(name):
    assert getattr(foretaste, name) is not None
    assert name in dir(foretaste)


def test_types_and_names_come_from_the_same_places():
    """What a type checker is told, and what is imported when somebody asks, are written twice."""
    [typed] = [node for node in FACE.body if isinstance(node, ast.If)]
    told = {
        alias.name: f"{node.module}".removeprefix("foretaste").lstrip(".")
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name: home for name, home in told.items() if home} == foretaste.HOMES
    assert set(told) | {"__version__"} == set(foretaste.__all__)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'foretaste' has no attribute 'audits'"):
        _ = foretaste.audits


def test_the_pages_made_from_docstrings_are_fresh():
    made = [sys.executable, str(Path(ROOT) / "docs" / "make.py"), "--check"]
    done = subprocess.run(made, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), "run python docs/make.py"
