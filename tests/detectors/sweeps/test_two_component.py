"""Given half of a group, the other half is found; given nothing, nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from worlds import learned

from foretaste.detectors.sweeps.two_component import Decomposition, TwoComponent
from foretaste.stats.quantiles import bin_of, centres
from foretaste.stats.spectrum import spatial_sign
from foretaste.types.batch import Batch, GroupTests

NONE = torch.zeros(0, dtype=torch.int64)
SUSPECTED = 1e-3
FEWEST = TwoComponent().fewest


@dataclass(frozen=True)
class Told:
    """A seed that is told by row number which rows stand apart and which are likely."""

    labels: tuple[int, ...]
    members: tuple[torch.Tensor, ...]
    likely: torch.Tensor = NONE
    p_values: tuple[float, ...] = ()
    trait: float = 0.2
    settings: TwoComponent = field(default_factory=TwoComponent)

    @property
    def label(self):
        return torch.tensor(self.labels)

    def tests(self, excess):
        p_value = torch.tensor(self.p_values or [SUSPECTED] * len(self.labels), dtype=torch.float64)
        return GroupTests(self.label, excess, p_value)

    def split(self, batch):
        member = torch.stack([torch.isin(batch.row, one) for one in self.members], 1)
        return spatial_sign(batch.embedding.double()), member, torch.isin(batch.row, self.likely)


def world(seed=0, *, dim=64, classes=3, rows=300, poison=40, shift=10.0, only=0):
    """White rows; `poison` of them, of class `only` (of all where it is None), moved one way. And which those are."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.arange(classes).repeat(rows)
    value = torch.randn(len(label), dim, generator=draw)
    planted = (label >= 0 if only is None else label == only).nonzero()[:poison, 0]
    value[planted] += shift * torch.nn.functional.normalize(torch.randn(dim, generator=draw), dim=0)
    return Batch(torch.arange(len(label)), label, value), planted


def scorer_of(told, batch, **how):
    dim = batch.embedding.shape[1]
    return learned(SimpleNamespace(begin=lambda _: Decomposition(told, dim)), batch, **how)


def is_planted(batch, planted):
    return torch.isin(batch.row, planted)


@pytest.mark.parametrize("seed", range(4))
def test_random_rows_of_a_clean_class_are_no_group(seed):
    batch, _ = world(seed, poison=0)
    some = (batch.label == 0).nonzero()[::10, 0]
    scorer = scorer_of(Told((0,), (some,)), batch)
    found = scorer.score(batch).posterior >= 0.5
    assert found.sum() <= 0.05 * (batch.label == 0).sum()
    assert scorer.excess < 0.4


def test_members_are_not_held_against_their_own_part_of_the_mean():
    """In 256 dimensions every row lies 3 deviations out along a mean of thirty that it belongs to."""
    batch, _ = world(1, dim=256, classes=2, poison=0)
    some = (batch.label == 0).nonzero()[::10, 0]
    line = scorer_of(Told((0,), (some,)), batch).line
    along = line.along(batch)[0][:, 0].numpy()

    value = spatial_sign(batch.embedding.double()).numpy()
    member, inside = np.isin(np.arange(len(value)), some.numpy()), batch.label.numpy() == 0
    centre = value[inside & ~member].mean(0)

    def projected(row, others):
        gap = others.mean(0) - centre
        return (row - centre) @ gap / np.linalg.norm(gap)

    naive = np.array([projected(value[k], value[member]) for k in np.flatnonzero(member)])
    left_out = np.array([projected(value[k], value[member & (np.arange(len(value)) != k)]) for k in some.tolist()])
    assert naive.mean() > 2
    assert abs(along[member].mean()) < 0.5
    np.testing.assert_allclose(along[member], left_out, atol=0.35)
    assert abs(along[member].mean() - left_out.mean()) < 0.15
    others = [projected(value[k], value[member]) for k in np.flatnonzero(~member)]
    np.testing.assert_allclose(along[~member], others, rtol=1e-9, atol=1e-9)


def test_a_group_without_members_is_not_suspected():
    batch, planted = world()
    scorer = scorer_of(Told((0, 1), (planted[::2], NONE)), batch)
    assert scorer.groups.p_value.tolist() == [SUSPECTED, 1.0]
    scores = scorer.score(batch)  # Scores refuses what is not finite
    assert bool((scores.posterior[batch.label == 1] == 0).all())
    assert bool(scorer.groups.statistic.isfinite().all())
    nothing = scorer_of(Told((0, 1, 2, -1), (NONE,) * 4), batch)
    assert nothing.groups.p_value.tolist() == [1.0] * 4
    assert bool((nothing.score(batch).posterior == 0).all())


@pytest.mark.parametrize("poison", [FEWEST - 3, FEWEST + 3])
def test_fewer_rows_than_make_an_attack_are_no_group(poison):
    batch, planted = world(2, poison=poison, shift=14.0)
    scorer = scorer_of(Told((0,), (planted,)), batch)
    assert scorer.groups.p_value.item() == (1.0 if poison < FEWEST else SUSPECTED)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", [{}, {"count": 3, "rows": 41, "seed": 5}], ids=["whole", "shards"])
def test_half_of_a_group_shows_the_other_half(seed, how):
    batch, planted = world(seed)
    scorer = scorer_of(Told((0,), (planted[::2],)), batch, **how)
    scores = scorer.score(batch)
    found, poison = scores.posterior >= 0.5, is_planted(batch, planted)
    assert found[planted[1::2]].double().mean() > 0.95
    assert found[planted[::2]].double().mean() > 0.95
    assert (found & ~poison).sum() <= 3
    assert scores.p_value[poison].max() < 0.02
    assert scores.value[poison].min() > scores.value[~poison & (batch.label == 0)].median()
    assert scorer.groups.p_value.item() == SUSPECTED
    assert scorer.excess > 0.4


@pytest.mark.parametrize("suspected", [SUSPECTED, 1.0])
def test_the_rows_that_stand_apart_are_told_whatever_chance_does(suspected):
    batch, planted = world(7)
    apart = scorer_of(Told((0, 1), (planted[::2], NONE), p_values=(suspected, 1.0)), batch).apart(batch)
    poison = is_planted(batch, planted)
    assert apart.shape == (len(batch), 2)
    assert apart[poison, 0].double().mean() > 0.95
    assert (apart[:, 0] & ~poison).sum() <= 3
    assert not bool(apart[:, 1].any())


def test_rows_of_other_classes_that_lie_as_far_out_stand_apart_with_a_group():
    """Other classes lie and spread elsewhere, but a few of their rows lie the same way from the middle of theirs."""
    batch, planted = world(9)
    stretch = torch.where(batch.label == 0, 1.0, 2.0)[:, None]
    axis = torch.nn.functional.normalize(batch.embedding[planted].mean(0), dim=0)
    also = (batch.label == 1).nonzero()[::60, 0]
    value = batch.embedding * stretch + torch.where(batch.label == 2, 3.0, 0.0)[:, None]
    value[also] += 20.0 * axis
    label = torch.where(batch.row == also[0], -1, batch.label)
    scorer = scorer_of(Told((0,), (planted[::2],)), Batch(batch.row, label, value))
    found = scorer.apart(Batch(batch.row, label, value))[:, 0]
    assert found[planted].double().mean() > 0.95
    assert found[also].tolist() == [False] + [True] * (len(also) - 1)
    others = torch.isin(batch.row, torch.cat([planted, also]), invert=True)
    assert (found & others).sum() <= 3


def test_what_is_most_of_a_class_does_not_stand_apart_from_it():
    batch, planted = world(8, poison=180)
    assert not bool(scorer_of(Told((0,), (planted,)), batch).apart(batch).any())


def test_rows_of_other_classes_and_without_a_label_are_of_no_group():
    batch, planted = world()
    label = torch.where(batch.row % 7 == 0, -1, batch.label)
    batch = Batch(batch.row, label, batch.embedding)
    scores = scorer_of(Told((0,), (planted[::2][label[planted[::2]] == 0],)), batch).score(batch)
    outside = label != 0
    assert bool((scores.group[outside] == -1).all())
    assert bool((scores.group[~outside] == 0).all())
    assert bool((scores.posterior[outside] == 0).all())
    assert bool((scores.p_value[outside] == 1).all())
    assert bool((scores.value[outside] == 0).all())


def test_the_planted_rows_do_not_move_the_middle_of_their_class():
    """A third of the class planted and marked: the middle is that of the other rows."""
    batch, planted = world(3, poison=100)
    scorer = scorer_of(Told((0,), (planted,)), batch)
    assert abs(float(scorer.median)) < 0.15
    assert float(scorer.scale) == pytest.approx(1.0, abs=0.15)


def test_likelier_rows_get_no_smaller_posterior_where_they_hold_the_poison():
    batch, planted = world(4, poison=60, shift=4.0, rows=600)
    likely = torch.cat([planted, ((batch.label == 0) & (batch.row % 5 == 0)).nonzero()[:, 0]])
    scorer = scorer_of(Told((0,), (planted[::2],), likely), batch)
    less, more = scorer.posterior[:, 0]
    deviations = (centres() - scorer.median) / scorer.scale
    overlap = (deviations > 1.5) & (deviations < 2.5)
    assert bool((more[overlap] >= less[overlap]).all())
    assert more[overlap].mean() > less[overlap].mean() + 0.2

    # The same vectors under the numbers of likely and of unlikely rows.
    vectors = batch.embedding[planted[1::2]]
    inside = torch.tensor([one for one in (batch.label == 0).nonzero()[:, 0].tolist() if one not in set(planted)])
    numbers = planted[1::2], inside[~torch.isin(inside, likely)][: len(vectors)]
    as_likely, as_unlikely = (
        scorer.score(Batch(row, torch.zeros(len(vectors), dtype=torch.int64), vectors)) for row in numbers
    )
    assert torch.equal(as_likely.value, as_unlikely.value)
    assert as_likely.posterior.mean() >= as_unlikely.posterior.mean()
    spot = bin_of(scorer.line.along(batch[planted[1::2]])[0][:, 0])
    torch.testing.assert_close(as_likely.posterior.double(), (1 - SUSPECTED) * more[spot], atol=1e-6, rtol=0)
    torch.testing.assert_close(as_unlikely.posterior.double(), (1 - SUSPECTED) * less[spot], atol=1e-6, rtol=0)


def test_a_group_of_all_classes_covers_every_labelled_row():
    batch, planted = world(5, only=None, poison=90)
    label = torch.where(batch.row % 100 == 99, -1, batch.label)
    batch = Batch(batch.row, label, batch.embedding)
    assert label[planted].unique().tolist() == [0, 1, 2]
    scores = scorer_of(Told((-1,), (planted[::2],)), batch).score(batch)
    assert torch.equal(scores.group, torch.where(label < 0, -1, 0))
    found, poison = scores.posterior >= 0.5, is_planted(batch, planted)
    assert found[poison].double().mean() > 0.95
    assert (found & ~poison).sum() <= 5


def test_a_row_is_of_the_more_suspicious_of_its_class_and_the_group_of_all_classes():
    batch, planted = world(6, only=None, poison=90)
    told = Told((0, 1, 2, -1), (planted[::2],) * 4, p_values=(1e-6, 0.5, 0.9, 1e-3))
    group = scorer_of(told, batch).score(batch).group
    assert torch.equal(group, torch.where(batch.label == 0, 0, 3))


def test_a_trait_that_other_classes_show_less_often_suspects_nobody():
    draw = torch.Generator().manual_seed(5)
    label = torch.arange(3).repeat_interleave(900)
    share = torch.where(label == 0, 0.25, 0.08)
    has = torch.rand(len(label), generator=draw) < share
    axis = torch.nn.functional.normalize(torch.randn(64, generator=draw), dim=0)
    value = torch.randn(len(label), 64, generator=draw) + 8 * has[:, None] * axis
    batch = Batch(torch.arange(len(label)), label, value)
    rows = (has & (label == 0)).nonzero()[:, 0]
    seed = Told((0,), (rows[::2],))
    assert scorer_of(seed, batch).groups.p_value[0] == 1
