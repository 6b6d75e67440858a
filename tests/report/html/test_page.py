import io
import random
import re
from dataclasses import replace
from html.parser import HTMLParser

from hostile import EVIL, png
from PIL import Image

from foretaste.dataset.pictures import thumbnail
from foretaste.explain.class_comparison import Strip
from foretaste.explain.common_pattern import Common
from foretaste.explain.projection import Atlas, Place
from foretaste.explain.samples import Sample
from foretaste.explain.unusual_cells import Cell
from foretaste.report.html.page import EXCERPT, PICTURES, excerpt, outline, page
from foretaste.report.visible import visible


class Tags(HTMLParser):
    """Every start tag with its attributes, and the text between."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def test_a_hostile_dataset_stays_text(report, samples):
    html = page(report, samples)
    seen = Tags(html)
    assert "<script" not in html
    assert not [tag for tag, _ in seen.tags if tag in ("script", "iframe", "object", "form", "a", "base")]
    assert not [name for _, attrs in seen.tags for name in attrs if name.startswith("on")]
    assert all(attrs["src"].startswith("data:image/png;base64,") for tag, attrs in seen.tags if tag == "img")
    assert "alert(1)" in "".join(seen.words)  # shown, not dropped
    assert "{{ 7*7 }}" in html
    assert "49" not in "".join(re.findall(r"alert\(2\)&gt;.{0,60}", html))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\u200b\ud800-\udfff]", html)
    html.encode("utf-8")


def test_it_needs_nothing_but_itself(report, samples):
    html = page(report, samples)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", html)
    assert "url(" not in html
    assert "@import" not in html


def test_it_says_what_was_found_and_what_was_not_looked_at(report, samples):
    words = " ".join("".join(Tags(page(report, samples)).words).split())
    for expected in (
        "Do not train on this dataset as it is.",
        report.reason,
        "30 rows labelled “cat”",
        "below 10⁻³⁰⁰",
        f"The {PICTURES} most suspicious of 30",
        "Single rows",
        "the rows are pictures",
        "probe-label on probe failed",
        "1 row does not decode",
        "dirHash1:cdcd",
        "image from 'img', label from 'label'",
        "foretaste show 'audits/it'\"'\"'s here' --top 50",
    ):
        assert expected in words


def test_a_group_shows_its_most_suspicious_rows_first(report, samples):
    shown = [attrs["alt"] for tag, attrs in Tags(page(report, samples)).tags if tag == "img"]
    assert shown == [f"Row {row}, labelled cat" for row in range(29, 29 - PICTURES, -1)]


def with_shown(report, **shown):
    """The report with something to look at in every finding of its class cat."""
    groups = (replace(one, shown=shown) if one.label == "cat" else one for one in report.groups)
    return replace(report, groups=tuple(groups))


def test_a_group_shows_what_its_rows_have_in_common(report, samples):
    common = Common(f"in the lower right corner {EVIL}", 12.3, thumbnail(png(8)), thumbnail(png(30)))
    html = page(with_shown(report, pattern=common), samples)
    seen = Tags(html)
    shown = [attrs for tag, attrs in seen.tags if tag == "img" and "pictures" in attrs["alt"]]
    assert len(shown) == 2
    assert all(attrs["src"].startswith("data:image/png;base64,") for attrs in shown)
    assert all("in the lower right corner" in attrs["alt"] for attrs in shown)
    words = " ".join("".join(seen.words).split())
    assert "have in common lies in the lower right corner" in words
    assert "12 times what random rows share" in words
    assert not [tag for tag, _ in seen.tags if tag == "script"]
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", html)
    assert "in common" not in "".join(Tags(page(report, samples)).words)


def test_a_group_is_shown_beside_the_innocent_and_on_the_map(report, samples):
    strip = Strip("spectral", "pixels", "times", ("cat", EVIL, "cow"), (3, 1, 2), (True, False, False), 0)
    places = tuple(Place(at, at / 20, 0.5, at < 3, EVIL) for at in range(20))
    html = page(with_shown(report, strips=(strip,)), samples, Atlas("pixels", True, 200, places))
    seen = Tags(html)
    assert [attrs["aria-label"] for tag, attrs in seen.tags if tag == "svg"] == [
        "cat reaches 3 times; of 2 others the highest 2, half of them 2 or less",
        "20 rows on a plane, 3 of them flagged",
    ]
    words = " ".join("".join(seen.words).split())
    assert "17 rows not flagged" in words
    assert "a sample of 200 rows" in words
    assert not [tag for tag, _ in seen.tags if tag in ("script", "b onload", "a", "foreignobject", "use", "image")]


def test_a_page_stays_below_5_megabytes(report):
    """The worst that 10 000 flagged rows can bring: noise as pictures, long names, ninety groups."""
    draw = random.Random(0)
    noise = [thumbnail(_png(draw.randbytes(96 * 96 * 3))) for _ in range(8)]
    names = [f"class {at} {EVIL * 20}" for at in range(90)]
    first = Sample(0, "f" * 900, 0, 0, EVIL * 90, names[0], 0.9, 0.1, ("backdoor",), ("spectral",), EVIL * 9)
    rows = [
        replace(first, row=at, label=names[at % 40], picture=noise[at % 8] if at % 2 else None, text=EVIL * 900)
        for at in range(10_000)
    ]
    strip = Strip("spectral", "pixels", EVIL, tuple(names), tuple(map(float, range(90))), (True,) * 90, 7)
    places = tuple(Place(at, draw.random(), draw.random(), at % 5 == 0, EVIL) for at in range(2000))
    common = Common(EVIL, 9.0, noise[0], noise[1])
    groups = tuple(
        replace(
            report.groups[0],
            label=name,
            reason=EVIL * 50,
            shown={"strips": (strip, strip)} | ({"pattern": common} if at < 12 else {}),
        )
        for at, name in enumerate(names)
    )
    html = page(
        replace(report, groups=groups, notes=(EVIL * 99,) * 5000, rows=1_000_000, flagged=10_000),
        rows,
        Atlas("pixels", True, 1_000_000, places),
    )
    assert len(html.encode()) < 5_000_000
    assert "more groups, listed in" in " ".join(html.split())


def _png(pixels):
    out = io.BytesIO()
    Image.frombytes("RGB", (96, 96), pixels).save(out, "PNG")
    return out.getvalue()


def test_a_clean_report_is_short_and_calm(clean):
    words = "".join(Tags(page(clean, [])).words)
    assert "No poison was found" in words
    assert "What was found" not in words
    assert "every row was read and every check completed" in words


def test_an_excerpt_keeps_the_text_and_shows_the_mark():
    assert excerpt("Say CF now", ["cf"]) == [("Say ", False), ("CF", True), (" now", False)]
    assert excerpt("a.b", ["", "."]) == [("a", False), (".", True), ("b", False)]
    assert excerpt("", []) == []
    far = excerpt("x" * 5000 + " trigger " + "y" * 5000, ["trigger"])
    assert ("trigger", True) in far
    assert far[0] == ("…", False)
    assert sum(len(piece) for piece, _ in far) < EXCERPT + 40


def test_visible_is_injective_enough_to_be_read():
    assert visible(EVIL).isprintable()
    assert visible("naïve 日本 😀\n\t") == "naïve 日本 😀\\n\\t"
    assert visible("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


def test_a_thumbnail_keeps_single_pixels():
    small = Image.open(io.BytesIO(thumbnail(png(8))))
    assert small.size == (96, 96)
    assert Image.open(io.BytesIO(thumbnail(png(300), longest=64))).size == (64, 64)


def test_what_does_not_decode_has_no_thumbnail():
    assert thumbnail(b"") is None
    assert thumbnail(png()[:60]) is None
    starts_ghostscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    assert thumbnail(starts_ghostscript) is None


def test_a_group_shows_where_its_rows_lead_and_come_from(report, samples):
    evidence = {
        "pairs": [{"label": "cat", "believed": EVIL, "rows": 1200}, {"label": EVIL, "believed": "cow", "rows": 3}],
        "sources": [{"source": EVIL, "rows": 20, "of": 40, "p_value": 1e-9}],
        "copies": [
            {"rows": 250, "label": EVIL, "purity": 1.0, "text": EVIL, "sources": 3, "foremost": 0.9, "edited": 0.7},
            *[{"rows": 250, "label": EVIL, "purity": 1.0, "text": EVIL}] * 13,
        ],
        "triggers": [{"phrase": EVIL, "outcome": "cat", "rows": 40, "hits": 39, "contradicted": 0.96, "p_value": 0.0}],
    }
    (group,) = report.groups
    html = page(replace(report, groups=(replace(group, evidence=evidence),)), samples)
    seen = Tags(html)
    words = " ".join(" ".join(seen.words).split())
    for expected in (
        "1,200",
        "20 40 (50 %) 1 × 10⁻⁹",
        "250 near-copies",
        "90 % from one of 3 sources",
        "70 % with words exchanged here and there",
        "and 2 more sets of copies",
        "40 97.5 % 96 %",
    ):
        assert expected in words
    assert not [tag for tag, _ in seen.tags if tag in ("script", "iframe", "object", "form", "a", "base")]
    assert all(attrs.get("src", "data:").startswith("data:") for _, attrs in seen.tags)


def test_a_row_of_a_table_shows_its_unusual_cells(report, samples):
    cells = (Cell("age", "412", "half in 28 to 48", 20.0), Cell(EVIL, EVIL, EVIL, 1.0))
    one = replace(samples[0], picture=None, text="age = 412", cells=cells, believed="cow")
    html = page(report, [one])
    seen = Tags(html)
    words = " ".join(" ".join(seen.words).split())
    assert "age 412 half in 28 to 48" in words
    assert "labelled cat believed cow" in words
    assert html.count('<b class="far">412</b>') == 1
    assert "<script" not in html


def test_a_risk_that_all_share_is_not_shown(report, samples):
    same = [replace(one, risk=0.9) for one in samples[:6]]
    assert (
        "risk" not in " ".join(Tags(page(report, same)).words).partition("What was found")[2].partition("What ran")[0]
    )
    assert "risk 0.790" in " ".join("".join(Tags(page(report, samples)).words).split())


def test_what_is_shared_is_framed_unless_it_is_most_of_the_picture(report, samples):
    def framed(box):
        shared = Common("here", 9.0, thumbnail(png(8)), thumbnail(png(8)), box)
        tags = Tags(page(with_shown(report, pattern=shared), samples)).tags
        return [attrs["style"] for tag, attrs in tags if tag == "i" and attrs.get("class") == "box"]

    assert set(framed((0.5, 0.75, 1.0, 1.0))) == {"top:50.0%;left:75.0%;height:50.0%;width:25.0%"}
    assert framed((0.0, 0.0, 1.0, 0.9)) == []


def test_a_frame_fits_a_picture_that_is_no_square():
    wide = thumbnail(_sized(80, 40))
    assert outline(wide, (0.5, 0.0, 1.0, 0.5)) == "top:50.0%;left:0.0%;height:25.0%;width:50.0%"


def _sized(width, height):
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "PNG")
    return out.getvalue()


def test_the_page_names_the_dataset_and_not_where_it_lies(report, samples):
    home = replace(report, dataset=replace(report.dataset, root="/home/somebody/secret"))
    html = page(home, samples)
    assert "somebody" not in html
    assert "train.parquet" in html
