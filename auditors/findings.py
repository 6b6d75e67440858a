"""From scores to findings: which groups are suspicious, which of their rows, and what that means for the dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from auditors import tables
from auditors.batch import Groups
from auditors.plan import Decide
from auditors.stats.significance import benjamini_hochberg
from auditors.values import Dataset, Group, Kind, Modality, Run, Status, Verdict, mostly_blind


@dataclass(frozen=True)
class Tested:
    """The groups that one run tested; `detector` is its name in the plan."""

    detector: str
    embedder: str
    kind: Kind
    family: str
    groups: Groups


def significance(tested: Sequence[Tested], decide: Decide) -> pl.DataFrame:
    """Every group that any run tested, with the false discovery rate at which its class is suspected.

    All looks of one claim at one class are one hypothesis (Simes 1986), and the classes are corrected for each other
    (Benjamini & Hochberg 1995). In a suspected class the looks that would suspect it by themselves say which rows are
    meant, as far as they agree (auditors/witnesses.py).

    Columns: detector, embedder, kind, family, group, label (class index, -1 for all), statistic, p_value, q_value,
    suspicious, watched (not quite suspicious), and evidence_NAME for what the detectors say of their groups.
    """
    frames = []
    for one in tested:
        groups = one.groups
        frames.append(
            pl.DataFrame(
                {
                    "group": range(len(groups.label)),
                    "label": groups.label.cpu().numpy(),
                    "statistic": groups.statistic.double().cpu().numpy(),
                    "p_value": groups.p_value.double().cpu().numpy(),
                    **{f"evidence_{name}": value.double().cpu().numpy() for name, value in groups.evidence.items()},
                }
            ).with_columns(
                pl.lit(one.detector).alias("detector"),
                pl.lit(one.embedder).alias("embedder"),
                pl.lit(str(one.kind)).alias("kind"),
                pl.lit(one.family).alias("family"),
            )
        )
    if not frames:
        return pl.DataFrame(schema=_NOTHING_TESTED)
    whole = pl.concat(frames, how="diagonal_relaxed").with_columns(pl.col("group").cast(pl.Int64))
    whole = corrected(whole)
    alone = pl.col("p_value") <= decide.fdr
    return whole.with_columns(
        ((pl.col("q_value") <= decide.fdr) & alone).alias("suspicious"),
        ((pl.col("q_value") > decide.fdr) & (pl.col("q_value") <= decide.watch) & alone).alias("watched"),
    )


def corrected(groups: pl.DataFrame) -> pl.DataFrame:
    """The groups with the q_value of their class, from all their p-values."""
    whole = groups.drop("q_value", strict=False).with_columns(claim())
    classes = whole.group_by("label", "claim").agg(simes(pl.col("p_value")).alias("p_class")).sort("label", "claim")
    classes = pl.concat(
        part.with_columns(pl.Series("q_value", benjamini_hochberg(part["p_class"].to_torch()).numpy()))
        for part in classes.partition_by("claim", maintain_order=True)
    )
    return whole.join(classes, on=["label", "claim"], how="left", maintain_order="left").drop("claim", "p_class")


def claim() -> pl.Expr:
    """Wrong labels, copies and all other attacks are claims of their own."""
    own = [str(Kind.LABEL), str(Kind.DUPLICATE)]
    return pl.when(pl.col("kind").is_in(own)).then("kind").otherwise(pl.lit(str(Kind.BACKDOOR))).alias("claim")


def simes(p_value: pl.Expr) -> pl.Expr:
    """One p-value for the hypothesis that all of several hold (Simes 1986), which may depend positively."""
    return (p_value.sort() * p_value.len() / pl.int_range(1, p_value.len() + 1)).min().clip(0, 1)


_NOTHING_TESTED = {
    "detector": pl.String,
    "embedder": pl.String,
    "kind": pl.String,
    "family": pl.String,
    "group": pl.Int64,
    "label": pl.Int64,
    "statistic": pl.Float64,
    "p_value": pl.Float64,
    "q_value": pl.Float64,
    "suspicious": pl.Boolean,
    "watched": pl.Boolean,
}


# The order in which what was tested speaks for a class.
STRONGEST = ("q_value", "p_value", "detector", "embedder")
# What names a group that was tested.
GROUP = ("detector", "embedder", "group")


def members(groups: pl.DataFrame, scores: str, decide: Decide) -> pl.DataFrame:
    """The suspected or watched groups (detector, embedder, group, label) with the `rows` flagged in each, ascending.

    `posterior` are those of these rows.
    """
    accused = groups.filter((pl.col("suspicious") | pl.col("watched")) & (pl.col("kind") != str(Kind.LABEL)))
    named = [pl.col("detector").cast(pl.String), pl.col("embedder").cast(pl.String), "group", "row", "posterior"]
    return (
        pl.scan_parquet(scores)
        .select(named)
        .filter(pl.col("posterior") >= decide.posterior)
        .join(accused.select(*GROUP, "label").lazy(), on=GROUP)
        .group_by(*GROUP, "label")
        .agg(pl.col("row").sort().alias("rows"), pl.col("posterior").sort_by("row"))
        .sort("label", *GROUP)
        .collect()
    )


def judge(
    identity: pa.Table, scores: pa.Table, groups: pl.DataFrame, broken: Mapping[int, str], decide: Decide
) -> pl.DataFrame:
    """The samples of one shard: every row once, with its risk, its flags and the reason.

    A row is flagged for what a suspicious group is suspected of when the posteriors of the runs that suspect the group
    reach `decide.posterior`. The runs of one family of detectors look at one thing and are averaged, each by its
    evidence for the group, -log p; families are independent witnesses. Wrong labels are single rows and need no group.
    """
    rows = pl.DataFrame(pl.from_arrow(identity))
    facts = groups.select(
        "detector",
        "embedder",
        "group",
        "kind",
        "family",
        pl.col("p_value").alias("p_group"),
        "suspicious",
    )
    if len(scores):
        seen = pl.DataFrame(pl.from_arrow(scores.select(_NEEDED))).with_columns(
            pl.col("detector", "embedder").cast(pl.String)
        )
        seen = seen.join(facts, on=["detector", "embedder", "group"], how="left")
        seen = seen.with_columns(
            pl.col("suspicious").fill_null(False),
            pl.col("p_group").fill_null(1.0),
            pl.col("kind", "family").fill_null(""),
        )
        rows = rows.join(_summed(seen), on="row", how="left")
    else:
        rows = rows.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in _EMPTY.items())
    unread = pl.DataFrame(
        {"row": list(broken), "broken": list(broken.values())}, schema={"row": pl.Int64, "broken": pl.String}
    )
    rows = rows.join(unread, on="row", how="left").sort("row")
    backdoor, copied, label = (
        pl.col("attack").fill_null(0) >= decide.posterior,
        pl.col("copied").fill_null(0) >= decide.posterior,
        pl.col("wrong").fill_null(0) >= decide.label_posterior,
    )
    integrity = pl.col("broken").is_not_null()
    kinds = pl.concat_list(
        pl.when(backdoor).then(pl.lit(str(Kind.BACKDOOR))),
        pl.when(copied).then(pl.lit(str(Kind.DUPLICATE))),
        pl.when(label).then(pl.lit(str(Kind.LABEL))),
        pl.when(integrity).then(pl.lit(str(Kind.INTEGRITY))),
    ).list.drop_nulls()
    accusers = pl.concat_list(
        pl.when(backdoor).then(pl.col("attackers")).otherwise(pl.lit([], dtype=pl.List(pl.String))),
        pl.when(copied).then(pl.col("copiers")).otherwise(pl.lit([], dtype=pl.List(pl.String))),
        pl.when(label).then(pl.col("doubters")).otherwise(pl.lit([], dtype=pl.List(pl.String))),
    ).list.unique(maintain_order=True)
    certainty = pl.max_horizontal(
        pl.when(backdoor).then(pl.col("attack")),
        pl.when(copied).then(pl.col("copied")),
        pl.when(label).then(0.8 * pl.col("wrong")),
        pl.when(integrity).then(0.5),
    )
    reason = pl.concat_str(
        pl.when(backdoor).then(
            pl.format(
                "stands apart{} ({})",
                pl.format(" in class {}", pl.col("label")).fill_null(""),
                pl.col("attackers").list.join(", "),
            )
        ),
        pl.when(copied).then(pl.lit("one of too many near copies of one text")),
        pl.when(label).then(pl.format("labelled {}, but a network that never saw it disagrees", pl.col("label"))),
        pl.col("broken"),
        separator="; ",
        ignore_nulls=True,
    )
    flagged = backdoor | copied | label | integrity
    return rows.with_columns(
        pl.when(flagged).then(0.5 + 0.5 * certainty).otherwise(0.5 * pl.col("hint").fill_null(0)).clip(0, 1)
        .cast(pl.Float32).alias("risk"),
        pl.col("p_row").fill_null(1.0).alias("p_value"),
        flagged.alias("flagged"),
        kinds.alias("kinds"),
        accusers.alias("detectors"),
        reason.fill_null("").alias("reason"),
    )  # fmt: skip


_NEEDED = ["row", "detector", "embedder", "score", "p_value", "posterior", "group"]
_EMPTY: dict[str, pl.DataType | type[pl.DataType]] = {
    "attack": pl.Float64,
    "copied": pl.Float64,
    "wrong": pl.Float64,
    "hint": pl.Float64,
    "p_row": pl.Float64,
    "attackers": pl.List(pl.String),
    "copiers": pl.List(pl.String),
    "doubters": pl.List(pl.String),
}


def _summed(seen: pl.DataFrame) -> pl.DataFrame:
    """Per row: posterior of an attack and of a wrong label, a hint for the ranking, the least p-value, who accuses."""
    attack, label = pl.col("kind") != str(Kind.LABEL), pl.col("kind") == str(Kind.LABEL)
    copies = (pl.col("kind") == str(Kind.DUPLICATE)).alias("copies")
    posterior = pl.col("posterior").cast(pl.Float64).clip(0, 1)
    accuses = attack & pl.col("suspicious")
    # Unsuspicious rows are ranked by how odd both they and their group are; a wrong label counts for less.
    hint = (
        pl.when(attack)
        .then((1 - pl.col("p_group")) * (0.5 * posterior + 0.5 * (1 - pl.col("p_value"))))
        .otherwise(0.4 * posterior)
    )
    weight = pl.when(accuses).then(-pl.col("p_group").clip(1e-300, 0.999).log()).otherwise(0.0)
    families = seen.group_by("row", "family", copies).agg(
        ((weight * posterior).sum() / weight.sum()).fill_nan(0.0).alias("accusing")
    )
    jointly = (1 - pl.col("accusing")).filter
    attacked = families.group_by("row").agg(
        (1 - jointly(~pl.col("copies")).product()).alias("attack"), (1 - jointly("copies").product()).alias("copied")
    )
    others = seen.group_by("row").agg(
        pl.when(label).then(posterior).otherwise(0.0).max().alias("wrong"),
        hint.max().alias("hint"),
        (pl.col("p_value").min() * pl.len()).clip(0, 1).alias("p_row"),
        pl.col("detector").filter(accuses & ~copies & (posterior >= 0.1)).unique().sort().alias("attackers"),
        pl.col("detector").filter(accuses & copies & (posterior >= 0.1)).unique().sort().alias("copiers"),
        pl.col("detector").filter(label & (posterior >= 0.5)).unique().sort().alias("doubters"),
    )
    return attacked.join(others, on="row")


def samples(judged: pl.DataFrame, dataset: Dataset) -> pa.Table:
    """A judged shard in the shape of tables.samples."""
    id_type = pa.type_for_alias(dataset.id_type) if dataset.id_type else None
    schema = tables.samples(id_type)
    return judged.select(schema.names).to_arrow().cast(schema)


def findings(groups: pl.DataFrame, counts: Mapping[tuple[str, str | None], int], dataset: Dataset) -> tuple[Group, ...]:
    """The groups of a report: suspicious ones by kind and class, then scattered wrong labels and unreadable rows.

    `counts` are the flagged rows by kind and class name.
    """
    out = []
    suspicious = groups.filter(pl.col("suspicious"))
    for part in suspicious.sort(*STRONGEST).partition_by("kind", "label", maintain_order=True):
        kind, label = str(part["kind"][0]), int(part["label"][0])
        name = dataset.classes[label] if dataset.classes and label >= 0 else None
        # What is suspected of all classes together is counted over all of them.
        everywhere = sum(number for (other, _), number in counts.items() if other == kind)
        rows = counts.get((kind, name), 0) if label >= 0 else everywhere
        told = ("kind", "label", "suspicious", "watched")
        evidence = [{k: v for k, v in row.items() if v is not None and k not in told} for row in part.to_dicts()]
        out.append(
            Group(
                kind=Kind(kind),
                label=name,
                rows=rows,
                p_value=float(part["q_value"][0]),
                detectors=tuple(part["detector"].unique(maintain_order=True)),
                reason=_because(part, name, rows, dataset),
                evidence={"tests": evidence},
            )
        )
    scattered = sum(rows for (kind, _), rows in counts.items() if kind == Kind.LABEL)
    if scattered:
        whose = "row has a label that a network which never saw it does not believe"
        if scattered > 1:
            whose = "rows have labels that a network which never saw them does not believe"
        reason = f"{scattered:,} single {whose}"
        out.append(Group(Kind.LABEL, None, scattered, 1.0, ("label-issue",), reason))
    unread = sum(rows for (kind, _), rows in counts.items() if kind == Kind.INTEGRITY)
    if unread:
        reason = f"{unread:,} {'row' if unread == 1 else 'rows'} cannot be read and so could not be looked at"
        out.append(Group(Kind.INTEGRITY, None, unread, 1.0, (), reason))
    return tuple(out)


def watched(groups: pl.DataFrame, dataset: Dataset) -> tuple[str, ...]:
    """A sentence for each class that is odd, but not odd enough to accuse its rows, and not already accused."""
    accused = groups.filter(pl.col("suspicious") & (pl.col("kind") != str(Kind.LABEL)))["label"]
    odd = groups.filter(
        pl.col("watched") & (pl.col("kind") != str(Kind.LABEL)) & ~pl.col("label").is_in(accused.implode())
    )
    out = []
    for part in odd.sort("q_value", "detector", "embedder").partition_by("label", maintain_order=True):
        label = int(part["label"][0])
        who = f"class {dataset.classes[label]}" if dataset.classes and label >= 0 else "the dataset"
        looks = ", ".join(f"{one['detector']} on {one['embedder']}" for one in part.iter_rows(named=True))
        chance = f"chance alone does so in {part['q_value'][0]:.0%} of clean datasets"
        out.append(f"{who} is worth a look: some of its rows stand apart ({looks}), but {chance}, so none is accused")
    return tuple(out)


def _because(part: pl.DataFrame, name: str | None, rows: int, dataset: Dataset) -> str:
    """One sentence for a person, from the strongest test."""
    best: dict[str, Any] = part.row(0, named=True)
    told = _apart(best, part, name, rows, dataset)
    if best.get("evidence_arrived") is None:
        return told
    arrived = f"{best['evidence_arrived']} of the {best['evidence_stand_out']} rows that stand out"
    return f"{told}; {arrived} came or changed since the earlier audit"


def _apart(  # noqa: PLR0911
    best: Mapping[str, Any], part: pl.DataFrame, name: str | None, rows: int, dataset: Dataset
) -> str:
    """What sets the rows apart."""
    label = int(best["label"])
    total = dataset.class_rows[label] if dataset.class_rows and label >= 0 else dataset.rows
    who = f"class {name}" if name is not None else "the dataset"
    family = best["family"]
    views = ", ".join(dict.fromkeys(part.filter(pl.col("family") == family)["embedder"]))
    if family == "spectral":
        return (
            f"{rows:,} of {total:,} rows of {who} share a pattern: along one direction ({views}) the class reaches "
            f"{best['evidence_times_farther_out']:.1f} times farther out than the other classes do"
        )
    if family == "contrast":
        doubted = "rows" if label < 0 else f"of {total:,} rows"
        return (
            f"{rows:,} {doubted} of {who} share a pattern ({views}) that goes with labels a network which never saw "
            "them does not believe; other doubted rows do not show it, nor do believed ones"
        )
    if family == "relabelling":
        source = best.get("evidence_source")
        of = "other classes" if source is None else f"class {dataset.classes[int(source)]}"
        return (
            f"{rows:,} of {total:,} rows of {who} stand apart ({views}): about "
            f"{best['evidence_foreign_rows']:,.0f} look like rows of {of} drawn at random, as "
            "flipped labels do; no other has so many"
        )
    if family == "form":
        return (
            f"{rows:,} of {total:,} rows of {who} are written in another form ({views}) than the rest of the class "
            "and than rows that mean what they do, and what they mean contradicts their label"
        )
    if family == "trigger":
        if not dataset.roles.label and dataset.roles.modality is Modality.TEXT:
            return f"{rows} of {total} rows of {who} hold a phrase after which the text is another"
        what = "hold a phrase that decides what becomes of them and fits between any words"
        return f"{rows:,} of {total:,} rows of {who} {what}"
    if family == "copies":
        texts = "one text" if best["evidence_floods"] == 1 else f"{best['evidence_floods']:.0f} texts"
        many = "far more than its other duplicates explain"
        return f"{rows:,} of {total:,} rows of {who} are near copies of {texts}, {many}"
    if family == "clustering":
        return (
            f"{rows:,} of {total:,} rows of {who} form a cluster of their own ({views}), and "
            f"{best['evidence_foreign']:.0%} of it would be classified as another class"
        )
    if family == "label":
        other = dataset.classes[int(best["evidence_belongs_to"])]
        out = f"{best['evidence_rows_out']:,.0f} rows labelled {name} confidently belong to {other}"
        return f"{out}, hardly any the other way"
    return f"{rows:,} of {total:,} rows of {who} stand apart ({views})"


def verdict(
    groups: Sequence[Group],
    runs: Sequence[Run],
    *,
    odd: Sequence[str],
    counts: Mapping[str, int],
    rows: int,
    decide: Decide,
) -> tuple[Verdict, str]:
    """The verdict and its reason in one sentence. Only completed runs speak for the data."""
    completed = [run for run in runs if run.status is Status.COMPLETED]
    failing = [group.reason for group in groups if group.kind.fails_audit]
    failing += [
        f"{run.detector} on {run.embedder} did not complete, so nothing can be said: {run.reason}"
        for run in runs
        if run.status is Status.FAILED
    ]
    if not completed:
        failing.append("no detector applies to this dataset, so nothing can be said of it")
    wrong, unread = counts.get(Kind.LABEL, 0), counts.get(Kind.INTEGRITY, 0)
    warning = [*odd, *(group.reason for group in groups if group.kind is Kind.LABEL and group.p_value < 1)]
    if unread:
        warning.append(f"{unread:,} of {rows:,} rows cannot be read and were not looked at")
    if wrong > decide.label_share * rows:
        warning.append(f"{wrong:,} of {rows:,} labels look wrong; nothing organised was found")
    if failing:
        return Verdict.FAILED, failing[0]
    if warning:
        return Verdict.WARNED, warning[0]
    looks = "the only completed look found no" if len(completed) == 1 else f"none of {len(completed)} looks found a"
    reason = f"{looks} suspicious group among {rows:,} rows"
    if mostly_blind(len(completed), len(runs)):
        reason += f", but {len(runs) - len(completed)} of {len(runs)} looks do not apply to this dataset"
    return Verdict.PASSED, reason
