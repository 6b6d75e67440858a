"""foretaste show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from foretaste.errors import PlanError
from foretaste.flows.commands.contract import command
from foretaste.flows.commands.output import print_document, print_report, print_text
from foretaste.report.visible import visible
from foretaste.types.findings import Kind


@command("Audit", exits="0 whatever the verdict. 2: there is no such audit.")
def show(  # noqa: PLR0917
    folder: Annotated[str, typer.Argument(metavar="AUDIT", help="The folder of an audit.")],
    top: Annotated[int | None, typer.Option(min=0, help="How many rows; by default 20 in a table, else all.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only rows and groups of this kind.")] = None,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="report.json, with the flagged rows as `samples` and what reviewers say as `review`."
        ),
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="The flagged rows as CSV.")] = False,
    junit: Annotated[bool, typer.Option("--junit", help="JUnit XML, for CI systems.")] = False,
    html: Annotated[bool, typer.Option("--html", help="report.html, with what reviewers decided since.")] = False,
    card: Annotated[bool, typer.Option("--card", help="The section on security testing for a model card.")] = False,
    governance: Annotated[
        bool, typer.Option("--governance", help="What it speaks to in ATLAS, OWASP, NIST, the EU AI Act, ISO, CISA.")
    ] = False,
) -> int:
    """Show the result of an audit and its most suspicious rows."""
    from foretaste.report.document import read
    from foretaste.report.flagged_rows import flagged

    if json + csv + junit + html + card > 1 or (governance and csv + junit + html + card):
        ways = "--json, --csv, --junit, --html and --card"
        raise PlanError(f"one of {ways} can be chosen, and --governance with --json only")
    found = read(folder)
    if governance:
        return _governance(found, folder, as_json=json)
    if card:
        return _card(found)
    if html:
        from foretaste.report.html.stored import reviewed

        print_document(reviewed(folder, _reviewed(folder)["precision"]))
        return 0
    if junit:
        from foretaste.report.formats.junit import junit as as_junit

        print_document(as_junit(found))
        return 0
    rows = flagged(folder, top=20 if top is None and not (json or csv) else top, kind=kind)
    if csv:
        from foretaste.report.formats.spreadsheet import sheet

        print_document(sheet(rows))
    elif json:
        print_report({**found, "samples": rows, "review": _reviewed(folder)}, folder, rows=(), as_json=True)
    else:
        groups = [group for group in found["groups"] if kind is None or group["kind"] == kind]
        print_report({**found, "groups": groups}, folder, rows=rows, as_json=False)
        for name, precision in _reviewed(folder)["precision"].items():
            counts = f"{precision.confirmed} of the {precision.reviewed} reviewed rows"
            print_text(f"{visible(f'{counts} that {name} accuses were confirmed')}\n")
    return 0


def _reviewed(folder: str) -> dict[str, Any]:
    """Numbers of rows by settled choice, and the measured precision of each detector."""
    from collections import Counter

    from foretaste.curation import review_decisions
    from foretaste.report.flagged_rows import flagged

    settled = review_decisions.settled(folder)
    accusers = {row["row"]: row["detectors"] for row in flagged(folder) if row["row"] in settled} if settled else {}
    return {"settled": Counter(map(str, settled.values())), "precision": review_decisions.precision(settled, accusers)}


def _card(found: Mapping[str, Any]) -> int:
    from foretaste.report.formats.model_card import card
    from foretaste.types.digests import plan_digest

    print_text(card(found, plan=str(plan_digest(found.get("plan", {})))))
    return 0


def _governance(found: Mapping[str, Any], folder: str, *, as_json: bool) -> int:
    from pathlib import Path

    from foretaste.report.governance import mapped

    lines = mapped(found, attested=(Path(folder) / "attestation.json").is_file())
    if as_json:
        from foretaste.report.document import text

        print_text(text({"verdict": found["verdict"], "digest": found["dataset"]["digest"], "entries": lines}) + "\n")
    else:
        import shutil

        from foretaste.report.formats.governance_table import crosswalk

        print_text(crosswalk(lines, width=max(100, min(shutil.get_terminal_size().columns, 160))))
    return 0
