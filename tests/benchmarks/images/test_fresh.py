"""Draws that nobody chose are spread evenly, and another number gives others."""

from __future__ import annotations

from collections import Counter

from benchmarks.images.fresh import COUNTS, HIDDEN, PATTERNS, draws


def test_draws_are_spread_evenly():
    patterns, hidden = draws(7, 500)
    assert Counter((one.attack, one.count) for one in patterns) == {(name, n): 2 for name in PATTERNS for n in COUNTS}
    assert Counter((one.attack, one.count) for one in hidden) == dict.fromkeys(HIDDEN, 3)
    assert set(Counter(one.target for one in patterns).values()) == {3}
    assert [one.seed for one in patterns + hidden] == list(range(500, 542))


def test_another_number_gives_other_targets():
    assert draws(7, 0) == draws(7, 0)
    assert draws(7, 0) != draws(8, 0)
