"""Marks the phrases of a finding in a text."""

from __future__ import annotations

from collections.abc import Sequence

from foretaste.report.visible import visible
from foretaste.text.ngrams import spans

Piece = tuple[str, bool]
SEARCHED = 50_000  # characters of a text in which phrases are searched


def pieces(text: str, phrases: Sequence[str], limit: int) -> list[Piece]:
    """The text as (piece, marked), with invisible characters escaped: `limit` characters around its first mark."""
    found = sorted(span for phrase in phrases for span in spans(text[:SEARCHED], phrase))
    start = max(0, found[0][0] - limit // 3) if found and found[0][1] > limit else 0
    stop = min(len(text), start + limit)
    out: list[Piece] = [("…", False)] if start else []
    at = start
    for first, last in found:
        if last > at and first < stop:
            out += [(text[at : max(at, first)], False), (text[max(at, first) : min(last, stop)], True)]
            at = min(last, stop)
    out.append((text[at:stop] + ("…" if stop < len(text) else ""), False))
    return [(visible(piece, lines=True), mark) for piece, mark in out if piece]
