"""What foretaste flags beside what its peers flag, on the same poisoned rows, and what dropping the flagged rows saves.

python -m benchmarks.images.peers SOURCE --attack badnets --attack wanet --count 100 --rows 8000 --target 3 --seed 1

The peers need one more package, in an environment of its own if you like: pip install -c constraints.txt -e '.[bench]'
(`--no-peers` does without). For every attack, one line for each of

none                    nothing is dropped
foretaste               `foretaste.audit` on the Parquet copy, default plan, empty cache; whatever is flagged is dropped
ART SpectralSignature   SpectralSignatureDefense of the Adversarial Robustness Toolbox (Nicolae et al., arXiv
                        1807.01069; method: Tran, Li & Madry, arXiv 1811.00636), library defaults
ART Activation          its ActivationDefence (method: Chen et al., arXiv 1811.03728), library defaults
random                  drops as many rows as foretaste, drawn by the seed
perfect                 drops exactly the poisoned rows

The last two are the bounds between which a filter is worth something (as in DARPA GARD). ART reads the network trained
on all rows, the same one whose accuracy and attack success stand in the line `none`. At its defaults it takes the last
layer of a PyTorch network for the activations, which are the logits; both methods mean the last hidden layer, so
`--hidden` adds lines in which the layers are named in such an order that ART finds that one.

dropped         rows flagged, for whatever reason
TPR, FPR        of the poisoned rows, and of the others (covers are others), the share flagged
accused         of the others, the share flagged as an attack and not only as a doubtful label; foretaste alone tells
AUROC, TPR@     of the score that the method gives. ART reports a score only for the rows it flags: the rest are ranked
                below all of them, alike. Where there is no score, and where there is no poison, there is a dash
s, GiB          to find the rows, training the network that ART reads included; and the most memory of this process
                meanwhile, whatever was loaded before included
accuracy        on held-out rows, of a network trained on the rows that are left (benchmarks.images.victim)
ASR             attack success rate: held-out rows of other classes with the trigger that are taken for the target, for
                the class after their own where the attack is all-to-all; for label flips, rows of the flipped class (of
                any other, where none is given) taken for the target

A method that crashes has that in its line, and nothing dropped.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import polars as pl
import pyarrow.compute as pc
import torch
import typer
from torch import Tensor, nn

from benchmarks.images.plant import Pictures, find, load, plant, trigger, write
from benchmarks.images.victim import EPOCHS, predict, train
from benchmarks.measure import ATTACK, auroc
from foretaste import audit
from foretaste.attacks.contract import Poisoned
from foretaste.errors import ForetasteError, PlanError
from foretaste.pipeline.plan import Plan

TOOLBOX = "adversarial-robustness-toolbox"
HELD_OUT = 4000
FEWEST = 64  # rows that a network is trained on


@dataclass(frozen=True, eq=False)
class Flags:
    """What one method says of N rows.

    flagged  [N] bool
    accused  [N] bool, flagged as an attack, where the method tells
    score    [N] float64, larger is worse, where the method gives one
    seconds  and peak_gib: what it took; None where it is free
    crashed  why the method says nothing
    """

    flagged: Tensor
    accused: Tensor | None = None
    score: Tensor | None = None
    seconds: float | None = None
    peak_gib: float | None = None
    crashed: str = ""


@dataclass(frozen=True)
class Outcome:
    """One line of the table; None is a dash."""

    attack: str
    method: str
    dropped: int | None = None
    found: float | None = None  # TPR
    false: float | None = None  # FPR
    accused_clean: float | None = None
    precision: float | None = None
    auroc: float | None = None
    found_at_0_1: float | None = None  # TPR at a FPR of 0.1 %
    found_at_1: float | None = None
    seconds: float | None = None
    peak_gib: float | None = None
    accuracy: float | None = None
    success: float | None = None  # ASR
    crashed: str = ""


@dataclass(frozen=True, eq=False)
class Trial:
    """The held-out rows, plain and attacked.

    images     [M, 3, S, S] uint8, with their `label` [M] int64
    triggered  [A, 3, S, S] uint8, which the attacker wants taken for `wanted` [A] int64; None where he wants nothing
    """

    images: Tensor
    label: Tensor
    triggered: Tensor | None
    wanted: Tensor | None


def compare(
    pictures: Pictures,
    held_out: Pictures,
    attack: str,
    *,
    target: int | None,
    count: int,
    seed: int,
    peers: bool = True,
    hidden: bool = False,
    epochs: int = EPOCHS,
    plan: Plan | None = None,
    device: str = "auto",
) -> Iterator[Outcome]:
    """Plant `attack` in `pictures`, ask every method and retrain on what each leaves: the lines, as they are ready.

    Raises PlanError for an attack that does not exist, cannot do without a target or lacks rows.
    """
    planted = plant(pictures, attack, target=target, count=count, seed=seed)
    trial = attempt(held_out, pictures, attack, target=target, seed=seed)
    school = School(planted, len(pictures.classes), seed, epochs, device)
    nothing = torch.zeros(len(planted.label), dtype=torch.bool)

    def line(method: str, flags: Flags) -> Outcome:
        return outcome(attack if count else f"{attack}, 0 rows", method, flags, trial, school)

    yield line("none", Flags(nothing))
    found = foretaste(planted, pictures, plan=plan, device=device)
    yield line("foretaste", found)
    if peers:
        for name, wrapped in (("", lambda network: network), *([(", hidden layer", HiddenLast)] if hidden else [])):
            for method, detect in (("ART SpectralSignature", spectral), ("ART Activation", activation)):
                yield line(method + name, toolbox(detect, wrapped, school, seed))
    # From another generator than the attacks': with the same seed torch's would draw the rows that were poisoned.
    drawn = np.random.default_rng(seed).permutation(len(nothing))[: int(found.flagged.sum())]
    yield line("random", Flags(nothing.index_fill(0, torch.from_numpy(drawn), True)))
    yield line("perfect", Flags(planted.poisoned))


class School:
    """Networks trained on the planted rows without those that are flagged; the same rows are trained on once."""

    def __init__(self, planted: Poisoned[Tensor], classes: int, seed: int, epochs: int, device: str) -> None:
        self.planted, self.classes, self.seed, self.epochs = planted, classes, seed, epochs
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        self.trained: dict[bytes, tuple[nn.Sequential | None, float]] = {}

    def without(self, flagged: Tensor) -> tuple[nn.Sequential | None, float]:
        """The network, None where too few rows are left, and the seconds its training took."""
        key = flagged.numpy().tobytes()
        if key not in self.trained:
            start = time.monotonic()
            images, label = self.planted.payload[~flagged], self.planted.label[~flagged]
            network = None
            if len(label) >= FEWEST:
                network = train(
                    images, label, classes=self.classes, seed=self.seed, epochs=self.epochs, device=self.device
                )
            self.trained[key] = network, time.monotonic() - start
        return self.trained[key]


def foretaste(planted: Poisoned[Tensor], source: Pictures, *, plan: Plan | None = None, device: str = "auto") -> Flags:
    """The audit of a Parquet copy; the score is its risk."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, FORETASTE_CACHE=f"{folder}/cache"):
        written = write(planted, source, f"{folder}/copy")
        with Clock() as clock:
            audit([str(written)], out=f"{folder}/audit", plan=plan, device=device)
        samples = pl.read_parquet(f"{folder}/audit/samples.parquet", columns=["row", "risk", "flagged", "kinds"])
    samples = samples.sort("row").with_columns(ATTACK.alias("accused"))
    return Flags(
        samples["flagged"].to_torch().bool(),
        samples["accused"].to_torch().bool(),
        samples["risk"].cast(pl.Float64).to_torch(),
        clock.seconds,
        clock.peak_gib,
    )


# Of ART's detectors, a classifier, pictures [N, 3, S, S] float32 and labels [N]: flagged [N] bool, score [N] if any.
Detect = Callable[[Any, Any, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray | None]]


def toolbox(detect: Detect, wrapped: Callable[[nn.Sequential], nn.Module], school: School, seed: int) -> Flags:
    """One of ART's detectors on the network trained on all rows."""
    planted = school.planted
    nothing = torch.zeros(len(planted.label), dtype=torch.bool)
    network, seconds = school.without(nothing)
    if network is None:
        return Flags(nothing, crashed="too few rows to train a network on")
    images, label = (planted.payload.float() / 255).numpy(), planted.label.numpy()
    np.random.seed(seed)  # ART's k-means draws from numpy's global state
    try:
        import art.defences.detector.poison
        from art.estimators.classification import PyTorchClassifier

        with Clock() as clock:
            classifier = PyTorchClassifier(
                model=wrapped(deepcopy(network)),  # ART moves it to a device and hooks into it
                loss=nn.CrossEntropyLoss(),
                input_shape=images.shape[1:],
                nb_classes=school.classes,
                clip_values=(0.0, 1.0),
            )
            flagged, score = detect(art.defences.detector.poison, classifier, images, label)
    except Exception as error:  # a peer's crash is its result
        return Flags(nothing, crashed=f"{type(error).__name__}: {error}")
    return Flags(
        torch.from_numpy(flagged),
        score=None if score is None else torch.from_numpy(score),
        seconds=seconds + clock.seconds,
        peak_gib=clock.peak_gib,
    )


def spectral(art: Any, classifier: Any, images: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SpectralSignatureDefense; rows without a score in its report are below all that have one, which are lengths."""
    report, clean = art.SpectralSignatureDefense(classifier, images, label).detect_poison()
    score = np.full(len(label), -1.0)
    score[list(report)] = list(report.values())
    return np.asarray(clean) == 0, score


def activation(art: Any, classifier: Any, images: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, None]:
    """ActivationDefence, which has no score of a row."""
    _, clean = art.ActivationDefence(classifier, images, label).detect_poison()
    return np.asarray(clean) == 0, None


class HiddenLast(nn.Module):
    """The same network, its head registered first: ART reads the layer that was registered last."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.head, self.body = network[-1], network[:-1]

    def forward(self, value: Tensor) -> Tensor:
        logit: Tensor = self.head(self.body(value))
        return logit


def attempt(held_out: Pictures, pictures: Pictures, attack: str, *, target: int | None, seed: int) -> Trial:
    """What the attacker would try on the held-out rows."""
    case = find(attack)
    images, label = held_out.images, held_out.label
    if not case.targeted:
        target = None
    if case.attack == "label-flip":
        if target is None:
            return Trial(images, label, None, None)
        source = None if case.source is None else (target + case.source) % len(pictures.classes)
        victims = label != target if source is None else label == source
        return Trial(images, label, images[victims], torch.full((int(victims.sum()),), target))
    if target is None:
        shown, wanted = images, (label + 1) % (int(pictures.label.max()) + 1)
    else:
        shown = images[label != target]
        wanted = torch.full((len(shown),), target)
    return Trial(images, label, trigger(shown, attack, pictures, target=target or 0, seed=seed), wanted)


def outcome(attack: str, method: str, flags: Flags, trial: Trial, school: School) -> Outcome:
    """The line of one method: its flags against the truth, and a network trained on the rest."""
    if flags.crashed:
        return Outcome(attack, method, crashed=flags.crashed)
    flagged, poisoned = flags.flagged, school.planted.poisoned
    clean = ~poisoned
    network, _ = school.without(flagged)
    right = success = None
    if network is not None:
        right = share(predict(network, trial.images) == trial.label)
        if trial.triggered is not None:
            success = share(predict(network, trial.triggered) == trial.wanted)
    line = Outcome(
        attack,
        method,
        dropped=int(flagged.sum()),
        found=share(flagged[poisoned]),
        false=share(flagged[clean]),
        accused_clean=None if flags.accused is None else share(flags.accused[clean]),
        precision=share(poisoned[flagged]),
        seconds=flags.seconds,
        peak_gib=flags.peak_gib,
        accuracy=right,
        success=success,
    )
    if flags.score is None or not bool(poisoned.any()):
        return line
    low, high = flags.score[clean], flags.score[poisoned]
    area = auroc(pl.Series(low.numpy()), pl.Series(high.numpy()))
    return replace(line, auroc=area, found_at_0_1=found_at(low, high, 0.001), found_at_1=found_at(low, high, 0.01))


def share(flags: Tensor) -> float | None:
    """Of [N] bool; None of nothing."""
    return float(flags.double().mean()) if len(flags) else None


def found_at(low: Tensor, high: Tensor, rate: float) -> float:
    """Share of `high` above all of `low` [L] but the `rate` largest; those that tie with the next do not count."""
    allowed = int(rate * len(low))
    return float((high > low.sort(descending=True).values[allowed]).double().mean())


class Clock:
    """Seconds of a block, and the most memory this process had meanwhile."""

    def __enter__(self) -> Clock:
        with suppress(OSError):  # not Linux: the peak is that of the whole run so far
            Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the peak: man 5 proc
        self.start = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self.start
        try:
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            self.peak_gib = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 2**20
        except (OSError, IndexError):
            self.peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def halves(source: Path, *, rows: int, seed: int, held_out: int = HELD_OUT) -> tuple[Pictures, Pictures]:
    """The rows that `load` draws, for the poisoned copy, and up to `held_out` of those whose id is not among them.

    Raises PlanError where there is no other row.
    """
    used, every = load(source, rows=rows, seed=seed), load(source)
    free = torch.from_numpy(~pc.is_in(every.id, value_set=used.id).to_numpy()).nonzero().flatten()
    if not len(free):
        raise PlanError(f"{source} has no rows left to test a network on: take fewer than {rows}")
    drawn = free[torch.randperm(len(free), generator=torch.Generator().manual_seed(seed))[:held_out]].sort().values
    other = every._replace(images=every.images[drawn], label=every.label[drawn], id=every.id.take(drawn.numpy()))
    return used, other


HEADER = (
    "| attack | method | dropped | TPR | FPR | accused | precision | AUROC | TPR@0.1% | TPR@1% | s | GiB "
    "| accuracy | ASR |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def row(one: Outcome) -> str:
    """One line of the Markdown table under HEADER."""

    def cell(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    method = f"{one.method}: crashed, {' '.join(one.crashed.split())}" if one.crashed else one.method
    cells = [
        cell(one.dropped, "d"),
        cell(one.found, ".1%"),
        cell(one.false, ".2%"),
        cell(one.accused_clean, ".2%"),
        cell(one.precision, ".1%"),
        cell(one.auroc, ".3f"),
        cell(one.found_at_0_1, ".1%"),
        cell(one.found_at_1, ".1%"),
        cell(one.seconds, ".0f"),
        cell(one.peak_gib, ".1f"),
        cell(one.accuracy, ".1%"),
        cell(one.success, ".1%"),
    ]
    return f"| {one.attack} | {method.replace('|', '/')} | {' | '.join(cells)} |"


def main(  # noqa: PLR0917
    source: Annotated[Path, typer.Argument(help="a Parquet file of pictures with labels, with rows to spare")],
    attack: Annotated[list[str] | None, typer.Option(help="an attack or a case; repeat for several; badnets")] = None,
    count: Annotated[int, typer.Option(help="poisoned rows")] = 100,
    rows: Annotated[int, typer.Option(help="rows drawn for the poisoned copy; the others test the networks")] = 8000,
    target: Annotated[int | None, typer.Option(help="class index")] = 3,
    seed: Annotated[int, typer.Option(help="decides the rows, the trigger and the networks")] = 1,
    peers: Annotated[bool, typer.Option(help="also the Adversarial Robustness Toolbox")] = True,
    hidden: Annotated[bool, typer.Option(help="also ART on the last hidden layer")] = False,
    epochs: Annotated[int, typer.Option(help="of the network that is retrained")] = EPOCHS,
    least: Annotated[float, typer.Option(help="ask nobody about an attack that succeeds less often than this")] = 0.0,
) -> None:
    """Plant each attack in rows of SOURCE, let every method look, and retrain on what each leaves."""
    if peers:
        try:
            print(f"{TOOLBOX} {version(TOOLBOX)}", file=sys.stderr)
        except PackageNotFoundError:
            print(
                f"the comparison needs {TOOLBOX}: pip install -c constraints.txt -e '.[bench]' (or say --no-peers)",
                file=sys.stderr,
            )
            raise typer.Exit(2) from None
    try:
        pictures, held_out = halves(source, rows=rows, seed=seed)
        print(HEADER, flush=True)
        for name in attack or ["badnets"]:
            for one in compare(
                pictures,
                held_out,
                name,
                target=target,
                count=count,
                seed=seed,
                peers=peers,
                hidden=hidden,
                epochs=epochs,
            ):
                print(row(one), flush=True)
                if one.method == "none" and (one.success or 0.0) < least:
                    break
    except (ForetasteError, OSError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
