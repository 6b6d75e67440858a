"""What holds for every test: nothing of the user's is read or written, and threads do not fight over two cores."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings

# Before torch is imported; see foretaste.flows.cli.main.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# How long an example takes says what else the machine does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

DATA = Path(__file__).parents[1] / "data"

# The default plan for pictures with a probe of two epochs: what the probe is worth is for benchmarks to say.
QUICK = """
[embedders.grey32]
kind = "pixels"
[embedders.rgb16]
kind = "pixels"
grid = 16
colour = "rgb"
[embedders.rgb8]
kind = "pixels"
grid = 8
colour = "rgb"
[embedders.probe]
epochs = 2
[detectors.spectral-signature]
[detectors.spectral-signature-plain]
kind = "spectral-signature"
whiten = false
on = ["probe"]
[detectors.activation-clustering]
on = ["probe"]
[detectors.label-issue]
on = ["probe"]
[decide]
content = "grey32"
"""


@pytest.fixture(scope="session", autouse=True)
def _alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        absent = ("PREFECT_API_URL", "FORETASTE_KEY", "FORETASTE_PUBLIC_KEY", "FORETASTE_ANCHOR", "GITHUB_STEP_SUMMARY")
        for name in absent:
            patch.delenv(name, raising=False)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("FORETASTE_STATE", str(tmp_path_factory.mktemp("state")))
        patch.setenv("FORETASTE_LEDGER", str(tmp_path_factory.mktemp("ledger") / "ledger.jsonl"))
        patch.setenv("FORETASTE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory, _alone: None) -> Callable[..., SimpleNamespace]:
    """`foretaste audit` of a file in data/, once a session: (code, out, err, folder, report).

    Pictures are audited by QUICK, the rest by the default plan.
    """
    from foretaste.flows.cli import main

    @cache
    def run(name: str, *options: str) -> SimpleNamespace:
        folder = tmp_path_factory.mktemp("audits") / name
        if name.startswith("digits"):
            plan = folder.with_name("quick.toml")
            plan.write_text(QUICK)
            options = (*options, "--plan", str(plan))
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["audit", str(DATA / f"{name}.parquet"), *options, "--out", str(folder)])
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue(), folder=folder, report=report)

    return run


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> object:
    """Each device there is; what runs on one must run on the other, with the same result."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device(request.param)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Data, keys and a log of their own to try a gate on."""
    from attested import Workshop

    monkeypatch.setenv("FORETASTE_LEDGER", str(tmp_path / "audits" / "ledger.jsonl"))
    monkeypatch.setenv("FORETASTE_STATE", str(tmp_path / "seen"))
    monkeypatch.setenv("FORETASTE_ANCHOR", "")
    return Workshop(tmp_path)
