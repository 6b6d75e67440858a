"""The shape of the tree, read from its source: who may import whom, and what nobody may do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from places import ROOT

from benchmarks import structure

# Adding one touches one file: they do not know each other, but for what their folder has in common.
SIBLINGS = {
    "attacks/image": set(),
    "attacks/text": set(),
    "detectors": {"foretaste.detectors.contract", "foretaste.detectors.states"},
    "embedders": {"foretaste.embedders.contract", "foretaste.embedders.store", "foretaste.embedders.model_file"},
}
SHAPE = structure.tree()
DRAWN = structure.layers()


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(path(module).read_text(encoding="utf-8"))


@cache
def modules() -> tuple[str, ...]:
    return tuple(sorted(named(path) for path in SHAPE.imports))


def named(path: str) -> str:
    top, *inner = Path(path).with_suffix("").parts
    return ".".join([structure.TOPS[top], *(part for part in inner if part != "__init__")])


def path(module: str) -> Path:
    [found] = [path for path in SHAPE.imports if named(path) == module]
    return ROOT / found


def imports(module: str, *, anywhere: bool = True) -> Iterator[str]:
    """Every module that a module imports, ours and others'; only those at its top unless `anywhere`."""
    for node in ast.walk(tree(module)) if anywhere else tree(module).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & set(modules())
            yield from inside or {str(node.module)}


def ours(module: str) -> list[str]:
    return [name for name in imports(module) if name.partition(".")[0] == "foretaste"]


def calls(module: str) -> Iterator[tuple[int, str, ast.Call]]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), node


def test_imports_point_down_the_picture() -> None:
    """docs/architecture.md draws the layers; a package that it does not draw is a KeyError here."""
    assert structure.upward(SHAPE.arrows, DRAWN) == []


def test_the_picture_draws_no_package_that_is_not_there() -> None:
    packages = {structure.package(path) for path in SHAPE.imports}
    assert {name for line in DRAWN for name in line} <= packages


def test_an_upward_import_would_be_seen() -> None:
    assert structure.upward([("stats", "types"), ("text", "image"), ("pipeline", "stats")], DRAWN) == [
        "stats → types",
        "text → image",
    ]


def test_imports_form_no_circle() -> None:
    assert set(SHAPE.floors) == set(SHAPE.imports)


def test_no_folder_is_crowded() -> None:
    assert {folder: count for folder, count in SHAPE.folders.items() if count > structure.MANY} == {}


def test_every_package_is_installed() -> None:
    """setuptools is told of each by name, since two folders go under one."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(told) == sorted({named(str(Path(path).parent / "__init__.py")) for path in SHAPE.imports})


def test_one_name_in_code() -> None:
    """`auditors` and `flows` are folders; what is imported is foretaste, or a user's own `flows` would be."""
    assert not [(one, name) for one in modules() for name in imports(one) if name.split(".")[0] in structure.TOPS]


def test_the_face_of_the_library_imports_only_what_is_asked_for() -> None:
    assert not [name for name in imports("foretaste", anywhere=False) if name.startswith("foretaste")]


@pytest.mark.parametrize("package", SIBLINGS)
def test_siblings_do_not_know_each_other(package: str) -> None:
    siblings = [named(path) for path in SHAPE.imports if structure.package(path) == package]
    assert len(siblings) > 5
    known = {(one, name) for one in siblings for name in ours(one) if name in siblings and name != one}
    assert {pair for pair in known if pair[1] not in SIBLINGS[package]} == set()


def test_who_decides_knows_nobody_who_speaks() -> None:
    assert not {above for above, below in SHAPE.arrows if above == "decide" and below in ("detectors", "embedders")}


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("foretaste.stats.")])
def test_the_ground_floor_needs_torch_only(module: str) -> None:
    standard = sys.stdlib_module_names | {"torch", "__future__"}
    strangers = {name for name in imports(module) if name.partition(".")[0] not in standard}
    assert not {name for name in strangers if not name.startswith("foretaste.stats")}


def test_only_flows_imports_prefect() -> None:
    users = {module for module in modules() if any(name.partition(".")[0] == "prefect" for name in imports(module))}
    assert users
    assert {module.split(".")[1] for module in users} == {"flows"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "util", "core", "common", "helpers", "helper", "base", "manager", "misc"}
    assert not {module for module in modules() if empty & set(module.split("."))}


LIGHT = [
    *("foretaste", "foretaste.errors", "foretaste.registry", "foretaste.settings", "foretaste.atomic"),
    *("foretaste.types.findings", "foretaste.types.digests", "foretaste.dataset.files"),
    *(name for name in modules() if name.startswith("foretaste.gate")),
]
LATER = {"foretaste.gate.refusal_details", "foretaste.gate.attested_rows"}  # a gate that refuses, and who reads rows


@pytest.mark.parametrize("module", [name for name in LIGHT if name not in LATER])
def test_what_a_training_job_imports_first_is_light(module: str) -> None:
    heavy = {"torch", "prefect", "polars", "pyarrow", "numpy", "pandas", "pydantic", "cryptography", "securesystemslib"}
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", modules())
def test_nothing_stored_or_given_is_run(module: str) -> None:
    unpicklers = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert not unpicklers & {name.partition(".")[0] for name in imports(module)}
    runners = {"eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "yaml.load", "os.system"}
    ran = [(line, name) for line, name, _ in calls(module) if name in runners]
    allowed = [
        (line, keyword.arg)
        for line, _, call in calls(module)
        for keyword in call.keywords
        if keyword.arg in ("allow_pickle", "trust_remote_code", "shell") and ast.unparse(keyword.value) != "False"
    ]
    assert not ran + allowed


@pytest.mark.parametrize("module", [name for name in modules() if name.split(".")[1:2] != ["flows"]])
def test_nothing_knows_where_the_truth_is(module: str) -> None:
    """Which rows are poisoned lies in data/truth, which no auditor opens."""
    prose = {
        id(node.body[0].value)
        for node in ast.walk(tree(module))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None
        if isinstance(node.body[0], ast.Expr)
    }
    said = [
        node.value
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]
    assert not [text for text in said if re.search(r"truth|is_poisoned|original_label", text)]


@pytest.mark.parametrize("module", [name for name in modules() if name.split(".")[1:2] != ["flows"]])
def test_what_is_public_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(tree(module))
    public = [
        node
        for node in tree(module).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []
