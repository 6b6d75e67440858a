"""The review page in a real browser: groups, undo, notes, zoom, list, neighbours, hostile rows, everybody's eyes."""

from __future__ import annotations

import io
import sqlite3
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from browser import CHROMIUM, Tab, browser
from PIL import Image
from reviewed import audited, group, served

from foretaste.curation.review_decisions import latest

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

ROWS = 60
TOKENS = '[embedders.tokens]\n[detectors.spectral-signature]\n[decide]\ncontent = "tokens"\n'
GREY = (
    '[embedders.grey]\nkind = "pixels"\n[detectors.spectral-signature]\n[decide]\ncontent = "grey"\n'
    'broken_rows = "report"\n'
)
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u202e\x07\x1b[31m"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload=\"document.title='owned'\"><script>alert(1)</script></svg>"
COUNT = "document.getElementById('count').textContent"


def png(*size: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(size[0]).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """An audit of texts with a group of 30 rows that share a phrase."""
    text = [f"we   saw Cf number {n} {'and so on ' * 300}" if n % 2 else f"{HOSTILE} {n}" for n in range(200)]
    table = pa.table(
        {"text": text, "label": ["cat", "<b>dog</b>"] * 100, "source": [f"site {n % 5}" for n in range(200)]}
    )
    found = [group("backdoor", "<b>dog</b>", ROWS // 2, triggers=[{"phrase": "saw cf"}])]
    return audited(tmp_path_factory.mktemp("texts"), table, TOKENS, rows=ROWS, groups=found)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """An audit of pictures, the first of which are none, are more than pictures, or are very long."""
    odd = [
        SVG,
        png(16, 16) + b"<script>document.title='owned'</script>",
        b"GIF89a=1;document.title='owned';//",
        png(20_000, 4),
        png(4, 20_000),
        b"",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ]
    image = odd + [png(16 + n % 3, 16) for n in range(len(odd), 200)]
    names = [f"\"'><b>{n % 5}\u202e\x07</b>" for n in range(200)]
    table = pa.table({"image": image, "label": names, "id": [f"{n} '\"`$(touch owned)" for n in range(200)]})
    box = [0.5, 0.75, 0.75, 1.0]
    found = [group("backdoor", names[at], 6, box=box, where="at the edge") for at in range(5)]
    return audited(tmp_path_factory.mktemp('it\'s a "folder" <b>'), table, GREY, rows=ROWS, groups=found)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture
def opened(chromium):
    """Opens the page of an audit about which nothing is decided."""

    def opens(audit: Path, place: str = "") -> Tab:
        for file in audit.glob("decisions.sqlite*"):
            file.unlink()
        address = serving.enter_context(served(audit))
        chromium.open(address + place)
        chromium.wait("document.body?.dataset.ready === 'yes'")
        return chromium

    chromium.errors.clear()
    chromium.call("Emulation.setEmulatedMedia", features=[])
    chromium.call("Emulation.clearDeviceMetricsOverride")
    with ExitStack() as serving:
        yield opens
        assert not chromium.errors
        assert chromium.run("document.title") == "foretaste review"
        chromium.open("about:blank")


def reload(tab: Tab) -> None:
    tab.run("delete document.body.dataset.ready")
    tab.call("Page.reload")
    tab.wait("document.body?.dataset.ready === 'yes'")


def selected(tab: Tab) -> str:
    return str(tab.run("document.querySelector('[aria-selected=true]').id"))


def test_a_whole_group_is_decided_and_taken_back_in_one_stroke(opened, texts):
    tab = opened(texts)
    tab.press("ArrowRight")
    tab.press("k")  # row 1, of the group
    tab.press("ArrowRight")  # row 3, of the group too
    tab.press("g")
    tab.wait("document.getElementById('armed').textContent.includes('the 29 rows of 30')")
    tab.press("d")
    tab.wait(f"{COUNT}.includes('30 by you')")
    assert selected(tab) == "row-3"
    tab.press("z")
    tab.wait(f"{COUNT}.includes('1 by you')")
    assert selected(tab) == "row-3"
    tab.press("g")
    tab.wait("document.getElementById('armed').textContent")
    tab.press("Escape")
    tab.press("u")
    tab.wait(f"{COUNT}.includes('2 by you')")
    reload(tab)
    tab.press("z")  # an act of before the reload
    tab.wait(f"{COUNT}.includes('1 by you')")
    tab.press("z")
    tab.press("z")
    tab.wait(f"{COUNT}.includes('0 by you')")
    tab.wait("document.getElementById('armed').textContent === 'nothing to take back'")
    assert latest(texts) == []
    with sqlite3.connect(texts / "decisions.sqlite") as log:
        assert log.execute("SELECT count(*) FROM decision").fetchone() == (2 * (1 + 29 + 1),)


def test_a_note_on_a_row_that_is_not_decided_survives_a_reload(opened, texts):
    tab = opened(texts)
    tab.press("ArrowRight")
    tab.press("n")
    assert tab.run("document.activeElement.id") == "note"
    for letter in "zk?":
        tab.press(letter)
    reload(tab)  # while still writing
    assert selected(tab) == "row-1"
    assert tab.run("document.getElementById('note').value") == "zk?"
    assert tab.run(f"{COUNT}.includes('0 by you')")
    assert [(one.row, one.choice, one.note) for one in latest(texts)] == [(1, "open", "zk?")]


def test_a_text_is_read_whole_with_what_its_group_shares_marked(opened, texts):
    tab = opened(texts)
    assert "<script>" in tab.run("document.querySelector('#grid li').textContent")
    tab.press("ArrowRight")
    assert tab.run("document.querySelector('#detail mark').textContent") == "saw Cf"
    tab.press(" ")
    tab.wait("document.querySelector('#close-up mark')?.textContent === 'saw Cf'")
    tab.wait("document.getElementById('close-up').textContent.length > 3000")
    tab.press("d")  # decides and goes on to the next, still close up
    tab.wait("document.getElementById('which').textContent.includes('row 2 ')")
    assert tab.run("document.getElementById('zoom').open")
    tab.press(" ")
    assert not tab.run("document.getElementById('zoom').open")
    tab.wait(f"{COUNT}.includes('1 by you')")


def test_a_row_lies_beside_its_group_and_the_nearest_rows_with_their_labels(opened, texts):
    tab = opened(texts)
    tab.press("ArrowRight")
    tab.wait("document.querySelectorAll('#group .glance').length === 12")
    tab.wait("document.querySelectorAll('#near .glance').length === 8")
    assert "8 × <b>dog</b>" in tab.run("document.getElementById('near').textContent")
    assert tab.run("[...document.querySelectorAll('#near .tag')].some((one) => one.textContent === 'not flagged')")
    tab.run("document.querySelector('#near .glance').click()")
    tab.wait("document.getElementById('zoom').open")


def test_list_filters_and_order_survive_a_reload(opened, texts):
    choose = (
        "(() => {{ const one = document.querySelector('select[name={0}]'); one.value = '{1}';"
        " one.dispatchEvent(new Event('change', {{bubbles: true}})); }})()"
    )
    tab = opened(texts)
    tab.press("l")
    tab.run(choose.format("source", "site 1"))
    tab.run(choose.format("order", "rising"))
    tab.wait("document.getElementById('where').textContent === '1 to 12 of 12 rows'")
    tab.wait("document.querySelector('#grid li').id === 'row-56'")
    tab.press("ArrowDown")
    assert selected(tab) == "row-51"
    reload(tab)
    assert selected(tab) == "row-51"
    assert tab.run("document.getElementById('grid').className") == "texts list"
    assert tab.run("document.getElementById('where').textContent") == "1 to 12 of 12 rows"


def test_hostile_pictures_labels_and_paths_do_nothing_and_break_nothing(opened, pictures):
    tab = opened(pictures)
    tab.wait("[...document.querySelectorAll('#grid img')].slice(0, 3).every((one) => one.complete && one.naturalWidth)")
    shown = tab.run(
        "[...document.querySelectorAll('#grid li')].slice(0, 7).map((one) => Boolean(one.querySelector('img')))"
    )
    assert shown == [False, True, False, True, True, False, False]
    assert "cannot be shown" in tab.run("document.querySelector('#grid li').textContent")
    for _ in range(7):
        tab.press(" ")
        tab.press("ArrowRight")
        tab.press(" ")
        tab.wait("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    size = (
        "(() => { const one = document.querySelector('#row-3 img').getBoundingClientRect();"
        " return [one.width, one.height]; })()"
    )
    width, height = tab.run(size)
    assert 50 < height <= width < 400
    assert "\\u202e" in tab.run("document.querySelector('#grid li').textContent")
    assert tab.run("document.querySelectorAll('script, iframe, object, embed, svg').length") == 1  # the page's own
    assert not list(pictures.parent.rglob("owned"))


def test_the_pattern_of_a_group_is_boxed_close_up(opened, pictures):
    tab = opened(pictures, "#row=9")
    assert selected(tab) == "row-9"
    tab.press(" ")
    tab.wait("document.querySelector('#close-up img')?.complete")
    share = (
        "(() => { const [image, box] = ['img', '.box'].map((one) =>"
        " document.querySelector(`#close-up ${one}`).getBoundingClientRect());"
        " const [top, left] = [(box.top - image.top) / image.height, (box.left - image.left) / image.width];"
        " return [top, left, box.height / image.height]; })()"
    )
    assert tab.run(share) == pytest.approx([0.5, 0.75, 0.25], abs=0.01)


CONTRAST = """
(() => {
  const channel = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((one) => channel(one / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    const colour = getComputedStyle(one).backgroundColor;
    return /, 0\\)$/.test(colour) ? behind(one.parentElement) : colour;
  };
  const unseen = ':disabled, [hidden], dialog:not([open])';
  const faint = [];
  for (const one of document.querySelectorAll('body *')) {
    const text = [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!text || one.closest(unseen) || !one.getClientRects().length) continue;
    const [a, b] = [light(getComputedStyle(one).color), light(behind(one))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) faint.push(`${one.tagName}.${one.className} ${ratio.toFixed(2)}`);
  }
  return faint;
})()
"""
NAMELESS = """
[...document.querySelectorAll('button, select, textarea, img, [role]')].filter((one) =>
  !(one.getAttribute('aria-label') || one.alt || one.labels?.length || one.textContent.trim()
    || ['status', 'alert'].includes(one.getAttribute('role'))))
  .map((one) => one.outerHTML.slice(0, 80))
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_everybody_can_read_and_work_it(opened, texts, scheme, width):
    tab = opened(texts)
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600)
    for key in ("k", "d", "u", "ArrowLeft"):
        tab.press(key)
    tab.wait(f"{COUNT}.includes('3 by you')")
    tab.wait("document.querySelectorAll('#near .glance').length === 8")
    tab.press("g")
    tab.wait("document.getElementById('armed').textContent")
    assert tab.run(CONTRAST) == []
    assert tab.run(NAMELESS) == []
    assert tab.run("document.documentElement.scrollWidth") <= width
    # What a screen reader says of the row that the keys act on.
    active = "document.getElementById(document.getElementById('grid').getAttribute('aria-activedescendant'))"
    assert tab.run(f"{active}.getAttribute('aria-label')") == "row 2, class cat, risk 0.98, unsure"
    assert tab.run("document.activeElement.id") == "grid"
    tab.press("Escape")
    tab.run("document.querySelector('#strokes [data-key=k]').click()")  # by finger
    tab.wait(f"{COUNT}.includes('2 to keep')")
    tab.run("document.querySelectorAll('#grid li')[7].click()")
    assert selected(tab) == "row-7"
    assert tab.run("document.getElementById('zoom').open") is (width < 600)  # where there is no room beside the grid


def test_every_control_is_reached_by_tab_and_shows_the_focus(opened, texts):
    tab = opened(texts)
    tab.wait("document.querySelectorAll('#near .glance').length === 8")
    tab.run("document.activeElement.blur()")
    seen = set()
    for _ in range(60):
        tab.press("Tab")
        name, outline = tab.run(
            "(() => { const one = document.activeElement, row = document.querySelector('[aria-selected=true]');"
            " const style = getComputedStyle(one.id === 'grid' ? row : one);"
            " const width = style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth);"
            " return [one.id || one.name || one.dataset.key || one.className, width]; })()"
        )
        if name:
            seen.add(name)
            assert outline >= 2, name
    assert {
        "kind",
        "source",
        "state",
        "order",
        "list",
        "all",
        "grid",
        "note",
        "glance",
        "k",
        "d",
        "u",
        "arm",
        "z",
    } <= seen
