"""Audits that start by themselves: against a real Prefect server, with real data, through the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from places import DATA

from foretaste.flows.cli import main
from foretaste.gate.attestation import keys

DIGITS, POISONED = DATA / "digits.parquet", DATA / "digits_badnets.parquet"

# Finds the sample poison without training anything.
PLAN = """
[embedders.grey]
kind = "pixels"
[detectors.spectral-signature]
[decide]
content = "grey"
"""
# Appends what it is told to a file, a line each.
LISTENER = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"
TRAINING = """
    import sys
    from prefect import flow, task
    from foretaste.flows.gate import gate

    @task
    def train(how):
        with open({marker!r}, "a") as file:
            file.write(how + chr(10))

    @flow
    def called():
        gate([{data!r}], policy={policy!r})
        train("called")

    @flow
    def submitted():
        train.submit("submitted", wait_for=[gate.submit([{data!r}], policy={policy!r})]).result()

    ended = [one(return_state=True) for one in (called, submitted)]
    print(*(state.message for state in ended))
    sys.exit(any(not state.is_completed() for state in ended))
"""


@pytest.fixture
def place(tmp_path):
    """A folder of data, a plan, keys, and somebody who listens."""
    (tmp_path / "pets").mkdir()
    shutil.copy(DIGITS, tmp_path / "pets" / "part-0.parquet")
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "gate.toml").write_text('plans = ["any"]')
    private, public = keys.generate(tmp_path / "keys")
    alerts = tmp_path / "alerts.jsonl"
    environment = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "FORETASTE_LEDGER": str(tmp_path / "audits" / "ledger.jsonl"),
        "FORETASTE_PUBLIC_KEY": str(public),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": str(DATA.parent),
    }
    return SimpleNamespace(
        path=tmp_path,
        data=tmp_path / "pets",
        audits=tmp_path / "audits",
        environment=environment,
        options=[
            *(f"--plan={tmp_path / 'plan.toml'}", f"--policy={tmp_path / 'gate.toml'}"),
            *(f"--out={tmp_path / 'audits'}", f"--key={private}"),
        ],
        listener=f'{sys.executable} -c "{LISTENER}" {alerts}',
        alerts=lambda: [json.loads(line) for line in alerts.read_text().splitlines()] if alerts.exists() else [],
    )


@contextmanager
def running(*command, **options):
    """A program in a session of its own, of which nothing is left afterwards."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        finally:
            left = alive(process.pid)
            if left:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        assert not left


def alive(group):
    """Whether any process of a group is still there, a moment after its leader ended."""
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True


def until(true, *, seconds=300, process=None, pause=0.3):
    """What `true` returns, as soon as it is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = true()
        if found:
            return found
        assert process is None or process.poll() is None, "it ended"
        time.sleep(pause)
    raise AssertionError("it did not happen")


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def test_from_the_clock_to_a_training_that_does_not_start(place):  # noqa: PLR0915
    """A server, a deployment that the clock starts, a poisoned shard that lands, a gate that closes."""
    from prefect.client.orchestration import SyncPrefectClient

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/api"
    here = {**place.environment, "PREFECT_API_URL": address}
    start = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    serve = [
        sys.executable,
        "-m",
        "foretaste.flows.cli",
        "schedule",
        str(place.data),
        *place.options,
        "--cron=* * * * *",
    ]
    serve += ["--watch", "--poll=0.5", "--settle=1", f"--notify-command={place.listener}"]
    talk = place.path / "talk.txt"

    def trained():
        """Exit code and word of a training, and how often it was reached until now: each time, it is tried twice."""
        marker = place.path / "trained.txt"
        where = {"marker": str(marker), "data": str(place.data), "policy": str(place.path / "gate.toml")}
        code = textwrap.dedent(TRAINING.format(**where))
        script = place.path / "training.py"
        script.write_text(code)
        done = subprocess.run([sys.executable, script], env=here, capture_output=True, text=True, check=False)
        return (
            done.returncode,
            done.stdout + done.stderr,
            len(marker.read_text().splitlines()) if marker.exists() else 0,
        )

    with (
        running(*start, env=place.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server,
        open(talk, "w") as file,
    ):
        until(lambda: answers(f"{address}/health"), process=server)
        with running(*serve, env=here, stdout=file, stderr=file) as service, SyncPrefectClient(address) as client:

            def runs(**what):
                found = [one for one in client.read_flow_runs() if one.name == "pets" and one.start_time]
                return [one for one in found if all(getattr(one, name) == value for name, value in what.items())]

            # By the clock, and not because the watch saw the data for the first time.
            first = until(lambda: runs(auto_scheduled=True, state_name="Completed"), process=service)[0]
            artifacts = {one.key: one for one in client.read_artifacts() if one.flow_run_id == first.id}
            assert set(artifacts) == {f"foretaste-pets-{what}" for what in ("verdict", "report", "flagged")}
            assert artifacts["foretaste-pets-verdict"].data.startswith("# PASSED")
            assert f"](file://{place.audits}/pets-" in artifacts["foretaste-pets-report"].data
            assert place.alerts() == []
            deployment = client.read_deployment(first.deployment_id)
            assert deployment.parameters["datasets"] == [str(place.data)]
            assert deployment.global_concurrency_limit.limit == 1

            code, said, times = trained()
            assert (code, times) == (0, 2), said

            shutil.copy(POISONED, place.path / "landing")
            os.replace(place.path / "landing", place.data / "part-1.parquet")
            code, said, times = trained()  # nobody has audited these bytes yet
            assert (code, times) == (1, 2)
            assert "part-1.parquet: was added since the audit" in said

            bad = until(lambda: runs(state_name="Poisoned", auto_scheduled=False), process=service)[0]
            assert bad.state.is_failed()
            assert "share a pattern" in bad.state.message
            code, said, times = trained()
            assert (code, times) == (1, 2)
            assert "the audit failed" in said
            gates = [one for one in client.read_task_runs() if one.name.startswith("gate ")]
            assert sorted(one.state_name for one in gates) == ["Completed"] * 2 + ["Failed"] * 4
            trainings = [one for one in client.read_task_runs() if one.name.startswith("train")]
            assert {one.state_name for one in trainings} == {"Completed", "NotReady"}
            assert any(one.key == "foretaste-pets-gate" for one in client.read_artifacts())

            again = client.create_flow_run_from_deployment(first.deployment_id)  # the next night
            until(lambda: runs(id=again.id, state_name="Poisoned"), process=service)
            (alert,) = place.alerts()
            assert (alert["news"], alert["dataset"], alert["flagged"]) == ("failed", "pets", 36)

            service.terminate()
            assert service.wait(timeout=30) == 0
    assert "Traceback" not in talk.read_text()
    assert "foretaste-scheduled/pets" in talk.read_text()


def test_with_a_server_of_its_own_and_an_audit_that_is_killed(place):
    """Nothing but the command. What the system kills is heard of, and the next change is audited."""
    command = [sys.executable, "-m", "foretaste.flows.cli", "schedule", str(place.data), *place.options]
    command += ["--watch", "--poll=0.5", "--settle=0", f"--notify-command={place.listener}"]
    with running(*command, env=place.environment, stderr=subprocess.PIPE, text=True) as service:
        partial = until(lambda: list(place.audits.glob(".pets-*.partial-*")), process=service, pause=0.02)[0]
        os.kill(int(partial.name.partition(".partial-")[2].partition("-")[0]), signal.SIGKILL)
        (alert,) = until(place.alerts, process=service)
        assert alert["news"] == "could not audit"
        assert "SIGKILL" in alert["reason"]
        shutil.copy(POISONED, place.path / "landing")
        os.replace(place.path / "landing", place.data / "part-0.parquet")
        # A run that still read the old file when it was replaced says so as well.
        until(lambda: place.alerts()[-1]["news"] == "failed", process=service)
        service.send_signal(signal.SIGINT)
        _, said = service.communicate(timeout=60)
        assert service.returncode == 0, said
    assert "Traceback" not in said
    assert "pets: serving the deployment foretaste-scheduled/pets" in said


@pytest.mark.usefixtures("server")
def test_a_run_that_breaks_is_told_once_and_never_looks_like_a_pass(place, monkeypatch):
    from foretaste.flows.scheduling.alerts import COMMAND
    from foretaste.flows.scheduling.deployment import scheduled

    monkeypatch.setenv(COMMAND, place.listener)
    monkeypatch.setenv("FORETASTE_LEDGER", place.environment["FORETASTE_LEDGER"])

    def night(**changed):
        parameters = {"datasets": [str(place.data)], "name": "pets", "root": str(place.audits)}
        return scheduled(**parameters, plan=str(place.path / "plan.toml"), return_state=True, **changed).name

    whole = DIGITS.read_bytes()
    (place.data / "part-1.parquet").write_bytes(whole[:5000])
    assert [night(), night()] == ["Failed", "Failed"]
    assert [one["news"] for one in place.alerts()] == ["could not audit"]
    assert "part-1.parquet" in place.alerts()[0]["reason"]

    (place.data / "part-1.parquet").unlink()
    assert [night(), night(if_changed=True)] == ["Completed", "Unchanged"]
    assert [one["news"] for one in place.alerts()] == ["could not audit", "recovered"]

    shutil.copy(POISONED, place.data / "part-1.parquet")
    assert [night(if_changed=True), night(if_changed=True), night()] == ["Poisoned", "Unchanged", "Poisoned"]
    assert len(place.alerts()) == 3


@pytest.mark.usefixtures("server")
def test_an_alert_that_nobody_heard_is_told_again(place, monkeypatch):
    from foretaste.flows.artifacts import Unfit
    from foretaste.flows.scheduling.alerts import COMMAND
    from foretaste.flows.scheduling.deployment import scheduled

    shutil.copy(POISONED, place.data / "part-0.parquet")
    call = {"datasets": [str(place.data)], "name": "pets", "root": str(place.audits)}
    call |= {"plan": str(place.path / "plan.toml"), "if_changed": True, "return_state": True}
    monkeypatch.setenv(COMMAND, "/no/such/program")
    ended = scheduled(**call)
    assert ended.name == "Poisoned"
    assert "could not be told" in ended.message
    monkeypatch.setenv(COMMAND, place.listener)
    assert scheduled(**call).name == "Poisoned"
    assert len(place.alerts()) == 1
    with pytest.raises(Unfit, match="share a pattern"):  # or who forgot to look at the state would go on
        scheduled(**call | {"return_state": False, "if_changed": False})


@pytest.mark.usefixtures("server")
def test_a_policy_that_refuses_is_an_alert_as_well(place, monkeypatch):
    from foretaste.flows.scheduling.alerts import COMMAND
    from foretaste.flows.scheduling.deployment import scheduled

    monkeypatch.setenv(COMMAND, place.listener)
    monkeypatch.setenv("FORETASTE_LEDGER", place.environment["FORETASTE_LEDGER"])
    strict = place.path / "gate.toml"
    strict.write_text('required = ["label-issue"]\nplans = ["any"]')
    call = {"datasets": [str(place.data)], "name": "pets", "root": str(place.audits), "return_state": True}
    call |= {"plan": str(place.path / "plan.toml"), "key": str(place.path / "keys" / "key.pem"), "policy": str(strict)}
    ended = scheduled(**call)
    assert (ended.name, ended.is_failed()) == ("Refused", True)
    assert "requires label-issue" in ended.message
    assert scheduled(**call).name == "Refused"
    assert [one["news"] for one in place.alerts()] == ["failed"]


@pytest.mark.usefixtures("server")
def test_a_server_that_plans_nothing_is_not_trusted(place, monkeypatch, caplog):
    """Like the embedded one, which takes a schedule and has no scheduler."""
    from foretaste.flows.scheduling import serve as service
    from foretaste.flows.scheduling.deployment import deployment

    deployment("pets", {"datasets": [str(place.data)], "root": str(place.audits)}, cron="0 3 * * *").apply()
    monkeypatch.setattr(service, "PLANS", 0.1)
    service._check_scheduler("pets", threading.Event())
    assert "has planned no audit of pets" in caplog.text


@pytest.mark.usefixtures("server")
def test_a_deployment_made_again_is_only_what_was_asked_for(place):
    from prefect.client.orchestration import get_client

    from foretaste.flows.scheduling.deployment import deployment

    parameters = {"datasets": [str(place.data)], "root": str(place.audits)}
    with get_client(sync_client=True) as client:
        made = deployment("again", parameters, cron="0 3 * * *", timezone="Europe/Berlin", watched=True).apply()
        (schedule,) = client.read_deployment(made).schedules
        assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 3 * * *", "Europe/Berlin")
        client.pause_deployment(made)  # as a served one does when it is stopped
        deployment("again", parameters, watched=True).apply()
        found = client.read_deployment(made)
        assert (found.paused, found.schedules) == (False, [])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "--cron, --watch or both"),
        (["--cron=x"], "--cron must be minute, hour"),
        (["--cron=61 * * * *"], "--cron must be minute, hour"),
        (["--cron=0 0 30 2 *"], "--cron must be minute, hour"),
        (["--cron=0 3 * * *", "--timezone=Mars/Base"], "--timezone must be"),
        (["--watch", "--plan=none.toml"], "the plan cannot be read"),
        (["--watch", "--key=none.pem"], "the private key cannot be read"),
        (["--watch", "--policy=none.toml"], "the policy cannot be read"),
        (["--watch", "--out={data}/audits"], "must not lie inside the dataset"),
        (["--watch", "--notify-url=file:///etc/passwd"], "--notify-url must be"),
    ],
)
def test_what_cannot_work_is_said_at_once(options, why, place, capsys, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(place.path / "prefect"))
    assert main(["schedule", str(place.data), *(option.format(data=place.data) for option in options)]) == 2
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1
    assert not (place.path / "prefect" / "prefect.db").exists()


def test_a_server_that_is_not_there_is_said_at_once(place, capsys, monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        monkeypatch.setattr(os, "environ", dict(os.environ))
        assert main(["schedule", str(place.data), "--watch"]) == 2
    assert "nobody does" in capsys.readouterr().err


def test_a_dataset_that_is_not_there_is_said_at_once(place, capsys):
    assert main(["schedule", str(place.path / "nowhere"), "--watch"]) == 2
    assert "no such file or folder" in capsys.readouterr().err


def test_the_shipped_file_speaks_of_the_flow_as_it_is():
    import inspect

    import yaml

    from foretaste.flows.scheduling.changes import CHANGED, resource
    from foretaste.flows.scheduling.deployment import FLOW, scheduled

    (one,) = yaml.safe_load((DATA.parent / "flows" / "prefect.yaml").read_text())["deployments"]
    assert one["entrypoint"] == f"{scheduled.fn.__module__}:{scheduled.fn.__name__}"
    assert scheduled.name == FLOW
    inspect.signature(scheduled.fn).bind(**one["parameters"], **one["triggers"][0]["parameters"])
    assert one["triggers"][0]["expect"] == [CHANGED]
    assert one["triggers"][0]["match"] == {"prefect.resource.id": resource(one["parameters"]["name"])}
    assert one["concurrency_limit"]["limit"] == 1
