"""audit(...) → Report: the whole audit, in one process or wherever an Engine takes the work on shards."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import polars as pl
import torch

from foretaste import atomic
from foretaste.dataset import manifest
from foretaste.dataset.files import keep_out_of
from foretaste.dataset.parquet import open_dataset
from foretaste.dataset.roles import NOTHING_SAID, Request
from foretaste.decide import incremental
from foretaste.embedders import store
from foretaste.embedders.contract import Encoder
from foretaste.errors import PlanError
from foretaste.explain import (
    breakdowns,
    class_comparison,
    common_pattern,
    confusion,
    detection_limits,
    findings,
    form_triggers,
    near_duplicates,
    phrase_triggers,
    projection,
)
from foretaste.explain import samples as evidence
from foretaste.gate.attestation import signing as signature
from foretaste.gate.policy import Policy
from foretaste.pipeline import decision, false_alarms
from foretaste.pipeline import plan as plans
from foretaste.pipeline.cross_fitting import encode
from foretaste.pipeline.plan import Plan
from foretaste.pipeline.runs import ran, tested
from foretaste.pipeline.stages import Engine, Here, Progress, Stages, quiet
from foretaste.pipeline.sweep import Outcome
from foretaste.report.document import document, text
from foretaste.report.html.charts import Atlas
from foretaste.report.html.notebook import cell
from foretaste.report.html.page import page
from foretaste.types.findings import Dataset, Finding, Report

logger = logging.getLogger("foretaste")

# A report is a value and does not know how it looks; in a notebook it looks like this.
Report._repr_html_ = cell  # type: ignore[assignment,method-assign]


def audit(
    places: str | Sequence[str],
    *,
    request: Request = NOTHING_SAID,
    plan: Plan | str | None = None,
    out: str | None = None,
    device: str = "auto",
    seed: int = 0,
    engine: Engine | None = None,
    progress: Progress = quiet,
    key: str | None = None,
    policy: Policy | str | None = None,
    since: str | None = None,
) -> Report:
    """Audit a dataset for poison and write the audit to the folder `out`.

    places    Parquet files, folders, globs or fsspec URLs
    request   which columns mean what, where it is not unmistakable
    plan      a Plan, or the path of an audit.toml; by default what fits the modality
    out       a new or empty folder; by default under audits/
    device    "auto", "cpu" or "cuda"
    seed      added to the seeds of everything that is trained
    engine    where the work on shards runs; by default here
    progress  called with (stage, done, total)
    key       file of the private key to sign the audit with; by default it is not signed
    policy    a Policy, or the path of a gate.toml, that the signed result is decided by; by default that of the gate
    since     folder of an earlier audit, or a manifest: rows that came or changed since are looked at harder

    Raises PlanError where the call, the plan or the roles ask for what does not exist, DataError where the dataset does
    not hold what its roles promise, MissingPackage where the plan needs an optional package. Nothing is written then.
    """
    places = [places] if isinstance(places, str) else list(places)
    if not places:
        raise PlanError("an audit needs at least one dataset, got none")
    out = os.path.realpath(out or os.path.join("audits", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())))
    keep_out_of(places, out)
    chosen = plans.load(plan) if isinstance(plan, str) else plan
    where = _device(device)
    if policy is not None and key is None:
        raise PlanError("a policy is signed together with the audit, which needs a key (--key), got none")
    old = None if since is None else incremental.earlier(since)
    signing = None if key is None else signature.prepare(key, policy)
    with atomic.folder(out) as folder:
        clock = _Clock()
        dataset = open_dataset(places, request=request)
        logger.info(_described(dataset))
        clock("ingest")
        stages = Stages(
            dataset, chosen or plans.default(dataset), seed, where, engine or Here(), progress, store.folder()
        )
        report, embedders = _conclude(stages, folder, out, clock, old)
        if signing is not None:
            signature.write(folder, document(report), signing, embedders=embedders)
        store.prune(store.folder(), store.limit())
    if signing is not None:
        signature.log(out, document(report), signing)
    return report


def _conclude(
    stages: Stages, folder: str, out: str, clock: _Clock, old: manifest.Manifest | None
) -> tuple[Report, dict[str, str]]:
    """Run the stages and write what they found to `folder`, which will be called `out`; with the embedders' digests."""
    dataset, plan = stages.dataset, stages.plan
    encoders, unread, split = encode(stages)
    clock("encode")
    scorers, stopped, seconds = stages.sweep(encoders, split)
    clock("sweep")
    spans, broke = stages.score(scorers, encoders, folder)
    clock("score")
    digested = stages.shards("digest", partial(manifest.of_shard, dataset=dataset))
    manifest.write(digested, dataset, os.path.join(folder, manifest.NAME))
    clock("digest")
    # A detector that breaks while it scores has said nothing, so its groups do not count among those tested.
    stopped = {**stopped, **broke}
    looked = [tested(look, one, plan) for look, one in scorers.items() if look not in broke]
    recent = None if old is None else incremental.since(old, folder)
    groups, acquitted = decision.tried(stages, looked, encoders, folder, recent)
    counts = stages.judge(groups, spans, unread, folder)
    clock("judge")
    runs = ran(plan, encoders, stopped, scorers, seconds)
    found = phrase_triggers.named(findings.findings(groups, counts, dataset), scorers, encoders, dataset)
    found = near_duplicates.told(found, scorers, encoders, dataset)
    kinds: dict[str, int] = {}
    for (kind, _), rows in counts.items():
        kinds[kind] = kinds.get(kind, 0) + rows
    flagged = pl.read_parquet(os.path.join(folder, "flagged.parquet"))
    samples = pl.scan_parquet(os.path.join(folder, "samples.parquet"))
    found = form_triggers.named(found, dataset, samples)
    common, phrases = common_pattern.common(dataset, samples, found), common_pattern.phrases(dataset, samples, found)
    found = common_pattern.told(found, common, phrases)
    doubts = confusion.believed(os.path.join(folder, "scores.parquet"), flagged, dataset)
    found = findings.noted(found, "pairs", confusion.pairs(doubts))
    found = findings.noted(found, "sources", breakdowns.origins(dataset, flagged))
    drawn = _map(stages, encoders, found, folder)
    odd = findings.watched(groups, dataset)
    verdict, reason = findings.verdict(found, runs, odd=odd, counts=kinds, rows=dataset.rows, decide=plan.decide)
    believed = dict(doubts.select("row", "believed").iter_rows())
    shown = evidence.marked(evidence.samples(dataset, evidence.chosen(flagged)), phrases, believed)
    calibrated = detection_limits.needed(groups, plan.decide)
    clock("report")
    report = Report(
        verdict=verdict,
        reason=reason,
        rows=dataset.rows,
        flagged=len(flagged),
        dataset=dataset,
        runs=runs,
        groups=found,
        counts=kinds,
        notes=(*odd, *acquitted, *_notes(dataset), *([incremental.note(recent, flagged)] if recent else [])),
        versions=_versions(),
        seconds=clock.seconds,
        plan=plan.describe() | {"seed": stages.seed, "device": str(stages.device)},
        folder=out,
        power=detection_limits.power(groups, dataset, plan.decide),
        false_alarms=false_alarms.false_alarms(plan),
    )
    with open(os.path.join(folder, "report.json"), "w", encoding="utf-8") as file:
        file.write(text(document(report)))
    with open(os.path.join(folder, "report.html"), "w", encoding="utf-8") as file:
        file.write(page(report, shown, common, class_comparison.contrasts(dataset, calibrated), drawn))
    return report, {name: one.digest for name, one in encoders.items() if not isinstance(one, Outcome)}


def _map(
    stages: Stages, encoders: Mapping[str, Encoder | Outcome], found: Sequence[Finding], folder: str
) -> Atlas | None:
    """The map in the view of the strongest finding, else in the first that there is; atlas.parquet holds it too."""
    tests = [test for one in found for test in one.evidence.get("tests", ())]
    ready = {name: one.digest for name, one in encoders.items() if not isinstance(one, Outcome)}
    view = next((test["embedder"] for test in tests if test["embedder"] in ready), next(iter(ready), None))
    if view is None:
        return None
    rows = pl.scan_parquet(os.path.join(folder, "samples.parquet"))
    drawn = projection.atlas(stages.dataset, rows, found, view=view, digest=ready[view], folder=stages.cache)
    if drawn is not None:
        projection.write(drawn, rows, os.path.join(folder, "atlas.parquet"))
    return drawn


class _Clock:
    """Seconds since the last stage ended, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.monotonic()

    def __call__(self, stage: str) -> None:
        now = time.monotonic()
        self.seconds[stage], self.last = round(now - self.last, 3), now


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise PlanError(f"--device must be auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise PlanError("--device cuda needs a CUDA device and a CUDA build of torch, and there is none here")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _described(dataset: Dataset) -> str:
    roles = dataset.roles
    named = [f"{roles.modality} = {', '.join(roles.payload)}"]
    named += [
        f"{role} = {name}"
        for role, name in (("label", roles.label), ("id", roles.id), ("source", roles.source))
        if name
    ]
    classes = f"{len(dataset.classes)} classes" if dataset.classes else "no labels"
    return f"columns: {'; '.join(named)} ({dataset.rows} rows, {classes}, {len(dataset.shards)} shards)"


def _notes(dataset: Dataset) -> tuple[str, ...]:
    """What could not be looked at, in sentences."""
    out = (
        []
        if dataset.classes
        else ["The rows have no labels: whatever shows only in labels, or beside other classes, was not looked for."]
    )
    small = [name for name, rows in zip(dataset.classes, dataset.class_rows, strict=True) if rows < 32]
    if small:
        named = ", ".join(small[:8]) + (", …" if len(small) > 8 else "")
        out.append(
            f"{len(small)} of {len(dataset.classes)} classes have fewer than 32 rows and were not tested: {named}."
        )
    return tuple(out)


def _versions() -> dict[str, str]:
    out = {"python": platform.python_version()}
    for name in ("foretaste", "torch", "polars", "pyarrow", "cleanlab", "faiss-gpu", "faiss-cpu", "numpy"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out


__all__ = ["Engine", "Here", "Progress", "audit", "quiet"]
