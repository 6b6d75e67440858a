"""What the benchmark of methods plants, remembers and prints."""

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from benchmarks.images import methods
from benchmarks.images.methods import AUDIT, Draw, Rates, missed, rated, table
from benchmarks.images.rankings import Ranking
from foretaste.errors import PlanError

ATTACKED, CLEAN = Draw("badnets", 4, 1, 7), Draw("badnets", 0, 0, 8)


@pytest.mark.parametrize("text", ["badnets", "badnets:4:1", "badnets:4:1:x", "badnets:-4:1:7"])
def test_a_draw_has_four_parts(text):
    with pytest.raises(PlanError, match="attack:count:target:seed"):
        Draw.parse(text)
    assert Draw.parse("badnets:4:1:7") == ATTACKED


def test_a_ranking_is_held_against_the_truth():
    poisoned = np.arange(2000) < 4
    score = np.linspace(1, 0, 2000)
    score[0], score[1] = -1, 1 - 7 / 2000  # one below all others, one among the worst ten
    dropped = np.arange(2000) % 2 == 0
    one = rated("a", "b", Ranking(score, dropped), poisoned)
    assert one.above == {0.002: 0.75, 0.005: 0.75}
    assert (one.found, one.lost) == (0.5, 0.5)
    assert rated("a", "b", Ranking(score), poisoned).found is None


def test_the_table_takes_the_best_view_and_the_clean_copies_for_what_is_lost():
    def rates(weak, strong, lost):
        return [
            Rates("one", "here", {0.002: weak, 0.005: weak}, 0.1, 0.9),
            Rates("one", "there", {0.002: strong, 0.005: strong}, 0.6, lost),
            Rates("two", "here", {0.002: 0.2, 0.005: 0.3}, None, None),
            Rates(AUDIT, "all", {0.002: 0.25, 0.005: 0.25}, 0.25, 0.0),
        ]

    found = [("failed", rates(0.0, 0.5, 0.4)), ("passed", rates(0.0, 0.0, 0.02))]
    lines = list(table([ATTACKED, CLEAN], found))
    assert lines[0].endswith("| badnets, 4 |")
    assert lines[2:] == [
        "| the audit | all | 25.0% | 25.0% | 25% | 0.00% | 25% |",
        "| one | there | 50.0% | 50.0% | 60% | 2.00% | 50% |",
        "| two | here | 20.0% | 30.0% | – | – | 20% |",
    ]
    first, second = missed([ATTACKED, CLEAN], found)
    assert first.startswith("badnets, 4, target 1, seed 7: failed, 25% found")
    assert "one on there 50%" in first
    assert second == "clean, seed 8: passed, 0.00% accused"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    import io

    from PIL import Image

    draw = np.random.default_rng(0)
    colour = draw.integers(0, 256, (3, 1, 1, 3))

    def picture(label):
        pixels = (0.5 * colour[label] + draw.integers(0, 128, (32, 32, 3))).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format="PNG")
        return file.getvalue()

    label = [n % 3 for n in range(240)]
    path = tmp_path_factory.mktemp("pictures") / "a.parquet"
    pl.DataFrame({"image": [picture(one) for one in label], "label": label}).write_parquet(path)
    return path


def test_one_draw_from_planting_to_the_table(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "EPOCHS", 2)
    run = CliRunner()
    import typer

    app = typer.Typer()
    app.command()(methods.main)
    cache = tmp_path / "cache"
    arguments = [str(pictures), "--cache", str(cache), "--rows", "240", "--draw", "badnets:12:1:3"]
    first = run.invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "| SPECTRE |" in first.output
    assert "badnets, 12, target 1, seed 3: " in first.output
    one = methods.seen(Draw.parse("badnets:12:1:3"), pictures, 240, cache)
    assert set(one.views) == {"grey32", "rgb16", "rgb8", "energies", "joint", "patches", "victim"}
    assert one.poisoned.sum() == 12
    assert (one.label[one.poisoned] == 1).all()
    assert one.prob.shape == (240, 3)
    assert one.signature.shape == (6, 240)
    assert np.isfinite(one.logits).all(2).sum(1).tolist() == [192, 192]  # whole batches of 64
    monkeypatch.setattr(methods, "looked", lambda *_: pytest.fail("computed again"))
    assert run.invoke(app, arguments).output == first.output
    assert run.invoke(app, [str(pictures), "--cache", str(cache), "--draw", "badnets:12"]).exit_code == 2
