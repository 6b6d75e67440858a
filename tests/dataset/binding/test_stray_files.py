"""Nobody reads other rows than those that were attested, unless the gate refuses the folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import readers
from benchmarks.readers import KINDS, Kind, parquet, scene
from foretaste.dataset.binding.stray_files import beside, sentences
from foretaste.dataset.files import find

NOTHING = Kind("nothing", "", lambda _: None)
INSTALLED = readers.installed()


def strays(*places: Path, named: tuple[str, ...] = ()) -> list[str]:
    said = [str(place) for place in places]
    root, found = find(said)
    return [stray.name for stray in beside(said, root, found, lambda: named)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_gate_refuses_what_any_reader_takes_in(kind: Kind, tmp_path: Path):
    data = scene(tmp_path, kind)
    assert readers.refused(data) == kind.gate
    misled = [name for name, ways in INSTALLED.items() if readers.misled(data, ways)]
    assert kind.gate or not misled


@pytest.mark.parametrize("name", sorted(readers.READERS))
def test_a_reader_sees_what_makes_it_worth_refusing(name: str, tmp_path: Path):
    if name not in INSTALLED:
        pytest.skip(f"{name} is not installed")
    assert not readers.misled(scene(tmp_path, NOTHING), INSTALLED[name])
    parquet(tmp_path / "data" / "b.parquet")
    assert readers.misled(tmp_path / "data", INSTALLED[name])


def test_the_table_of_the_documentation_names_every_kind():
    said = Path(readers.__file__).parents[1].joinpath("docs", "gate.md").read_text(encoding="utf-8")
    words = {"data": "audited as data", "stray": "refused", "": "allowed"}
    for kind in KINDS:
        [row] = [line for line in said.splitlines() if line.startswith(f"| {kind.name} |")]
        assert row.endswith(f"| {words[kind.gate]} |")


def test_each_is_named_with_its_reader(tmp_path: Path):
    data = tmp_path / "data"
    for name in ("a.parquet", "_b.parquet", ".c.parquet"):
        parquet(data / name)
    (data / "train.csv").write_text("x\n1\n")
    root, found = find([str(data)])
    assert sentences(beside([str(data)], root, found, tuple)) == (
        ".c.parquet: polars, DuckDB and Dask would read this hidden Parquet file, which was not audited: "
        "move it out of the folder",
        "_b.parquet: datasets, polars, DuckDB and Dask would read this hidden Parquet file, which was not audited: "
        "move it out of the folder",
        "train.csv: datasets may read it instead of the Parquet files, and it was not audited: "
        "move it out of the folder",
    )


def test_many_are_counted(tmp_path: Path):
    for number in range(20):
        parquet(tmp_path / f"_{number:02}.parquet")
    parquet(tmp_path / "a.parquet")
    root, found = find([str(tmp_path)])
    said = sentences(beside([str(tmp_path)], root, found, tuple))
    assert len(said) == 9
    assert said[-1] == "12 more files beside the data were not audited, the last is _19.parquet"


def test_beside_a_single_file_nothing_matters(tmp_path: Path):
    for name in ("a.parquet", "_b.parquet"):
        parquet(tmp_path / name)
    assert strays(tmp_path / "a.parquet") == []
    assert strays(tmp_path / "_b.parquet") == []
    assert strays(tmp_path) == ["_b.parquet"]


def test_of_a_glob_only_what_it_matches_matters(tmp_path: Path):
    for name in ("a.parquet", "_b.parquet", "sub/_c.parquet"):
        parquet(tmp_path / name)
    (tmp_path / "train.csv").write_text("x\n1\n")
    assert strays(tmp_path / "*.parquet") == ["_b.parquet"]
    assert strays(tmp_path / "a*") == []
    assert strays(tmp_path / "**" / "*.parquet") == ["_b.parquet", "sub/_c.parquet"]
    assert strays(tmp_path / "*") == ["_b.parquet", "sub/_c.parquet", "train.csv"]


def test_what_another_place_names_is_data(tmp_path: Path):
    for name in ("x/a.parquet", "x/_b.parquet", "y/c.parquet"):
        parquet(tmp_path / name)
    assert strays(tmp_path / "x", tmp_path / "x" / "_b.parquet", tmp_path / "y") == []
    assert strays(tmp_path / "x", tmp_path / "y") == ["x/_b.parquet"]


def test_pictures_that_rows_name_are_no_strays(tmp_path: Path):
    parquet(tmp_path / "a.parquet")
    for number in range(3):
        (tmp_path / f"train_{number}.png").write_bytes(b"x")
    named = tuple(f"./train_{number}.png" for number in range(3))
    assert strays(tmp_path, named=named) == []
    assert strays(tmp_path, named=named[:2]) == ["train_2.png"]


def test_a_clone_of_a_repository_has_its_data_twice(tmp_path: Path):
    parquet(tmp_path / "a.parquet")
    parquet(tmp_path / ".git" / "lfs" / "objects" / "ab" / "abcd")
    (tmp_path / ".gitattributes").write_text("*.parquet filter=lfs")
    assert strays(tmp_path) == []
    parquet(tmp_path / ".git" / "x.parquet")
    assert strays(tmp_path) == [".git/x.parquet"]


def test_forks_of_a_file_hold_no_rows(tmp_path: Path):
    """macOS writes them beside every file on foreign file systems."""
    parquet(tmp_path / "a.parquet")
    (tmp_path / "._a.parquet").write_bytes(b"\0\5\x16\7")
    assert strays(tmp_path) == []


def test_behind_a_url(tmp_path: Path):
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("a.parquet", "_b.parquet", "train.csv"):
        parquet(tmp_path / name) if name.endswith("parquet") else (tmp_path / name).write_text("x\n1\n")
        memory.pipe(f"/beside/{name}", (tmp_path / name).read_bytes())
    try:
        root, found = find(["memory://beside"])
        said = beside(["memory://beside"], root, found, tuple)
        assert [stray.name for stray in said] == ["_b.parquet", "train.csv"]
    finally:
        memory.rm("/beside", recursive=True)


def test_a_summary_of_many_files(tmp_path: Path):
    named: list = []
    for name in ("a.parquet", "k=1/b.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"x": [1]}), tmp_path / name, metadata_collector=named)
        named[-1].set_file_path(name)
    named[0].append_row_groups(named[1])
    named[0].write_metadata_file(tmp_path / "_metadata")
    assert strays(tmp_path) == []
    (tmp_path / "k=1" / "b.parquet").rename(tmp_path / "b.parquet")
    assert strays(tmp_path) == ["_metadata"]
