import io
import re
from html.parser import HTMLParser

from hostile import EVIL, png
from PIL import Image

from auditors.report.glyphs import visible
from auditors.report.page import EXCERPT, PICTURES, Common, excerpt, page
from auditors.report.thumbnails import picture


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


def test_a_group_shows_what_its_rows_have_in_common(report, samples):
    common = Common(f"in the lower right corner {EVIL}", 12.3, picture(png(8)), picture(png(30)))
    html = page(report, samples, {("backdoor", "cat"): common, ("label", "cat"): common})
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
    small = Image.open(io.BytesIO(picture(png(8))))
    assert small.size == (96, 96)
    assert Image.open(io.BytesIO(picture(png(300), size=64))).size == (64, 64)


def test_what_does_not_decode_has_no_thumbnail():
    assert picture(b"") is None
    assert picture(png()[:60]) is None
    starts_ghostscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    assert picture(starts_ghostscript) is None
