"""Clusters of near copies, and a test whether the dataset's other duplicates explain their size.

Texts repeat in every corpus: good reviews are called "good", news is syndicated, web pages share boilerplate. The sizes
of such clusters follow a power law, which is fitted to the dataset's smaller clusters; a cluster far out in its tail
must have another cause.
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
from foretaste.text.copy_differences import CopyDifferences, differences, unusual
from foretaste.text.minhash import MinHash, Sketch, agreeing, runs
from foretaste.text.ngrams import Array, Words, mixed

Read = Callable[[Sequence[str]], Words]


@dataclass(frozen=True)
class DuplicateLaw:
    """Which clusters of near copies are tested, and the null distribution (a power law) of their sizes.

    sample   rows, evenly spaced, in which boilerplate (word n-grams that many rows contain) is searched, about
    frame    share of the rows above which a word n-gram counts as boilerplate, which is ignored
    keys     LSH band keys stored for all rows, at most: with more rows each stores fewer bands, then some are skipped
    fewest   rows from which on a cluster is tested
    short    words of a cluster's median text from which on it is tested: shorter texts repeat for many reasons
    smaller  the reference set of a cluster has clusters with fewer rows than this share of its rows
    shorter  the reference set of a cluster has clusters with at least this share of its words per text
    top      clusters of a reference set, the largest, to which the power law is fitted, at most
    shape    prior mean of the exponent of the power law of cluster sizes
    weight   weight of the priors `shape` and `edits.usual` (share of edited copies), in clusters
    """

    sample: int = threshold(1 << 14, "gives a share of .05 with a standard error of .2 %")
    frame: float = threshold(0.05, "not tuned")
    keys: int = threshold(1 << 24, "memory: a million rows store all 16 bands, 16 million store one")
    fewest: int = threshold(8, "not tuned")
    short: int = threshold(6, "not tuned")
    smaller: float = threshold(0.5, "else one flood would raise the null distribution for another; not tuned")
    shorter: float = threshold(0.5, "short texts repeat more than long ones; not tuned")
    top: int = threshold(20, "the many pairs are not informative about the tail; not tuned")
    shape: float = threshold(1.5, "fits of ten real corpora lie between 1.0 and 1.9")
    weight: float = threshold(10.0, "not tuned")


@dataclass(frozen=True)
class Cluster:
    """Rows that are near copies of each other.

    row       position of the first row
    rows      number of rows
    variants  number of different texts
    words     median number of words
    label     most common class, -1 if all labels are missing
    purity    share of the labelled rows that have that class
    sources   number of different sources; 0 where sources are not known
    p_value   probability, under the null, of any cluster as large, or as large and as much edited
    edited    share of the rows with scattered edits (auditors/text/copy_differences.py)
    own       share of the rows that have content of their own, as in the blanks of a form (the same)
    foremost  share of the rows from the most common source; 0 where sources are not known
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
    own: float = 0.0
    foremost: float = 0.0


@dataclass(frozen=True, eq=False)
class Index:
    """Look-up of a text's cluster: band keys [M] uint64 ascending, each with the check and cluster of its text."""

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
    """Keys [N] of one band, made distinct from those of all other bands."""
    return (key.astype(np.uint64) << np.uint64(8)) + np.uint64(band)


@dataclass(frozen=True, eq=False)
class Kept:
    """What is stored of every row with words."""

    row: Array  # [N] int64
    band: Array  # [N, b] uint32
    check: Array  # [N, bands] uint8
    words: Array  # [N] int32
    text: Array  # [N] uint64, hash of the whole text
    label: Array  # [N] int32
    source: Array  # [N] uint64, 0 where there is none


def frame(payloads: Iterable[Payload], read: Read, *, rows: int, minhash: MinHash, law: DuplicateLaw) -> Array:
    """Hashes, ascending, of boilerplate: word n-grams that many rows contain, as in prompt templates and idioms."""
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
    """One pass over the rows, about 100 bytes stored of each.

    Of more than `law.keys` rows only every second, third, ... is stored, which bounds the memory.
    """
    bands, step = max(1, min(minhash.bands, law.keys // max(rows, 1))), -(-rows // law.keys)
    parts = []
    for payload in payloads:
        words = read(payload.texts)
        sketch = Sketch.of(words, frame, minhash)
        use = (sketch.words > 0) & (payload.row.numpy() % max(step, 1) == 0)
        position = mixed(np.arange(len(words.key)) - words.start[words.row])
        whole = np.add.reduceat(mixed(words.key + position), words.start)
        parts.append(
            Kept(
                payload.row.numpy()[use], sketch.band[use, :bands], sketch.check[use],
                sketch.words[use].astype(np.int32), whole[use],
                payload.label.numpy()[use].astype(np.int32), source(payload)[use],
            )
        )  # fmt: skip
    return Kept(*(np.concatenate([getattr(part, name) for part in parts]) for name in Kept.__dataclass_fields__))


def clusters(rows: Kept, minhash: MinHash) -> Array:
    """The cluster of each stored row [N]: connected components of rows that share a band and agree in enough others."""
    count = len(rows.row)
    sources, targets = [], []
    for band in range(rows.band.shape[1]):
        first = firsts(rows.band[:, band])
        linked = (first != np.arange(count)).nonzero()[0]
        linked = linked[agreeing(rows.check[linked], rows.check[first[linked]], minhash)]
        sources.append(linked)
        targets.append(first[linked])
    source, target = np.concatenate(sources), np.concatenate(targets)
    graph = sp.coo_matrix((np.ones(len(source), dtype=bool), (source, target)), shape=(count, count))
    cluster: Array = connected_components(graph, directed=False)[1].astype(np.int64)
    return cluster


def firsts(key: Array) -> Array:
    """For each of N keys the position of its first occurrence."""
    _, first, back = np.unique(key, return_index=True, return_inverse=True)
    out: Array = first[back]
    return out


def gathered(
    rows: Kept, payloads: Iterable[Payload], read: Read, *, most: int, minhash: MinHash, law: DuplicateLaw,
    edits: CopyDifferences,
) -> tuple[list[Cluster], Index]:  # fmt: skip
    """The clusters of at least `law.fewest` rows, at most `most`, by p-value, and an index to look up their rows.

    Makes one more pass over the rows, to compare the copies.
    """
    cluster = clusters(rows, minhash)
    size = np.bincount(cluster, minlength=1)
    order = np.argsort(cluster, kind="stable")
    start = np.cumsum(size) - size
    large = (size >= 2).nonzero()[0]
    typical = np.array([np.median(rows.words[order[start[at] : start[at] + size[at]]]) for at in large])
    compared = ((size[large] >= law.fewest) & (typical >= law.short)).nonzero()[0]
    compared = compared[np.argsort(-size[large[compared]], kind="stable")[: edits.clusters]]
    members = [rows.row[order[start[at] : start[at] + size[at]]] for at in large[compared]]
    differ = differences(payloads, read, members, edits)
    share, own = np.zeros((2, len(large)))
    share[compared], own[compared] = differ.edited, differ.own
    p_value = surprising(size[large], typical, law, own=own)
    tested = compared[size[large[compared]] >= edits.rows]
    p_edits = (unusual(share[tested], edits, weight=law.weight) * len(tested)).clip(max=1.0)  # Bonferroni
    # Clusters with too few rows for a share of edited copies are tested by their size alone.
    p_value[tested] = first_or_both(torch.from_numpy(p_value[tested]), torch.from_numpy(p_edits)).numpy()
    found: list[tuple[Array, int, float, tuple[float, float]]] = []
    for at in np.lexsort((large, -size[large], p_value)):
        if size[large[at]] < law.fewest or len(found) == most:
            continue
        mine = order[start[large[at]] : start[large[at]] + size[large[at]]]
        found.append((mine, int(typical[at]), float(p_value[at]), (float(share[at]), float(own[at]))))
    copies = [_cluster(rows, *members) for members in found]
    return copies, _index(rows, [mine for mine, *_ in found])


def _cluster(rows: Kept, mine: Array, words: int, p_value: float, differ: tuple[float, float]) -> Cluster:
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
        edited=differ[0],
        own=differ[1],
        foremost=float(number.max(initial=0) / len(mine)),
    )


def _index(rows: Kept, members: list[Array]) -> Index:
    """The index of every band key that links rows of the clusters."""
    key, check, which = [], [], []
    home = np.full(len(rows.row), -1, dtype=np.int64)
    for at, mine in enumerate(members):
        home[mine] = at
    inside = (home >= 0).nonzero()[0]
    for band in range(rows.band.shape[1]):
        # The first row with a key may be in another cluster, as are then all rows that agree with it.
        first = firsts(rows.band[:, band])[inside]
        first = np.unique(first[home[first] == home[inside]])
        key.append(placed(rows.band[first, band], band))
        check.append(rows.check[first])
        which.append(home[first])
    order = np.argsort(np.concatenate(key), kind="stable")
    return Index(np.concatenate(key)[order], np.concatenate(check)[order], np.concatenate(which)[order])


def surprising(size: Array, words: Array, law: DuplicateLaw, *, own: Array) -> Array:
    """P-value [N] of each cluster: the probability that any cluster is as large under the power law of duplicates.

    size   [N] rows of a cluster, at least 2
    words  [N] of its median row
    own    [N] share of its rows with content of their own, which are no copies and do not count

    The reference set of a cluster is the `law.top` largest clusters of less than half its size (one flood must not hide
    another) whose texts are at least half as long (short texts repeat more). The exponent of the power law is estimated
    from them (Hill 1975) under a Gamma prior: `law.shape`, worth `law.weight` clusters. In the reference set all rows
    count, which makes the null distribution the heavier.
    """
    out = np.ones(len(size))
    log_size = np.log(size - 0.5)  # continuity correction
    order = np.argsort(-size, kind="stable")
    copies = 1 + (size - 1) * (1 - own)
    for at in ((copies >= law.fewest) & (words >= law.short)).nonzero()[0]:
        alike = order[(words[order] >= law.shorter * words[at]) & (order != at)]
        smaller = size[alike] < law.smaller * copies[at]
        known = alike[smaller][: law.top]
        least = log_size[known[-1]] if len(known) == law.top else np.log(2 - 0.5)  # the smallest cluster is a pair
        share = predictive_tail(
            torch.tensor(np.log(copies[at] - 0.5) - least),
            total=float((log_size[known] - least).sum()),
            count=len(known),
            prior_total=law.weight / law.shape,
            prior_count=law.weight,
        )
        out[at] = -np.expm1(-(len(known) + int((~smaller).sum()) + 1) * float(share))
    return out
