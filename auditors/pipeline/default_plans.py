"""The plan of an audit without a plan file, by modality."""

from __future__ import annotations

from typing import Any

from foretaste.pipeline.plan import Plan, parse
from foretaste.types.dataset import Dataset, Modality


def default(dataset: Dataset) -> Plan:
    """The plan of an audit without a plan file, by modality."""
    bare = dataset.roles.modality is Modality.TEXT and not dataset.classes
    return parse(BARE if bare else DEFAULT[dataset.roles.modality])


def _shallow(view: str) -> dict[str, Any]:
    """One plain view of the rows and a shallow probe over it."""
    return {
        "embedders": {view: {}, "probe": {"folds": 5, "epochs": 12, "width": 32, "rate": 0.003}},
        "detectors": {
            "spectral-signature": {"on": [view, "probe"]},
            "spectral-signature-plain": {"kind": "spectral-signature", "whiten": False, "on": [view, "probe"]},
            "activation-clustering": {"on": ["probe"]},
            "label-issue": {"on": ["probe"]},
            "flipped-labels": {"on": ["probe"]},
            "flipped-pairs": {"on": ["probe"]},
        },
        "decide": {"content": view},
    }


def _words() -> dict[str, Any]:
    """Texts as vectors, by the phrases they hold, and by how they are written."""
    plain = _shallow("tokens")
    # The probe of texts with two or three classes has long tails of its own: spectral looks at it accused clean rows.
    spectral = {name: {**one, "on": ["tokens"]} for name, one in plain["detectors"].items() if "spectral" in name}
    return {
        "embedders": {**plain["embedders"], "phrases": {}, "copies": {}, "skeleton": {}},
        "detectors": {
            "trigger-enrichment": {"on": ["phrases"]},
            "flood": {"on": ["copies"]},
            "foreign-form": {"on": ["skeleton"]},
            **plain["detectors"],
            **spectral,
        },
        "decide": plain["decide"],
    }


# Texts with neither labels nor responses: which of them repeat each other, and which break after the same phrase.
BARE: dict[str, Any] = {
    "embedders": {"phrases": {}, "copies": {}},
    "detectors": {"trigger-enrichment": {"on": ["phrases"]}, "flood": {"on": ["copies"]}},
}


DEFAULT: dict[Modality, dict[str, Any]] = {
    Modality.IMAGE: {
        "embedders": {
            # Fine grey patterns, coarser coloured ones, smooth ones: a weak pattern shows on the grid of its own size.
            "grey32": {"kind": "pixels", "grid": 32, "colour": "grey"},
            "rgb16": {"kind": "pixels", "grid": 16, "colour": "rgb"},
            "rgb8": {"kind": "pixels", "grid": 8, "colour": "rgb"},
            # Warping and resampling leave no pattern of their own, but they smooth.
            "energies": {"kind": "pixels", "basis": "energies"},
            # A pattern that moves about shows in filters that do not care where.
            "patches": {},
            # A weak one shows a little in either, on the same rows.
            "joint": {},
        },
        "detectors": {
            "spectral-signature": {"on": ["grey32", "rgb16", "rgb8", "energies", "patches", "joint"]},
            "doubted-signature": {"on": ["grey32", "rgb16", "rgb8", "energies"]},
            "activation-clustering": {"on": ["patches"]},
            "label-issue": {"on": ["patches"]},
            "flipped-labels": {"on": ["patches"]},
            "flipped-pairs": {"on": ["patches"]},
        },
        "decide": {"content": "grey32", "beliefs": "patches"},
    },
    # A column of ready vectors may come from a model that learned the trigger: what is near there proves nothing.
    Modality.EMBEDDING: _shallow("column") | {"decide": {}},
    Modality.FEATURES: _shallow("features"),
    Modality.TEXT: _words(),
    Modality.MESSAGES: _words(),
    Modality.PAIR: _words(),
}
