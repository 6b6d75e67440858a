"""The report of a hostile dataset in a real browser: it neither runs, fetches nor spreads anything, on any screen."""

from __future__ import annotations

import base64
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, browser
from hostile import EVIL
from PIL import Image

import foretaste
from foretaste.dataset.roles import Request

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

NAME = 'it\'s <img src=x onerror=alert(1)> "quoted" $(id) %2e%2e.parquet'
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(2)</script></svg>'
PLAN = '[embedders.pixels]\nsize = 32\ngrid = 32\n[detectors.spectral-signature]\non = ["pixels"]\n'
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# The least contrast of a text with what lies behind it (WCAG 2.2), and that text.
CONTRAST = """(() => {
  const parse = said => said.match(/[\\d.]+/g).map(Number);
  const linear = v => v / 255 <= .04045 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const clear = one => (parse(getComputedStyle(one).backgroundColor)[3] ?? 1) === 0;
  let least = [99, ''];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), box = walk.currentNode.parentElement;
    if (!text || !box.getClientRects().length) continue;
    let back = box;
    while (back && clear(back)) back = back.parentElement;
    const style = getComputedStyle(box);
    const front = light(parse(box.closest('svg') ? style.fill : style.color));
    const behind = light(back ? parse(getComputedStyle(back).backgroundColor) : [255, 255, 255]);
    const ratio = (Math.max(front, behind) + .05) / (Math.min(front, behind) + .05);
    if (ratio < least[0]) least = [ratio, text.slice(0, 40)];
  }
  return least })()"""


def encoded(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of an audit of patched pictures, with the worst of files, labels and names among them."""
    folder = tmp_path_factory.mktemp("opened")
    digits = pq.read_table("data/digits_badnets.parquet")
    files = [one["bytes"] for one in digits["image"].to_pylist()]
    files[5] = SVG
    files[6] = b"GIF89a/*" + SVG + b"*/=1;alert(3)"
    files[7] += SVG  # a picture with another format behind it
    files[8] = encoded(Image.new("1", (20_000, 20_000)))
    files[9] = encoded(Image.new("1", (20_000, 3)))
    label = [f"{one} {EVIL}".replace("\ud800", "") for one in digits["label"].to_pylist()]
    table = pa.table({"<b>img</b>": pa.array(files, pa.binary()), 'the "label"': label})
    pq.write_table(table, folder / NAME, row_group_size=400)
    (folder / "plan.toml").write_text(PLAN)
    out = folder / "it's an audit"
    request = Request(image="<b>img</b>", label='the "label"')
    found = foretaste.audit(str(folder / NAME), request=request, plan=str(folder / "plan.toml"), out=str(out))
    assert {str(one.kind) for one in found.groups} == {"backdoor", "integrity"}
    assert found.counts["integrity"] == 3  # what is no picture, or too large a one
    return out / "report.html"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        opened.call("Page.addScriptToEvaluateOnNewDocument", source="window.alert = () => { window.ran = true }")
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1280])
def test_nothing_runs_nothing_is_fetched_and_nothing_spreads(page, tab, width, scheme):
    tab.errors.clear(), tab.requests.clear()
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    tab.open(page.as_uri())
    assert not tab.run("window.ran === true")
    assert tab.run("document.scripts.length") == 0
    drawn = "(async () => { for (const one of document.images) { one.loading = 'eager'; await one.decode() } })()"
    tab.run(drawn)  # a picture that is cut short raises
    assert tab.run("document.images.length") > 20
    assert tab.run("[...document.images].every(one => one.alt && one.src.startsWith('data:image/png;base64,'))")
    assert tab.run(WIDE) <= 0
    ratio, text = tab.run(CONTRAST)
    assert ratio >= 4.5, text
    assert tab.run("document.querySelectorAll('main, header, footer').length") == 3
    assert tab.errors == []
    assert [one for one in tab.requests if not one.startswith(("data:", "about:"))] == [page.as_uri()]


def test_the_pattern_is_framed_in_each_picture(page, tab):
    tab.open(page.as_uri())
    inside = """[...document.querySelectorAll('.frame')].map(one => {
      const frame = one.getBoundingClientRect(), box = one.querySelector('.box').getBoundingClientRect();
      return [box.left - frame.left, box.top - frame.top, box.width].map(one => one / frame.width) })"""
    boxes = tab.run(inside)
    assert len(boxes) > 8
    # The patch is in the lower right corner and a small one.
    assert all(left > 0.7 and top > 0.7 and width < 0.3 for left, top, width in boxes)


def test_it_prints(page, tab):
    tab.open(page.as_uri())
    pdf = base64.b64decode(tab.call("Page.printToPDF", printBackground=False)["data"])
    assert pdf.startswith(b"%PDF")
    assert 1 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") <= 10


def test_whoever_uses_the_keyboard_gets_everywhere(page, tab):
    """What can be opened is reached by the tab key and shows where one is."""
    tab.open(page.as_uri())
    closed = tab.run("document.querySelectorAll('summary').length")
    assert closed >= 1
    seen = set()
    for _ in range(closed + 2):
        tab.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        tab.call("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        at = "document.activeElement.tagName === 'SUMMARY' && getComputedStyle(document.activeElement).outlineStyle"
        seen.add((tab.run("[...document.querySelectorAll('summary')].indexOf(document.activeElement)"), tab.run(at)))
    assert {(number, "solid") for number in range(closed)} <= seen
