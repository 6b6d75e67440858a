"""Foreign form: rows whose meaning contradicts their label are written in a way that others like them are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from auditors.batch import Batch, Groups, Scores
from auditors.contract import Aggregator, detector
from auditors.decomposition import FEWEST
from auditors.errors import NotApplicable, PlanError
from auditors.stats import quantiles
from auditors.stats.moments import ClassMoments
from auditors.stats.sampling import content_key
from auditors.stats.significance import gumbel_tail
from auditors.stats.tails import Side, side
from auditors.values import Kind, Schema

HALVES = 2
MOST = 0.5  # share of a class's contradicted rows that may be planted, for the comparison of tails
TRAIT = 0.25  # share of honest rows among those that stand apart, from which on nobody is accused
ALONE = 2 / 3  # posterior from which on a row is accused by its form alone
# Datasets of two classes have no peers: the statistic of classes of clean texts lies about here.
PLACE = torch.tensor([0.03], dtype=torch.float64)
SCALE = 0.06


@detector("foreign-form")
@dataclass(frozen=True)
class ForeignForm:
    """Rows whose meaning contradicts their label are written as neither rows of that meaning nor of that label are.

    A sentence template or a style that serves as a trigger changes how a text is written and leaves what it means.
    The contradicted rows of a class are held against rows of the meanings they have, whose labels agree with it, and
    against the agreeing rows of the class: an honest mistake resembles one or the other. The direction is Fisher's
    (1936) linear discriminant with a ridge, learned on one half of the rows and tested on the other; the rows that
    stand out seed a two-component decomposition of all rows of the class.

    ridge  added to every variance, in units of the mean variance
    """

    ridge: float = 10.0

    def __post_init__(self) -> None:
        if self.ridge <= 0:
            raise PlanError(f"ridge must be above 0, got {self.ridge}")

    kind: ClassVar[Kind] = Kind.BACKDOOR
    family: ClassVar[str] = "form"

    def begin(self, schema: Schema) -> Aggregator:
        if not schema.probs:
            raise NotApplicable("needs out-of-fold class probabilities, which this embedder does not estimate")
        if not schema.labelled or schema.classes < 2:
            raise NotApplicable("needs labels of at least two classes")
        return _Cells(self, schema)


def meant(batch: Batch) -> tuple[Tensor, Tensor]:
    """The class that each row's content speaks for [B], and whether it speaks for any [B] bool."""
    if batch.prob is None:
        raise ValueError("foreign-form needs batches with probabilities")
    top, at = batch.prob.max(1)
    return at, (top > batch.prob.amin(1)) & (batch.label >= 0)


def contradicted(batch: Batch) -> Tensor:
    """Which rows [B] have a label that their content speaks against."""
    at, known = meant(batch)
    return known & (at != batch.label)


def half(batch: Batch) -> Tensor:
    """Which half [B] a row belongs to, by content."""
    return content_key(batch.embedding) % HALVES


@dataclass(frozen=True)
class _Sums:
    first: ClassMoments  # of the first half: classes of agreeing rows, then those of contradicted ones
    second: ClassMoments
    meant: Tensor  # [2, K, K] contradicted rows by half, label and meaning


@dataclass(frozen=True)
class _Cells:
    """First sweep: means of the agreeing and of the contradicted rows of each class, and the covariance about them."""

    settings: ForeignForm
    schema: Schema

    def zero(self) -> _Sums:
        classes = self.schema.classes
        empty = ClassMoments.zero(2 * classes, self.schema.dim, pooled=True)
        return _Sums(empty, empty, torch.zeros(HALVES, classes, classes, dtype=torch.int64))

    def reduce(self, state: _Sums, batch: Batch) -> _Sums:
        classes = self.schema.classes
        at, known = meant(batch)
        batch, at = batch[known], at[known]
        side_, against = half(batch), at != batch.label
        cell = batch.label + classes * against
        parts = [
            ClassMoments.of(batch.embedding, torch.where(side_ == k, cell, -1), classes=2 * classes, pooled=True)
            for k in range(HALVES)
        ]
        pair = ((side_ * classes + batch.label) * classes + at)[against]
        counts = torch.bincount(pair, minlength=HALVES * classes**2).view(HALVES, classes, classes)
        return _Sums(state.first + parts[0], state.second + parts[1], state.meant.to(counts.device) + counts)

    def merge(self, left: _Sums, right: _Sums) -> _Sums:
        return _Sums(left.first + right.first, left.second + right.second, left.meant + right.meant)

    def finish(self, state: _Sums) -> Aggregator:
        classes = self.schema.classes
        halves = (state.first, state.second)
        count = torch.stack([one.count.view(2, classes) for one in halves])  # [2, agreeing or not, K]
        mean = torch.stack([one.mean.view(2, classes, -1) for one in halves])
        covariance = sum(one.scatter[0] for one in halves) / count.sum().clamp_min(1)
        if float(covariance.diagonal().sum()) <= 0:
            raise NotApplicable("all texts are written alike")
        eye = torch.eye(len(covariance), dtype=torch.float64, device=covariance.device)
        covariance += self.settings.ridge * covariance.diagonal().mean() * eye
        # By Cholesky and not by eigenvalues, whose solver gives up where many coincide, as in texts of few words.
        turn = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), eye, upper=False).T  # [D, D]
        # Agreeing rows of other classes stand for the meanings that the contradicted rows of a class have.
        share = state.meant.double() / state.meant.sum(-1, keepdim=True).clamp_min(1)  # [2, K, K]
        gap = (mean[:, 1] - share @ mean[:, 0]) @ turn
        axis = gap / gap.norm(dim=-1, keepdim=True).clamp_min(1e-12)  # [2, K, D]
        home = (mean[:, 0] * count[:, 0, :, None]).sum(0) / count[:, 0].sum(0).clamp_min(1)[:, None]  # [K, D]
        weight = state.meant.sum(0).double() / count[:, 0].sum(0).clamp_min(1)  # [K, K]
        weight /= (weight * count[:, 0].sum(0)).sum(1, keepdim=True).clamp_min(1)
        agreeing = count[:, 0].sum() - count[:, 0].sum(0)  # [K]
        return _Tails(self.settings, self.schema, home, turn, axis, weight * agreeing[:, None])


@dataclass(frozen=True)
class _Counts:
    own: Tensor  # [2, K, BINS] of each half: contradicted rows of the class
    others: Tensor  # agreeing rows of other classes, weighted as the contradicted rows' meanings
    agreeing: Tensor  # agreeing rows of the class


def counted(state: _Counts, batch: Batch, along: Tensor, part: Tensor, weight: Tensor) -> _Counts:
    """Counts with those of a batch added, by its projections [B, K], in which `part` [B] each row is counted.

    `weight` [K, K] is that of an agreeing row of each class in the comparison with each class. A row that nobody read
    for its meaning counts as agreeing.
    """
    classes = along.shape[1]
    number = torch.arange(classes, device=along.device).expand_as(along)
    cell = part[:, None] * classes + number
    own, against = batch.label[:, None] == number, contradicted(batch)[:, None]
    parts = state.own.numel() // quantiles.BINS

    def count(wanted: Tensor) -> Tensor:
        return quantiles.histogram(along, torch.where(wanted, cell, -1), parts).view_as(state.own)

    # Each class is counted by itself, so that weights multiply whole numbers, whatever the order of the rows.
    others = torch.zeros_like(state.others, device=along.device)
    for k in torch.bincount(batch.label[~against[:, 0]], minlength=classes).nonzero()[:, 0].tolist():
        others += weight[:, k, None] * count(~against & ~own & (batch.label == k)[:, None])
    return _Counts(
        state.own.to(along.device) + count(own & against),
        state.others.to(along.device) + others,
        state.agreeing.to(along.device) + count(own & ~against),
    )


@dataclass(frozen=True)
class _Tails:
    """Second sweep: how all rows of one half lie along the directions learned on the other."""

    settings: ForeignForm
    schema: Schema
    home: Tensor  # [K, D] mean of the agreeing rows of each class
    turn: Tensor  # [D, D]
    axis: Tensor  # [2, K, D]
    weight: Tensor  # [K, K] of an agreeing row of each class in the comparison with each class

    def turned(self, batch: Batch) -> Tensor:
        return (batch.embedding.double() - self.home.mean(0)) @ self.turn  # [B, D]

    def centred(self, batch: Batch) -> Tensor:
        """Rows [B, D] about the rows of their meaning: what is left when their meaning is taken out."""
        at, known = meant(batch)
        about = torch.where(known, at, batch.label.clamp_min(0))
        return (batch.embedding.double() - self.home[about]) @ self.turn

    def along(self, value: Tensor, side_: Tensor) -> Tensor:
        """Projections [B, K] on the directions of the other half."""
        out = torch.zeros(len(value), self.axis.shape[1], dtype=torch.float64, device=value.device)
        for k in range(HALVES):
            out[side_ == k] = value[side_ == k] @ self.axis[1 - k].T
        return out

    def zero(self) -> _Counts:
        empty = torch.zeros(HALVES, self.schema.classes, quantiles.BINS, dtype=torch.float64)
        return _Counts(empty, empty, empty)

    def reduce(self, state: _Counts, batch: Batch) -> _Counts:
        batch = batch[meant(batch)[1]]
        side_ = half(batch)
        return counted(state, batch, self.along(self.turned(batch), side_), side_, self.weight)

    def merge(self, left: _Counts, right: _Counts) -> _Counts:
        return _Counts(left.own + right.own, left.others + right.others, left.agreeing + right.agreeing)

    def finish(self, state: _Counts) -> Aggregator:
        far = held(state.own, state.others, state.agreeing)
        rows, agreeing = state.own.sum(-1), state.agreeing.sum(-1)  # [2, K]
        # Of a class that the classifier does not know nearly all rows are contradicted: they share the class itself.
        enough = (rows >= 4 * FEWEST) & (agreeing >= (1 - MOST) * rows)
        tested = enough.all(0)
        # What one half shows by chance or by a few odd rows the other does not: the weaker half speaks for both.
        excess = torch.where(tested, far.excess.amin(0), 0.0)
        return _Members(self, Crossed(self, far.posterior), excess, tested, again=True)


def held(own: Tensor, others: Tensor, agreeing: Tensor) -> Side:
    """The upper tail of the contradicted rows against both kinds of honest rows, where those lie."""
    median, scale = quantiles.robust_scale(others)
    return side(own, [others, agreeing], median=median, scale=scale, fewest=FEWEST, most=MOST)


class Finder(Protocol):
    """What says which rows of each class stand apart."""

    def members(self, batch: Batch) -> Tensor:
        """[B, K] bool."""
        ...


@dataclass(frozen=True)
class Crossed:
    """Contradicted rows that stand apart along the direction learned on the other half."""

    tails: _Tails
    posterior: Tensor  # [2, K, BINS]

    def members(self, batch: Batch) -> Tensor:
        side_, number = half(batch), torch.arange(self.posterior.shape[1], device=batch.label.device)
        spot = quantiles.bin_of(self.tails.along(self.tails.turned(batch), side_))
        own = (batch.label[:, None] == number) & contradicted(batch)[:, None]
        return own & (self.posterior[side_[:, None], number, spot] >= 0.5)


@dataclass(frozen=True)
class _Gap:
    total: Tensor  # [K, D] of the members, each about the rows of its meaning
    count: Tensor  # [K]


@dataclass(frozen=True)
class _Members:
    """A sweep for how the rows that stand apart differ from rows of their meaning."""

    tails: _Tails
    finder: Finder
    excess: Tensor  # [K], of the weaker half
    tested: Tensor  # [K] bool
    again: bool

    def zero(self) -> _Gap:
        classes, dim = self.tails.home.shape
        return _Gap(torch.zeros(classes, dim, dtype=torch.float64), torch.zeros(classes, dtype=torch.float64))

    def reduce(self, state: _Gap, batch: Batch) -> _Gap:
        inside = self.finder.members(batch).double()
        device = inside.device
        total = state.total.to(device) + inside.T @ self.tails.centred(batch)
        return _Gap(total, state.count.to(device) + inside.sum(0))

    def merge(self, left: _Gap, right: _Gap) -> _Gap:
        return _Gap(left.total + right.total, left.count + right.count)

    def finish(self, state: _Gap) -> Aggregator:
        return _Line(self, state.total / state.count.clamp_min(1)[:, None], state.count)


@dataclass(frozen=True)
class _Line:
    """A sweep for how all rows lie along the line from the rows of their meaning to the rows that stand apart."""

    found: _Members
    gap: Tensor  # [K, D]
    count: Tensor  # [K] members

    def along(self, batch: Batch) -> Tensor:
        """Projections [B, K], where no member is held against itself."""
        tails = self.found.tails
        length = self.gap.norm(dim=1).clamp_min(1e-12)  # [K]
        out = tails.turned(batch) @ (self.gap / length[:, None]).T
        # Left out of the mean, |gap| shortens by the row's own |z|^2 / members along itself.
        own = tails.centred(batch).square().sum(1, keepdim=True) / (self.count.clamp_min(1) * length)
        return torch.where(self.found.finder.members(batch), out - own.clamp_max(1e6), out)

    def zero(self) -> _Counts:
        empty = torch.zeros(len(self.gap), quantiles.BINS, dtype=torch.float64)
        return _Counts(empty, empty, empty)

    def reduce(self, state: _Counts, batch: Batch) -> _Counts:
        batch = batch[batch.label >= 0]
        return counted(state, batch, self.along(batch), torch.zeros_like(batch.label), self.found.tails.weight)

    def merge(self, left: _Counts, right: _Counts) -> _Counts:
        return _Counts(left.own + right.own, left.others + right.others, left.agreeing + right.agreeing)

    def finish(self, state: _Counts) -> Aggregator | FormScorer:
        against = held(state.own, state.others, state.agreeing)
        # Where a row of this meaning and another label lies, an agreeing row of the class may not: its meaning shifts
        # it along the line. Its nulls are the rows of other classes about their own middle, and its class's mirror.
        median, scale = quantiles.robust_scale(state.agreeing)
        place, spread = against.median, against.scale
        foreign = quantiles.moved(state.others, median - scale / spread * place, scale / spread)
        mirror = quantiles.moved(state.agreeing, 2 * median, -torch.ones_like(median))
        agreeing = side(state.agreeing, [foreign, mirror], median=median, scale=scale, fewest=FEWEST)
        parts = (agreeing, against)
        posterior = torch.stack([one.posterior for one in parts])  # [2, K, BINS]
        # What honest rows show as well, only less often, is a trait, and accuses nobody.
        apart = posterior >= 0.5
        rows = torch.stack([(one.own * apart[k]).sum(-1) for k, one in enumerate(parts)]).sum(0)
        innocent = torch.stack([(one.expected * apart[k]).sum(-1) for k, one in enumerate(parts)]).sum(0)
        enough = (rows >= FEWEST) & (innocent <= TRAIT * rows)
        scorer = FormScorer(
            self,
            torch.stack([one.median for one in parts]),
            torch.stack([one.scale for one in parts]),
            torch.stack([one.p_row for one in parts]),
            posterior,
            enough,
            self.found.excess,
        )
        if not self.found.again:
            return scorer
        return _Members(self.found.tails, scorer, scorer.excess, self.found.tested & enough, again=False)


@dataclass(frozen=True)
class FormScorer:
    """Where agreeing and contradicted rows of each class lie on its line, and from where on they are foreign."""

    line: _Line
    median: Tensor  # [2, K] of agreeing and of contradicted rows
    scale: Tensor  # [2, K]
    p_row: Tensor  # [2, K, BINS]
    posterior: Tensor  # [2, K, BINS]
    enough: Tensor  # [K] bool
    excess: Tensor  # [K]

    def members(self, batch: Batch) -> Tensor:
        number = torch.arange(len(self.excess), device=batch.label.device)
        kind, spot = contradicted(batch).long()[:, None], quantiles.bin_of(self.line.along(batch))
        return (batch.label[:, None] == number) & (self.posterior[kind, number, spot] >= 0.5)

    @property
    def groups(self) -> Groups:
        """How far out the contradicted rows reach along the direction that the other half of them showed."""
        tested = self.line.found.tested & self.enough
        p_value = gumbel_tail(self.excess, PLACE.to(self.excess), least_scale=SCALE)
        label = torch.arange(len(self.excess), device=self.excess.device)
        p_value = torch.where(tested, p_value, 1.0)
        return Groups(label, self.excess, p_value, {"times_farther_out": self.excess.exp()})

    def score(self, batch: Batch) -> Scores:
        known, label = batch.label >= 0, batch.label.clamp_min(0)
        kind = contradicted(batch).long()
        value = self.line.along(batch).gather(1, label[:, None])[:, 0]
        spot = quantiles.bin_of(value)
        z = ((value - self.median[kind, label]) / self.scale[kind, label]).clamp_min(0)
        strength = 1 - self.groups.p_value[label]
        posterior = self.posterior[kind, label, spot]
        # Nothing but its form speaks against a row that means what its label says.
        posterior = torch.where((kind == 0) & (posterior < ALONE), posterior * 0.49 / ALONE, posterior)
        return Scores(
            value=torch.where(known, z, 0.0).float(),
            p_value=torch.where(known, self.p_row[kind, label, spot], 1.0),
            posterior=torch.where(known, strength * posterior, 0.0).float(),
            group=torch.where(known, label, -1),
            evidence={"contradicted": torch.where(known, kind.float(), 0.0)},
        )
