"""What the rows of a dataset are about: the columns that hold it, by names or by contents. Ambiguity is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import types

from foretaste.dataset.columns.arrow_types import is_chat, is_class, is_date, is_feature, is_image, is_scalar, is_vector
from foretaste.dataset.columns.profile import Content, Contents
from foretaste.errors import PlanError
from foretaste.types.dataset import Modality

IMAGE = ("image", "img", "picture")
TEXT = ("text", "sentence", "content", "document")
MESSAGES = ("messages", "conversations", "conversation")
PROMPT = (
    (("prompt",),),
    (("instruction", "input"), ("instruction", "context"), ("instruction",)),
)  # of each family, the first whose columns are all present
RESPONSE = ("completion", "response", "output")
PREFERENCE = ("chosen", "rejected")
EMBEDDING = ("embedding", "vector", "feature")  # as part of the name

Types = Mapping[str, pa.DataType]

ABOUT = {
    Content.PICTURES: Modality.IMAGE,
    Content.PATHS: Modality.IMAGE,
    Content.CHATS: Modality.MESSAGES,
    Content.TEXTS: Modality.TEXT,
}
# A feature says the same of several rows, or more or less of it. Strings that hardly repeat are read as features, for
# some values of them may; they do not make a table.
REPEATING = frozenset({Content.NUMBERS, Content.FRACTIONS, Content.CATEGORIES, Content.SET_TEXTS})
FEATURES = REPEATING | {Content.STRINGS, Content.PHRASES}
TEXTLESS = frozenset({Content.CATEGORIES, Content.STRINGS, Content.IDENTIFIERS})
TABLE = 2  # columns; one alone has nothing to be compared with
SHOWN = 12  # columns of a message


@dataclass(frozen=True)
class Reading:
    """One way to read the rows: what they are, and the columns that hold it."""

    modality: Modality
    payload: tuple[str, ...]

    def __str__(self) -> str:
        """The options that ask for this reading."""
        if self.modality is Modality.PAIR:
            return f"--prompt {','.join(self.payload[:-1])} --response {self.payload[-1]}"
        more = f",… ({len(self.payload)} columns)" if len(self.payload) > SHOWN else ""
        return f"--{self.modality} {','.join(self.payload[:SHOWN])}{more}"


def by_name(columns: Types, pictures: Collection[str], contents: Contents) -> list[Reading]:
    """Every reading that declared `pictures`, or usual names of columns of a fitting type, make unmistakable.

    A column called text that holds no texts is not what rows are about where another column holds them.
    """
    found = [
        Reading(Modality.IMAGE, (n,))
        for n, t in columns.items()
        if (n in pictures or n.lower() in IMAGE) and is_image(t)
    ]
    found += [Reading(Modality.MESSAGES, (n,)) for n in named(columns, MESSAGES) if is_chat(columns[n])]
    strings = {name.lower(): name for name, type_ in columns.items() if types.is_string(type_)}
    prompts = [next((names for names in family if strings.keys() >= set(names)), ()) for family in PROMPT]
    for prompt in filter(None, prompts):
        asking = tuple(strings[name] for name in prompt)
        found += [Reading(Modality.PAIR, (*asking, strings[name])) for name in RESPONSE if name in strings]
    elsewhere = any(contents.get(name) in ABOUT for name in columns)
    texts = [strings[name] for name in TEXT if name in strings]
    found += [Reading(Modality.TEXT, (n,)) for n in texts if not elsewhere or contents.get(n) not in TEXTLESS]
    found += [
        Reading(Modality.EMBEDDING, (n,))
        for n, t in columns.items()
        if _named_as_embedding(n) and is_vector(t, types.is_floating)
    ]
    return found


def by_contents(free: Types, contents: Contents, where: str, *, label: str | None, said: bool) -> Reading:
    """The one reading that the contents of the columns `free` allow; `said` if the request says what the label is.

    Pictures, conversations and running texts are what rows are about, whatever their names. Numbers and categories
    beside texts may be another reading of them, as a table; short texts are one only where there is no table.

    Raises PlanError where several readings are possible, or none, or where none of the columns is known as the label.
    """
    found = [Reading(ABOUT[contents[name]], (name,)) for name in free if contents.get(name) in ABOUT]
    held = {contents[reading.payload[0]] for reading in found}
    if Content.PICTURES in held:  # files beside pictures are named after them
        found = [reading for reading in found if contents[reading.payload[0]] is not Content.PATHS]
    _refuse_preferences(free, contents, where)
    features = tuple(name for name, type_ in free.items() if _is_feature(type_, contents.get(name)))
    table = sum(contents.get(name) in REPEATING for name in features) >= TABLE
    if not found and not table:
        found = [Reading(Modality.TEXT, (name,)) for name in features if contents.get(name) is Content.PHRASES]
    labels = _labels(free, contents) if label is None and not said else []
    if table and found and held <= {Content.TEXTS}:
        found.append(Reading(Modality.FEATURES, features))
    if len(found) > 1:
        raise PlanError(_choice(found, labels, where))
    if not found:
        return _table(free, features, contents, where, labelled=label is not None or said)
    if set(labels) - set(found[0].payload):
        rows = f"{found[0].payload[0]!r} holds {contents[found[0].payload[0]]}"
        choices = listed(name for name in labels if name not in found[0].payload)
        raise PlanError(f'{where}: {rows}, and the label must be named with --label, one of {choices} or "" for none')
    return found[0]


def named(columns: Iterable[str], names: tuple[str, ...]) -> list[str]:
    """The columns of these names, in the order of the names."""
    return sorted((name for name in columns if name.lower() in names), key=lambda name: names.index(name.lower()))


def listed(names: Iterable[str]) -> str:
    """The names for a message, the first of many."""
    names = [repr(name) for name in names]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _named_as_embedding(name: str) -> bool:
    return name.lower() == "x" or any(part in name.lower() for part in EMBEDDING)


def _is_feature(type_: pa.DataType, content: Content | None) -> bool:
    return is_feature(type_) and not is_date(type_) and (content is None or content in FEATURES)


def _labels(columns: Types, contents: Contents) -> list[str]:
    """The columns that could be the label."""
    return [n for n, t in columns.items() if is_class(t) and contents.get(n, Content.CATEGORIES) in REPEATING]


def _choice(found: list[Reading], labels: list[str], where: str) -> str:
    choices = " or ".join(map(str, found))
    texts = [reading.payload[0] for reading in found if reading.modality is Modality.TEXT]
    if len(texts) == 2:
        choices += f", or {Reading(Modality.PAIR, (texts[0], texts[1]))} if one answers the other"
    more = f", and the label with --label, one of {listed(labels)}" if labels else ""
    return f"{where}: one reading of the rows must be chosen, {len(found)} are possible: {choices}{more}"


def _refuse_preferences(free: Types, contents: Contents, where: str) -> None:
    """Raise PlanError where rows are pairs of answers of which one is preferred."""
    sides = named(free, PREFERENCE)
    if len(sides) < 2 or not all(is_chat(free[side]) or types.is_string(free[side]) for side in sides):
        return
    if is_chat(free[sides[0]]):
        ways = [Reading(Modality.MESSAGES, (side,)) for side in sides]
    else:
        asking = [n for n in free if n not in sides and contents.get(n) in (Content.TEXTS, Content.SET_TEXTS)]
        prompt = [name for name in named(free, ("prompt",)) if types.is_string(free[name])] or asking
        modality = Modality.PAIR if prompt else Modality.TEXT
        ways = [Reading(modality, (*prompt[:1], side)) for side in sides]
    raise PlanError(
        f"{where}: {sides[0]!r} and {sides[1]!r} are preference pairs, and one side is read at a time: "
        f"choose {ways[0]}, or {ways[1]}"
    )


def _table(free: Types, features: tuple[str, ...], contents: Contents, where: str, *, labelled: bool) -> Reading:
    """A table of features, but only if a label is found or the request says there is none."""
    if not all(is_scalar(type_) or types.is_null(type_) for type_ in free.values()):
        options = ", ".join(
            f"--{option}" for option in ("image", "text", "messages", "prompt", "embedding", "features")
        )
        raise PlanError(
            f"{where}: no column is unmistakably what a row is about, choose with {options} among {listed(free)}"
        )
    if not labelled:
        likely = listed(_labels(free, contents)) or listed(free)
        raise PlanError(f"{where}: a table of features needs --label (or --features), which may be one of {likely}")
    if not features:
        raise PlanError(f"{where}: no column is left to be a feature, choose with --features among {listed(free)}")
    return Reading(Modality.FEATURES, features)
