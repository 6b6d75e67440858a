"""foretaste show."""

from __future__ import annotations

from typing import Annotated

import typer

from auditors.errors import PlanError
from auditors.values import Kind
from flows.commands.output import print_report, print_text


def show(  # noqa: PLR0917
    folder: Annotated[str, typer.Argument(metavar="AUDIT", help="The folder of an audit.")],
    top: Annotated[int | None, typer.Option(min=0, help="How many rows; by default 20 in a table, else all.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only rows and groups of this kind.")] = None,
    json: Annotated[bool, typer.Option("--json", help="report.json, with the flagged rows as `samples`.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="The flagged rows as CSV.")] = False,
    junit: Annotated[bool, typer.Option("--junit", help="JUnit XML, for CI systems.")] = False,
) -> int:
    """Show the result of an audit and its most suspicious rows."""
    from auditors.report.document import read
    from auditors.report.rows import flagged

    if json + csv + junit > 1:
        raise PlanError("one of --json, --csv and --junit can be chosen, got more")
    found = read(folder)
    if junit:
        from auditors.report.junit import junit as as_junit

        print_text(as_junit(found))
        return 0
    rows = flagged(folder, top=20 if top is None and not (json or csv) else top, kind=kind)
    if csv:
        from auditors.report.sheet import sheet

        print_text(sheet(rows))
    elif json:
        print_report({**found, "samples": rows}, folder, rows=(), as_json=True)
    else:
        groups = [group for group in found["groups"] if kind is None or group["kind"] == kind]
        print_report({**found, "groups": groups}, folder, rows=rows, as_json=False)
    return 0
