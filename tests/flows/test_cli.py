"""The command line around an audit that only pretends; the real one is tested where it lives."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foretaste.dataset.roles import Request
from foretaste.errors import DataError
from foretaste.flows.cli import app, main
from foretaste.flows.commands.contract import ordered
from foretaste.flows.naming import name_of

DOCUMENT = {
    "verdict": "failed",
    "reason": "30 rows labelled cat carry a common pattern.",
    "rows": 200,
    "flagged": 3,
    "dataset": {"root": "data/pets", "digest": "x", "files": [], "classes": ["cat", "dog"], "class_rows": [100, 100]},
    "roles": {"modality": "image", "payload": ["img"], "label": "label", "id": None, "source": None},
    "runs": [{"detector": "spectral", "embedder": "pixels", "status": "completed", "reason": "", "seconds": 1.0}],
    "groups": [
        {
            "kind": kind,
            "label": label,
            "rows": 2,
            "p_value": 1e-9,
            "detectors": ["spectral"],
            "reason": "a patch",
            "evidence": {},
        }
        for kind, label in (("backdoor", "cat"), ("label", "dog"))
    ],
    "counts": {"backdoor": 2, "label": 1},
    "notes": [],
    "power": {},
    "versions": {},
    "seconds": {"read": 1.0},
    "plan": {},
}
COMMANDS = [found.call.__name__ for found in ordered()]


def write(folder, verdict="failed"):
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(DOCUMENT | {"verdict": verdict}))
    where = {"file": "a.parquet", "row_group": 0, "p_value": 1e-6, "detectors": ["spectral"], "reason": "a patch"}
    rows = [
        {"row": row, "row_in_group": row, "label": "cat", "risk": 0.9, "kinds": [kind], **where}
        for row, kind in enumerate(["backdoor", "backdoor", "label"])
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "flagged.parquet")
    return str(folder)


@pytest.fixture
def stored(tmp_path):
    return write(tmp_path / "audit")


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """`foretaste.audit` for a moment: it notes how it was called and ends as it is told to."""
    told = SimpleNamespace(verdict="failed", error=None, calls=[])

    def audit(places, *, request, plan, out, device, seed, progress, key, policy, since):  # noqa: ARG001
        told.calls.append(SimpleNamespace(places=places, request=request, plan=plan, out=out, device=device, seed=seed))
        progress("read", 0, 2)
        progress("read", 2, 2)
        if told.error:
            raise told.error
        return SimpleNamespace(folder=write(tmp_path / "made", told.verdict))

    monkeypatch.setitem(sys.modules, "foretaste.pipeline.audit", SimpleNamespace(audit=audit))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return told


@pytest.mark.parametrize(("verdict", "code"), [("passed", 0), ("warned", 0), ("failed", 1)])
def test_the_exit_code_is_the_verdict(pretend, verdict, code):
    pretend.verdict = verdict
    assert main(["audit", "x"]) == code


def test_options_become_one_call(pretend):
    options = ["--plan=p.toml", "--out=o", "--id=k", "--features=a, b,c", "--seed=7"]
    main(["audit", "a", "b", *options, "--label", ""])
    call = pretend.calls[0]
    assert (call.places, call.plan, call.out, call.device, call.seed) == (["a", "b"], "p.toml", "o", "auto", 7)
    assert call.request == Request(label="", id="k", features=("a", "b", "c"))


def test_the_result_is_on_stdout_and_the_talk_on_stderr(pretend, capsys):
    main(["audit", "data/pets/*.parquet"])
    out, err = capsys.readouterr()
    assert out.startswith("FAILED  30 rows labelled cat")
    assert "read: 2 in 0.0 s" in err
    assert pretend.calls[0].out.startswith("audits/pets-20")


@pytest.mark.usefixtures("pretend")
def test_json_is_the_report_and_nothing_else(capsys):
    assert main(["audit", "x", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == DOCUMENT


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("a.parquet:\nno rows\x1b[31m"), 2, "foretaste: a.parquet: no rows\\x1b[31m\n"),
        (
            ZeroDivisionError("ups"),
            2,
            "foretaste: ZeroDivisionError: ups (run with FORETASTE_DEBUG=1 for the traceback)\n",
        ),
        (KeyboardInterrupt(), 130, "foretaste: interrupted\n"),
        (PermissionError(13, "Permission denied", "/data"), 2, "foretaste: /data: Permission denied\n"),
        (OSError(5, "Input/output error"), 2, "foretaste: Input/output error\n"),
        (MemoryError(), 2, "foretaste: the memory of this machine does not suffice\n"),
    ],
)
def test_what_goes_wrong_is_one_sentence(pretend, capsys, error, code, said):
    pretend.error = error
    assert main(["audit", "x"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n" + said)
    assert "Traceback" not in err


def test_debug_shows_the_traceback(pretend, capsys, monkeypatch):
    monkeypatch.setenv("FORETASTE_DEBUG", "1")
    pretend.error = ZeroDivisionError("ups")
    assert main(["audit", "x"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["audit"], ["audit", "x", "--engine", "slurm"], ["show", "x", "--kind", "y"], ["nope"]]
)
def test_a_bad_call_is_2(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err


def test_show(stored, capsys):
    assert main(["show", stored, "--top", "1", "--kind", "backdoor"]) == 0
    out = capsys.readouterr().out
    assert "a.parquet 0:0" in out
    assert "a.parquet 0:1" not in out
    assert "dog" not in out


def test_show_for_machines(stored, capsys):
    main(["show", stored, "--csv"])
    assert [row["kinds"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == [
        "backdoor",
        "backdoor",
        "label",
    ]
    main(["show", stored, "--json", "--kind", "label"])
    found = json.loads(capsys.readouterr().out)
    assert [row["row"] for row in found.pop("samples")] == [2]
    assert found.pop("review") == {"settled": {}, "precision": {}}
    assert found == DOCUMENT
    main(["show", stored, "--junit"])
    assert '<testsuite name="foretaste data/pets" tests="2" failures="2"' in capsys.readouterr().out


def test_show_refuses(stored, tmp_path, capsys):
    assert main(["show", stored, "--csv", "--json"]) == 2
    assert main(["show", str(tmp_path / "nothing")]) == 2
    assert "there is none" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["detectors", "embedders", "attacks"])
def test_components_explain_themselves(what, capsys):
    assert main([what]) == 0
    origin, *lines = capsys.readouterr().out.splitlines()
    assert origin.startswith("foretaste ")
    listed = [line.split()[0] for line in lines]
    assert listed == sorted(listed)
    for name in listed:
        assert main([what, name]) == 0
        assert capsys.readouterr().out.startswith(name)
    assert main([what, "no-such-thing"]) == 2


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)])
def test_every_command_has_help(command, capsys):
    assert main([*command, "--help"]) == 0
    assert "Usage: foretaste" in capsys.readouterr().out


def test_commands_are_found_and_stand_where_the_help_puts_them():
    assert {"audit", "gate", "review", "schedule", "detectors"} <= set(COMMANDS)
    assert [command.callback.__name__ for command in app.registered_commands] == COMMANDS
    assert COMMANDS[0] == "audit"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("data/train/*.parquet", "train"),
        ("a/b.parquet", "b"),
        ("s3://bucket/my set/", "my-set"),
        ("/", "dataset"),
        ("../x;rm -rf", "x-rm-rf"),
    ],
)
def test_an_audit_is_named_after_its_dataset(place, name):
    assert name_of(place) == name


def test_help_is_quick():
    def once():
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "foretaste.flows.cli", "--help"], check=True, capture_output=True)
        return time.perf_counter() - begin

    assert min(once() for _ in range(3)) < 1.0


def test_nothing_heavy_is_imported_for_help():
    heavy = "{'torch', 'prefect', 'polars', 'pyarrow', 'numpy', 'jinja2'}"
    loaded = f"{heavy} & set(sys.modules)"
    code = f"import sys, foretaste.flows.cli; sys.exit(str({loaded}) if {loaded} else 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_reader_that_stops_early_changes_nothing(stored):
    line = f"{sys.executable} -m foretaste.flows.cli show {stored} --csv | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_user_without_a_home_gets_an_audit(tmp_path):
    """As in a container: nothing outside of the working folder can be written."""
    from worlds import backdoored, vectors

    vectors(tmp_path / "data.parquet", backdoored(0, shift=8.0).batch)
    (tmp_path / "plan.toml").write_text("[embedders.column]\n[detectors.spectral-signature]\n")
    names = ("XDG_", "FORETASTE_", "PREFECT_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    environment |= {"HOME": "/dev/null/nobody"}
    call = ["audit", "data.parquet", "--embedding", "vector", "--plan", "plan.toml", "--out", "out"]
    command = [sys.executable, "-m", "foretaste.flows.cli", *call]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("FORETASTE_CACHE names another folder") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"data.parquet", "plan.toml", "out"}


def test_an_audit_that_is_told_to_end_leaves_nothing(tmp_path):
    """SIGTERM, as a cluster or a CI system sends it."""
    code = (
        "import os, signal, sys\nfrom types import SimpleNamespace\nfrom foretaste import atomic\n"
        "def audit(places, *, out, **_):\n"
        "    with atomic.folder(out):\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.modules['foretaste.pipeline.audit'] = SimpleNamespace(audit=audit)\n"
        "from foretaste.flows.cli import main\nsys.exit(main(['audit', 'x', '--out', 'audits/out']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 143
    assert list(tmp_path.iterdir()) == []
