"""The battery lets an embedder of somebody else pass, and says of a broken one what is broken."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from types import SimpleNamespace
from typing import ClassVar, Literal

import pytest
import torch

from foretaste.errors import PlanError
from foretaste.testing import EMBEDDER_CHECKS, EmbedderUnderTest, check_embedder
from foretaste.testing.embedders import other_settings, payload_of
from foretaste.types.batch import Batch
from foretaste.types.dataset import Modality
from foretaste.types.digests import recipe


@dataclass(frozen=True)
class Scale:
    """What lengths are divided by."""

    unit: float = 10.0
    offset: int = 0


@dataclass(frozen=True)
class Lengths:
    """How long a text is, in characters or words."""

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TEXT})
    plain: ClassVar[bool] = False

    of: Literal["characters", "words"] = "characters"
    squared: bool = True
    powers: int = 2
    scale: Scale = field(default_factory=Scale)

    def __post_init__(self):
        if self.powers not in (2, 4):
            raise PlanError(f"powers must be 2 or 4, got {self.powers}")

    def fit(self, payloads, dataset, device):
        del dataset, device
        texts = sum(len(payload) for payload in payloads)
        return Measured(self, texts)


@dataclass(frozen=True)
class Measured:
    settings: Lengths
    texts: int

    @property
    def dim(self):
        return self.settings.powers

    @property
    def digest(self):
        return recipe("lengths", 1, self.settings, self.texts)

    def embed(self, payload):
        parts = (text.split() if self.settings.of == "words" else text for text in payload.texts)
        length = torch.tensor([float(len(part)) for part in parts]) / self.settings.scale.unit
        vectors = torch.stack([length**power for power in range(1, self.dim + 1)], 1)
        return Batch(payload.row, payload.label, vectors)


INSTEAD = {"powers": 4}


def test_a_plug_in_that_keeps_the_contract_passes():
    reasons = check_embedder(Lengths(), Modality.TEXT, instead=INSTEAD)
    assert reasons == {"has probabilities where it says so": "it estimates no classes"}


def test_what_a_check_raises_says_which_check_of_whom_it_was():
    with pytest.raises(AssertionError, match="powers = 3 is refused, name another value in `instead`") as raised:
        check_embedder(Lengths(), Modality.TEXT)
    assert raised.value.__notes__ == ["Lengths: has a digest of every setting"]
    check_embedder(Lengths(), Modality.TEXT, irrelevant=frozenset({"powers"}))


def test_every_setting_has_another_value_but_texts():
    @dataclass(frozen=True)
    class Named:
        """One with a name."""

        name: str = "a"
        zero: float = 0.0

    assert other_settings(Lengths(), INSTEAD) == {
        "of": "words",
        "squared": False,
        "powers": 4,
        "scale.unit": 5.0,
        "scale.offset": 1,
    }
    assert other_settings(Named(), {}) == {"zero": 1.0}
    assert other_settings(Named(), {"name": "b"}) == {"name": "b", "zero": 1.0}


@pytest.mark.parametrize("modality", list(Modality))
def test_there_are_rows_of_every_modality(modality):
    payload, again = payload_of(modality), payload_of(modality)
    assert payload.columns == again.columns
    assert payload.roles.payload == tuple(payload.columns)
    assert payload.label.unique().tolist() == [0, 1]


def encoder(**changes):
    """The embedder with other properties of its encoder, and another embedding of a payload."""

    class Broken(Lengths):
        def fit(self, payloads, dataset, device):
            right = Lengths.fit(self, payloads, dataset, device)
            embed = changes.get("embed", lambda one, payload: one.embed(payload))
            held = {"dim": right.dim, "digest": right.digest} | {
                name: value(right) for name, value in changes.items() if name != "embed"
            }
            return SimpleNamespace(**held, embed=lambda payload: embed(right, payload))

    return Broken()


def with_prob(prob):
    """An embedding with class probabilities."""
    return lambda right, payload: replace(right.embed(payload), prob=prob(len(payload)))


@dataclass(frozen=True)
class Demanding(Lengths):
    """One that cannot be made without settings."""

    least: int = field(kw_only=True)


@dataclass(frozen=True)
class Unread(Lengths):
    """One that does not say what it reads."""

    modalities: ClassVar[frozenset[Modality]] = frozenset()


@dataclass(frozen=True)
class Pictures(Lengths):
    """One that says it reads pictures."""

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.IMAGE})


@dataclass(frozen=True)
class Undecided(Lengths):
    """One that is plain in a way."""

    plain: ClassVar[str] = "yes"


draws = count()
BROKEN = {
    "is a frozen dataclass that says what it reads": [
        (Demanding(least=1), "must have a default for every setting"),
        (Unread(), "must be a frozenset of Modality, and not empty"),
        (Pictures(), "does not say that it reads text"),
    ],
    "says whether it is plain": [(Undecided(), "must be True or False, got 'yes'")],
    "embeds a row alone as in any batch": [
        (
            encoder(embed=lambda right, payload: replace(right.embed(payload), row=torch.arange(len(payload)))),
            "row 17 alone is another row",
        ),
        (
            encoder(
                embed=lambda right, payload: replace(
                    right.embed(payload), embedding=right.embed(payload).embedding / len(payload)
                )
            ),
            "row 0 alone has another vector",
        ),
        (
            encoder(
                embed=lambda right, payload: replace(
                    right.embed(payload), embedding=right.embed(payload).embedding.double()
                )
            ),
            "vectors must be float32",
        ),
        (
            encoder(
                embed=lambda right, payload: replace(
                    right.embed(payload), embedding=right.embed(payload).embedding.log() / 0
                )
            ),
            "vectors must be finite",
        ),
        (encoder(dim=lambda _: 3), r"160 rows must become \[160, 3\], got \[160, 2\]"),
        (encoder(embed=with_prob(lambda rows: torch.ones(rows, 1) if rows > 1 else None)), "or lacks them"),
    ],
    "embeds no rows as no vectors": [
        (
            encoder(
                embed=lambda right, payload: right.embed(payload) if len(payload) else right.embed(payload_of("text"))
            ),
            r"\[0, 2\]",
        )
    ],
    "has probabilities where it says so": [
        (encoder(embed=with_prob(lambda rows: torch.ones(rows, 1))), "must say how many `classes`"),
        (encoder(classes=lambda _: 2), "an encoder of 2 classes must give"),
        (encoder(classes=lambda _: 2, embed=with_prob(lambda rows: torch.ones(rows, 3))), r"must be \[160, 2\]"),
        (encoder(classes=lambda _: 2, embed=with_prob(lambda rows: torch.ones(rows, 2))), "must sum to 1"),
        (
            encoder(classes=lambda _: 2, embed=with_prob(lambda rows: torch.tensor([[2.0, -1.0]]).expand(rows, 2))),
            "must not be negative",
        ),
    ],
    "is the same when fitted again": [
        (encoder(digest=lambda _: str(next(draws))), "another digest"),
        (
            encoder(
                embed=lambda right, payload: replace(
                    right.embed(payload), embedding=right.embed(payload).embedding + next(draws)
                )
            ),
            "another embedding",
        ),
    ],
    "has a digest of every setting": [
        (
            encoder(digest=lambda right: recipe(right.settings.of, right.settings.powers)),
            "squared = False has the digest of squared = True",
        ),
        (
            encoder(digest=lambda right: recipe(replace(right.settings, scale=Scale()))),
            r"scale.unit = 5.0 has the digest of scale.unit = 10.0",
        ),
    ],
}


@pytest.mark.parametrize(
    ("check", "broken", "message"),
    [
        pytest.param(check, broken, message, id=f"{check}-{at}")
        for check, cases in BROKEN.items()
        for at, (broken, message) in enumerate(cases)
    ],
)
def test_what_is_broken_is_found_by_its_check(check, broken, message):
    with pytest.raises(AssertionError, match=message):
        EMBEDDER_CHECKS[check](EmbedderUnderTest(broken, Modality.TEXT, instead=INSTEAD))
