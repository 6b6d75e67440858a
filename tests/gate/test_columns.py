"""What a job reads must be what was audited, above all where somebody chose the columns of the audit."""

from __future__ import annotations

import pytest

from foretaste.errors import PlanError
from foretaste.gate.columns import AuditedColumns, Reading, reading, refusals

PICTURES = AuditedColumns("image", ("image",), "label")
PAIRS = AuditedColumns("pair", ("prompt", "response"), None)
TABLE = AuditedColumns("features", ("a", "b", "c"), "income")


def job(**said):
    return reading(said, "a gate:")


@pytest.mark.parametrize(
    ("audited", "said"),
    [
        (PICTURES, None),
        (PICTURES, job(image="image")),
        (PICTURES, job(image="image", label="label")),
        (AuditedColumns("image", ("image",), "label", chosen=("id", "source")), None),
        (AuditedColumns("image", ("image",), "label", chosen=("image", "label")), job(image="image", label="label")),
        (AuditedColumns("image", ("image",), "label", unread=("caption",)), job(image="image")),
        (PAIRS, job(prompt="prompt", response="response", label="")),
        (TABLE, job(features=("a", "c"), label="income")),
    ],
    ids=str,
)
def test_what_was_audited_may_be_read(audited, said):
    assert refusals(audited, said) == []


@pytest.mark.parametrize(
    ("audited", "said", "why"),
    [
        (PICTURES, job(image="pixels"), "the job reads image = pixels, and the audit read image = image"),
        (PICTURES, job(text="image"), "the job reads text = image, and the audit read image = image"),
        (PICTURES, job(label="annotation"), "the job reads label = annotation, and the audit label = label"),
        (PICTURES, job(label=""), "the job reads no label, and the audit label = label"),
        (PAIRS, job(prompt="prompt", response="response", label="kind"), "label = kind, and the audit no label"),
        (TABLE, job(features=("a", "d")), "the job reads features = a, d, and the audit read features = a, b, c"),
        (
            AuditedColumns("image", ("image",), "fold", chosen=("label",)),
            None,
            "somebody chose that the audit read label = fold: say what the job reads (--label)",
        ),
        (
            AuditedColumns("features", ("noise",), "label", chosen=("features",)),
            job(label="label"),
            "somebody chose the columns that the audit read (features = noise): say what the job reads",
        ),
        (
            AuditedColumns("image", ("image",), "label", unread=("pixels",)),
            None,
            "the audit read image = image and nobody looked at pixels: say what the job reads (--image, …)",
        ),
    ],
    ids=str,
)
def test_anything_else_is_refused_with_its_reason(audited, said, why):
    (reason,) = refusals(audited, said)
    assert why in reason


def test_an_attestation_that_names_no_columns_is_of_no_use_to_a_job_that_does():
    assert refusals(None, None) == []
    assert refusals(None, job(label="label")) == [
        "the attestation does not say which columns were audited: run the audit again"
    ]


def test_nothing_said_is_nothing():
    assert job(image="", features="") is None
    assert job() is None
    assert job(features=(), label=None) is None
    assert job(label="") == Reading(label="")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"image": "a", "text": "b"}, "one kind, got image and text"),
        ({"image": 7}, "image must be the name of a column, got 7"),
        ({"features": [1]}, "features must be the name of a column"),
    ],
)
def test_what_contradicts_itself_is_an_error(said, why):
    with pytest.raises(PlanError, match=why):
        reading(said, "a gate:")
