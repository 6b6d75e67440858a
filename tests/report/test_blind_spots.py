"""What could have been missed, in sentences."""

from __future__ import annotations

from hostile import EVIL

from foretaste.report.blind_spots import unseen
from foretaste.report.document import document

POWER = {
    "fewest": 8,
    "untested": [{"class": EVIL, "rows": 5}, *({"class": f"c{n}", "rows": 3} for n in range(9))],
    "classes": [
        {"class": "cat", "rows": 90, "needed": 3.5, "reached": 1.2, "detector": "s", "embedder": "p"},
        {"class": "dog", "rows": 70, "needed": 4.25, "reached": 1.1, "detector": "s", "embedder": "p"},
    ],
}


def test_the_limits_are_said_with_this_datasets_numbers(report):
    said = list(
        unseen(document(report) | {"power": POWER, "plan": {"embedders": {"a": {"kind": "pixels", "grid": 32}}}})
    )
    whole = " ".join(said)
    assert "3.5 times in class cat to 4.25 times in class dog" in whole
    assert "10 classes too small to be tested" in whole
    assert "and 4 more" in whole
    assert "32×32 pixels" in whole
    assert all(one.endswith(".") for one in said)


def test_without_numbers_the_limits_of_the_looks_remain(report):
    said = " ".join(unseen(document(report)))
    assert "fewer than 8 rows" in said
    assert "too weak" not in said
