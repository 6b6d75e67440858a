"""What a row's digest depends on, and what it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foretaste.dataset.manifest import NAME, of_dataset, request, stored
from foretaste.dataset.parquet import open_dataset
from foretaste.dataset.roles import Request
from foretaste.errors import DataError, PlanError
from foretaste.types import tables

FEATURES = Request(features=("a", "b", "c"), label="label")


def rows(table: pa.Table, place: Path, said: Request = FEATURES, **how: object) -> list[tuple[int, int]]:
    """The digest of each row's payload, once the table is stored this way."""
    place.mkdir(parents=True)
    pq.write_table(table, place / "data.parquet", **how)
    of_dataset([str(place / "data.parquet")], str(place / "rows.parquet"), request=said)
    return pl.read_parquet(place / "rows.parquet").select("payload_high", "payload_low").rows()


def table(**changes: object) -> pa.Table:
    columns = {
        "a": pa.array([1, 2, None, -4], pa.int64()),
        "b": pa.array([0.5, -0.0, float("nan"), None], pa.float64()),
        "c": pa.array(["x", "", None, "ä"]),
        "label": pa.array([0, 1, 0, 1]),
    }
    return pa.table(columns | changes)


STORED = {
    "one row a group": (table(), {"row_group_size": 1}),
    "no dictionary, brotli": (table(), {"use_dictionary": False, "compression": "brotli"}),
    "narrow": (
        table(a=pa.array([1, 2, None, -4], pa.int8()), b=pa.array([0.5, 0.0, float("nan"), None], pa.float32())),
        {},
    ),
    "a dictionary": (table(c=pa.array(["x", "", None, "ä"]).dictionary_encode()), {}),
    "large strings": (table(c=pa.array(["x", "", None, "ä"], pa.large_string())), {}),
    "string views": (table(c=pa.array(["x", "", None, "ä"], pa.string_view())), {}),
    "other column order": (table().select(["c", "label", "a", "b"]), {}),
    "another column more": (table(more=pa.array([1, 2, 3, 4])), {}),
}


@pytest.mark.parametrize("way", STORED)
def test_a_digest_does_not_depend_on_how_a_row_is_stored(way: str, tmp_path: Path) -> None:
    other, how = STORED[way]
    assert rows(other, tmp_path / "other", **how) == rows(table(), tmp_path / "one")


OTHER = {
    "a number": table(a=pa.array([1, 2, None, -5])),
    "a fraction": table(b=pa.array([0.5, 0.0, float("nan"), 0.0])),
    "a letter": table(c=pa.array(["x", "", None, "a"])),
    "something missing": table(c=pa.array(["x", "", None, None])),
}


@pytest.mark.parametrize("what", OTHER)
def test_a_digest_depends_on_every_value(what: str, tmp_path: Path) -> None:
    one, other = rows(table(), tmp_path / "one"), rows(OTHER[what], tmp_path / "other")
    assert other[:3] == one[:3]
    assert other[3] != one[3]


def test_what_is_missing_is_not_what_is_empty_and_borders_count(tmp_path: Path) -> None:
    texts = pa.table({"p": ["ab", "a", None, ""], "r": ["c", "bc", "", None]})
    found = rows(texts, tmp_path / "one", Request(prompt="p", response="r", label=""))
    assert len(set(found)) == 4


def test_vectors_are_numbers_whatever_they_are_stored_as(tmp_path: Path) -> None:
    value = np.arange(24, dtype=np.float32).reshape(4, 6) / 8
    said = Request(embedding="v", label="")
    ways = [
        pa.FixedSizeListArray.from_arrays(pa.array(value.ravel()), 6),
        pa.array(value.astype(np.float64).tolist(), pa.list_(pa.float64())),
        pa.array(value.astype(np.float16).tolist(), pa.large_list(pa.float16())),
    ]
    found = [rows(pa.table({"v": one}), tmp_path / str(at), said) for at, one in enumerate(ways)]
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == 4


def test_unsigned_numbers_are_no_negative_ones(tmp_path: Path) -> None:
    said = Request(features=("a",), label="")
    big = rows(pa.table({"a": pa.array([2**64 - 1, 5], pa.uint64())}), tmp_path / "u", said)
    small = rows(pa.table({"a": pa.array([-1, 5], pa.int64())}), tmp_path / "i", said)
    assert big[0] != small[0]
    assert big[1] == small[1]


def test_chats_and_pictures(tmp_path: Path) -> None:
    chats = pa.table({"messages": [[{"role": "user", "content": one}] for one in "aab"]})
    found = rows(chats, tmp_path / "chat", Request(messages="messages", label=""))
    assert found[0] == found[1] != found[2]
    held = pa.array([{"bytes": b"one", "path": "x"}, {"bytes": b"one", "path": None}, {"bytes": b"two", "path": "x"}])
    found = rows(pa.table({"image": held}), tmp_path / "image", Request(image="image", label=""))
    assert found[0] == found[1] != found[2]  # of a picture that a row holds, the path is but a name


def test_what_a_path_reads_is_digested_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    (tmp_path / "b.png").write_bytes(b"one")
    paths = ["a.png", "b.png", "gone.png", "../a.png", f"file://{tmp_path}/a.png"]
    pq.write_table(pa.table({"image": paths}), tmp_path / "data.parquet")
    of_dataset([str(tmp_path / "data.parquet")], str(tmp_path / "m"), request=Request(image="image", label=""))
    found = pl.read_parquet(tmp_path / "m")
    assert found["payload_high"].n_unique() == 5
    assert found["target_high"].is_null().to_list() == [False, False, True, True, True]
    assert found["target_high"][0] == found["target_high"][1]


def test_an_audit_writes_every_row_and_costs_next_to_nothing(audited) -> None:
    run = audited("digits_badnets")
    found = stored(str(run.folder))
    assert found is not None
    frame = pq.read_table(run.folder / NAME)
    assert frame.schema.equals(tables.manifest(pa.int64()))
    assert frame["row"].to_pylist() == list(range(1797))
    assert found.facts["digest"] == run.report["dataset"]["digest"]
    assert run.report["seconds"]["digest"] < 0.03 * sum(run.report["seconds"].values())


@pytest.mark.parametrize(
    "said",
    [
        FEATURES,
        Request(prompt="c,d", response="e", label="", source="a"),
        Request(text="c", label="label", id="a"),
    ],
)
def test_another_dataset_can_be_read_the_same_way(said: Request, tmp_path: Path) -> None:
    pq.write_table(table(d=["p"] * 4, e=["q"] * 4), tmp_path / "data.parquet")
    of_dataset([str(tmp_path / "data.parquet")], str(tmp_path / "m"), request=said)
    found = stored(str(tmp_path / "m"))
    assert found is not None
    again = open_dataset([str(tmp_path / "data.parquet")], request=request(found.facts["roles"]))
    assert again.roles == open_dataset([str(tmp_path / "data.parquet")], request=said).roles


def test_a_manifest_is_complete_or_absent(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "data.parquet")
    with pytest.raises(PlanError, match="no column 'z'"):
        of_dataset([str(tmp_path / "data.parquet")], str(tmp_path / "m"), request=Request(text="z"))
    with pytest.raises(PlanError, match="must be a new file"):
        of_dataset([str(tmp_path / "data.parquet")], str(tmp_path / "data.parquet"), request=FEATURES)
    assert [path.name for path in tmp_path.iterdir()] == ["data.parquet"]
    assert stored(str(tmp_path / "data.parquet")) is None
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(DataError, match=r"wrote no rows\.parquet"):
        stored(str(tmp_path))
