"""foretaste export."""

from __future__ import annotations

from typing import Annotated

import typer

from foretaste.flows.commands.contract import command
from foretaste.flows.commands.output import print_text
from foretaste.types.findings import Kind


@command("Review", exits="0: written. 2: it could not be done, and nothing was written.")
def export(
    audit: Annotated[str, typer.Argument(metavar="AUDIT", help="The folder of an audit.")],
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A new folder outside the dataset.")],
    kind: Annotated[
        list[Kind] | None,
        typer.Option(help="Quarantine rows of this kind; repeat for several. By default the kinds that fail an audit."),
    ] = None,
    reviewed: Annotated[
        bool, typer.Option("--reviewed", help="What reviewers settled goes before what the audit says.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print export.json.")] = False,
) -> int:
    """Write the clean and the quarantined rows of an audited dataset as new Parquet files."""
    from foretaste.curation.export import ACCUSED
    from foretaste.curation.export import export as write
    from foretaste.flows.progress import progress
    from foretaste.report import numbers
    from foretaste.report.document import text
    from foretaste.report.visible import visible

    with progress() as watch:
        done = write(audit, folder, kinds=kind or ACCUSED, reviewed=reviewed, progress=watch)
    if json:
        print_text(text(done) + "\n")
        return 0
    where = folder.rstrip("/")
    lines = [
        f"{numbers.plural(done['clean']['rows'], 'clean row')} in {where}/clean, {done['clean']['digest']}",
        f"{numbers.plural(done['quarantined']['rows'], 'quarantined row')} ({', '.join(done['kinds'])}) in "
        f"{where}/quarantined, listed in {where}/removed.parquet",
    ]
    if done["kept"]["flagged"]:
        lines.append(f"{numbers.plural(done['kept']['flagged'], 'row')} flagged for other reasons only stayed clean")
    print_text("".join(f"{visible(line)}\n" for line in lines))
    return 0
