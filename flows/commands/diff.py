"""foretaste diff and foretaste manifest: compare the rows of two states of a dataset."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foretaste.errors import PlanError
from foretaste.flows.commands import column_options
from foretaste.flows.commands.contract import command
from foretaste.flows.commands.output import print_text

if TYPE_CHECKING:
    from foretaste.dataset.diff import Concentration, Difference
    from foretaste.dataset.manifest import Manifest
    from foretaste.dataset.roles import Request

FETCH = "Read the URLs that rows name; nothing is fetched without it."


@command("Compare", exits="0: written. 2: it could not be done, and nothing was written.")
def manifest(  # noqa: PLR0917
    dataset: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Parquet files, folders, globs or URLs.")],
    out: Annotated[str, typer.Option(metavar="FILE", help="The manifest to write, a new Parquet file.")],
    id_: column_options.Id = None,
    label: column_options.Label = None,
    source: column_options.Source = None,
    image: column_options.Image = None,
    text: column_options.Text = None,
    messages: column_options.Messages = None,
    prompt: column_options.Prompt = None,
    response: column_options.Response = None,
    embedding: column_options.Embedding = None,
    features: column_options.Features = None,
    fetch: Annotated[bool, typer.Option("--fetch", help=FETCH)] = False,
) -> int:
    """Write down what every row holds, and what the files or URLs it names read, without an audit."""
    from foretaste.dataset.manifest import of_dataset

    request = column_options.request(image, text, messages, prompt, response, embedding, features, label, id_, source)
    of_dataset(dataset, out, request=request, fetch=fetch)
    return 0


@command("Compare", exits="0: the same rows in the same order. 1: other rows. 2: it could not be done.")
def diff(  # noqa: PLR0917
    old: Annotated[str, typer.Argument(metavar="OLD", help="An audit, a manifest or a dataset.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another, or the same dataset today.")],
    id_: column_options.Id = None,
    label: column_options.Label = None,
    image: column_options.Image = None,
    text: column_options.Text = None,
    messages: column_options.Messages = None,
    prompt: column_options.Prompt = None,
    response: column_options.Response = None,
    embedding: column_options.Embedding = None,
    features: column_options.Features = None,
    top: Annotated[int, typer.Option(min=0, help="How many rows of each change to list.")] = 10,
    fetch: Annotated[bool, typer.Option("--fetch", help=FETCH)] = False,
    json: Annotated[bool, typer.Option("--json", help="Counts, rows and files as JSON.")] = False,
) -> int:
    """Compare the rows of two audits, manifests or datasets: what was added, removed, changed, relabelled, re-ordered.

    Rows are matched by their ids, or by content where they have none. A path or URL that a row names counts as replaced
    where it reads something else than it did. Columns need only be said where both sides are datasets. Where NEW is an
    audit, it is said whether what it flagged came with what changed.
    """
    import tempfile

    from foretaste.dataset.diff import concentration, difference
    from foretaste.dataset.manifest import request, stored
    from foretaste.report.document import plain
    from foretaste.report.document import text as as_text

    with tempfile.TemporaryDirectory() as folder:
        sides = [stored(old), stored(new)]
        known = next((side for side in sides if side is not None), None)
        options = column_options.request(image, text, messages, prompt, response, embedding, features, label, id_, None)
        roles = options if known is None else request(known.facts["roles"])
        if known is not None and id_ is not None and roles.id != id_:
            raise PlanError(f"{known.place}: rows were named by {roles.id or 'no column'}, not by {id_!r}")
        if known is None:
            sides[0] = known = _new_manifest(old, f"{folder}/old.parquet", roles, fetch=fetch)
            roles = request(known.facts["roles"])
        before, after = (
            side or _new_manifest(place, f"{folder}/{at}.parquet", roles, fetch=fetch)
            for at, (side, place) in enumerate(zip(sides, (old, new), strict=True))
        )
        found = difference(before, after, top=top)
        audited = os.path.join(new, "samples.parquet")
        flagged = concentration(found, audited) if sides[1] is not None and os.path.isfile(audited) else None
    print_text(as_text(plain(_document(found, flagged))) + "\n" if json else _lines(found, flagged))
    return 0 if found.equal else 1


def _new_manifest(place: str, path: str, request: Request, *, fetch: bool) -> Manifest:
    from foretaste.dataset.manifest import of_dataset, stored

    of_dataset([place], path, request=request, fetch=fetch)
    written = stored(path)
    if written is None:
        raise PlanError(f"{place}: no manifest could be made of it")
    return written


def _document(found: Difference, flagged: Concentration | None) -> dict[str, Any]:
    changes = {str(change): {"count": found.counts[change], "rows": found.examples[change]} for change in found.counts}
    return {
        "equal": found.equal,
        "matched_by": found.by,
        "rows": {"old": found.old, "new": found.new, "same": found.same},
        "changes": changes,
        "files": found.files,
        "flagged": flagged,
    }


def _lines(found: Difference, flagged: Concentration | None) -> str:
    """One line for the counts, one for each example, and one for each changed file."""
    from foretaste.report import numbers
    from foretaste.report.visible import visible

    counts = ", ".join(f"{numbers.count(number)} {change}" for change, number in found.counts.items() if number)
    whole = f"{numbers.plural(found.old, 'row')} before, {numbers.count(found.new)} after, matched by {found.by}"
    lines = [f"{counts or 'the same rows in the same order'} ({whole}; {numbers.count(found.same)} the same)"]
    for change, rows in found.examples.items():
        lines += [f"{change:<10}  {_row(row)}" for row in rows]
        more = found.counts[change] - len(rows)
        lines += [f"{change:<10}  … and {numbers.count(more)} more"] if more and rows else []
    lines += [f"file renamed  {before} -> {after}" for before, after in found.files["renamed"].items()]
    lines += [f"file {what}  {name}" for what in ("added", "removed", "changed") for name in found.files[what]]
    if flagged is not None and flagged.fresh and flagged.flagged_fresh + flagged.flagged_others:
        lines.append(
            f"flagged: {numbers.count(flagged.flagged_fresh)} of "
            f"{numbers.plural(flagged.fresh, 'new or changed row')}, "
            f"{numbers.count(flagged.flagged_others)} of {numbers.plural(flagged.others, 'other')}; "
            f"by chance alone p {numbers.probability(flagged.p_value)}"
        )
    return "".join(f"{visible(line)}\n" for line in lines)


def _row(row: dict[str, Any]) -> str:
    """Position, id and label of a row; old and new where they differ."""
    sides = [side for side in (row["old"], row["new"]) if side is not None]
    places = [f"{side['file']} {side['row_group']}:{side['row_in_group']}" for side in sides]
    labels = ["no label" if side["label"] is None else side["label"] for side in sides]
    name = f"  id {sides[0]['id']}" if sides[0].get("id") is not None else ""
    return f"{' -> '.join(dict.fromkeys(places))}{name}  {' -> '.join(dict.fromkeys(labels))}"
