"""A report with one of everything, written by somebody who means harm."""

from dataclasses import replace

import pytest
from hostile import EVIL, png

from foretaste.dataset.pictures import thumbnail
from foretaste.explain.samples import Sample
from foretaste.types.dataset import Dataset, File, Modality, Roles, Unaudited
from foretaste.types.digests import Digest
from foretaste.types.findings import Finding, Kind, Report, Run, Status, Verdict


@pytest.fixture
def report() -> Report:
    file = File("train.parquet", "/data/train.parquet", 200, 12_345, Digest("sha256", "ab" * 32))
    return Report(
        verdict=Verdict.FAILED,
        reason="30 rows labelled cat carry a common pattern.",
        rows=200,
        flagged=31,
        dataset=Dataset(
            "data/pets",
            (file,),
            (),
            Roles(Modality.IMAGE, ("img",), "label", unaudited=(Unaudited(EVIL, "texts", payload=True),)),
            ("cat", EVIL),
            (100, 100),
            Digest("dirHash1", "cd" * 32),
        ),
        runs=(
            Run("spectral", "pixels", Status.COMPLETED, "", 1.5, 300),
            Run("clustering", "pixels", Status.COMPLETED, "", float("nan"), 300),
            Run("tokens", "text", Status.NOT_APPLICABLE, "the rows are pictures", 0.0, 0),
            Run("probe-label", "probe", Status.FAILED, f"ValueError: {EVIL}", 0.2, 0),
        ),
        groups=(
            Finding(
                Kind.BACKDOOR,
                "cat",
                30,
                1e-320,
                ("spectral",),
                f"a corner patch {EVIL}",
                {"z": float("inf"), "axis": (1, 2.5)},
            ),
        ),
        counts={"backdoor": 30, "label": 1},
        notes=(f"1 row does not decode: {EVIL}",),
        versions={"foretaste": "0.1.0"},
        seconds={"read": 0.1, "detect": 75.0},
        plan={"seed": 0},
        folder="audits/it's here",
    )


@pytest.fixture
def clean(report: Report) -> Report:
    done = tuple(run for run in report.runs if run.status is Status.COMPLETED)
    return replace(
        report,
        verdict=Verdict.PASSED,
        reason="Nothing was found.",
        flagged=0,
        groups=(),
        counts={},
        notes=(),
        runs=done,
    )


@pytest.fixture
def samples() -> list[Sample]:
    def sample(row: int, kind: str, label: str, risk: float, **payload: object) -> Sample:
        detector = "spectral" if kind == "backdoor" else "probe-label"
        where = Sample(row, "train.parquet", 0, row, None, label, risk, 1e-6, (kind,), (detector,), "why")
        return replace(where, **payload)

    cats = [sample(row, "backdoor", "cat", 0.5 + row / 100, picture=thumbnail(png())) for row in range(30)]
    evil = sample(40, "label", EVIL, 0.9, id=EVIL, text=f"so {EVIL} it goes", marks=("it goes",), reason=EVIL)
    return [*cats, evil]
