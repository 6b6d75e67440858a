"""Words of texts, cut into parts."""

from __future__ import annotations

import numpy as np

from auditors.ngrams import Words


def test_beginnings_and_ends_are_read_as_texts_of_their_own():
    texts = ["a b c d e f g", "", "a", "a b", "a b c"]
    begun, ended = Words.of(texts, limit=100).parted(3)
    for part, same in ((begun, ["a b c d", "", "a", "a", "a b"]), (ended, ["e f g", "", "", "b", "c"])):
        alone = Words.of(same, limit=100)
        assert part.words == alone.words
        for name in ("key", "row", "start"):
            np.testing.assert_array_equal(getattr(part, name), getattr(alone, name))
