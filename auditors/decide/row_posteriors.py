"""Which rows are flagged, and why: the posteriors of all suspicious runs on a row, combined."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pyarrow as pa

from foretaste.decide.settings import Decide
from foretaste.types import tables
from foretaste.types.dataset import Dataset
from foretaste.types.findings import Kind


def judge(
    identity: pa.Table, scores: pa.Table, groups: pl.DataFrame, broken: Mapping[int, str], decide: Decide
) -> pl.DataFrame:
    """The samples of one shard: every row once, with its risk, its flags and the reason.

    A row of a suspicious group is flagged if its combined posterior reaches `decide.posterior`. Runs of one family of
    detectors measure the same thing: their posteriors are averaged, weighted by the evidence -log p for the group.
    Families are treated as independent: 1 - the product of (1 - posterior). Wrong labels need no suspicious group.
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
        rows = rows.join(_summed(seen, decide), on="row", how="left")
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
    detectors = pl.concat_list(
        pl.when(backdoor).then(pl.col("attack_detectors")).otherwise(pl.lit([], dtype=pl.List(pl.String))),
        pl.when(copied).then(pl.col("copy_detectors")).otherwise(pl.lit([], dtype=pl.List(pl.String))),
        pl.when(label).then(pl.col("label_detectors")).otherwise(pl.lit([], dtype=pl.List(pl.String))),
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
                pl.col("attack_detectors").list.join(", "),
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
        detectors.alias("detectors"),
        reason.fill_null("").alias("reason"),
    )  # fmt: skip


_NEEDED = ["row", "detector", "embedder", "score", "p_value", "posterior", "group"]
_EMPTY: dict[str, pl.DataType | type[pl.DataType]] = {
    "attack": pl.Float64,
    "copied": pl.Float64,
    "wrong": pl.Float64,
    "hint": pl.Float64,
    "p_row": pl.Float64,
    "attack_detectors": pl.List(pl.String),
    "copy_detectors": pl.List(pl.String),
    "label_detectors": pl.List(pl.String),
}


def _summed(seen: pl.DataFrame, decide: Decide) -> pl.DataFrame:
    """Per row: posteriors of an attack, of copies and of a wrong label, rank, smallest p-value, accusing detectors."""
    attack, label = pl.col("kind") != str(Kind.LABEL), pl.col("kind") == str(Kind.LABEL)
    copies = (pl.col("kind") == str(Kind.DUPLICATE)).alias("copies")
    posterior = pl.col("posterior").cast(pl.Float64).clip(0, 1)
    accuses = attack & pl.col("suspicious")
    # Ranks rows that are not flagged, by how unusual both they and their group are; a wrong label counts for less.
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
        pl.col("detector").filter(accuses & ~copies & (posterior >= 0.1)).unique().sort().alias("attack_detectors"),
        pl.col("detector").filter(accuses & copies & (posterior >= 0.1)).unique().sort().alias("copy_detectors"),
        pl.col("detector")
        .filter(label & (posterior >= decide.label_posterior))
        .unique()
        .sort()
        .alias("label_detectors"),
    )
    return attacked.join(others, on="row")


def samples(judged: pl.DataFrame, dataset: Dataset) -> pa.Table:
    """A judged shard in the schema of tables.samples."""
    id_type = pa.type_for_alias(dataset.id_type) if dataset.id_type else None
    schema = tables.samples(id_type)
    return judged.select(schema.names).to_arrow().cast(schema)
