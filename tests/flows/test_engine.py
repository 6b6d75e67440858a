"""Few tests with a Prefect server, because each costs seconds; the audit itself is tested without."""

import os
import signal
import subprocess
import sys

import pytest

from foretaste.errors import DataError, PlanError
from foretaste.flows import prefect_server


class Work:
    """Doubles; fails on 2 as often as it is told to."""

    def __init__(self, failures, error=None):
        self.failures, self.error, self.calls = failures, error or OSError("disk"), []

    def __call__(self, item):
        self.calls.append(item)
        if item == 2 and self.failures:
            self.failures -= 1
            raise self.error
        return 2 * item


def mapped(work, task_runner=None):
    from prefect import flow

    from foretaste.flows.engine import here

    @flow(task_runner=task_runner)
    def numbers():
        return list(here().map("double", work, [3, 1, 2], ["c", "a{x}", "b"]))

    return numbers()


@pytest.mark.usefixtures("server")
def test_a_shard_that_fails_is_tried_again_and_the_order_kept():
    work = Work(failures=2)
    assert mapped(work) == [6, 2, 4]
    assert work.calls == [3, 1, 2, 2, 2]


@pytest.mark.usefixtures("server")
def test_a_shard_that_keeps_failing_fails_the_audit():
    with pytest.raises(OSError, match="disk"):
        mapped(Work(failures=3))


@pytest.mark.usefixtures("server")
def test_what_foretaste_refuses_is_not_tried_again():
    work = Work(failures=3, error=DataError("not finite"))
    with pytest.raises(DataError, match="not finite"):
        mapped(work)
    assert work.calls == [3, 1, 2]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_the_work_is_done_by_workers(engine, tmp_path, monkeypatch):
    pytest.importorskip(f"prefect_{engine}")
    from foretaste.flows.engine import runner

    monkeypatch.setenv("HOME", str(tmp_path))  # Ray keeps a token there
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wave.py").write_text("code_of_the_dataset_ran = True")
    monkeypatch.chdir(tmp_path / "data")

    def work(item):
        import wave

        return item + 1, os.getpid(), hasattr(wave, "code_of_the_dataset_ran")

    done = mapped(work, runner(engine))
    assert [value for value, _, _ in done] == [4, 2, 3]
    assert os.getpid() not in {process for _, process, _ in done}
    assert not any(hostile for _, _, hostile in done)


@pytest.mark.usefixtures("server")
def test_the_flow_is_the_audit(monkeypatch):
    pytest.importorskip("foretaste.pipeline.audit")
    from types import SimpleNamespace

    import foretaste.flows.audit
    from foretaste.dataset.roles import Request
    from foretaste.flows.engine import Tasks

    def audit(places, *, request, plan, out, device, seed, engine, progress, key, policy, since):  # noqa: ARG001
        progress("read", 1, 1)
        assert (places, request, plan, device, seed, engine) == (["x"], Request(label="y"), None, "cpu", 3, Tasks())
        return SimpleNamespace(verdict="failed", reason="a patch", folder=out, flagged=3)

    published = []
    monkeypatch.setattr(foretaste.flows.audit, "audit_here", audit)
    monkeypatch.setattr(foretaste.flows.audit, "document", lambda report: report.verdict)
    monkeypatch.setattr(foretaste.flows.audit.artifacts, "publish", lambda *what: published.append(what))
    watched = []
    result = foretaste.flows.audit.run(
        ["x"],
        request=Request(label="y"),
        plan=None,
        out="o",
        device="cpu",
        seed=3,
        engine="threads",
        progress=lambda *step: watched.append(step),
    )
    assert result == {"verdict": "failed", "folder": "o", "flagged": 3}
    assert published == [("x", "failed", "o")]
    assert watched == [("read", 1, 1)]


def test_engines_by_name(monkeypatch):
    from foretaste.flows.engine import runner

    with pytest.raises(PlanError, match="slurm"):
        runner("slurm")
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://elsewhere:8786")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(PlanError, match="PREFECT_API_URL"):
        runner("dask")


def settled(home, *, cwd=None, **environment):
    code = (
        "import os; from foretaste.flows.prefect_server import settle; settle(); "
        "print(os.environ.get('PREFECT_HOME'), os.environ['PREFECT_LOGGING_LEVEL'])"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "XDG"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**clean, "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_the_environment_is_only_set_where_it_is_not(tmp_path):
    assert settled(tmp_path) == [str(tmp_path / ".local/state/foretaste/prefect"), "WARNING"]
    assert settled(tmp_path, XDG_STATE_HOME=str(tmp_path / "s"), PREFECT_LOGGING_LEVEL="DEBUG") == [
        str(tmp_path / "s/foretaste/prefect"),
        "DEBUG",
    ]
    assert settled(tmp_path, PREFECT_API_URL="http://x/api") == ["None", "WARNING"]
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").touch()
    assert settled(tmp_path) == ["None", "WARNING"]


HOSTILE = [
    (".env", "PREFECT_API_URL=http://127.0.0.1:9/api"),
    (".env", "export prefect_api_url='http://127.0.0.1:9/api'"),
    ("prefect.toml", '[api]\nurl = "http://127.0.0.1:9/api"'),
    ("prefect.toml", "no TOML"),
    ("pyproject.toml", '[tool.prefect.api]\nurl = "http://127.0.0.1:9/api"'),
]


@pytest.mark.parametrize(("name", "text"), HOSTILE)
def test_a_folder_of_data_does_not_say_which_server_is_talked_to(tmp_path, monkeypatch, name, text):
    (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(PlanError, match=rf"{name}: Prefect would take settings from this file"):
        prefect_server.settle()


def test_a_pipe_in_place_of_settings_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / ".env")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError, match="another folder"):
        prefect_server.settle()


def test_files_that_say_nothing_of_prefect_are_nobodys_business(tmp_path):
    (tmp_path / ".env").write_text("TOKEN=x")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\ndependencies = ["prefect"]\n[tool.ruff]\n')
    assert settled(tmp_path, cwd=tmp_path)[1] == "WARNING"


def test_servers_and_workers_import_nothing_from_a_folder_of_data(tmp_path):
    (tmp_path / "tomllib.py").write_text("raise SystemExit('code of the dataset ran')")
    code = (
        "import subprocess, sys; del sys.path[0]\n"  # as the installed command, which has no working folder there
        "from foretaste.flows import prefect_server; prefect_server.settle()\n"
        "subprocess.run([sys.executable, '-c', 'import tomllib'], check=True)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    environment |= {"HOME": str(tmp_path / "home")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


def test_without_a_folder_for_prefect_one_sentence_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(PlanError, match="name another folder as PREFECT_HOME"):
        prefect_server.settle()


def test_sigterm_ends_as_an_exception_does():
    from foretaste.flows.termination import terminable

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="143"), terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
