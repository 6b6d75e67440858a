"""audit(...) → Report: the whole audit; an Engine says where the work on shards runs."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import polars as pl
import torch

from foretaste import atomic
from foretaste.dataset import manifest
from foretaste.dataset.binding import file_state, named_files, stray_files
from foretaste.dataset.files import Found, keep_out_of
from foretaste.dataset.parquet import open_dataset
from foretaste.dataset.roles import NOTHING_SAID, Request
from foretaste.decide import incremental, verdict
from foretaste.decide.incremental import Recency
from foretaste.embedders import store
from foretaste.errors import PlanError
from foretaste.explain import blank_pictures, breakdowns, detection_limits, projection, samples
from foretaste.explain.audited import Audited
from foretaste.explain.explainers import explained
from foretaste.explain.findings import findings
from foretaste.explain.samples import Sample
from foretaste.gate.attestation import signing
from foretaste.gate.policy import Policy
from foretaste.pipeline import decision, default_plans, false_alarms, scoring, sweep
from foretaste.pipeline import plan as plans
from foretaste.pipeline.cross_fitting import encode
from foretaste.pipeline.engine import Engine, InProcess, Job, over_shards
from foretaste.pipeline.fit import Encoders, fitted
from foretaste.pipeline.plan import Plan
from foretaste.pipeline.sweep import Swept
from foretaste.report.document import document, text
from foretaste.report.html.notebook import cell
from foretaste.report.html.page import page
from foretaste.types.dataset import Dataset
from foretaste.types.findings import Finding, Report, Verdict
from foretaste.types.progress import Progress, quiet

logger = logging.getLogger("foretaste")


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
    request   roles of columns, where they cannot be inferred without ambiguity
    plan      a Plan, or the path of an audit.toml; by default the plan for the modality
    out       a new or empty folder; by default under audits/
    device    "auto", "cpu" or "cuda"
    seed      added to the seeds of everything that is trained
    engine    where the work on shards runs; by default in this process
    progress  called with (stage, done, total)
    key       path of the private key to sign the audit with; by default it is not signed
    policy    a Policy, or the path of a gate.toml, that determines the signed result; by default that of the gate
    since     folder of an earlier audit, or a manifest: rows that were added or changed since are tested more
              sensitively

    Raises PlanError where the call, the plan or the roles ask for what does not exist, DataError where the data does
    not have the roles, MissingPackage where the plan needs an optional package. Nothing is written then.
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
    earlier = None if since is None else incremental.earlier(since)
    signer = None if key is None else signing.prepare(key, policy)
    with atomic.folder(out) as folder:
        clock = _Clock()
        dataset = open_dataset(places, request=request)
        logger.info(_described(dataset))
        clock("ingest")
        chosen = chosen or default_plans.default(dataset)
        job = Job(dataset, chosen, seed, where, engine or InProcess(), progress, store.folder())
        encoders, unread, preliminary = encode(job)
        clock("encode")
        _write_manifest(job, folder)
        clock("digest")
        recent = None if earlier is None else incremental.since(earlier, folder)
        audited = concluded(job, encoders, unread, preliminary, folder, recent=recent, clock=clock)
        found, outcome, reason = findings_and_verdict(audited)
        atlas = projection.projected(audited, found)
        shown = samples.marked(samples.samples(dataset, samples.chosen(audited.flagged)), found, audited.doubts)
        clock("report")
        report = Report(
            verdict=outcome,
            reason=reason,
            rows=dataset.rows,
            flagged=len(audited.flagged),
            dataset=dataset,
            runs=audited.runs,
            groups=found,
            counts=flagged_kinds(audited),
            notes=(*audited.notes, *_beside(places, dataset)),
            versions=_versions(),
            seconds=clock.seconds,
            plan=chosen.describe() | {"seed": seed, "device": str(where)},
            folder=out,
            power=detection_limits.power(audited.groups, dataset, chosen.decide, audited.detectors),
            false_alarms=false_alarms.false_alarms(chosen),
        )
        _write_report(folder, report, audited, shown, atlas)
        file_state.require_unchanged(dataset.files)
        if signer is not None:
            digests = {name: encoder.digest for name, encoder in audited.encoders.items()}
            signing.write(folder, document(report), signer, embedders=digests)
        store.prune(store.folder(), store.limit())
    if signer is not None:
        signing.log(out, document(report), signer)
    return replace(report, html=cell(report))


def _write_manifest(job: Job, folder: str) -> None:
    """Write rows.parquet: a digest of the content of every row."""
    digested = over_shards(job, "digest", partial(manifest.of_shard, dataset=job.dataset))
    manifest.write(digested, job.dataset, os.path.join(folder, manifest.NAME))


def _no_clock(stage: str) -> None:
    """Measures nothing."""


def concluded(
    job: Job,
    encoders: Encoders,
    unread: Mapping[int, str],
    preliminary: Swept,
    folder: str,
    *,
    recent: Recency | None = None,
    clock: Callable[[str], None] = _no_clock,
) -> Audited:
    """From stored embeddings to the decision on groups and rows, whose tables are written to `folder`.

    `encoders`, `unread` and `preliminary` are returned by `encode`; `recent` compares with an earlier audit.
    """
    dataset, plan = job.dataset, job.plan
    swept = sweep.sweep(job, encoders, preliminary)
    clock("sweep")
    spans, broke = scoring.score(job, swept.scorers, folder, beliefs=sweep.beliefs(job, encoders))
    clock("score")
    # A run that fails while it scores has failed as a whole: its groups do not count as tested.
    scorers = {run: scorer for run, scorer in swept.scorers.items() if run not in broke}
    swept = swept._replace(stopped={**swept.stopped, **broke})
    groups, notes = decision.decide(job, scorers, encoders, folder, recent)
    counts = scoring.judge(job, groups, spans, unread, folder)
    flagged = pl.read_parquet(os.path.join(folder, scoring.FLAGGED))
    clock("judge")
    return Audited(
        dataset=dataset,
        runs=sweep.runs(plan, encoders, swept),
        groups=groups,
        samples=pl.scan_parquet(os.path.join(folder, scoring.SAMPLES)),
        flagged=flagged,
        detectors={check.name: check.settings for check in plan.checks},
        scorers=scorers,
        encoders=fitted(encoders),
        counts=counts,
        notes=(*verdict.borderline(groups, dataset), *notes, *_notes(dataset, recent, flagged)),
        doubts=breakdowns.believed(os.path.join(folder, scoring.SCORES), flagged, dataset),
        decide=plan.decide,
        store=job.store,
    )


def findings_and_verdict(audited: Audited) -> tuple[tuple[Finding, ...], Verdict, str]:
    """The explained findings, and the verdict with its reason."""
    dataset = audited.dataset
    found = explained(audited, findings(audited.groups, audited.counts, dataset, audited.detectors))
    odd, kinds, rows = verdict.borderline(audited.groups, dataset), flagged_kinds(audited), dataset.rows
    outcome, reason = verdict.verdict(found, audited.runs, odd=odd, counts=kinds, rows=rows, decide=audited.decide)
    return found, outcome, reason


def flagged_kinds(audited: Audited) -> dict[str, int]:
    """Number of flagged rows of each kind."""
    kinds: dict[str, int] = {}
    for (kind, _), rows in audited.counts.items():
        kinds[kind] = kinds.get(kind, 0) + rows
    return kinds


def _write_report(
    folder: str, report: Report, audited: Audited, shown: Sequence[Sample], atlas: projection.Atlas | None
) -> None:
    """Write the map, report.json and report.html to `folder`."""
    if atlas is not None:
        projection.write(atlas, audited.samples, os.path.join(folder, "atlas.parquet"))
    with open(os.path.join(folder, "report.json"), "w", encoding="utf-8") as file:
        file.write(text(document(report)))
    with open(os.path.join(folder, "report.html"), "w", encoding="utf-8") as file:
        file.write(page(report, shown, atlas))


class _Clock:
    """The seconds of each stage."""

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


def _notes(dataset: Dataset, recent: Recency | None, flagged: pl.DataFrame) -> tuple[str, ...]:
    """Sentences on what was not tested, and on what changed since an earlier audit."""
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
    if (blank := blank_pictures.note(dataset)) is not None:
        out.append(blank)
    if recent is not None:
        out.append(incremental.note(recent, flagged))
    return tuple(out)


def _beside(places: Sequence[str], dataset: Dataset) -> tuple[str, ...]:
    """A sentence for each file beside the data that other readers may take in, which no gate lets pass."""
    found = [Found(file.name, file.path) for file in dataset.files]
    strays = stray_files.beside(places, dataset.root, found, partial(named_files.paths_of, dataset))
    return tuple(f"Not audited, so that a gate refuses the folder: {one}." for one in stray_files.sentences(strays))


def _versions() -> dict[str, str]:
    out = {"code": false_alarms.code(), "python": platform.python_version()}
    for name in ("foretaste", "torch", "polars", "pyarrow", "cleanlab", "faiss-gpu", "faiss-cpu", "numpy"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out
