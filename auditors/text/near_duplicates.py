"""Groups of rows that are near copies of each other, and whether the dataset's own duplicates explain them.

Every text repeats now and then: good reviews are called "good", news are syndicated, pages share their frames. How many
clusters of so many copies there are falls by a power of their size. What stands far outside of the law that the
dataset's smaller clusters follow was not left by the same causes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components

from foretaste.dataset.payload import Payload
from foretaste.settings import threshold
from foretaste.stats.significance import first_or_both, predictive_tail
from foretaste.text.minhash import MinHash, Sketch, agreeing, runs
from foretaste.text.ngrams import Array, Words, mixed
from foretaste.text.scattered_edits import ScatteredEdits, edited, unusual

Read = Callable[[Sequence[str]], Words]


@dataclass(frozen=True)
class DuplicateLaw:
    """Which clusters of near copies are looked at, and the law of their sizes.

    sample   rows in which runs of words are counted that are the frame of all texts
    frame    share of the rows from which on a run is frame
    keys     keys of bands kept of all rows together, at most: of more rows fewer bands are kept, and then fewer rows
    fewest   rows of a cluster that is looked at, at least
    short    words of a text, below which it says too little to teach anything, and repeats for many reasons
    smaller  share of the rows of a cluster below which others teach how large it may be
    shorter  share of the words of a cluster's texts from which on others teach how large it may be
    top      clusters that the law is read from, the largest
    shape    exponent of the power law before any cluster was seen
    weight   clusters that `shape`, and the usual share of edited copies, count as much as
    """

    sample: int = threshold(1 << 14, "standard error of a share of .05: .2 %")
    frame: float = threshold(0.05, "not tuned")
    keys: int = threshold(1 << 24, "memory: a million rows have all 16 bands, 16 million have one")
    fewest: int = threshold(8, "not tuned")
    short: int = threshold(6, "not tuned")
    smaller: float = threshold(0.5, "one flood must not excuse another; not tuned")
    shorter: float = threshold(0.5, "short texts repeat more than long ones; not tuned")
    top: int = threshold(20, "the many pairs say little of the few large clusters; not tuned")
    shape: float = threshold(1.5, "ten real corpora have 1.0 to 1.9")
    weight: float = threshold(10.0, "not tuned")


@dataclass(frozen=True)
class Cluster:
    """Rows that are near copies of each other.

    row       the first of them
    rows      how many
    variants  different texts among them
    words     of a typical one
    label     the commonest class among them
    purity    share of the rows that have it
    sources   different sources they come from; 0 where sources are not known
    p_value   probability that the dataset's laws of duplicates leave any cluster as large, or as large and as edited
    edited    share of the rows in which words were exchanged here and there (auditors/text/scattered_edits.py)
    foremost  share of the rows that come from the commonest source; 0 where sources are not known
    """

    row: int
    rows: int
    variants: int
    words: int
    label: int
    purity: float
    sources: int
    p_value: float
    edited: float = 0.0
    foremost: float = 0.0


@dataclass(frozen=True, eq=False)
class Index:
    """Which texts belong to which cluster: keys of bands [M] uint64 ascending, with a check and a cluster each."""

    key: Array
    check: Array  # [M, bands] uint8
    cluster: Array  # [M] int64

    def find(self, sketch: Sketch, minhash: MinHash) -> Array:
        """The cluster of each text [B], -1 where it belongs to none."""
        out = np.full(len(sketch.band), -1, dtype=np.int64)
        if not len(self.key):
            return out
        for band in range(minhash.bands):
            key = placed(sketch.band[:, band], band)
            spot = np.searchsorted(self.key, key).clip(max=len(self.key) - 1)
            hit = (self.key[spot] == key) & (sketch.words > 0) & (out < 0)
            hit[hit] = agreeing(self.check[spot[hit]], sketch.check[hit], minhash)
            out[hit] = self.cluster[spot[hit]]
        return out


def placed(key: Array, band: int) -> Array:
    """Keys [N] of one band, apart from those of all others."""
    return (key.astype(np.uint64) << np.uint64(8)) + np.uint64(band)


@dataclass(frozen=True, eq=False)
class Kept:
    """What is remembered of every row with words."""

    row: Array  # [N] int64
    band: Array  # [N, b] uint32
    check: Array  # [N, bands] uint8
    words: Array  # [N] int32
    text: Array  # [N] uint64, a key of the whole text
    label: Array  # [N] int32
    source: Array  # [N] uint64, 0 where there is none


def frame(payloads: Iterable[Payload], read: Read, *, rows: int, minhash: MinHash, law: DuplicateLaw) -> Array:
    """Numbers, ascending, of the runs of words that frame many of the rows: templates of prompts, common idioms."""
    step = max(1, rows // law.sample)
    parts, total = [], 0
    for payload in payloads:
        chosen = (payload.row.numpy() % step == 0).nonzero()[0]
        words = read([payload.texts[at] for at in chosen])
        run, row = runs(words, minhash.run)
        parts.append(np.unique((run.astype(np.uint64) << np.uint64(32)) + row.astype(np.uint64)) >> np.uint64(32))
        total += len(chosen)
    run, count = np.unique(np.concatenate(parts), return_counts=True)
    return run[count > max(law.frame * total, law.fewest)].astype(np.uint32)


def kept(
    payloads: Iterable[Payload], read: Read, source: Callable[[Payload], Array], *, rows: int, frame: Array,
    minhash: MinHash, law: DuplicateLaw,
) -> Kept:  # fmt: skip
    """One pass over the rows; about 100 bytes stay of each.

    Of more than `law.keys` rows every second, third, ... is left out, so that memory does not grow further.
    """
    bands, step = max(1, min(minhash.bands, law.keys // max(rows, 1))), -(-rows // law.keys)
    parts = []
    for payload in payloads:
        words = read(payload.texts)
        sketch = Sketch.of(words, frame, minhash)
        use = (sketch.words > 0) & (payload.row.numpy() % max(step, 1) == 0)
        place = mixed(np.arange(len(words.key)) - words.start[words.row])
        whole = np.add.reduceat(mixed(words.key + place), words.start)
        parts.append(
            Kept(
                payload.row.numpy()[use], sketch.band[use, :bands], sketch.check[use],
                sketch.words[use].astype(np.int32), whole[use],
                payload.label.numpy()[use].astype(np.int32), source(payload)[use],
            )
        )  # fmt: skip
    return Kept(*(np.concatenate([getattr(one, name) for one in parts]) for name in Kept.__dataclass_fields__))


def clusters(rows: Kept, minhash: MinHash) -> Array:
    """The cluster of each kept row [N]: rows linked, directly or through others, by a band and enough agreement."""
    count = len(rows.row)
    ones, others = [], []
    for band in range(rows.band.shape[1]):
        first = firsts(rows.band[:, band])
        linked = (first != np.arange(count)).nonzero()[0]
        linked = linked[agreeing(rows.check[linked], rows.check[first[linked]], minhash)]
        ones.append(linked)
        others.append(first[linked])
    one, other = np.concatenate(ones), np.concatenate(others)
    graph = sp.coo_matrix((np.ones(len(one), dtype=bool), (one, other)), shape=(count, count))
    cluster: Array = connected_components(graph, directed=False)[1].astype(np.int64)
    return cluster


def firsts(key: Array) -> Array:
    """For each of N keys the position where it stands first."""
    _, first, back = np.unique(key, return_index=True, return_inverse=True)
    out: Array = first[back]
    return out


def gathered(
    rows: Kept, payloads: Iterable[Payload], read: Read, *, most: int, minhash: MinHash, law: DuplicateLaw,
    edits: ScatteredEdits,
) -> tuple[list[Cluster], Index]:  # fmt: skip
    """The clusters of enough rows, at most `most`, the most surprising first, and how to know their rows.

    One more pass over the rows, to see how the copies differ.
    """
    cluster = clusters(rows, minhash)
    size = np.bincount(cluster, minlength=1)
    order = np.argsort(cluster, kind="stable")
    start = np.cumsum(size) - size
    large = (size >= 2).nonzero()[0]
    typical = np.array([np.median(rows.words[order[start[at] : start[at] + size[at]]]) for at in large])
    p_value = surprising(size[large], typical, law)
    told = ((size[large] >= edits.rows) & (typical >= law.short)).nonzero()[0]
    told = told[np.argsort(-size[large[told]], kind="stable")[: edits.clusters]]
    share = np.zeros(len(large))
    members = [rows.row[order[start[one] : start[one] + size[one]]] for one in large[told]]
    share[told] = edited(payloads, read, members, edits)
    odd = (unusual(share[told], edits, weight=law.weight) * len(told)).clip(max=1.0)  # of so many clusters one
    # Both the size and the edits may speak against what repeats by itself; of the other clusters it is the size alone.
    p_value[told] = first_or_both(torch.from_numpy(p_value[told]), torch.from_numpy(odd)).numpy()
    found: list[tuple[Array, int, float, float]] = []
    for at in np.lexsort((large, -size[large], p_value)):
        if size[large[at]] < law.fewest or len(found) == most:
            continue
        mine = order[start[large[at]] : start[large[at]] + size[large[at]]]
        found.append((mine, int(typical[at]), float(p_value[at]), float(share[at])))
    copies = [_told(rows, *one) for one in found]
    return copies, _index(rows, [one[0] for one in found])


def _told(rows: Kept, mine: Array, words: int, p_value: float, share: float) -> Cluster:
    label = rows.label[mine]
    known = label[label >= 0]
    counts = np.bincount(known) if len(known) else np.zeros(1, dtype=np.int64)
    sources, number = np.unique(rows.source[mine][rows.source[mine] != 0], return_counts=True)
    return Cluster(
        row=int(rows.row[mine].min()),
        rows=len(mine),
        variants=len(np.unique(rows.text[mine])),
        words=words,
        label=int(counts.argmax()) if len(known) else -1,
        purity=float(counts.max() / max(len(known), 1)),
        sources=len(sources),
        p_value=p_value,
        edited=share,
        foremost=float(number.max(initial=0) / len(mine)),
    )


def _index(rows: Kept, members: list[Array]) -> Index:
    """Every key by which a row of the clusters was linked."""
    key, check, which = [], [], []
    home = np.full(len(rows.row), -1, dtype=np.int64)
    for at, mine in enumerate(members):
        home[mine] = at
    inside = (home >= 0).nonzero()[0]
    for band in range(rows.band.shape[1]):
        # The first row with a key may belong elsewhere, and what agrees with it does so too.
        first = firsts(rows.band[:, band])[inside]
        first = np.unique(first[home[first] == home[inside]])
        key.append(placed(rows.band[first, band], band))
        check.append(rows.check[first])
        which.append(home[first])
    order = np.argsort(np.concatenate(key), kind="stable")
    return Index(np.concatenate(key)[order], np.concatenate(check)[order], np.concatenate(which)[order])


def surprising(size: Array, words: Array, law: DuplicateLaw) -> Array:
    """How rarely the law of duplicates leaves any cluster as large as each of N [N].

    size   [N] rows of a cluster, at least 2
    words  [N] of a typical row

    The law is a power law through the largest clusters of less than half the size, whose texts are at least half as
    long: short texts repeat more than long ones, and one flood must not excuse another. The many pairs say little of
    the few large clusters, which have causes of their own. Its shape is known as well as so many clusters tell
    (Hill 1975; the predictive law under a Gamma prior), with `law.shape` as if `law.weight` clusters had been seen.
    """
    out = np.ones(len(size))
    rank = np.log(size - 0.5)  # sizes are whole numbers
    order = np.argsort(-size, kind="stable")
    for at in ((size >= law.fewest) & (words >= law.short)).nonzero()[0]:
        alike = order[(words[order] >= law.shorter * words[at]) & (order != at)]
        smaller = size[alike] < law.smaller * size[at]
        known = alike[smaller][: law.top]
        least = rank[known[-1]] if len(known) == law.top else np.log(2 - 0.5)  # a pair is the smallest cluster
        share = predictive_tail(
            torch.tensor(rank[at] - least),
            total=float((rank[known] - least).sum()),
            count=len(known),
            prior_total=law.weight / law.shape,
            prior_count=law.weight,
        )
        out[at] = -np.expm1(-(len(known) + int((~smaller).sum()) + 1) * float(share))
    return out
