"""The default plans, by modality."""

from __future__ import annotations

from typing import Any

from foretaste.pipeline.plan import Plan, parse
from foretaste.types.dataset import Dataset, Modality


def default(dataset: Dataset) -> Plan:
    """The plan of an audit for which none is given."""
    bare = dataset.roles.modality is Modality.TEXT and not dataset.classes
    return parse(BARE if bare else DEFAULT[dataset.roles.modality])


# Shapes of the null distribution of spectral signatures, such that in clean datasets of other origins no more classes
# are significant than its p-values say (benchmarks/clean/calibration.py): classes of texts, tables and vectors differ
# more. In pictures natural clusters are acquitted by their pixels, which leaves a lighter tail.
PICTURES = 0.03
OTHERS = 0.15

# Of a trigger of several phrases only the mean can be taken out of the words, so rows with the same one stay alike.
MAJORITY = {"least": 0.5}


def _shallow(view: str) -> dict[str, Any]:
    """A plan with one plain embedder, `view`, and a shallow probe."""
    return {
        "embedders": {view: {}, "probe": {"folds": 5, "epochs": 12, "width": 32, "rate": 0.003}},
        "detectors": {
            "spectral-signature": {"shape": OTHERS, "on": [view, "probe"]},
            "spectral-signature-plain": {
                "kind": "spectral-signature",
                "whiten": False,
                "shape": OTHERS,
                "on": [view, "probe"],
            },
            "activation-clustering": {"on": ["probe"]},
            "label-issue": {"on": ["probe"]},
            "flipped-labels": {"on": ["probe"]},
            "flipped-pairs": {"on": ["probe"]},
        },
        "decide": {"content": view},
    }


def _words() -> dict[str, Any]:
    """A plan for texts: token vectors, phrases, near copies and forms."""
    plain = _shallow("tokens")
    # With two or three classes the probe's vectors of texts have long tails: spectral runs on them flagged clean rows.
    spectral = {name: {**check, "on": ["tokens"]} for name, check in plain["detectors"].items() if "spectral" in name}
    return {
        "embedders": {**plain["embedders"], "phrases": {}, "copies": {}, "skeleton": {}},
        "detectors": {
            "trigger-enrichment": {"on": ["phrases"]},
            "flood": {"on": ["copies"]},
            "foreign-form": {"on": ["skeleton"]},
            **plain["detectors"],
            **spectral,
        },
        "decide": plain["decide"] | {"natural": MAJORITY},
    }


# Texts with neither labels nor responses: near copies, and phrases after which texts break.
BARE: dict[str, Any] = {
    "embedders": {"tokens": {}, "phrases": {}, "copies": {}},
    "detectors": {"trigger-enrichment": {"on": ["phrases"]}, "flood": {"on": ["copies"]}},
    "decide": {"content": "tokens", "natural": MAJORITY},
}


DEFAULT: dict[Modality, dict[str, Any]] = {
    Modality.IMAGE: {
        "embedders": {
            # Fine grey, coarser coloured and smooth patterns: a weak pattern is clearest on a grid of its own scale.
            "grey32": {"kind": "pixels", "grid": 32, "colour": "grey"},
            "rgb16": {"kind": "pixels", "grid": 16, "colour": "rgb"},
            "rgb8": {"kind": "pixels", "grid": 8, "colour": "rgb"},
            # Warping and resampling add no pattern, but they smooth the picture.
            "energies": {"kind": "pixels", "basis": "energies"},
            # A pattern at varying positions appears in the responses of position-invariant filters.
            "patches": {},
            # A weak pattern appears a little in both kinds of vectors, on the same rows.
            "joint": {},
        },
        "detectors": {
            "spectral-signature": {
                "shape": PICTURES,
                "on": ["grey32", "rgb16", "rgb8", "energies", "patches", "joint"],
            },
            "doubted-signature": {"on": ["grey32", "rgb16", "rgb8", "energies"]},
            "activation-clustering": {"on": ["patches"]},
            "label-issue": {"on": ["patches"]},
            "flipped-labels": {"on": ["patches"]},
            "flipped-pairs": {"on": ["patches"]},
        },
        "decide": {"content": "grey32", "colour": "rgb16", "beliefs": "patches"},
    },
    # Precomputed vectors may come from a model that learned the trigger: neighbours in them acquit nothing.
    Modality.EMBEDDING: _shallow("column") | {"decide": {}},
    Modality.FEATURES: _shallow("features"),
    Modality.TEXT: _words(),
    Modality.MESSAGES: _words(),
    Modality.PAIR: _words(),
}
