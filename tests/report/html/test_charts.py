import re
import xml.etree.ElementTree as ET

from hostile import EVIL

from foretaste.explain.class_comparison import Strip
from foretaste.explain.projection import Atlas, Place
from foretaste.report.html.charts import DOTS, atlas, strip


def drawn(svg):
    root = ET.fromstring(str(svg))  # well-formed, or this raises
    return root, [(one.tag, one.get("class"), one.findtext("title")) for one in root.iter("circle")]


def test_a_strip_marks_the_group_among_the_others():
    one = Strip(
        "spectral", "pixels", "times", ("a", "b", "c", "d"), (1.0, 1.1, 5.0, 2.0), (False, False, True, True), 2
    )
    root, dots = drawn(strip(one))
    assert sorted(dots) == [
        ("circle", "accused", "d: 2"),
        ("circle", "innocent", "a: 1"),
        ("circle", "innocent", "b: 1.1"),
        ("circle", "this", "c: 5"),
    ]
    assert root.get("role") == "img"
    assert root.get("aria-label") == "c reaches 5 times; of 3 others the highest 2, half of them 1.1 or less"
    left = {one.findtext("title")[0]: float(one.get("cx")) for one in root.iter("circle")}
    assert left["a"] < left["b"] < left["d"] < left["c"]


def test_dots_of_one_value_are_stacked_not_hidden():
    root, _ = drawn(strip(Strip("s", "p", "", ("a", "b", "c"), (1.0, 1.0, 1.0), (False, False, True), 2)))
    assert len({(one.get("cx"), one.get("cy")) for one in root.iter("circle")}) == 3


def test_a_strip_of_thousands_stays_small_and_keeps_the_one_that_is_meant():
    names, values = tuple(f"class {at}" for at in range(5000)), tuple(float(at) for at in range(5000))
    svg = strip(Strip("s", "p", "u", names, values, (False,) * 5000, 3))
    _, dots = drawn(svg)
    assert len(dots) <= DOTS + 1
    assert ("circle", "this", "class 3: 3") in dots
    assert ("circle", "innocent", "class 4999: 5e+03") in dots
    assert len(svg) < 20_000


def test_a_hostile_name_stays_text():
    svg = strip(Strip("s", "p", EVIL, (EVIL, '"><b', "c"), (1.0, 2.0, 3.0), (False,) * 3, 1))
    root, _ = drawn(svg)
    assert {one.tag for one in root.iter()} == {"svg", "line", "circle", "title", "text"}
    assert not re.search("[\x00-\x1f\u202e\u200b\ud800-\udfff]", svg)


def test_a_map_shows_flagged_rows_apart():
    places = (Place(1, 0.0, 0.0, False, None), Place(2, 1.0, 1.0, True, EVIL), Place(3, 0.5, 0.5, False, "a"))
    root, _ = drawn(atlas(Atlas("pixels", False, 3, places)))
    path = {one.get("class"): one.get("d") for one in root.iter("path")}
    assert path["quiet"].count("M") == 2
    assert path["loud"].count("M") == 1
    assert path["loud"].startswith("M626 14")  # right and up
    assert root.get("aria-label") == "3 rows on a plane, 1 of them flagged"
