"""foretaste as it is installed, from the wheel in a bare environment and editable, used from somebody's own repository.

That repository has a `flows/` and a `tests/` of its own, as those of Prefect users have.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from browser import CHROMIUM, browser
from checkouts import copied
from places import DATA, ROOT

THEIRS = """
import flows, tests
from flows.training import train
from foretaste.flows.gate import gate
assert train() == "theirs" and tests.__doc__ == "theirs"
assert "theirs" in flows.__file__, flows.__file__
"""
STATIC = """
from importlib.resources import files
names = [one.name for one in files("foretaste.flows.review").iterdir() if one.name.endswith((".js", ".css", ".html"))]
print(*sorted(names))
"""


@dataclass(frozen=True)
class Installation:
    """An interpreter that has foretaste, and a repository to use it from."""

    bin: Path
    repository: Path

    def run(self, *command: str, code: int = 0) -> str:
        """The output of a command of the environment, from inside the repository."""
        called, own = [self.bin / command[0], *command[1:]], environ(self.repository)
        done = subprocess.run(called, cwd=self.repository, env=own, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


def environ(repository: Path) -> dict[str, str]:
    """No path of this checkout may help, and nothing of the user's is written."""
    own = {
        "PREFECT_HOME": str(repository / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # theirs, whose default is too short for busy cores
    }
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")} | own


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    if request.param == "editable":
        bin_ = Path(sys.executable).parent
        if not (bin_ / "foretaste").exists():
            pytest.skip("foretaste is not installed beside this interpreter")
    else:
        bin_ = bare(tmp_path_factory.mktemp("bare")) / "bin"
    repository = tmp_path_factory.mktemp("theirs")
    for package in ("flows", "tests"):
        (repository / package).mkdir()
        (repository / package / "__init__.py").write_text('"""theirs"""\n')
    (repository / "flows" / "training.py").write_text('def train():\n    return "theirs"\n')
    (repository / "train.parquet").write_bytes((DATA / "breast_cancer.parquet").read_bytes())
    return Installation(bin_, repository)


def bare(place: Path) -> Path:
    """A fresh virtual environment with the wheel of this tree and what it declares to need, and nothing else."""
    source = copied(place / "source")
    build = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(place), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, capture_output=True)
    [wheel] = place.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    install = ["install", "-q", "-c", str(ROOT / "constraints.txt"), str(wheel)]
    done = subprocess.run([place / "venv/bin/pip", *install], capture_output=True, text=True, check=False)
    if done.returncode and "CI" not in os.environ:
        pytest.skip(f"the packages that foretaste needs cannot be installed here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return place / "venv"


@pytest.fixture(scope="module")
def audited(installation: Installation) -> Path:
    """The first audit, signed."""
    installation.run("foretaste", "keygen", "--out", "keys")
    said = installation.run("foretaste", "audit", "train.parquet", "--key", "keys/key.pem", "--out", "audits/first")
    assert said.startswith("PASSED")
    return installation.repository / "audits" / "first"


def test_it_comes_from_where_it_was_installed(installation: Installation) -> None:
    told = installation.run(
        "python", "-c", "import foretaste; print(foretaste.__file__, foretaste.__version__)"
    ).split()
    assert (str(ROOT) in told[0]) == (str(installation.bin) == str(Path(sys.executable).parent))
    assert told[1] == "0.1.0"


def test_a_repository_with_flows_and_tests_of_its_own_keeps_them(installation: Installation) -> None:
    installation.run("python", "-c", THEIRS)


def test_the_gate_opens_for_what_was_audited(installation: Installation, audited: Path) -> None:
    said = installation.run("foretaste", "gate", "train.parquet", "--key", "keys/key.pub")
    assert said.startswith("ALLOWED")
    code = "import foretaste; print(foretaste.verify(*%r, key='keys/key.pub').rows)"
    asked = ("audits/first/attestation.json", "train.parquet")
    assert installation.run("python", "-c", code % (asked,)) == "569\n"
    assert (audited / "report.html").stat().st_size > 10_000


def test_a_flow_of_theirs_can_gate(installation: Installation, audited: Path) -> None:
    """From a script, so that Prefect looks for the flow's own modules in their repository."""
    (installation.repository / "flows" / "nightly.py").write_text(
        "from prefect import flow\n"
        "from foretaste.flows.gate import gate\n\n"
        "@flow\ndef nightly():\n    return gate(['train.parquet'], key='keys/key.pub')\n\n"
        "if __name__ == '__main__':\n    print(nightly())\n"
    )
    assert audited.is_dir()
    assert installation.run("python", "flows/nightly.py").count("dirHash1:") == 1


@pytest.mark.parametrize("command", ["schedule", "review", "export", "drill"])
def test_every_command_explains_itself(command: str, installation: Installation) -> None:
    assert f"Usage: foretaste {command}" in installation.run("foretaste", command, "--help")


@pytest.fixture
def review(installation: Installation, audited: Path) -> Iterator[str]:
    """The address of the review page, its token in it."""
    command = [installation.bin / "foretaste", "review", str(audited), "--no-open", "--reviewer", "ada"]
    server = subprocess.Popen(
        command, cwd=installation.repository, env=environ(installation.repository), stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    yield server.stderr.readline().strip()
    server.terminate()
    server.communicate()


def test_every_file_of_the_review_page_is_there(installation: Installation, review: str) -> None:
    opener = build_opener(HTTPCookieProcessor())
    assert opener.open(review).status == 200
    at = urlsplit(review)
    names = [one for one in installation.run("python", "-c", STATIC).split() if not one.endswith(".html")]
    assert {"cards.js", "page.css", "page.js"} <= set(names)
    for name in names:
        answer = opener.open(f"{at.scheme}://{at.netloc}/static/{name}")
        assert (answer.status, len(answer.read()) > 200) == (200, True), name


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_pages_open_in_a_browser(audited: Path, review: str, tmp_path: Path) -> None:
    with browser(tmp_path) as tab:
        tab.open(f"file://{audited}/report.html")
        assert tab.run("document.title") == "passed: train.parquet – foretaste"
        tab.open(review)
        tab.wait("document.body?.dataset.ready === 'yes'")
        assert tab.run("document.title") == "foretaste review"
        assert not tab.errors
