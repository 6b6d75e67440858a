"""Where a planted pattern is and what it is; nothing, where rows have nothing in common."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate
from torch.testing import assert_close

from auditors import evidence
from auditors.attacks import badnets, blended, sig
from auditors.localise import NOTHING, common_pattern, heat, place, smallest_box, spread
from auditors.source import open_dataset, payloads
from auditors.values import Group, Kind

DATA = Path(__file__).parents[1] / "data"


@cache
def photographs(count=500, size=32, classes=4):
    """Smooth random colours, each class with a middle of its own."""
    draw = torch.Generator().manual_seed(0)
    label = torch.arange(count) % classes
    middle = torch.randn(classes, 3, 4, 4, generator=draw)
    coarse = 0.7 * middle[label] + torch.randn(count, 3, 4, 4, generator=draw)
    fine = 0.3 * torch.randn(count, 3, 16, 16, generator=draw)
    smooth = sum(interpolate(one, size=(size, size), mode="bicubic", align_corners=True) for one in (coarse, fine))
    return (128 + 45 * smooth).clamp(0, 255).to(torch.uint8), label


@cache
def digits():
    dataset = open_dataset([str(DATA / "digits.parquet")])
    parts = [(payload.images(32)[0], payload.label) for payload in payloads(dataset)]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def found(attack, world, *, count=40, **settings):
    """The pattern of the planted rows, what was really added to them, and whether it is there."""
    images, label = world
    after = attack.plant(images, label, target=3, count=count, seed=1, **settings)
    rest = after.payload[~after.poisoned]
    own = after.payload[(after.label == 3) & ~after.poisoned]
    added = (after.payload[after.poisoned].float() - images[after.poisoned].float()).mean(0)
    return common_pattern(after.payload[after.poisoned], own[:256], rest[:: -(-len(rest) // 256)]), added


def likeness(pattern, added):
    return float(torch.corrcoef(torch.stack([pattern.picture.float().flatten() - 128, added.flatten()]))[0, 1])


@pytest.mark.parametrize("world", [photographs, digits])
@pytest.mark.parametrize(
    ("where", "size", "box", "words"),
    [
        ("bottom-right", 3, (28, 28, 31, 31), "in the lower right corner"),
        ("top-left", 4, (1, 1, 5, 5), "in the upper left corner"),
        ("bottom-left", 5, (26, 1, 31, 6), "in the lower left corner"),
    ],
)
def test_a_patch_is_found_and_shown(world, where, size, box, words):
    pattern, _ = found(badnets, world(), place=where, size=size)
    assert (pattern.box, pattern.words) == (box, words)
    assert pattern.strength > 3 * NOTHING
    top, left, bottom, right = box
    assert torch.equal(pattern.picture[:, top:bottom, left:right], badnets.patch(size, "checkerboard"))
    outside = pattern.heat.clone()
    outside[top:bottom, left:right] = 0
    assert outside.max() < 0.7 * pattern.heat.max()


@pytest.mark.parametrize("attack", [blended, sig])
def test_a_faint_pattern_is_everywhere_and_recovered(attack):
    pattern, added = found(attack, photographs(), count=60)
    assert pattern.words == "over the whole picture"
    assert pattern.box == (0, 0, 32, 32)
    assert pattern.strength > NOTHING
    assert likeness(pattern, added) > 0.6


def test_rows_that_do_not_belong_to_the_group_change_little():
    images, label = photographs()
    after = badnets.plant(images, label, target=3, count=36, seed=1)
    inside = torch.cat([after.payload[after.poisoned], images[label == 3][:3]])
    pattern = common_pattern(inside, images[label == 3][3:], images[::2])
    assert pattern.words == "in the lower right corner"
    assert pattern.box == (28, 28, 31, 31)


@pytest.mark.parametrize("world", [photographs, digits])
@pytest.mark.parametrize("seed", range(6))
def test_random_rows_have_nothing_in_common(world, seed):
    images, label = world()
    own = images[label == seed % 4]
    own = own[torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))]
    pattern = common_pattern(own[:32], own[32:])
    assert pattern.strength < NOTHING
    assert pattern.words == ""


def test_a_pattern_is_whole_and_the_same_every_time():
    images, label = photographs()
    one, other = (common_pattern(images[label == 0][:20], images[label == 0][20:]) for _ in range(2))
    assert torch.equal(one.heat, other.heat)
    assert one.strength == other.strength
    for pattern in (one, found(badnets, photographs())[0]):
        assert pattern.heat.shape == (32, 32)
        assert (pattern.heat.min(), pattern.heat.max()) >= (0, 0)
        assert pattern.heat.max() <= 1
        assert (pattern.picture.shape, pattern.picture.dtype) == ((3, 32, 32), torch.uint8)


@pytest.mark.parametrize("picture", [0, 128, 255])
def test_identical_pictures_end_in_numbers(picture):
    same = torch.full((20, 3, 16, 16), picture, dtype=torch.uint8)
    varied = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for members, others in ((same, same), (same, varied), (varied, same)):
        pattern = common_pattern(members, others)
        assert bool(pattern.heat.isfinite().all())
        assert pattern.strength >= 0
    assert common_pattern(same, same).words == ""


def test_refuses_too_few_and_pictures_of_another_size():
    some = torch.zeros(10, 3, 8, 8, dtype=torch.uint8)
    for members, others in ((some[:3], [some]), (some, [some[:7]]), (some, [torch.zeros(10, 3, 9, 9)]), (some, [])):
        with pytest.raises(ValueError, match="needs"):
            common_pattern(members, *others)


def test_a_box_is_as_large_as_the_evidence():
    evidence = torch.full((24, 24), 0.01)
    evidence[3:8, 10:20] = 1
    assert smallest_box(evidence) == (3, 10, 8, 20)
    assert smallest_box(torch.ones(24, 24)) == (0, 0, 24, 24)
    assert smallest_box(torch.zeros(24, 24)) == (0, 0, 24, 24)
    assert smallest_box(torch.rand(24, 24, generator=torch.Generator().manual_seed(0))) == (0, 0, 24, 24)
    assert heat(evidence).max() == 1


def test_winsorised_moments_are_numpys_where_nothing_is_cut():
    pictures = torch.randint(256, (9, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    one = spread(pictures, 2.0)  # a tenth of nine rows is none
    assert_close(one.mean, pictures.float().mean(0))
    assert_close(one.std, (pictures.float().var(0) + 4).sqrt())


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 30, 30), "over the whole picture"),
        ((28, 28, 31, 31), "in the lower right corner"),
        ((0, 24, 5, 30), "in the upper right corner"),
        ((12, 12, 20, 20), "in the middle"),
        ((0, 0, 30, 4), "along the left edge"),
        ((12, 0, 18, 4), "along the left edge"),
        ((27, 2, 31, 30), "along the lower edge"),
        ((14, 0, 18, 32), "across the middle"),
    ],
)
def test_a_place_in_words(box, words):
    assert place(box, 32) == words


# In an audit


@pytest.fixture(scope="module")
def planted():
    """The shipped set with a patch, its samples as an audit would leave them, and the group."""
    dataset = open_dataset([str(DATA / "digits_badnets.parquet")])
    truth = pq.read_table(DATA / "truth" / "digits_badnets.parquet")["is_poisoned"].to_pylist()
    label = pq.read_table(DATA / "digits_badnets.parquet")["label"].to_pylist()
    rows = pl.DataFrame(
        {
            "row": range(len(truth)),
            "label": [str(one) for one in label],
            "flagged": truth,
            "kinds": [["backdoor"] if one else [] for one in truth],
            "risk": [float(one) for one in truth],
        }
    )
    return dataset, rows, Group(Kind.BACKDOOR, "3", 36, 0.0, ("any",), "36 rows share a pattern", {"tests": []})


def test_an_audit_shows_what_a_group_shares(planted):
    dataset, rows, group = planted
    scattered = Group(Kind.LABEL, None, 2, 1.0, (), "2 labels")
    common = evidence.common(dataset, rows.lazy(), [group, scattered])
    assert list(common) == [("backdoor", "3")]
    one = common["backdoor", "3"]
    assert one.words == "in the lower right corner"
    for png in (one.pattern, one.where):
        with Image.open(io.BytesIO(png)) as opened:
            assert (opened.format, opened.size) == ("PNG", (128, 128))
    first, second = evidence.told([group, scattered], common, {})
    assert first.reason == "36 rows share a pattern; what they share lies in the lower right corner"
    assert first.evidence == {
        "tests": [],
        "where": one.words,
        "in_common": pytest.approx(one.strength, abs=0.06),
        "box": pytest.approx((28 / 32, 28 / 32, 31 / 32, 31 / 32), abs=1e-3),
    }
    assert second == scattered


def test_each_shard_is_read_once_and_only_its_wanted_rows_are_decoded(planted, monkeypatch):
    dataset, rows, group = planted
    seen, decoded = [], []
    real = evidence.payloads

    def counted(dataset, shards):
        seen.extend(shards)
        for payload in real(dataset, shards):
            yield payload
            assert not payload._decoded

    monkeypatch.setattr(evidence, "payloads", counted)
    plain = evidence._side
    monkeypatch.setattr(evidence, "_side", lambda pictures: decoded.append(len(pictures)) or plain(pictures))
    evidence.common(dataset, rows.lazy(), [group, group])
    assert len(seen) == len(set(seen)) == len(dataset.shards)
    assert decoded[0] < 1024


def test_nothing_is_shown_where_nothing_is_shared(planted):
    dataset, rows, _ = planted
    fours = rows.with_columns(
        flagged=(pl.col("label") == "4") & (pl.col("row") % 4 == 0),
        kinds=pl.when((pl.col("label") == "4") & (pl.col("row") % 4 == 0)).then(["backdoor"]).otherwise([]),
    )
    group = Group(Kind.BACKDOOR, "4", 40, 0.0, (), "why")
    assert evidence.common(dataset, fours.lazy(), [group]) == {}
    assert evidence.common(dataset, rows.lazy(), [Group(Kind.BACKDOOR, "5", 0, 0.0, (), "none flagged")]) == {}
    assert evidence.common(dataset, rows.lazy(), []) == {}
    assert evidence.told([group], {}, {}) == (group,)


def test_pictures_that_do_not_decode_take_no_part(planted, tmp_path):
    _, rows, group = planted
    table = pq.read_table(DATA / "digits_badnets.parquet")
    cells = table["image"].to_pylist()
    broken = [row for row, flagged in enumerate(rows["flagged"]) if flagged][:5]
    for row in broken:
        cells[row] = {"bytes": b"not a picture", "path": None}
    at = table.schema.get_field_index("image")
    kind = table.schema.field("image").type
    pq.write_table(table.set_column(at, "image", pa.array(cells, kind)), tmp_path / "d.parquet", row_group_size=300)
    common = evidence.common(open_dataset([str(tmp_path / "d.parquet")], shard_rows=600), rows.lazy(), [group])
    assert common["backdoor", "3"].words == "in the lower right corner"
