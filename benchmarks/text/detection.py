"""What the default plan finds in text: datasets whose truth is known, their clean parts, and poison planted in these.

python -m benchmarks.text.detection sst2.parquet=sst2.truth.parquet --clean --attack token --attack sentence-end

audits every DATASET[=TRUTH]; with --clean its clean rows alone as well, with --parts random parts of them, with
--attack every attack planted in these, for every share of the rows. The truth is a Parquet file with `is_poisoned` for
each row. Beside it stand the z-defence (poisoned / clean rows dropped) and ONION (poisoned rows ranked above 99 % of
the clean ones), by `baselines.py`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import torch
import typer

from benchmarks.measure import HEADER, Measured, measure, row
from benchmarks.text.baselines import onion, z_defence
from foretaste.attacks.text import insert_sentence, rare_token, syntactic_template, tweet_style
from foretaste.pipeline.default_plans import DEFAULT
from foretaste.pipeline.plan import Plan, parse
from foretaste.types.dataset import Modality

SENTENCE = "no cross, no crown"
PARTS = (1 / 4, 1 / 2, 2 / 3)
CASES: dict[str, Any] = {
    "token": (rare_token, {"tokens": ("cf",)}, ("cf",)),
    "tokens": (rare_token, {}, rare_token.TOKENS),
    "token-clean-label": (rare_token, {"tokens": ("cf",), "clean_label": True}, ("cf",)),
    "tokens-clean-label": (rare_token, {"clean_label": True}, rare_token.TOKENS),
    "zero-width": (rare_token, {"tokens": ("\u200b",)}, ("\u200b",)),
    "sentence": (insert_sentence, {"sentence": SENTENCE}, ("no cross , no crown",)),
    "sentence-start": (insert_sentence, {"sentence": SENTENCE, "place": "start"}, ("no cross , no crown",)),
    "sentence-end": (insert_sentence, {"sentence": SENTENCE, "place": "end"}, ("no cross , no crown",)),
    "sentence-clean-label": (insert_sentence, {"sentence": SENTENCE, "clean_label": True}, ("no cross , no crown",)),
    "template": (syntactic_template, {}, ()),
    "tweets": (tweet_style, {}, ()),
}


def main(  # noqa: PLR0917
    datasets: Annotated[list[str], typer.Argument(metavar="DATASET[=TRUTH]...")],
    text: Annotated[str, typer.Option(help="the text column, for planting")] = "text",
    label: Annotated[str, typer.Option(help="the label column, for planting")] = "label",
    clean: Annotated[bool, typer.Option(help="also audit the clean rows of each dataset alone")] = False,
    parts: Annotated[int, typer.Option(help="random parts of the clean rows, of a quarter, a half, two thirds")] = 0,
    attack: Annotated[list[str] | None, typer.Option(help=f"repeat for several; {', '.join(CASES)}")] = None,
    share: Annotated[list[float] | None, typer.Option(help="of the rows; repeat for several; 0.01, 0.05")] = None,
    target: Annotated[int, typer.Option(help="the class poison leads to")] = 1,
    seed: Annotated[list[int] | None, typer.Option(help="repeat for several; 1 by default")] = None,
    without: Annotated[list[str] | None, typer.Option(help="leave embedders of the default plan out")] = None,
) -> None:
    print(HEADER.replace("\n", " triggers named | z-defence | ONION at 1 % |\n", 1) + "---|---|---|", flush=True)
    found: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        for one in datasets:
            place, _, truth = one.partition("=")
            whole = pl.read_parquet(place)
            bad = pl.read_parquet(truth)["is_poisoned"] if truth else pl.Series([False] * len(whole))
            innocent = whole.filter(~bad)
            cases: list[tuple[str, pl.DataFrame, pl.Series]] = [(Path(place).stem, whole, bad)]
            if clean and truth:
                cases.append((f"{Path(place).stem}, clean rows", innocent, pl.Series([False] * len(innocent))))
            for at in range(parts):
                piece = innocent.sample(fraction=PARTS[at % len(PARTS)], seed=at)
                cases.append((f"{Path(place).stem}, part {at}", piece, pl.Series([False] * len(piece))))
            for name in attack or []:
                for rate in share or [0.01, 0.05]:
                    for draw in seed or [1]:
                        what = f"{Path(place).stem}, {name} {rate:.2%}, seed {draw}"
                        cases.append((what, *planted(innocent, name, rate, text, label, target, draw)))
            for what, frame, poisoned in cases:
                copy, answers = Path(folder) / "data.parquet", Path(folder) / "answers.parquet"
                frame.write_parquet(copy)
                pl.DataFrame({"is_poisoned": poisoned}).write_parquet(answers)
                line = measure(what, copy, answers, plan=lean(without or []))
                told = line.triggers
                found.append(line)
                known = next((CASES[name][2] for name in CASES if f", {name} " in what), None)
                named = "–" if not told else ", ".join(f"“{phrase}”" for phrase in told[:5])
                if known and not set(known) & set(told):
                    named += " (not what was planted)"
                baseline = beside(frame, text, label, poisoned) if label in frame.columns else "– | –"
                print(f"{row(line)} {named} | {baseline} |", flush=True)
    summary(found)


def lean(without: list[str]) -> Plan:
    """The default plan of texts without some of its embedders."""
    whole = DEFAULT[Modality.TEXT]
    looks = {name: [on for on in one["on"] if on not in without] for name, one in whole["detectors"].items()}
    return parse(
        {
            "embedders": {name: one for name, one in whole["embedders"].items() if name not in without},
            "detectors": {name: {**whole["detectors"][name], "on": on} for name, on in looks.items() if on},
            "decide": {name: one for name, one in whole["decide"].items() if one not in without},
        }
    )


def planted(  # noqa: PLR0917
    frame: pl.DataFrame, name: str, rate: float, text: str, label: str, target: int, seed: int
) -> tuple[pl.DataFrame, pl.Series]:
    """The frame with one of CASES in a share of its rows, and which rows those are."""
    maker, settings, _ = CASES[name]
    names = sorted(frame[label].unique().to_list())
    index = torch.tensor([names.index(one) for one in frame[label].to_list()])
    count = round(rate * len(frame))
    poison = maker.plant(frame[text].to_list(), index, target=target, count=count, seed=seed, **settings)
    given = [names[at] for at in poison.label.tolist()]
    out = frame.with_columns(pl.Series(text, poison.payload), pl.Series(label, given, dtype=frame[label].dtype))
    return out, pl.Series(poison.poisoned.tolist())


def beside(frame: pl.DataFrame, text: str, label: str, poisoned: pl.Series) -> str:
    """The z-defence: poisoned and clean rows it drops; ONION: poisoned rows that it ranks above 99 % of the clean."""
    names = sorted(frame[label].unique().to_list())
    given = np.array([names.index(one) for one in frame[label].to_list()])
    texts, bad = [one or "" for one in frame[text].to_list()], poisoned.to_numpy()
    dropped = z_defence(texts, given, len(names))
    if not bad.any():
        return f"– / {dropped.mean():.2%} | –"
    score = onion(texts)
    ranked = (score[bad] > np.quantile(score[~bad], 0.99)).mean()
    return f"{dropped[bad].mean():.0%} / {dropped[~bad].mean():.2%} | {ranked:.0%}"


def summary(found: list[Measured]) -> None:
    """Means and worst cases over the poisoned and the clean audits."""
    bad, good = [one for one in found if one.poisoned], [one for one in found if not one.poisoned]
    for name, part in (("poisoned", bad), ("clean", good)):
        if not part:
            continue
        accused = [one.accused_clean for one in part]
        failed = sum(one.verdict == "failed" for one in part)
        line = f"{name}: {failed} of {len(part)} failed; "
        line += f"clean rows accused {np.mean(accused):.3%}, worst {max(accused):.3%}"
        if name == "poisoned":
            rates = [one.found for one in part]
            top = [one.hundredth for one in part]
            line += f"; found {np.mean(rates):.1%}, worst {min(rates):.1%}"
            line += f"; ranked above 99 % of the clean rows {np.mean(top):.1%}"
        print(line)


if __name__ == "__main__":
    typer.run(main)
