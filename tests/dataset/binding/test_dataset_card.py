"""A card may name the data, and nothing else."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from foretaste.dataset.binding import dataset_card

DATA = ("a.parquet", "data/train-0.parquet", "data/train-1.parquet")


def misleads(folder: Path, text: str, name: str = "README.md") -> str | None:
    for one in DATA:
        (folder / one).parent.mkdir(exist_ok=True)
        (folder / one).write_bytes(b"PAR1")
    (folder / name).write_text(text)
    return dataset_card.misleads(str(folder / name), [str(folder / one) for one in DATA])


def card(*lines: str) -> str:
    return "\n".join(("---", *lines, "---", "# Words", "data_files: ../elsewhere"))


@pytest.mark.parametrize(
    "text",
    [
        "# Words\n---\ndata_files: ../x\n---\n",
        card("license: mit"),
        card("dataset_info:", "  features:", "  - name: x", "    dtype: int64"),
        card("configs:", "- config_name: default", "  data_files:", "  - split: train", "    path: data/train-*"),
        card("configs:", "- data_files: {train: [a.parquet, ./data/*.parquet]}"),
        card("configs:", "- data_files: '**'"),
        card("configs:", "- data_dir: data", "  data_files: 'train-*'"),
        card("configs:", "- data_files: nothing-there-*.parquet"),
        card(""),
    ],
)
def test_a_card_that_names_the_data(text: str, tmp_path: Path):
    (tmp_path / ".hidden.csv").write_text("x")
    assert misleads(tmp_path, text) is None
    assert misleads(tmp_path, text.replace("\n", "\r\n")) is None


@pytest.mark.parametrize(
    "named",
    [
        "../e.parquet", "/e.parquet", "~/e.parquet", "https://example.com/e.parquet", "hf://datasets/a/b/e.parquet",
        "zip://e.csv::a.zip", "data/../../e.parquet", "LICENSE", "'*.txt'", ".hidden.csv", "'**'", "data/**",
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["data_files: {}", "data_files: {{train: {}}}", "data_files: [{{split: x, path: {}}}]"])
def test_a_card_that_names_anything_else(key: str, named: str, tmp_path: Path):
    for other in ("LICENSE", "x.txt", ".hidden.csv"):
        (tmp_path / other).write_text("x")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.bin").write_text("x")
    said = misleads(tmp_path, card("configs:", f"- {key.format(named)}"))
    assert said is not None
    assert said.startswith("datasets would read '")


def test_a_folder_elsewhere(tmp_path: Path):
    assert misleads(tmp_path, card("configs:", "- data_dir: ../x"))
    assert misleads(tmp_path, card("configs:", "- data_dir: data", "  data_files: ../../x"))


def test_settings_without_a_card(tmp_path: Path):
    assert misleads(tmp_path, "configs:\n- data_files: ../x\n", ".huggingface.yaml")
    assert misleads(tmp_path, "configs:\n- data_files: a.parquet\n", ".huggingface.yaml") is None


@pytest.mark.parametrize(
    "text",
    [
        card("configs: ["),
        card("a" * (dataset_card.SIZE + 1)),
        card("x: [a"),
        card("configs:", "- ? [data_files]", "  : ../x"),
    ],
)
def test_what_cannot_be_understood_is_no_card_of_the_data(text: str, tmp_path: Path):
    assert misleads(tmp_path, text) == "which files datasets would read by this YAML cannot be said: remove it"


def test_a_list_that_repeats_itself_a_billion_times(tmp_path: Path):
    lines = ["a: &a [x, x]"]
    lines += [f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in pairwise("abcdefghij")]
    assert misleads(tmp_path, card(*lines)) is None
    assert misleads(tmp_path, card(*lines, "configs:", "- data_files: *j"))


def test_names_that_stand_elsewhere(tmp_path: Path):
    assert misleads(tmp_path, card("x: &x ../e.parquet", "configs:", "- data_files: *x"))
    assert misleads(tmp_path, card("x: &x data_files", "configs:", "- *x : ../e.parquet"))
    assert misleads(tmp_path, card("x: &x {data_files: ../e.parquet}", "configs:", "- <<: *x"))
    assert misleads(tmp_path, card("configs:", "- ? data_files", "  : ../e.parquet"))
    assert misleads(tmp_path, card("configs:", "- data_files: a.parquet", "  data_files: ../e.parquet"))


@pytest.mark.parametrize("text", ["[" * 99_999, "{a: " * 99_999, "\n" + "- " * 99_999])
def test_a_million_lists_in_one_another(text: str, tmp_path: Path):
    assert (
        misleads(tmp_path, card(f"x: {text}"))
        == "which files datasets would read by this YAML cannot be said: remove it"
    )
