import json
from pathlib import Path

import pytest
import torch
from hostile import EVIL

from foretaste.errors import DataError
from foretaste.report.document import document, plain, read, text

KEYS = [
    "verdict", "reason", "rows", "flagged", "dataset", "roles", "ordinary", "runs", "groups",
    "counts", "notes", "power", "false_alarms", "versions", "seconds", "plan",
]  # fmt: skip


def test_the_shape_that_other_tools_read(report):
    found = json.loads(text(document(report)))
    assert list(found) == KEYS
    assert found["verdict"] == "failed"
    assert found["dataset"]["files"] == [
        {"name": "train.parquet", "rows": 200, "size": 12_345, "digest": "sha256:" + "ab" * 32}
    ]
    named = {"modality": "image", "payload": ["img"], "label": "label", "id": None, "source": None}
    assert found["roles"] == named | {"chosen": [], "unaudited": {EVIL: "texts"}, "unread": [EVIL]}
    assert list(found["runs"][2].values()) == ["tokens", "text", "not applicable", "the rows are pictures", 0.0, 0]
    assert list(found["runs"][2]) == ["detector", "embedder", "status", "reason", "seconds", "rows"]
    assert set(found["groups"][0]) == {"kind", "label", "rows", "p_value", "detectors", "reason", "evidence"}


def test_no_number_is_nan_or_infinite(report):
    found = json.loads(text(document(report)), parse_constant=pytest.fail)
    assert found["groups"][0]["evidence"] == {"z": None, "axis": [1, 2.5]}
    assert found["runs"][1]["seconds"] is None


def test_the_text_drives_no_terminal(report):
    assert all(" " <= character <= "~" or character == "\n" for character in text(document(report)))


def test_plain_values():
    odd = {
        "t": torch.tensor([1.0, float("nan")]),
        "s": frozenset({"b", "a"}),
        3: (True, None),
        "p": Path("x"),
        "n": torch.tensor(2),
    }
    assert plain(odd) == {"t": [1.0, None], "s": ["a", "b"], "3": [True, None], "p": "x", "n": 2}


def test_read_gives_back_what_was_written(report, tmp_path):
    (tmp_path / "report.json").write_text(text(document(report)))
    assert read(tmp_path) == json.loads(text(document(report)))


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"verdict": "passed"}', "[" * 200_000, "\x00"])
def test_read_refuses_in_one_sentence_what_is_no_report(content, tmp_path):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(DataError, match=r"report\.json"):
        read(tmp_path)
