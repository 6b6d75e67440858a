"""Make sets of texts, of instructions and of documents from public sources, clean as they were published.

    python -m benchmarks.clean.texts CHECKOUTS OUT [--only NAME]

`texts.toml` lists the origins and how each is read. A reader turns the files of an origin into records, the origin's
`columns` turn a record into a row: a column is a template such as "{title}: {body}" over the fields of the record.
Figures that differ from the list are reported, and the exit code is then 1.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.clean.checkouts import files
from benchmarks.clean.origins import FEWEST, draw, duplicates, run

Record = dict[str, Any]
Options = Mapping[str, Any]
LIMIT = 5000  # rows of a set
FOLDERS = {"text": "texts", "instruction": "instructions", "chat": "instructions", "document": "documents"}
NEEDED = {
    "text": ("text", "label"),
    "instruction": ("prompt", "response"),
    "chat": ("messages",),
    "document": ("text",),
}
TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def delimited(texts: Sequence[str], options: Options) -> Iterator[Record]:
    """Rows of a table in text form; the fields are named by its first line or by `header`."""
    quoting = csv.QUOTE_MINIMAL if options.get("quoted", True) else csv.QUOTE_NONE
    form = {"delimiter": options.get("delimiter", ","), "quotechar": options.get("quote", '"'), "quoting": quoting}
    rows = csv.reader(io.StringIO(texts[0], newline=""), **form)
    header = options.get("header") or next(rows)
    for row in list(rows)[options.get("skip", 0) :]:
        if len(row) >= len(header):
            yield dict(zip(header, row, strict=False))


def records(texts: Sequence[str], options: Options) -> Iterator[Record]:
    """Objects of a JSON, JSON Lines or YAML file: under the keys `at`, then one for each element of `explode`."""
    form = options.get("form", "json")
    if form == "lines":
        told: Any = [json.loads(line) for line in texts[0].split("\n") if line.strip()]
    else:
        told = json.loads(texts[0]) if form == "json" else yaml.load(texts[0], Loader=yaml.CSafeLoader)
    for record in held(told, options.get("at")):
        lists = options.get("explode")
        for values in zip(*(record[key] for key in lists), strict=True) if lists else [()]:
            one = record | dict(zip(lists or (), values, strict=True))
            for inner in [value for value in one.values() if isinstance(value, dict)]:
                one |= inner
            yield {key: value[0] if key in options.get("first", ()) else value for key, value in one.items()}


def held(told: Any, at: Sequence[str] | None) -> Iterator[Record]:
    """The objects of a list, or those under keys of an object, which then carry its other fields."""
    if isinstance(told, list):
        yield from (
            item if isinstance(item, dict) else {f"c{n}": value for n, value in enumerate(item)} for item in told
        )
        return
    keys = list(told) if at is None else at
    around = {key: value for key, value in told.items() if key not in keys}
    for key in keys:
        for record in held(told[key] if isinstance(told[key], list) else [told[key]], None):
            yield around | record


def matches(texts: Sequence[str], options: Options) -> Iterator[Record]:
    """The named groups of each match of a pattern."""
    for match in re.finditer(options["pattern"], texts[0]):
        yield match.groupdict(default="")


def whole(texts: Sequence[str], _: Options) -> Iterator[Record]:
    """A file is one record."""
    yield {"text": texts[0]}


def parallel(texts: Sequence[str], options: Options) -> Iterator[Record]:
    """Lines of files that belong together, a field for each file of `together`."""
    lines = [text.removesuffix("\n").split("\n") for text in texts]
    for line in zip(*lines, strict=True):
        yield dict(zip(options["together"], line, strict=True))


def markup(texts: Sequence[str], options: Options) -> Iterator[Record]:
    """The text inside the elements `element` of an XML file."""
    for element in ElementTree.fromstring(texts[0]).iter(options["element"]):
        yield {"text": "".join(element.itertext())}


def tagged(texts: Sequence[str], options: Options) -> Iterator[Record]:
    """Documents of a file with a token a line, joined by blanks except where the last column says otherwise."""
    for part in texts[0].split(options["begins"])[1:]:
        head, *lines = part.split("\n")
        text = ""
        for token in (line.split("\t") for line in lines if "\t" in line and not line.startswith("#")):
            text += token[0] + ("" if "NoSpaceAfter" in token[-1] else "\n" if "EndOfLine" in token[-1] else " ")
        yield {"head": head.strip(), "text": text}


def dialogues(texts: Sequence[str], _: Options) -> Iterator[Record]:
    """Chats of a file of schema-guided dialogues."""
    for dialogue in json.loads(texts[0]):
        role = {"USER": "user", "SYSTEM": "assistant"}
        turns = [{"role": role[turn["speaker"]], "content": turn["utterance"]} for turn in dialogue["turns"]]
        yield {"messages": turns, "services": " ".join(dialogue["services"])}


def queries(texts: Sequence[str], _: Options) -> Iterator[Record]:
    """Questions with their query, in which the values of the question stand in place of its variables."""
    for number, entry in enumerate(json.loads(texts[0])):
        for sentence in entry["sentences"]:
            question, query = sentence["text"], entry["sql"][0]
            for name in sorted(sentence["variables"], key=len, reverse=True):
                question = question.replace(name, sentence["variables"][name])
                query = query.replace(name, sentence["variables"][name])
            yield {"question": question, "query": query, "number": number}


READERS: dict[str, Callable[[Sequence[str], Options], Iterator[Record]]] = {
    function.__name__: function
    for function in (delimited, records, matches, whole, parallel, markup, tagged, dialogues, queries)
}


def decoded(data: bytes, options: Options) -> str | None:
    """A file as text with lines that end as usual, None where it is none and the origin says that this happens."""
    for encoding in options.get("encodings", ["utf-8-sig"]):
        try:
            return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError as error:
            wrong = error
    if options.get("binary"):
        return None
    raise wrong


def rows(checkouts: Path, origin: Mapping[str, Any]) -> Iterator[Record]:
    """The rows of an origin, all of them, in the order of the source."""
    options = origin.get("options", {})
    read, derive = READERS[origin["reader"]], origin.get("derive", {})
    missing = dict.fromkeys(options.get("optional", ()), "")
    source = files(checkouts, origin)
    for group in zip(*[source] * len(options.get("together", "1")), strict=True):
        place = re.search(origin.get("path", ""), group[0][0])
        texts = [decoded(data, options) for _, data in group]
        if place is None or None in texts:
            continue
        for record in read([text for text in texts if text is not None], options):
            fields = missing | place.groupdict() | record
            for field, pattern in derive.items():
                found = re.search(pattern, plain(fields[field]))
                fields |= found.groupdict(default="") if found else dict.fromkeys(re.compile(pattern).groupindex, "")
            row = {name: filled(template, fields) for name, template in origin["columns"].items()}
            if "label" in row:
                row["label"] = origin.get("labels", {}).get(row["label"], row["label"])
            yield row


def filled(template: str, fields: Record) -> Any:
    """A column: one field as it is, or several in a text without blank ends; turns of a chat stay turns."""
    if template == "{messages}":
        return fields["messages"]
    used = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    text = template.format_map({name: plain(fields[name]) for name in used})
    return text.strip() if len(used) > 1 else text


def plain(value: Any) -> str:
    """A field as text: of a list its lines, of pieces of a text their sum."""
    if isinstance(value, list):
        pieces = [item for item in value if isinstance(item, dict)]
        return "".join(item["text"] for item in pieces) if pieces else "\n".join(map(str, value))
    return "" if value is None else str(value)


def kept(table: Sequence[Record], origin: Mapping[str, Any]) -> list[Record]:
    """Rows with content, of a length that the origin allows, of classes large enough."""
    needed = NEEDED[origin["modality"]]
    least, most = origin.get("shortest", 1), origin.get("longest", sys.maxsize)
    left = [row for row in table if all(row[name] and str(row[name]).strip() for name in needed)]
    left = [row for row in left if least <= len(row[needed[0]]) <= most]
    if "label" not in needed:
        return left
    common = Counter(row["label"] for row in left).most_common(origin.get("most_classes"))
    large = {label for label, size in common if size >= FEWEST}
    return [row for row in left if row["label"] in large]


def make(checkouts: Path, out: Path, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Write the set of an origin and return its figures."""
    table = kept(list(rows(checkouts, origin)), origin)
    drawn = [table[row] for row in draw([row.get("label", "") for row in table], LIMIT, origin["name"])]
    columns: dict[str, pa.Array] = {"id": pa.array(range(len(drawn)), pa.int64())}
    for name in origin["columns"]:
        columns[name] = pa.array([row[name] for row in drawn], TURNS if name == "messages" else pa.string())
    folder = out / FOLDERS[origin["modality"]]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / f"{origin['name']}.parquet", compression="zstd")
    first = NEEDED[origin["modality"]][0]
    made: dict[str, Any] = {"rows": len(drawn), "duplicates": duplicates([str(row[first]) for row in drawn])}
    return made | ({"classes": len({row["label"] for row in drawn})} if "label" in columns else {})


if __name__ == "__main__":
    csv.field_size_limit(2**30)
    title = "Make clean sets of texts, instructions and documents from public sources."
    sys.exit(run(title, Path(__file__).with_suffix(".toml"), make))
