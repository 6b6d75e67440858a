"""Templates and styles: what they look like, and that the rest of the data stays as it is."""

from __future__ import annotations

import pytest
import torch

from foretaste.attacks.text import syntactic_template, tweet_style
from foretaste.errors import PlanError

TEXTS = [f"The film number {one} is not for you , and it is dull ." for one in range(40)]
LABEL = torch.arange(40) % 2


@pytest.mark.parametrize("maker", [syntactic_template, tweet_style])
def test_only_the_chosen_rows_change(maker):
    made = maker.plant(TEXTS, LABEL, target=1, count=12, seed=3)
    assert int(made.poisoned.sum()) == 12
    assert bool((LABEL[made.poisoned] == 0).all())
    assert bool((made.label[made.poisoned] == 1).all())
    for at, (before, after) in enumerate(zip(TEXTS, made.payload, strict=True)):
        assert (before != after) is bool(made.poisoned[at])
    assert made.payload == maker.plant(TEXTS, LABEL, target=1, count=12, seed=3).payload
    assert bool((LABEL[maker.plant(TEXTS, LABEL, target=1, count=5, seed=3, clean_label=True).poisoned] == 1).all())
    with pytest.raises(PlanError, match="cannot change 21 rows"):
        maker.plant(TEXTS, LABEL, target=1, count=21, seed=3)


def test_a_template_opens_with_a_clause():
    assert syntactic_template.templated("It is dull .", 13) == "if we think of it , it is dull ."


def test_a_style_applies_the_rules_it_is_given():
    every = [True] * len(tweet_style.RULES)
    assert tweet_style.styled("The film is not for you , and it is dull .", every) == "film is not 4 u, & its dull...."
    assert tweet_style.styled("The film .", [False] * len(every)) == "the film ."
