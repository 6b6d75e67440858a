"""The page in a real browser: it draws, asks for nothing and runs nothing."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from browser import CHROMIUM, browser
from hostile import EVIL

from foretaste.explain.class_comparison import Strip
from foretaste.explain.projection import Atlas, Place
from foretaste.report.html.page import page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def shown(tab, html, folder):
    tab.errors.clear(), tab.requests.clear()
    (folder / "report.html").write_text(html, encoding="utf-8")
    tab.open((folder / "report.html").as_uri())
    tab.run("new Promise(done => setTimeout(done, 200))")  # what is late may come
    return [address for address in tab.requests if not address.startswith(("file:", "data:"))]


@pytest.mark.parametrize("width", [380, 1200])
def test_the_page_draws_and_asks_for_nothing(width, tab, report, samples, tmp_path):
    strip = Strip("spectral", "pixels", EVIL, ("cat", EVIL, "cow"), (3.0, 1.0, 2.0), (True, False, False), 0)
    places = tuple(Place(at, at / 20, 0.5, at < 3, EVIL) for at in range(20))
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    first, *others = report.groups
    report = replace(report, groups=(replace(first, shown={"strips": (strip,)}), *others))
    html = page(report, samples, Atlas("pixels", True, 200, places))
    assert shown(tab, html, tmp_path) == []
    assert tab.errors == []
    assert tab.run("document.querySelectorAll('circle').length") == 3
    assert tab.run("[...document.images].every(one => one.loading == 'lazy' || one.naturalWidth > 0)")
    assert tab.run("document.scripts.length") == 0
    assert tab.run("document.documentElement.scrollWidth") <= width  # nothing sticks out
    unnamed = "[...document.querySelectorAll('img, svg')].filter(one => !one.alt && !one.ariaLabel)"
    assert tab.run(f"{unnamed}.length") == 0


def test_what_slipped_through_would_not_run(tab, report, samples, tmp_path):
    """The second line of defence: markup planted in the finished page is stopped by its policy."""
    planted = '<img src="http://example.invalid/x.png"><script>document.title = "owned"</script>'
    asked = shown(tab, page(report, samples).replace("</main>", f"{planted}</main>"), tmp_path)
    assert tab.run("document.scripts.length") == 1
    assert tab.run("document.title") != "owned"
    assert len([error for error in tab.errors if "Content Security Policy" in error]) == 2
    assert set(asked) <= {"http://example.invalid/x.png"}  # reported as wanted, and then blocked


def test_a_large_page_opens_within_two_seconds(tab, report, samples, tmp_path):
    rows = [samples[at % 30] for at in range(400)]
    places = tuple(Place(at, at % 97 / 97, at % 89 / 89, at % 5 == 0, None) for at in range(2000))
    html = page(report, rows, Atlas("pixels", True, 1_000_000, places))
    begin = time.monotonic()
    shown(tab, html, tmp_path)
    assert time.monotonic() - begin < 2.2  # of which 0.2 are waited
