"""Plans: what is asked for exists, or the nearest that does is named."""

from __future__ import annotations

import pytest

from foretaste.decide.settings import Decide
from foretaste.detectors.contract import DETECTORS
from foretaste.detectors.sweeps.two_component import TwoComponent
from foretaste.embedders.contract import EMBEDDERS
from foretaste.errors import PlanError
from foretaste.pipeline import default_plans
from foretaste.pipeline.plan import load, parse
from foretaste.types.dataset import Dataset, Modality, Roles
from foretaste.types.digests import Digest

GOOD = """
[embedders.grey]
kind = "pixels"
grid = 16
[embedders.probe]
[detectors.spectral-signature]
on = ["grey"]
[detectors.plain]
kind = "spectral-signature"
whiten = false
[decide]
fdr = 0.05
content = "grey"
"""


def written(tmp_path, text):
    path = tmp_path / "audit.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_reads_a_plan(tmp_path):
    found = load(written(tmp_path, GOOD))
    assert found.embedders["grey"] == ("pixels", EMBEDDERS["pixels"](grid=16))
    assert found.embedders["probe"] == ("probe", EMBEDDERS["probe"]())
    first, second = found.checks
    assert (first.name, first.detector, first.on) == ("spectral-signature", "spectral-signature", ("grey",))
    assert (second.detector, second.on) == ("spectral-signature", ("grey", "probe"))  # all by default
    assert second.settings == DETECTORS["spectral-signature"](whiten=False)
    assert found.decide == Decide(fdr=0.05, content="grey")


def test_every_number_that_decides_can_be_set_and_one_that_is_none_is_refused(tmp_path):
    text = GOOD + "\n[detectors.plain.decomposition]\nfewest = 12\n[decide.natural]\nlevel = 0.2\n"
    found = load(written(tmp_path, text))
    assert found.checks[1].settings.decomposition == TwoComponent(fewest=12)
    assert found.decide.natural.level == 0.2
    for wrong, message in (
        (
            "[detectors.plain.decomposition]\nfewes = 12",
            r"\[detectors.plain.decomposition\] has no setting 'fewes'; did",
        ),
        ("[decide.natural]\nlevels = 1", r"\[decide.natural\] has no setting 'levels'; did you mean 'level'"),
        ("[detectors.plain.whitening]\nfloor = 'low'", r"\[detectors.plain\] whitening.floor: "),
    ):
        with pytest.raises(PlanError, match=message):
            load(written(tmp_path, f"{GOOD}\n{wrong}\n"))
    with pytest.raises(PlanError, match=r"\[decide.natural\] must be a table, got 3"):
        load(written(tmp_path, GOOD.replace("fdr = 0.05", "natural = 3")))


@pytest.mark.parametrize("name", ["posterior", "label_posterior"])
def test_nobody_is_accused_who_is_more_likely_innocent(tmp_path, name):
    with pytest.raises(PlanError, match=rf"{name} must be at least 0.5, got 0.3: below it rows would be accused"):
        load(written(tmp_path, GOOD.replace("[decide]", f"[decide]\n{name} = 0.3")))


def test_a_plan_describes_itself_with_every_default(tmp_path):
    described = load(written(tmp_path, GOOD)).describe()
    assert described["detectors"]["plain"] == {
        "kind": "spectral-signature",
        "on": ["grey", "probe"],
        "rank": 12,
        "whiten": False,
        "least_scale": 0.1,
        "shape": 0.0,
        "trait": 0.1,
        "whitening": {"floor": 1e-3, "rows_per_dimension": 8},
        "decomposition": {"fewest": 8, "part": 0.5, "tail": 0.25},
    }
    assert described["embedders"]["grey"]["size"] == 32
    back = {"embedders": described["embedders"], "detectors": described["detectors"], "decide": described["decide"]}
    assert parse(back) == load(written(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("grid = 16", "gird = 16"), r"\[embedders.grey\] has no setting 'gird'; did you mean 'grid'\?"),
        (('kind = "pixels"', 'kind = "pixel"'), r"\[embedders.grey\] has the kind 'pixel', .* did you mean 'pixels'\?"),
        (('kind = "pixels"', "kind = 3"), r"\[embedders.grey\] has the kind 3"),
        (('kind = "pixels"', 'kind = ["pixels"]'), r"\[embedders.grey\] has the kind \['pixels'\]"),
        (
            ("[embedders.probe]", "[embedders.prob]"),
            r"\[embedders.prob\] has the kind 'prob', .* did you mean 'probe'\?",
        ),
        (
            ("whiten = false", "whitten = false"),
            r"\[detectors.plain\] has no setting 'whitten'; did you mean 'whiten'\?",
        ),
        (("whiten = false", "rank = 2.5"), r"\[detectors.plain\] rank: .* got 2.5"),
        (("whiten = false", 'whiten = "perhaps"'), r"\[detectors.plain\] whiten: .* got 'perhaps'"),
        (("grid = 16", 'colour = "gray"'), r"\[embedders.grey\] colour: .*'grey' or 'rgb'.* got 'gray'"),
        (("grid = 16", "grid = [16]"), r"\[embedders.grey\] grid: .* got \[16\]"),
        (
            ('on = ["grey"]', 'on = ["gray"]'),
            r"looks at 'gray', which is no embedder of the plan; did you mean 'grey'\?",
        ),
        (('on = ["grey"]', 'on = "grey"'), r"\[detectors.spectral-signature\] on must be a list"),
        (('on = ["grey"]', "on = [1]"), r"\[detectors.spectral-signature\] on must be a list"),
        (('on = ["grey"]', "on = []"), r"\[detectors.spectral-signature\]"),
        (("fdr = 0.05", "fdr = 1.0"), r"\[decide\] fdr must lie between 0 and 1, got 1.0"),
        (("fdr = 0.05", "fdr = nan"), r"\[decide\] fdr must lie between 0 and 1"),
        (("fdr = 0.05", 'fdr = "low"'), r"\[decide\] fdr: .* got 'low'"),
        (("fdr = 0.05", "frd = 0.05"), r"\[decide\] has no setting 'frd'; did you mean 'fdr'\?"),
        (("fdr = 0.05", 'broken_rows = "ignore"'), r"broken_rows must be 'report' or 'refuse', got 'ignore'"),
        (
            ('content = "grey"', 'content = "gray"'),
            r"content must name an embedder .* got 'gray'; did you mean 'grey'\?",
        ),
        (
            ('content = "grey"', 'beliefs = "prob"'),
            r"\[decide\] beliefs must name an embedder of the plan, got 'prob'; did you mean 'probe'\?",
        ),
        (('content = "grey"', "beliefs = 3"), r"\[decide\] beliefs: .* got 3"),
        (("[decide]", "[descide]"), r"the plan has no setting 'descide'; did you mean 'decide'\?"),
        (("[embedders.probe]", "[embedders]\nprobe = 3"), r"\[embedders.probe\] must be a table, got 3|not TOML"),
        (("[decide]", "[decide"), r"audit.toml: the plan is not TOML"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_refuses_what_it_does_not_know(tmp_path, change, message):
    assert change[0] in GOOD
    path = written(tmp_path, GOOD.replace(*change))
    with pytest.raises(PlanError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(path)


def test_beliefs_come_from_an_embedder_of_the_plan_or_from_nobody(tmp_path):
    assert load(written(tmp_path, GOOD)).decide.beliefs == ""
    found = load(written(tmp_path, GOOD + 'beliefs = "probe"\n'))
    assert found.decide == Decide(fdr=0.05, content="grey", beliefs="probe")
    assert found.describe()["decide"]["beliefs"] == "probe"


@pytest.mark.parametrize("section", ["embedders", "detectors", "decide"])
def test_a_section_must_be_a_table(section):
    with pytest.raises(PlanError, match=rf"\[{section}\] must be a table, got 3"):
        parse({"embedders": {"pixels": {}}, "detectors": {"spectral-signature": {}}} | {section: 3})


def test_a_plan_needs_something_to_look_at_and_somebody_to_look():
    for document in ({}, {"embedders": {"pixels": {}}}, {"detectors": {"spectral-signature": {}}}):
        with pytest.raises(PlanError, match="embedder"):
            parse(document)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(PlanError, match=r"absent.toml: the plan cannot be read: No such file"):
        load(str(tmp_path / "absent.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match=r"binary.toml"):
        load(str(tmp_path / "binary.toml"))


@pytest.mark.parametrize("modality", Modality)
def test_every_modality_has_a_default_plan_that_its_embedders_can_read(modality):
    dataset = Dataset("", (), (), Roles(modality, ("c",)), (), (), Digest("a", "b"))
    found = default_plans.default(dataset)
    assert found.checks
    for kind, settings in found.embedders.values():
        assert modality in settings.modalities, kind
    assert parse(found.describe()) == found
