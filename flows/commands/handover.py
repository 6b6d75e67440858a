"""foretaste handover."""

from __future__ import annotations

from typing import Annotated

import typer

from foretaste.flows.commands.contract import command
from foretaste.flows.commands.output import print_text
from foretaste.types.findings import Kind


@command("Review", exits="0: written. 2: it could not be done, and nothing was written.")
def handover(
    audit: Annotated[str, typer.Argument(metavar="AUDIT", help="The folder of an audit.")],
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A new folder.")],
    top: Annotated[int, typer.Option(min=1, help="How many flagged rows, the most suspicious first.")] = 2000,
    kind: Annotated[Kind | None, typer.Option(help="Only rows of this kind.")] = None,
) -> int:
    """Write what was found for embedding-atlas, FiftyOne and Label Studio."""
    import shlex

    from foretaste.curation.interchange import hand_over
    from foretaste.report import numbers
    from foretaste.report.visible import visible

    done = hand_over(audit, folder, top=top, kind=kind)
    where = visible(folder.rstrip("/"))
    shown = "image" if "fiftyone" in done else "text"
    opens = {
        "atlas.parquet": f"embedding-atlas {shlex.quote(f'{where}/atlas.parquet')} --x x --y y --{shown} {shown}",
        "fiftyone": "fiftyone.Dataset.from_dir(DIR, dataset_type=fiftyone.types.FiftyOneImageClassificationDataset)",
        "label-studio.json": "import it into a project whose labelling interface is label-studio.xml",
    }
    print_text(
        "".join(f"{where}/{name}: {numbers.plural(rows, 'row')}; {opens[name]}\n" for name, rows in done.items())
    )
    return 0
