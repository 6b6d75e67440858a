"""Tables as vectors: the same fit in any order and any sharding, finite numbers whatever the cells hold."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foretaste.dataset.payload import Payload
from foretaste.embedders import features
from foretaste.embedders.features import Features, Numbers, Strings, normal_scores, ordered
from foretaste.errors import NotApplicable, PlanError
from foretaste.types.dataset import Dataset, Modality, Roles
from foretaste.types.digests import Digest

CPU = torch.device("cpu")


def payload(table, first=0):
    row = torch.arange(first, first + len(table))
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    columns = {name: one.combine_chunks() if isinstance(one, pa.ChunkedArray) else one for name, one in columns.items()}
    roles = Roles(Modality.FEATURES, tuple(table.column_names))
    return Payload(row, torch.zeros_like(row), columns, roles, "f, row group 0")


def fit(*tables, **settings):
    dataset = Dataset("", (), (), Roles(Modality.FEATURES, tuple(tables[0].column_names)), (), (), Digest("a", "b"))
    return Features(**settings).fit([payload(table) for table in tables], dataset, CPU)


def people(rows=500, seed=0):
    draw = np.random.default_rng(seed)
    gain = np.where(draw.random(rows) < 0.92, 0, draw.lognormal(8, 1, rows).round())
    gain[draw.random(rows) < 0.01] = 99999
    age = draw.integers(17, 90, rows).astype(float)
    age[draw.random(rows) < 0.05] = np.nan
    return pa.table(
        {
            "gain": gain,
            "age": pa.array(age, from_pandas=True),
            "weight": draw.normal(1e6, 1.0, rows),
            "member": draw.random(rows) < 0.3,
            "work": pa.array(draw.choice(["a", "b", "c", None], rows, p=[0.6, 0.3, 0.08, 0.02])),
        }
    )


def test_embeds_finite_numbers_of_one_scale():
    table = people()
    encoder = fit(table)
    batch = encoder.embed(payload(table))
    assert batch.embedding.shape == (500, encoder.dim)
    assert batch.embedding.dtype == torch.float32
    assert bool(batch.embedding.isfinite().all())
    assert encoder.names[:5] == ("gain", "age", "age missing", "weight", "member")
    assert encoder.names[5:] == ("work = a", "work = b", "work = c", "work missing")
    numbers = batch.embedding[:, [0, 3, 4]]
    assert torch.allclose(numbers.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(numbers.std(0, correction=0), torch.ones(3), atol=1e-5)
    assert numbers.abs().max() < 12  # 99999 beside 92 % zeros


def test_a_row_embeds_alone_as_in_any_batch():
    table = people(60)
    encoder = fit(table)
    together = encoder.embed(payload(table)).embedding
    alone = torch.cat([encoder.embed(payload(table.slice(row, 1))).embedding for row in range(60)])
    assert torch.equal(alone, together)
    assert encoder.embed(payload(table.slice(0, 0))).embedding.shape == (0, encoder.dim)


def test_fit_does_not_depend_on_order_or_sharding(monkeypatch):
    monkeypatch.setattr(features, "BUCKETS", 64)
    monkeypatch.setattr(features, "DISTINCT", 3)
    table = people()
    shuffled = table.take(np.random.default_rng(1).permutation(len(table)))
    whole = fit(table)
    for shards in ([shuffled], [shuffled.slice(at, 37) for at in range(0, 500, 37)], [table.slice(0, 0), table]):
        other = fit(*shards)
        assert other.digest == whole.digest
        assert torch.equal(other.embed(payload(table)).embedding, whole.embed(payload(table)).embedding)


number = st.floats(width=64) | st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2**-52, -1.0, 5e-324, 1.7e308, -1.7e308])


@settings(deadline=None)
@given(st.lists(number, max_size=60), st.data())
def test_numbers_add_up_to_the_same_counts_in_any_grouping(values, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "BUCKETS", 5)
        whole = Numbers.of(pa.array(values, pa.float64()))
        order = data.draw(st.permutations(values))
        cut = data.draw(st.integers(0, len(values)))
        left, right = (Numbers.of(pa.array(part, pa.float64())) for part in (order[:cut], order[cut:]))
        both = left + right
        singles = sum((Numbers.of(pa.array([value], pa.float64())) for value in order), Numbers())
    for other in (both, singles):
        assert torch.equal(other.key, whole.key)
        assert torch.equal(other.rows, whole.rows)
        assert (other.missing, other.shift) == (whole.missing, whole.shift)
    finite = [value for value in values if math.isfinite(value)]
    assert len(whole.key) <= 5
    assert int(whole.rows.sum()) == len(finite)
    codes = ordered(torch.tensor(finite, dtype=torch.float64)).tolist()
    assert whole.shift == 0 or len({code >> whole.shift - 1 for code in codes}) > 5  # the least shift that will do


@given(st.lists(st.floats(allow_nan=False), min_size=2, unique=True))
def test_codes_are_in_the_order_of_the_numbers(values):
    codes = ordered(torch.tensor(sorted(set(values)), dtype=torch.float64))
    assert bool((codes[1:] > codes[:-1]).all())


def test_strings_add_up_and_stop_counting_beyond_the_limit(monkeypatch):
    monkeypatch.setattr(features, "DISTINCT", 3)
    parts = [Strings.of(pa.array(part)) for part in (["a", "b", None], ["b", "c"], ["a"])]
    assert (
        parts[0] + (parts[1] + parts[2])
        == (parts[2] + parts[0]) + parts[1]
        == Strings.of(pa.array([*list("abbca"), None]))
    )
    beyond = parts[0] + parts[1] + Strings.of(pa.array(["d"]))
    assert beyond.rows is None
    assert beyond + Strings() == beyond == Strings() + beyond


def test_normal_scores_are_symmetric_and_standard():
    score = normal_scores(torch.tensor([3, 5, 3]))
    assert score[1] == pytest.approx(0)
    assert score[0] == pytest.approx(-score[2])
    assert (torch.tensor([3, 5, 3]) * score**2).sum() / 11 == pytest.approx(1)


def test_an_offset_does_not_blur_a_column():
    small = torch.randn(3000, generator=torch.Generator().manual_seed(0)).double()
    one, other = (fit(pa.table({"x": (small + offset).numpy()})) for offset in (0, 1e6))
    assert len(one.columns["x"].counts.key) == len(other.columns["x"].counts.key) == 3000


def test_missing_and_infinite_numbers_stand_at_the_mean_and_say_so():
    table = pa.table({"x": pa.array([1.0, 2.0, 3.0, None, math.nan, math.inf, -math.inf])})
    encoder = fit(table)
    embedding = encoder.embed(payload(table)).embedding
    assert encoder.names == ("x", "x missing")
    assert embedding[3:].tolist() == [[0, 1]] * 4
    assert embedding[:3, 1].tolist() == [0, 0, 0]


def test_of_a_constant_number_only_its_absence_is_kept():
    table = pa.table({"x": pa.array([5.0, 5.0, None])})
    assert fit(table).names == ("x missing",)
    assert fit(table).embed(payload(table)).embedding.tolist() == [[0], [0], [1]]


def test_numbers_and_strings_the_fit_has_not_seen_stay_finite():
    encoder = fit(pa.table({"x": [1, 2, 3] * 10, "s": ["a", "b", "c"] * 10}))
    strange = pa.table({"x": pa.array([-(2**60), 2**60, None]), "s": pa.array(["new", None, "\u200b"])})
    embedding = encoder.embed(payload(strange)).embedding
    assert bool(embedding.isfinite().all())
    assert embedding[0, 0] == -embedding[1, 0] < 0
    assert embedding[:, 1:].abs().sum() == 0


def test_rare_strings_share_a_dimension():
    table = pa.table({"s": ["a"] * 20 + ["b"] * 10 + [f"rare {row}" for row in range(9)]})
    assert fit(table).names == ("s = a", "s = b", "s other")
    assert fit(table, values=1).names == ("s = a", "s other")
    assert fit(table, rows=11).names == ("s = a", "s other")
    assert fit(table).embed(payload(table)).embedding.sum(1).tolist() == [1] * 39


def test_the_reasons_of_many_columns_are_abbreviated():
    with pytest.raises(NotApplicable) as caught:
        fit(pa.table({f"f{place:03}": ["same"] * 20 for place in range(100)}))
    assert "'f011': constant; and 88 more)" in str(caught.value)


def test_drops_what_tells_nothing_and_says_why():
    rows = range(40)
    table = pa.table(
        {
            "x": list(rows),
            "constant": [7] * 40,
            "one word": ["a"] * 40,
            "id": [f"row {row}" for row in rows],
            "empty": pa.array([math.nan] * 40),
            "null": pa.nulls(40),
            "list": [[row] for row in rows],
        }
    )
    encoder = fit(table)
    assert encoder.names == ("x",)
    assert dict(encoder.dropped) == {
        "constant": "constant",
        "one word": "constant",
        "id": "no string in 10 rows",
        "empty": "holds no finite number",
        "null": "its type null is neither a number, a date nor a string",
        "list": "its type list<item: int64> is neither a number, a date nor a string",
    }
    with pytest.raises(NotApplicable, match="'id': no string in 10 rows"):
        fit(table.select(["constant", "id"]))
    with pytest.raises(NotApplicable):
        fit(table.slice(0, 0))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([True, False, None]),
        pa.array([1, 2, None], pa.uint8()),
        pa.array([2**63, 2**64 - 1, None], pa.uint64()),
        pa.array(np.array([1, 2, 3], np.float16)),
        pa.array([Decimal("1.50"), Decimal("2.25"), None]),
        pa.array([datetime.date(2020, 1, 1), datetime.date(2021, 1, 1), None]),
        pa.array([datetime.datetime(2020, 1, 1), datetime.datetime(2021, 1, 1), None], pa.timestamp("us", "UTC")),
        pa.array([datetime.time(1), datetime.time(2), None], pa.time32("s")),
        pa.array([datetime.timedelta(1), datetime.timedelta(2), None]),
        pa.array(["a", "b", None], pa.large_string()),
        pa.array(["a", "b", None], pa.string_view()),
        pa.array(["a", "b", None]).dictionary_encode(),
        pa.Array.from_buffers(pa.string(), 3, pa.array([b"\xff", b"\xfe", b"a"]).buffers()),  # not UTF-8
    ],
    ids=lambda column: str(column.type),
)
def test_reads_every_type_of_number_date_and_string(column):
    table = pa.table({"x": column})
    embedding = fit(table, rows=1).embed(payload(table)).embedding
    assert bool(embedding.isfinite().all())
    assert len(embedding.unique(dim=0)) == 3


def test_digest_depends_on_data_and_settings():
    table = pa.table({"x": [1, 2, 3] * 10, "s": ["a", "b", "c"] * 10})
    digests = {
        fit(table).digest,
        fit(pa.table({"x": [1, 2, 4] * 10, "s": ["a", "b", "c"] * 10})).digest,
        fit(pa.table({"x": [1, 2, 3] * 10, "s": ["a", "b", "d"] * 10})).digest,
        fit(pa.table({"y": [1, 2, 3] * 10, "s": ["a", "b", "c"] * 10})).digest,
        fit(table.select(["s", "x"])).digest,
        fit(table, values=2).digest,
    }
    assert len(digests) == 6
    with pytest.raises(PlanError):
        Features(rows=0)
