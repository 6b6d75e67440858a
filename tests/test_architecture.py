"""The shape of the tree, read from its source: who may import whom, and what nobody may do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from places import ROOT

# A module imports from its own line or from below; "x/*" are the package x and its modules.
LEVELS = """
7  flows/*
6  auditors  auditing  trial  rowwise  drill
5  acquittal  encoding  stages  handover  difference  recency  admission  gate  passage
4  confusion  explaining  origins  power  runs  templates  witnesses
4  floods  sweep  atlas  findings  suspects  judgement  natural  evidence  triggers  likeness  contrast
4  manifest  export  signature  ledger  comparison  calibration
3  detectors/*  embedders/*  attacks/*  report/*  source  plan  attachments  attest  gatefile  network
2  hashing  enrichment  responses  governance  quarantine  decomposition  contract  roles  labels  policy  keys  held
2  rows  looseness  suspicion  foreignness  filters
1  ngrams  contexts  contradiction  kinship  errors  values  batch  payload  tables  cache  files  localise  wording
1  decisions  results
2  breaks
1  stretches  minhash  edits  duplicates  oddities  skeletons
0  stats/*
"""
LEVEL = {name: int(line[0]) for line in LEVELS.strip().splitlines() for name in line.split()[1:]}
# Adding one touches one file: they do not know each other. What attacks have in common is in poisoned.
SIBLINGS = ("detectors", "embedders", "attacks")
SHARED = {"foretaste.attacks.contract"}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(path(module).read_text(encoding="utf-8"))


@cache
def modules() -> tuple[str, ...]:
    files = sorted(file for top in ("auditors", "flows") for file in (ROOT / top).rglob("*.py"))
    return tuple(".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files)


def path(module: str) -> Path:
    base = ROOT.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


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
    return [name for name in imports(module) if name.partition(".")[0] in ("auditors", "flows")]


def place(module: str) -> str:
    """How LEVELS writes a module."""
    top, *inner = module.split(".")
    if top == "flows":
        return "flows/*"
    if not inner:
        return top
    return f"{inner[0]}/*" if path(f"{top}.{inner[0]}").name == "__init__.py" else inner[0]


def calls(module: str) -> Iterator[tuple[int, str, ast.Call]]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), node


def test_every_module_has_a_level() -> None:
    assert {place(module) for module in modules()} == set(LEVEL)


@pytest.mark.parametrize("module", modules())
def test_imports_point_down(module: str) -> None:
    assert not [name for name in ours(module) if LEVEL[place(name)] > LEVEL[place(module)]]


def test_the_face_of_the_library_imports_only_what_is_asked_for() -> None:
    assert not [name for name in imports("auditors", anywhere=False) if name.startswith("auditors")]


@pytest.mark.parametrize("package", SIBLINGS)
def test_siblings_do_not_know_each_other(package: str) -> None:
    siblings = [module for module in modules() if module.startswith(f"auditors.{package}.")]
    known = {(one, name) for one in siblings for name in ours(one) if name in siblings and name not in SHARED}
    assert not known


def test_imports_form_no_circle() -> None:
    graph = {module: set(ours(module)) - {module, "auditors"} for module in modules()}
    tuple(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("foretaste.stats.")])
def test_the_ground_floor_needs_torch_only(module: str) -> None:
    standard = sys.stdlib_module_names | {"torch", "__future__"}
    strangers = {name for name in imports(module) if name.partition(".")[0] not in standard}
    assert not {name for name in strangers if not name.startswith("foretaste.stats")}


def test_only_flows_imports_prefect() -> None:
    users = {module for module in modules() if any(name.partition(".")[0] == "prefect" for name in imports(module))}
    assert users
    assert {module.partition(".")[0] for module in users} == {"flows"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "util", "core", "common", "helpers", "helper", "base", "manager", "misc"}
    assert not {module for module in modules() if empty & set(module.split("."))}


@pytest.mark.parametrize(
    "module",
    [
        *(
            "auditors",
            "foretaste.errors",
            "foretaste.types.findings",
            "foretaste.dataset.files",
            "foretaste.gate.policy",
            "foretaste.gate.attestation.keys",
        ),
        *(
            "foretaste.gate.attestation.statement",
            "foretaste.gate.attestation.log",
            "foretaste.gate.verified_file",
            "foretaste.gate.require",
            "foretaste.gate.attestation.signing",
        ),
        *("foretaste.gate.attestation.verify", "foretaste.gate.render"),
    ],
)
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


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("auditors")])
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


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("auditors")])
def test_what_is_public_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(tree(module))
    public = [
        node
        for node in tree(module).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []
