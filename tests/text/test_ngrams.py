"""Words of texts, cut into parts."""

from __future__ import annotations

import numpy as np

from foretaste.text.ngrams import NO_WORD, Words


def test_beginnings_and_ends_are_read_as_texts_of_their_own():
    texts = ["a b c d e f g", "", "a", "a b", "a b c"]
    begun, ended = Words.of(texts, limit=100).parted(3)
    for part, same in ((begun, ["a b c d", "", "a", "a", "a b"]), (ended, ["e f g", "", "", "b", "c"])):
        alone = Words.of(same, limit=100)
        assert part.words == alone.words
        for name in ("key", "row", "start"):
            np.testing.assert_array_equal(getattr(part, name), getattr(alone, name))


def test_no_run_leaves_its_part():
    words = Words.joined([["a b", "c d"], ["a b c d"], [], ["", "c"]], limit=100)
    assert words.words == [["a", "b", NO_WORD, "c", "d"], ["a", "b", "c", "d"], [], [NO_WORD, "c"]]
    for length, written in (
        (1, ["a", "b", "c", "d", "a", "b", "c", "d", "c"]),
        (2, ["a b", "c d", "a b", "b c", "c d"]),
        (3, ["a b c", "b c d"]),
    ):
        keys, at = words.runs(length)
        assert [words.text(int(one), length) for one in at] == written
        np.testing.assert_array_equal(keys, [Words.of([one], limit=100).runs(length)[0][0] for one in written])


def test_what_separates_parts_cannot_come_from_a_text():
    hostile = ["a \x1e b", "\n\n", "c\x1ed"]
    assert Words.joined([hostile], limit=100).words == [["a", "b", NO_WORD, NO_WORD, "c", "d"]]
    assert Words.of(["a \x1e \n b"], limit=100).words == [["a", "b"]]
