"""How much hangs on each number that decides: every declared setting a quarter down and a quarter up.

    python -m benchmarks.sensitivity DATA --out docs/sensitivity.jsonl

audits a panel of small datasets, clean and poisoned, pictures and texts, once as they are by the default plan, and once
for every setting of it moved. Only what a setting can change is computed again: its detector's sweeps, its embedder's
vectors, or nothing but the decision. A line of the output says what one setting did to one dataset: poisoned rows that
are flagged, other rows that are, and the verdict. `docs/make.py` makes docs/thresholds.md of it.

Each dataset's lines replace those that OUT has of it as soon as they are there; --only continues where a run ended.
DATA is the folder of the development data: images/cifar10.parquet, images/mnist_test.parquet, text/ and instructions/.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import reduce
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import torch
import typer

from benchmarks.images import plant as pictures
from foretaste.attacks.contract import ATTACKS
from foretaste.cache import Store
from foretaste.dataset.parquet import open_dataset
from foretaste.dataset.roles import NOTHING_SAID, Request
from foretaste.decide import verdict as verdicts
from foretaste.errors import PlanError
from foretaste.explain.findings import findings
from foretaste.pipeline import default_plans
from foretaste.pipeline.audit import concluded, flagged_kinds
from foretaste.pipeline.cross_fitting import encode, fold_groups
from foretaste.pipeline.engine import InProcess, Job
from foretaste.pipeline.fit import Encoders, embed, train
from foretaste.pipeline.plan import Plan
from foretaste.pipeline.sweep import Swept
from foretaste.settings import Setting, declared
from foretaste.types.progress import quiet

FACTORS = (0.75, 1.25)
PICTURES, TEXTS = 1200, 800  # rows of a dataset of the panel: large enough for its attacks, small enough for 300 audits


@dataclass(frozen=True)
class Moved:
    """What became of one dataset when one setting was moved; `table` and `setting` are empty for the plan as it is."""

    dataset: str
    table: str  # as a plan writes it: detectors.spectral-signature, embedders.phrases, decide
    setting: str  # the rest of its name, as in natural.level
    factor: float
    value: Any
    verdict: str  # "refused" where the setting does not take such a value
    found: int  # poisoned rows that are flagged
    accused: int  # other rows that are
    poisoned: int
    rows: int


def planted(source: Path, place: Path, attack: str, count: int, *, rows: int, seed: int) -> Path:
    """Pictures with one attack, class 4 its target."""
    drawn = pictures.load(source, rows=rows, seed=seed)
    return pictures.write(pictures.plant(drawn, attack, target=4, count=count, seed=seed), drawn, place)


def sampled(source: Path, place: Path, *, rows: int, poisoned: int, seed: int) -> Path:
    """So many rows of texts whose truth is known, so many of them poisoned."""
    whole = pl.read_parquet(source)
    bad = pl.read_parquet(source.with_suffix(".truth.parquet"))["is_poisoned"]
    at = pl.int_range(len(whole), eager=True)
    drawn = pl.concat([
        at.filter(bad).sample(poisoned, seed=seed, shuffle=True),
        at.filter(~bad).sample(rows - poisoned, seed=seed, shuffle=True),
    ]).sort()  # fmt: skip
    whole[drawn].write_parquet(place.with_suffix(".parquet"))
    pl.DataFrame({"is_poisoned": bad[drawn]}).write_parquet(place.with_suffix(".truth.parquet"))
    return place.with_suffix(".parquet")


def flooded(source: Path, place: Path, *, rows: int, copies: int, seed: int) -> Path:
    """Clean texts with many copies of one of them, a little changed."""
    path = sampled(source, place, rows=rows, poisoned=0, seed=seed)
    table = pl.read_parquet(path)
    texts = table["text"].to_list()
    label = torch.zeros(len(texts), dtype=torch.int64)
    done = ATTACKS.find("flood").plant(texts, label, document=max(texts, key=len), count=copies, seed=seed)
    table.with_columns(pl.Series("text", done.payload)).write_parquet(path)
    pl.DataFrame({"is_poisoned": done.poisoned.tolist()}).write_parquet(
        path.with_suffix("").with_suffix(".truth.parquet")
    )
    return path


def panel(data: Path, place: Path) -> Iterator[tuple[str, Path]]:
    """The datasets by name. Of each there is the truth beside it."""
    cifar, mnist = data / "images/cifar10.parquet", data / "images/mnist_test.parquet"
    yield "pictures", planted(cifar, place / "pictures", "badnets", 0, rows=PICTURES, seed=1)
    yield "digits", planted(mnist, place / "digits", "badnets", 0, rows=PICTURES, seed=2)
    yield "pictures, patch", planted(cifar, place / "patch", "badnets", 20, rows=PICTURES, seed=3)
    yield "pictures, blended", planted(cifar, place / "blended", "blended", 30, rows=PICTURES, seed=4)
    yield "pictures, wave", planted(cifar, place / "wave", "sig", 30, rows=PICTURES, seed=5)
    yield "pictures, flips", planted(cifar, place / "flips", "flips-pair", 40, rows=PICTURES, seed=6)
    reviews, tweets = data / "text/sst2_dpoe_badnets20.parquet", data / "text/offenseval_dpoe_addsent5.parquet"
    yield "reviews", sampled(reviews, place / "reviews", rows=TEXTS, poisoned=0, seed=7)
    yield "reviews, rare words", sampled(reviews, place / "words", rows=TEXTS, poisoned=40, seed=8)
    yield "reviews, flood", flooded(reviews, place / "flood", rows=TEXTS, copies=25, seed=9)
    yield "tweets", sampled(tweets, place / "tweets", rows=TEXTS, poisoned=0, seed=10)
    yield "tweets, sentence", sampled(tweets, place / "sentence", rows=TEXTS, poisoned=30, seed=11)
    syntax = data / "text/hsol_openbackdoor_synbkd10.parquet"
    yield "posts, syntax", sampled(syntax, place / "syntax", rows=TEXTS, poisoned=40, seed=12)
    answers = data / "instructions/graceful_webqa_badnets10.parquet"
    yield "answers", sampled(answers, place / "answers", rows=TEXTS, poisoned=0, seed=13)
    yield "answers, link", sampled(answers, place / "link", rows=TEXTS, poisoned=30, seed=14)
    queries = data / "instructions/text2sql_droptable_2pct.parquet"
    yield "queries, payload", sampled(queries, place / "payload", rows=TEXTS, poisoned=20, seed=15)


def scaled(value: Any, factor: float) -> Any:
    """A number moved by a factor, a whole one by one at least; each of several.

    A share above one half, as of a quantile, is moved by its distance from 1 the other way.
    """
    if isinstance(value, tuple):
        return tuple(scaled(one, factor) for one in value)
    if isinstance(value, int):
        moved = round(value * factor)
        return moved if moved != value else value + (1 if factor > 1 else -1)
    return 1 - (1 - value) * (2 - factor) if 0.5 < value < 1 else value * factor


def put(settings: Any, name: str, value: Any) -> Any:
    """Frozen settings with another value at a place as in "natural.level"."""
    first, _, rest = name.partition(".")
    return replace(settings, **{first: put(getattr(settings, first), rest, value) if rest else value})


def numbers(settings: Any) -> list[Setting]:
    """The settings of a component that decide and are numbers, with their values as they are here."""
    out = []
    for one in declared(type(settings)):
        value = reduce(getattr, one.name.split("."), settings)
        several = value if isinstance(value, tuple) else (value,)
        if one.source and all(isinstance(part, (int, float)) and not isinstance(part, bool) for part in several):
            out.append(replace(one, default=value))
    return out


@dataclass(frozen=True)
class Reference:
    """One audit by the plan as it is, with what an audit by another plan can take over."""

    job: Job
    encoders: Encoders
    unread: Mapping[int, str]
    groups: torch.Tensor | None  # the folds' groups, for embedders that wait for them
    swept: Swept


def reference(job: Job, folder: str) -> tuple[Reference, Any]:
    encoders, unread, seen = encode(job)
    waiting = bool(seen.scorers)
    audited = concluded(job, encoders, unread, seen, folder)
    groups = fold_groups(job, seen, encoders) if waiting else None
    return Reference(job, encoders, unread, groups, Swept(audited.scorers, {}, {})), audited


def moved_check(plan: Plan, kind: str, name: str, value: Any) -> Plan:
    return replace(
        plan,
        checks=tuple(
            replace(one, settings=put(one.settings, name, value)) if one.detector == kind else one
            for one in plan.checks
        ),
    )


def again(known: Reference, plan: Plan, folder: str, *, detector: str = "", embedder: str = "") -> Any:
    """The audit by another plan, of which only this detector's settings, this embedder's or the decision's differ."""
    job = replace(known.job, plan=plan)
    encoders, keep = dict(known.encoders), dict(known.swept.scorers)
    if detector:
        kinds = {one.name: one.detector for one in plan.checks}
        keep = {run: scorer for run, scorer in keep.items() if kinds[run.check] != detector}
    if embedder:
        names = [name for name, (kind, _) in plan.embedders.items() if kind == embedder]
        fresh = train(job, names, known.groups)
        embed(job, fresh)
        encoders |= fresh
        if plan.decide.beliefs in names:  # which go with every view
            keep = {}
    return concluded(job, encoders, known.unread, Swept(keep, {}, {}), folder)


def counted(audited: Any, truth: pl.Series) -> tuple[str, int, int]:
    found = findings(audited.groups, audited.counts, audited.dataset, audited.detectors)
    kinds, odd = flagged_kinds(audited), verdicts.borderline(audited.groups, audited.dataset)
    verdict, _ = verdicts.verdict(
        found, audited.runs, odd=odd, counts=kinds, rows=audited.dataset.rows, decide=audited.decide
    )
    flagged = truth[audited.flagged["row"]]
    return str(verdict), int(flagged.sum()), int((~flagged).sum())


def variations(plan: Plan) -> Iterator[tuple[str, Setting, Callable[[Any], Plan], dict[str, str]]]:
    """Every number of a plan: its table, the setting, the plan for another value, and what is to be computed again."""
    for kind, settings in {one.detector: one.settings for one in plan.checks}.items():
        for one in numbers(settings):

            def check(value: Any, kind: str = kind, name: str = one.name) -> Plan:
                return moved_check(plan, kind, name, value)

            yield f"detectors.{kind}", one, check, {"detector": kind}
    for name, (kind, embedder) in plan.embedders.items():
        for one in numbers(embedder):

            def view(
                value: Any, at: str = name, kind: str = kind, embedder: Any = embedder, one: Setting = one
            ) -> Plan:
                return replace(plan, embedders={**plan.embedders, at: (kind, put(embedder, one.name, value))})

            yield f"embedders.{kind}", one, view, {"embedder": kind}
    for one in numbers(plan.decide):

        def decision(value: Any, name: str = one.name) -> Plan:
            return replace(plan, decide=put(plan.decide, name, value))

        yield "decide", one, decision, {}


def measured(name: str, path: str) -> list[Moved]:
    """All lines of one dataset."""
    torch.set_num_threads(1)
    dataset = open_dataset([path], request=request(path))
    truth = pl.read_parquet(f"{path.removesuffix('.parquet')}.truth.parquet")["is_poisoned"]
    plan = default_plans.default(dataset)
    begin, out = time.monotonic(), []
    with tempfile.TemporaryDirectory() as scratch:

        def folder() -> str:
            return tempfile.mkdtemp(dir=scratch)

        job = Job(dataset, plan, 0, torch.device("cpu"), InProcess(), quiet, Store.at(os.path.join(scratch, "store")))
        known, audited = reference(job, folder())
        size = int(truth.sum()), dataset.rows
        out.append(Moved(name, "", "", 1.0, None, *counted(audited, truth), *size))
        for table, one, plan_of, what in variations(plan):
            for factor in FACTORS:
                value = scaled(one.default, factor)
                try:
                    said = counted(again(known, plan_of(value), folder(), **what), truth)
                except PlanError:
                    said = ("refused", 0, 0)
                out.append(Moved(name, table, one.name, factor, value, *said, *size))
    print(f"{name}: {len(out)} audits in {time.monotonic() - begin:.0f} s, as it is {out[0].verdict}", flush=True)
    return out


def request(path: str) -> Request:
    """Instructions are read as prompts with their responses; the rest is unmistakable."""
    names = pl.read_parquet_schema(path)
    if {"instruction", "input", "output"} <= set(names):
        return Request(prompt="instruction,input", response="output")
    return NOTHING_SAID


def main(
    data: Annotated[Path, typer.Argument(help="the folder of the development data")],
    out: Annotated[Path, typer.Option(help="where the lines go")] = Path("docs/sensitivity.jsonl"),
    only: Annotated[list[str] | None, typer.Option(help="of the panel; repeat for several")] = None,
    workers: Annotated[int, typer.Option(help="datasets at once")] = 2,
) -> None:
    with tempfile.TemporaryDirectory() as place, ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        sets = [(name, str(path)) for name, path in panel(data, Path(place)) if not only or name in only]
        for done in as_completed([pool.submit(measured, *one) for one in sets]):
            replaced(out, done.result())


def replaced(out: Path, found: list[Moved]) -> None:
    """Write the lines of one dataset over those that the file has of it."""
    kept = [line for line in lines(out) if json.loads(line)["dataset"] != found[0].dataset]
    out.write_text("\n".join([*kept, *(json.dumps(plain(one)) for one in found), ""]), encoding="utf-8")


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def plain(one: Moved) -> dict[str, Any]:
    assert is_dataclass(one)
    value = asdict(one)
    return value | {"value": float(f"{one.value:.6g}") if isinstance(one.value, float) else one.value}


if __name__ == "__main__":
    typer.run(main)
