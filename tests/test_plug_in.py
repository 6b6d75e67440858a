"""A component is one file: dropped into this tree, or installed from somebody else's distribution."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checkouts import copied, git
from places import DATA, ROOT

EXAMPLE = ROOT / "docs" / "example_plugin"
COUNT = '''"""foretaste count."""

from __future__ import annotations

from typing import Annotated

import typer

from foretaste.flows.commands.contract import command
from foretaste.flows.commands.output import print_text


@command("Compare", exits="0: counted. 2: it could not be done.")
def count(dataset: Annotated[list[str], typer.Argument(metavar="DATASET...", help="What to count.")]) -> int:
    """Count the rows of a dataset."""
    from foretaste.dataset.parquet import open_dataset

    print_text(f"{open_dataset(dataset).rows}\\n")
    return 0
'''
TESTS = {
    "detector": """from foretaste.detectors.contradicted_labels import ContradictedLabels
from foretaste.testing import check_detector
from foretaste.testing.worlds import flipped


def test_it_keeps_its_contract():
    check_detector(ContradictedLabels(), poison=lambda seed=0, **_: flipped(seed))
""",
    "embedder": """from foretaste.embedders.letters import Letters
from foretaste.testing import check_embedder
from foretaste.types.dataset import Modality


def test_it_keeps_its_contract():
    check_embedder(Letters(), Modality.TEXT, instead={"alphabet": "aeiou"})
""",
    "attack": """from foretaste.attacks.contract import ATTACKS
from foretaste.testing import check_attack


def test_it_keeps_its_contract():
    check_attack(ATTACKS.find("capitals"))
""",
    "command": """from foretaste.flows.cli import main


def test_it_counts(capsys):
    assert main(["count", "data/breast_cancer.parquet"]) == 0
    assert capsys.readouterr().out == "569\\n"
""",
}
TOYS = {
    "detector": ("auditors/detectors/contradicted_labels.py", "tests/detectors/test_contradicted_labels.py"),
    "embedder": ("auditors/embedders/letters.py", "tests/embedders/test_letters.py"),
    "attack": ("auditors/attacks/text/capitals.py", "tests/attacks/text/test_capitals.py"),
    "command": ("flows/commands/count.py", "tests/flows/commands/test_count.py"),
}
# Tests that were there before and look at every component: they must see the new one without being told of it.
BATTERY = {
    "detector": ("tests/test_contract.py", "contradicted-labels"),
    "embedder": ("tests/test_contract.py", "letters"),
    "attack": ("tests/attacks/test_attacks.py", "capitals"),
    "command": ("tests/flows/test_cli.py", "every_command_has_help"),
}
LISTED = {
    "detector": (["detectors"], "contradicted-labels"),
    "embedder": (["embedders"], "letters"),
    "attack": (["attacks"], "capitals"),
    "command": (["--help"], "Count the rows of a dataset."),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git knows of this tree, as a repository of its own."""
    copy = copied(tmp_path_factory.mktemp("checkout"))
    subprocess.run(["bash", copy / ".ci" / "types"], cwd=copy, check=True)
    git(copy, "init", "-q")
    git(copy, "add", ".")
    git(copy, "commit", "-qm", "as it is")
    return copy


def python(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(checkout / "build" / "types")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=checkout, env=environ, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("what", TOYS)
def test_adding_one_is_one_file_and_its_test(what: str, checkout: Path) -> None:
    component, test = TOYS[what]
    toy = EXAMPLE / "foretaste_example" / Path(component).name
    (checkout / component).write_text(COUNT if what == "command" else toy.read_text())
    (checkout / test).parent.mkdir(parents=True, exist_ok=True)
    (checkout / test).write_text(TESTS[what])
    git(checkout, "add", "-N", ".")
    try:
        stat = git(checkout, "diff", "--stat")
        assert " 2 files changed" in stat.splitlines()[-1], stat
        command, said = LISTED[what]
        listed = python(checkout, "-m", "foretaste.flows.cli", *command)
        assert said in listed.stdout, listed.stderr
        before, chosen = BATTERY[what]
        own = python(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", test)
        assert own.returncode == 0, own.stdout
        battery = python(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", before, "-k", chosen)
        assert battery.returncode == 0, battery.stdout
    finally:
        git(checkout, "reset", "-q")
        git(checkout, "clean", "-qfd")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the example is installed beside foretaste."""
    place = tmp_path_factory.mktemp("installed")
    source = tmp_path_factory.mktemp("source") / "example"
    source.mkdir()
    for path in EXAMPLE.rglob("*"):
        if path.suffix in (".py", ".toml") and "build" not in path.parts:
            (source / path.relative_to(EXAMPLE)).parent.mkdir(exist_ok=True)
            (source / path.relative_to(EXAMPLE)).write_bytes(path.read_bytes())
    install = ["install", "-q", "--no-deps", "--no-build-isolation", "--target", str(place), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    return dict(os.environ) | {"PYTHONPATH": str(place)}


def foretaste(installed: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "foretaste.flows.cli", *arguments]
    return subprocess.run(command, env=installed, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("what", "name"),
    [("detectors", "contradicted-labels"), ("embedders", "letters"), ("attacks", "capitals")],
)
def test_what_is_installed_is_listed_by_where_it_comes_from(what: str, name: str, installed: dict[str, str]) -> None:
    listed = foretaste(installed, what).stdout
    ours, theirs = listed.split("foretaste-example 1.0, imported when a plan names it\n")
    assert (name in ours, theirs.split()) == (False, [name])
    assert "comes from: foretaste-example 1.0" in foretaste(installed, what, name).stdout


def test_a_plug_in_passes_its_own_tests(installed: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(EXAMPLE), str(EXAMPLE)]
    done = subprocess.run(command, env=installed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_plan_that_names_it_runs_it_and_signs_what_ran(installed: dict[str, str], tmp_path: Path) -> None:
    draw, words = (
        random.Random(0),
        [
            "a",
            "long",
            "film",
            "of",
            "two",
            "people",
            "who",
            "meet",
            "and",
            "part",
            "while",
            "rain",
            "falls",
            "on",
            "the",
            "town",
        ],
    )
    texts = [" ".join([*draw.choices(words, k=12), "good" if at % 2 else "bad"]) for at in range(200)]
    pq.write_table(pa.table({"text": texts, "label": [f"class {at % 2}" for at in range(200)]}), tmp_path / "t.parquet")
    foretaste(installed, "keygen", "--out", str(tmp_path / "keys"))
    asked = ["--plan", str(EXAMPLE / "audit.toml"), "--key", str(tmp_path / "keys" / "key.pem")]
    done = foretaste(installed, "audit", str(tmp_path / "t.parquet"), *asked, "--out", str(tmp_path / "audit"))
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "audit" / "report.json").read_text())
    ran = {(run["detector"], run["embedder"]): run["status"] for run in report["runs"]}
    assert ran == {("spectral-signature", "letters"): "completed", ("contradicted-labels", "probe"): "completed"}
    named = report["plan"]["plugins"]
    assert set(named) == {"detector contradicted-labels", "embedder letters"}
    assert all(one.startswith("foretaste-example 1.0 (sha256-sources-1:") for one in named.values())
    sealed = json.loads((tmp_path / "audit" / "attestation.json").read_text())
    body = json.loads(b64decode(sealed["payload"]))
    [plan] = [one for one in body["predicate"]["configuration"] if one["name"] == "plan"]
    assert json.loads(b64decode(plan["content"]))["plugins"] == named


def test_an_installed_plug_in_is_not_imported_by_itself(installed: dict[str, str], tmp_path: Path) -> None:
    data, out = str(DATA / "breast_cancer.parquet"), str(tmp_path / "audit")
    code = (
        f"import sys, foretaste; foretaste.audit({data!r}, out={out!r}); "
        "from foretaste.detectors.contract import DETECTORS; DETECTORS.installed(); "
        "print('foretaste_example' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=installed, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"
