"""foretaste drill."""

from __future__ import annotations

from typing import Annotated

import typer

from foretaste.flows.commands import column_options
from foretaste.flows.commands.audit import Device
from foretaste.flows.commands.contract import command
from foretaste.flows.commands.output import print_text


@command("Audit", exits="0: done, whatever was found. 2: it could not be done.")
def drill(  # noqa: PLR0917
    dataset: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Parquet files, folders, globs or URLs.")],
    attack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="badnets, blended, sig; insert-sentence, rare-token. By default all that fit."
        ),
    ] = None,
    rows: Annotated[str, typer.Option(metavar="N,N,...", help="How many rows to plant.")] = "8,16,32,64",
    target: Annotated[
        str | None, typer.Option(metavar="CLASS", help="The class to plant in; by default one of middle size.")
    ] = None,
    plan: Annotated[
        str | None, typer.Option(metavar="FILE", help="audit.toml; by default the plan follows the data.")
    ] = None,
    label: column_options.Label = None,
    image: column_options.Image = None,
    text: column_options.Text = None,
    device: Annotated[Device, typer.Option(help="Where to compute; auto takes a GPU if there is one.")] = Device.AUTO,
    seed: Annotated[int, typer.Option(help="Of the attacks and of the audits.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print every trial as JSON.")] = False,
) -> int:
    """Plant known poison in a copy of a dataset, audit it, and say from how many rows on it is found."""
    from dataclasses import asdict

    from foretaste.dataset.roles import Request
    from foretaste.errors import PlanError
    from foretaste.flows.progress import progress
    from foretaste.pipeline.drill import drill as run
    from foretaste.report.document import text as as_text
    from foretaste.report.visible import visible

    try:
        counts = [int(number) for number in rows.split(",")]
    except ValueError:
        raise PlanError(f"--rows must be numbers with commas between them, got {rows!r}") from None
    request = Request(image=image, text=text, label=label)
    with progress() as watch:
        found = run(
            dataset,
            request=request,
            plan=plan,
            attacks=attack or (),
            rows=counts,
            target=target,
            device=device.value,
            seed=seed,
            progress=watch,
        )
    if json:
        print_text(as_text({"attacks": [asdict(power) for power in found]}) + "\n")
        return 0
    for power in found:
        least = f"not found in {max(counts)} rows" if power.least is None else f"found from {power.least} rows on"
        tried = ", ".join(f"{trial.found} of {trial.rows}" for trial in power.trials)
        others = max(trial.accused for trial in power.trials)
        name = f"{power.attack} ({power.words}) in class {power.target}"
        print_text(visible(f"{name}: {least}; accused {tried}, {others} others") + "\n")
    return 0
