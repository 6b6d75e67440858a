"""What published methods make of the same poisoned pictures, each by the one ranking of all rows that it gives.

python -m benchmarks.images.methods CIFAR --cache DIR --draw badnets:40:4:500 --draw badnets:0:0:501 ...

A draw is attack:count:target:seed, planted as in benchmarks.images.plant; a count of 0 is a clean copy. The methods
(benchmarks.images.rankings) look at the vectors of the default plan's embedders and at the last hidden layer of a
network trained on the suspect rows, which is what the papers look at. None is told the poison rate, the target class or
a clean row. Where several views serve a method, the table has the one that does best in the mean over all draws, which
is to its advantage. Columns of the table:

above all but 0.2 %, 0.5 %   planted rows that rank above all but so many of the others, in the mean over all draws
at its cut                   planted rows that are dropped at the method's own cut
clean dropped                rows that this cut drops from clean copies
ATTACK, COUNT                planted rows above all but 0.2 % of the others, in the mean over the attack's draws

Below it, draw by draw, the audit's verdict, and the methods that rank best what it missed.

DIR keeps what every draw's embedders, networks and audit said, so that only new draws cost minutes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import polars as pl
import torch
import typer
from torch import Tensor

from benchmarks.images import rankings
from benchmarks.images.plant import load, plant, write
from benchmarks.images.rankings import Array, Ranking, of_epochs, of_probabilities, of_view
from benchmarks.images.redraws import decided, prepared
from benchmarks.images.victim import EPOCHS, activations, train
from benchmarks.measure import ATTACK, above
from foretaste.embedders.contract import Encoder
from foretaste.embedders.store import identity, read_shard, stored
from foretaste.errors import ForetasteError, PlanError
from foretaste.pipeline.cross_fitting import encode
from foretaste.pipeline.engine import Job
from foretaste.types.runs import Outcome

SHARES = (0.002, 0.005)  # of the other rows
AUDIT = "the audit"


class Draw(NamedTuple):
    """One attack on one sample of rows."""

    attack: str
    count: int
    target: int
    seed: int

    @classmethod
    def parse(cls, text: str) -> Draw:
        """Raises PlanError where `text` is not attack:count:target:seed."""
        attack, *numbers = text.split(":")
        if len(numbers) != 3 or not all(one.isdecimal() for one in numbers):
            raise PlanError(f"a draw is written attack:count:target:seed, got {text!r}")
        return cls(attack, *map(int, numbers))

    @property
    def file(self) -> str:
        return "-".join(map(str, self))

    @property
    def name(self) -> str:
        return f"{self.attack}, {self.count}" if self.count else "clean"


@dataclass(frozen=True, eq=False)
class Seen:
    """What there is to see of the N rows of one draw.

    label      [N] int64
    poisoned   [N] bool
    views      [N, D] float32 by name: the default plan's embedders, and "victim", a network trained on all rows
    prob       [N, K] float32, out-of-fold class probabilities
    logits     [E, N, K] float32 of the victim in every epoch, when the row's turn came; NaN where it had none
    signature  [V, N] float32, what `spectral-signature` says of every row in each of its views
    risk       [N] float32, of the whole audit
    accused    [N] bool, flagged as an attack by the whole audit
    verdict    of the audit
    """

    label: Array
    poisoned: Array
    views: dict[str, Array]
    prob: Array
    logits: Array
    signature: Array
    risk: Array
    accused: Array
    verdict: str


def seen(draw: Draw, source: Path, rows: int, cache: Path) -> Seen:
    """The draw as it lies in `cache`, where it is put if it is not there yet."""
    place = cache / f"{draw.file}-{rows}.npz"
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = place.with_suffix(".partial")
        with open(partial, "wb") as file:
            np.savez(file, **looked(draw, source, rows))
        partial.rename(place)
    with np.load(place) as kept:
        views = {name.removeprefix("view "): kept[name] for name in kept.files if name.startswith("view ")}
        plain = {name: kept[name] for name in kept.files if not name.startswith("view ") and name != "verdict"}
        return Seen(**plain, views=views, verdict=str(kept["verdict"]))


def looked(draw: Draw, source: Path, rows: int) -> dict[str, Array]:
    """Plant a draw, audit it with the default plan and train a victim on it: the fields of Seen."""
    pictures = load(source, rows=rows, seed=draw.seed)
    planted = plant(pictures, draw.attack, target=draw.target, count=draw.count, seed=draw.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = write(planted, pictures, Path(folder) / "copy")
        path.with_suffix(".truth.parquet").unlink()
        job = prepared([str(path)], folder)
        encoders, _, split = encode(job)
        verdict, _ = decided(job, encoders, folder, split)
        samples = pl.read_parquet(f"{folder}/samples.parquet", columns=["row", "risk", "kinds"]).sort("row")
        scores = pl.scan_parquet(f"{folder}/scores.parquet").filter(pl.col("detector") == "spectral-signature")
        scored = scores.select("embedder", "row", "score").collect().sort("embedder", "row")
        vectors, prob = embedded(job, encoders)
    classes = len(pictures.classes)
    logits = np.full((EPOCHS, len(planted.label), classes), np.nan, dtype=np.float32)

    def watch(epoch: int, index: Tensor, logit: Tensor) -> None:
        logits[epoch, index.numpy()] = logit.numpy()

    network = train(planted.payload, planted.label, classes=classes, seed=draw.seed, epochs=EPOCHS, watch=watch)
    vectors["victim"] = activations(network, planted.payload).numpy()
    return {
        "label": planted.label.numpy(),
        "poisoned": planted.poisoned.numpy(),
        "prob": prob,
        "logits": logits,
        "signature": scored["score"].to_numpy().reshape(-1, len(samples)),
        "risk": samples["risk"].to_numpy(),
        "accused": samples.select(ATTACK)["kinds"].to_numpy(),
        "verdict": np.array(str(verdict)),
        **{f"view {name}": value for name, value in vectors.items()},
    }


def embedded(job: Job, encoders: Mapping[str, Encoder | Outcome]) -> tuple[dict[str, Array], Array]:
    """The stored vectors of every embedder, and the class probabilities of the one that has any, in row order."""
    vectors: dict[str, Array] = {}
    prob = np.zeros((0, 0), dtype=np.float32)
    for name, encoder in encoders.items():
        if isinstance(encoder, Outcome):
            raise PlanError(f"{name} has nothing to say of these rows: {encoder.reason}")
        batches = [
            batch
            for shard in job.dataset.shards
            for batch in read_shard(stored(job.store, job.dataset, shard, identity(encoder)), shard, device=job.device)
        ]
        order = torch.cat([batch.row for batch in batches]).argsort()
        vectors[name] = torch.cat([batch.embedding for batch in batches])[order].numpy()
        if batches[0].prob is not None:
            prob = torch.cat([batch.prob for batch in batches])[order].numpy()
    return vectors, prob


@dataclass(frozen=True)
class Rates:
    """How well one method ranked the rows of one draw, and what it dropped at its own cut (None: it has none)."""

    method: str
    view: str
    above: dict[float, float]  # of the planted rows, by the share of the others that ranks as high or higher
    found: float | None  # of the planted rows, dropped
    lost: float | None  # of the others, dropped


def rates(one: Seen) -> list[Rates]:
    """Every method on every view."""
    found = {
        (name, view): ranking for view in one.views for name, ranking in of_view(one.views[view], one.label).items()
    }
    for name, ranking in {**of_probabilities(one.prob, one.label), **of_epochs(one.logits, one.label)}.items():
        found[name, "patches" if name == "label doubt" else "victim"] = ranking
    found["spectral-signature", "all"] = Ranking(one.signature.max(0))
    found[AUDIT, "all"] = Ranking(one.risk, one.accused)
    return [rated(name, view, ranking, one.poisoned) for (name, view), ranking in found.items()]


def rated(method: str, view: str, ranking: Ranking, poisoned: Array) -> Rates:
    """One ranking held against the truth."""
    low, high = (pl.Series(ranking.score[mine]) for mine in (~poisoned, poisoned))
    dropped = ranking.dropped
    return Rates(
        method,
        view,
        {share: above(low, high, share) for share in SHARES},
        None if dropped is None else float(dropped[poisoned].mean()) if poisoned.any() else 0.0,
        None if dropped is None else float(dropped[~poisoned].mean()),
    )


def remembered(draw: Draw, source: Path, rows: int, cache: Path) -> tuple[str, list[Rates]]:
    """The audit's verdict on a draw and the rates of all methods, computed again only where the formulas changed."""
    formulas = hashlib.sha256(Path(rankings.__file__).read_bytes()).hexdigest()[:8]
    place = cache / f"{draw.file}-{rows}.{formulas}.json"
    if not place.exists():
        one = seen(draw, source, rows, cache)
        found = [asdict(rate) for rate in rates(one)]
        place.write_text(json.dumps([one.verdict, found]))
    verdict, kept = json.loads(place.read_text())
    return verdict, [
        Rates(**{**one, "above": {float(share): value for share, value in one["above"].items()}}) for one in kept
    ]


def table(draws: Sequence[Draw], found: Sequence[tuple[str, Sequence[Rates]]]) -> Iterator[str]:
    """Lines of Markdown: a method each, in the view that serves it best, best methods first after the audit."""
    attacked = [(draw, rates) for draw, (_, rates) in zip(draws, found, strict=True) if draw.count]
    clean = [rates for draw, (_, rates) in zip(draws, found, strict=True) if not draw.count]
    attacks = list(dict.fromkeys(draw.name for draw, _ in attacked))
    low, high = SHARES

    def mean(method: str, view: str, share: float, name: str = "") -> float:
        return average(
            rate.above[share]
            for draw, rates in attacked
            for rate in rates
            if (rate.method, rate.view) == (method, view) and name in ("", draw.name)
        )

    def cut(kept: Iterable[Sequence[Rates]], method: str, view: str, what: str) -> str:
        held = [getattr(one, what) for rates in kept for one in rates if (one.method, one.view) == (method, view)]
        return "–" if not held or None in held else f"{average(held):.2%}" if what == "lost" else f"{average(held):.0%}"

    looks = list(dict.fromkeys((one.method, one.view) for _, rates in found for one in rates))
    best = {
        method: max((view for name, view in looks if name == method), key=lambda view: mean(method, view, low))
        for method, _ in looks
    }
    order = sorted(best, key=lambda method: (method == AUDIT, mean(method, best[method], low)), reverse=True)
    names = [f"above all but {low:.1%}", f"but {high:.1%}", "at its cut", "clean dropped", *attacks]
    yield f"| method | view | {' | '.join(names)} |"
    yield "|---|---|" + "---:|" * len(names)
    for method in order:
        view = best[method]
        cells = [f"{mean(method, view, low):.1%}", f"{mean(method, view, high):.1%}"]
        cells += [cut((rates for _, rates in attacked), method, view, "found"), cut(clean, method, view, "lost")]
        cells += [f"{mean(method, view, low, name):.0%}" for name in attacks]
        yield f"| {method} | {view} | {' | '.join(cells)} |"


def missed(draws: Sequence[Draw], found: Sequence[tuple[str, Sequence[Rates]]], *, least: int = 3) -> Iterator[str]:
    """For every draw, the verdict and what the audit found of it; where that is less than half, the best methods."""
    for draw, (verdict, rates) in zip(draws, found, strict=True):
        audit = next(one for one in rates if one.method == AUDIT)
        what = f"target {draw.target}, seed {draw.seed}: {verdict}, {audit.found:.0%} found, "
        line = f"{draw.name}, {what if draw.count else f'seed {draw.seed}: {verdict}, '}{audit.lost:.2%} accused"
        if draw.count and (audit.found or 0) < 0.5:
            others = sorted(rates, key=lambda one: -one.above[SHARES[0]])[:least]
            line += "; " + ", ".join(f"{one.method} on {one.view} {one.above[SHARES[0]]:.0%}" for one in others)
        yield line


def average(values: Iterable[float]) -> float:
    held = list(values)
    return sum(held) / len(held) if held else 0.0


def main(
    source: Annotated[Path, typer.Argument(help="a Parquet file of pictures with labels")],
    draw: Annotated[list[str], typer.Option(help="attack:count:target:seed; repeat for several")],
    cache: Annotated[Path, typer.Option(help="a folder that keeps what was computed of every draw")],
    rows: Annotated[int, typer.Option(help="rows drawn from the source for each copy")] = 10_000,
) -> None:
    try:
        draws = [Draw.parse(one) for one in draw]
        found = [remembered(one, source, rows, cache) for one in draws]
    except (ForetasteError, OSError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    for line in (*table(draws, found), "", *missed(draws, found)):
        print(line)


if __name__ == "__main__":
    typer.run(main)
