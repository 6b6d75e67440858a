"""The contract of embedders, as checks: a row embeds alone as in any batch, and the digest knows what decides it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import Embedder, Encoder, EstimatesClasses
from foretaste.errors import PlanError
from foretaste.settings import declared
from foretaste.testing.assertions import Check, ensure, ensure_close, run_all, varied
from foretaste.testing.components import ensure_frozen_settings, ensure_one_sentence, ensure_strict_settings
from foretaste.testing.worlds import CPU
from foretaste.types.dataset import Dataset, Modality, Roles
from foretaste.types.digests import Digest

ROWS = 160
WORDS = ["a", "film", "about", "people", "in", "town", "who", "never", "say", "what", "they", "saw", "there"]
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@dataclass(frozen=True, eq=False)
class EmbedderUnderTest:
    """An embedder, and the payload that it is tried on. It is fitted once for all checks.

    modality  of the payload, one that the embedder reads
    irrelevant   settings that decide no embedding, such as how many rows are embedded at once, or none of such rows
    instead   other values of settings, where the battery cannot think of one: numbers are counted up or halved,
              switches turned, and one of a few words exchanged for another
    """

    embedder: Embedder
    modality: Modality
    irrelevant: frozenset[str] = frozenset()
    instead: Mapping[str, Any] = field(default_factory=dict)

    @property
    def payload(self) -> Payload:
        """ROWS rows of the modality, new ones with the same contents each time."""
        return payload_of(self.modality)

    @cached_property
    def encoder(self) -> Encoder:
        """The embedder, fitted to the payload."""
        return fitted(self.embedder, self.payload)


def check_embedder(
    embedder: Embedder,
    modality: Modality,
    *,
    irrelevant: frozenset[str] = frozenset(),
    instead: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Run every check on an embedder: why those that have nothing to look at in it do not apply, by name.

    The other arguments are as of EmbedderUnderTest.

    Raises AssertionError where the contract is broken, and whatever the embedder raises where it should not.
    """
    it = EmbedderUnderTest(embedder, modality, irrelevant, instead or {})
    return run_all(EMBEDDER_CHECKS, it, type(embedder).__name__)


def is_a_frozen_dataclass_that_says_what_it_reads(it: EmbedderUnderTest) -> None:
    """Raises AssertionError unless the class is a frozen dataclass with modalities and a sentence about itself.

    It must be possible to make one without settings: that is how the first plain view of a modality is found.
    """
    ensure_frozen_settings(it.embedder)
    cls = type(it.embedder)
    try:
        cls()
    except TypeError as error:
        raise AssertionError(f"{cls.__name__} must have a default for every setting: {error}") from error
    modalities = getattr(cls, "modalities", None)
    ensure(
        isinstance(modalities, frozenset) and modalities and all(isinstance(one, Modality) for one in modalities),
        f"`modalities` must be a frozenset of Modality, and not empty, got {modalities!r}",
    )
    ensure(it.modality in cls.modalities, f"{cls.__name__} does not say that it reads {it.modality}")
    ensure_one_sentence(cls)


def refuses_unknown_settings(it: EmbedderUnderTest) -> None:
    """Raises AssertionError unless a plan that sets what does not exist is refused with the nearest that does."""
    ensure_strict_settings(type(it.embedder))


def says_whether_it_is_plain(it: EmbedderUnderTest) -> None:
    """Raises AssertionError unless `plain` is True or False."""
    plain: object = it.embedder.plain
    ensure(isinstance(plain, bool), f"`plain` must be True or False, got {plain!r}")


def embeds_a_row_alone_as_in_any_batch(it: EmbedderUnderTest) -> None:
    """Raises AssertionError where what becomes of a row depends on the other rows, or is no finite vector of `dim`."""
    payload, encoder = it.payload, it.encoder
    ensure(isinstance(encoder, Encoder), f"{type(encoder).__name__} must have dim, digest and embed")
    together = encoder.embed(payload)
    found, expected = tuple(together.embedding.shape), (len(payload), encoder.dim)
    ensure(found == expected, f"{len(payload)} rows must become {list(expected)}, got {list(found)}")
    ensure(together.embedding.dtype == torch.float32, f"vectors must be float32, got {together.embedding.dtype}")
    ensure(together.embedding.isfinite().all(), "vectors must be finite")
    for row in range(0, len(payload), 17):
        at = slice(row, row + 1)
        alone = encoder.embed(rows_of(payload, row, row + 1))
        ensure_close(alone.embedding, together.embedding[at], f"row {row} alone has another vector", **CLOSE)
        ensure_close(alone.row, payload.row[at], f"row {row} alone is another row")
        ensure_close(alone.label, payload.label[at], f"row {row} alone has another label")
        ensure((alone.prob is None) == (together.prob is None), f"row {row} alone has probabilities, or lacks them")
        if alone.prob is not None and together.prob is not None:
            ensure_close(alone.prob, together.prob[at], f"row {row} alone has other probabilities", **CLOSE)


def embeds_no_rows_as_no_vectors(it: EmbedderUnderTest) -> None:
    """Raises AssertionError unless a payload without rows becomes [0, dim]."""
    found = it.encoder.embed(rows_of(it.payload, 0, 0)).embedding.shape
    ensure(found == (0, it.encoder.dim), f"no rows must become [0, {it.encoder.dim}], got {list(found)}")


def has_probabilities_where_it_says_so(it: EmbedderUnderTest) -> str | None:
    """Raises AssertionError unless an encoder with `classes` gives every row a distribution over as many."""
    prob, encoder = it.encoder.embed(it.payload).prob, it.encoder
    if not isinstance(encoder, EstimatesClasses):
        ensure(prob is None, "an encoder whose batches have class probabilities must say how many `classes` there are")
        return "it estimates no classes"
    if prob is None:
        raise AssertionError(f"an encoder of {encoder.classes} classes must give every row their probabilities")
    expected = [ROWS, encoder.classes]
    ensure(list(prob.shape) == expected, f"probabilities must be {expected}, got {list(prob.shape)}")
    ensure((prob >= 0).all(), f"probabilities must not be negative, got {prob.min():.3g}")
    ensure_close(prob.sum(1), torch.ones(ROWS), "probabilities must sum to 1", **CLOSE)
    return None


def is_the_same_when_fitted_again(it: EmbedderUnderTest) -> None:
    """Raises AssertionError where a second fit to the same rows gives another digest or embedding."""
    again = fitted(it.embedder, it.payload)
    ensure(again.digest == it.encoder.digest, "the same rows led to another digest")
    one, other = (encoder.embed(it.payload).embedding for encoder in (it.encoder, again))
    ensure(torch.equal(one, other), "the same rows led to another embedding")


def has_a_digest_of_every_setting(it: EmbedderUnderTest) -> str | None:
    """Raises AssertionError where a setting has another value and the digest is the same.

    Stored vectors are found by their digest: those of other settings would be taken for these.
    """
    others = {
        name: value for name, value in other_settings(it.embedder, it.instead).items() if name not in it.irrelevant
    }
    for name, value in others.items():
        try:
            changed = _with(it.embedder, name, value)
        except PlanError as error:
            raise AssertionError(f"{name} = {value!r} is refused, name another value in `instead`: {error}") from error
        digest = fitted(changed, it.payload).digest
        ensure(digest != it.encoder.digest, f"{name} = {value!r} has the digest of {name} = {_of(it.embedder, name)!r}")
    return None if others else "it has no setting that could have another value"


EMBEDDER_CHECKS: Mapping[str, Check[EmbedderUnderTest]] = {
    **varied(is_a_frozen_dataclass_that_says_what_it_reads),
    **varied(refuses_unknown_settings),
    **varied(says_whether_it_is_plain),
    **varied(embeds_a_row_alone_as_in_any_batch),
    **varied(embeds_no_rows_as_no_vectors),
    **varied(has_probabilities_where_it_says_so),
    **varied(is_the_same_when_fitted_again),
    **varied(has_a_digest_of_every_setting),
}


def other_settings(component: Any, instead: Mapping[str, Any]) -> dict[str, Any]:
    """Another value of every setting that has one, by its place, as in "bank.drawn"; what `instead` says comes first.

    Texts and sequences have none unless `instead` names it.
    """
    out: dict[str, Any] = {}
    for setting in declared(type(component)):
        value = _of(component, setting.name)
        words = _choices(type(component), setting.name)
        if setting.name in instead:
            out[setting.name] = instead[setting.name]
        elif words:
            out[setting.name] = next(word for word in words if word != value)
        elif type(value) in OTHERWISE:
            out[setting.name] = OTHERWISE[type(value)](value)
    return out


OTHERWISE: Mapping[type, Callable[[Any], Any]] = {
    int: lambda value: value + 1,
    float: lambda value: value / 2 or 1.0,
    bool: lambda value: not value,
}


def _choices(cls: Any, name: str) -> tuple[Any, ...]:
    """The words that a setting may be, by its place; none where it may be any."""
    first, _, rest = name.partition(".")
    hint = get_type_hints(cls)[first]
    if rest:
        return _choices(hint, rest)
    return get_args(hint) if get_origin(hint) is Literal else ()


def _of(component: Any, name: str) -> Any:
    first, _, rest = name.partition(".")
    value = getattr(component, first)
    return _of(value, rest) if rest else value


def _with(component: Any, name: str, value: Any) -> Any:
    first, _, rest = name.partition(".")
    return replace(component, **{first: _with(getattr(component, first), rest, value) if rest else value})


def fitted(embedder: Embedder, payload: Payload) -> Encoder:
    """What an embedder becomes of a payload that comes in two halves."""
    halves = [rows_of(payload, 0, len(payload) // 2), rows_of(payload, len(payload) // 2, len(payload))]
    return embedder.fit(halves, dataset_of(payload), CPU)


def dataset_of(payload: Payload) -> Dataset:
    """A dataset of two classes that the payload is the whole of; it has no files."""
    counts = tuple(torch.bincount(payload.label, minlength=2).tolist())
    return Dataset("", (), (), payload.roles, ("no", "yes"), counts, Digest("a", "b"))


def payload_of(modality: Modality, rows: int = ROWS, seed: int = 0) -> Payload:
    """Rows of random contents and two random labels."""
    draw = np.random.default_rng(seed)
    columns = columns_of(modality, rows, draw)
    label = torch.from_numpy(draw.integers(0, 2, rows))
    return Payload(torch.arange(rows), label, columns, Roles(modality, tuple(columns), "label"), "f, row group 0")


def rows_of(payload: Payload, start: int, stop: int) -> Payload:
    """The rows of a payload from position `start` on, before `stop`."""
    columns = {name: column[start:stop] for name, column in payload.columns.items()}
    return Payload(payload.row[start:stop], payload.label[start:stop], columns, payload.roles, payload.where)


def columns_of(modality: Modality, rows: int, draw: np.random.Generator) -> dict[str, pa.Array]:
    """Payload columns of `rows` rows that every embedder of the modality reads."""
    text = [" ".join(draw.choice(WORDS, 9)) for _ in range(rows)]
    match modality:
        case Modality.IMAGE:
            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            return {"c": pa.array([{"bytes": _png(draw), "path": None} for _ in range(rows)], kind)}
        case Modality.TEXT:
            return {"c": pa.array(text)}
        case Modality.MESSAGES:
            chats = [[{"role": "user", "content": one}, {"role": "bot", "content": "so"}] for one in text]
            return {"c": pa.array(chats)}
        case Modality.PAIR:
            return {"c": pa.array(text), "d": pa.array(text[::-1])}
        case Modality.FEATURES:
            return {"c": pa.array(draw.normal(size=rows)), "d": pa.array(draw.choice(list("abc"), rows))}
        case Modality.EMBEDDING:
            return {"c": pa.array(draw.normal(size=(rows, 8)).astype("f4").tolist(), pa.list_(pa.float32(), 8))}


def _png(draw: np.random.Generator) -> bytes:
    file = io.BytesIO()
    Image.fromarray(draw.integers(0, 256, (12, 14, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()
