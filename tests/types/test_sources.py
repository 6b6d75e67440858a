"""The digest of sources changes with what they compute, and with nothing else."""

from __future__ import annotations

import sys
import textwrap

import pytest

from foretaste.registry import release
from foretaste.types.sources import code, sources

SOURCE = '''
"""What it is."""

LIMIT = 3  # of them


def double(value):
    """Twice the value."""
    # Added, not multiplied.
    return value + value  # "#" is no comment here: "#"
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes modules of a package of its own name, and gives the name."""
    made = []

    def write(**modules):
        name = f"thing{len(made)}_{tmp_path.name.replace('-', '_')}"
        made.append(name)
        folder = tmp_path / f"place{len(made)}" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(str(folder.parent))
        return name

    return write


def of(name):
    """The digest, whatever the package is called."""
    return sources(name).value


def test_prose_computes_nothing():
    plain = "LIMIT = 3\ndef double(value):\n    return value + value"
    assert code(SOURCE).splitlines() == plain.splitlines()
    assert code(textwrap.dedent(plain)) == code(SOURCE)
    assert code('text = "# no comment"') == 'text = "# no comment"'
    assert code('f = f"{1}#{2}"  # a comment') == 'f = f"{1}#{2}"'


def test_a_number_that_changes_makes_another_digest(package):
    one = package(a=SOURCE, b="X = 1\n")
    digest = of(one)
    sources.cache_clear()
    path = next(one_path for one_path in map(str, sys.path) if "place1" in one_path) + f"/{one}/a.py"
    with open(path, "w", encoding="utf-8") as file:
        file.write(SOURCE.replace("# of them", "# of those"))
    assert of(one) == digest
    sources.cache_clear()
    with open(path, "w", encoding="utf-8") as file:
        file.write(SOURCE.replace("LIMIT = 3", "LIMIT = 4"))
    assert of(one) != digest


def test_an_inner_module_counts_and_so_does_its_name(package):
    assert of(package(a="X = 1\n")) != of(package(a="X = 1\n", b="X = 1\n"))


def test_without_sources_the_release_stands_for_them():
    assert str(sources("foretaste.nowhere")) == f"release:{release()}"
    assert str(sources("math")).startswith("release:")


def test_what_embeds_is_part_of_what_decides():
    assert sources("foretaste.stats") != sources("foretaste.stats", "foretaste.types")
    assert sources("foretaste.stats").algorithm == "sha256-sources-1"
