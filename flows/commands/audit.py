"""foretaste audit."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from foretaste.flows.commands import column_options
from foretaste.flows.commands.contract import command
from foretaste.flows.commands.output import print_report
from foretaste.flows.naming import name_of

EXITS = {"passed": 0, "warned": 0, "failed": 1, "inconclusive": 3}
ADMITTED = ("passed", "warned")  # the verdicts of audits that a gate may accept


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class EngineName(StrEnum):
    AUTO = "auto"
    LOCAL = "local"
    THREADS = "threads"
    DASK = "dask"
    RAY = "ray"


@command("Audit", exits="0: passed or warned. 1: failed. 2: it could not be done. 3: nothing could be tested.")
def audit(  # noqa: PLR0917
    dataset: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Parquet files, folders, globs or URLs.")],
    plan: Annotated[
        str | None, typer.Option(metavar="FILE", help="audit.toml; by default the plan follows the data.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder to create; by default audits/NAME-TIME.")
    ] = None,
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
    device: Annotated[Device, typer.Option(help="Where to compute; auto takes a GPU if there is one.")] = Device.AUTO,
    engine: Annotated[
        EngineName,
        typer.Option(
            help="local: in this process. threads, dask, ray: as a Prefect flow, which adds retries, a record of each "
            "shard on Prefect's timeline and, with dask or ray, a cluster. auto: threads where PREFECT_API_URL is set, "
            "local elsewhere."
        ),
    ] = EngineName.AUTO,
    seed: Annotated[int, typer.Option(help="The same data, plan and seed give the same result.")] = 0,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel="Signature",
            help="The private key to sign with; by default FORETASTE_KEY, else ~/.config/foretaste/key.pem if there is "
            "one (foretaste keygen).",
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel="Signature",
            help="gate.toml by which the signed result is decided; by default as of a gate without one.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="AUDIT", help="An earlier audit or manifest: what came or changed since is looked at harder."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print report.json instead of a table.")] = False,
) -> int:
    """Audit a training dataset for poison and write a report."""
    from foretaste.flows.progress import progress
    from foretaste.gate.attestation import keys
    from foretaste.report.document import read
    from foretaste.report.flagged_rows import flagged

    request = column_options.request(image, text, messages, prompt, response, embedding, features, label, id_, source)
    folder = out or f"audits/{name_of(dataset[0])}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    key = key or keys.private()
    if engine is EngineName.AUTO:
        engine = EngineName.THREADS if os.environ.get("PREFECT_API_URL") else EngineName.LOCAL
    with progress() as watch:
        if engine is EngineName.LOCAL:
            from foretaste.pipeline.audit import audit as run_here

            report = run_here(
                dataset,
                request=request,
                plan=plan,
                out=folder,
                device=device.value,
                seed=seed,
                progress=watch,
                key=key,
                policy=policy,
                since=since,
            )
            folder = report.folder
        else:
            from foretaste.flows import prefect_server

            prefect_server.settle()
            from foretaste.flows.audit import run

            result = run(
                dataset,
                request=request,
                plan=plan,
                out=folder,
                device=device.value,
                seed=seed,
                engine=engine.value,
                progress=watch,
                key=key,
                policy=policy,
                since=since,
            )
            folder = result["folder"]
    found = read(folder)
    print_report(found, folder, rows=() if json else flagged(folder, top=40), as_json=json)
    if key is None and found["verdict"] in ADMITTED and "FORETASTE_KEY" not in os.environ:
        # No gate accepts any other audit, signed or not; an empty FORETASTE_KEY turns this hint off.
        print("not signed, so no gate will open for it: run foretaste keygen once, or give --key FILE", file=sys.stderr)
    if key is not None and found["verdict"] in ADMITTED:
        from foretaste.gate.attestation.signing import refusals
        from foretaste.report.visible import visible

        refused = refusals(folder, policy)
        for reason in refused:
            print(visible(f"signed as failed: {reason}"), file=sys.stderr)
        roles = found["roles"]
        if not refused and (roles["unread"] or set(roles["chosen"]) - {"id", "source"}):
            # A pass holds for the columns that were audited, and the gate cannot see which of them a job reads.
            options = shlex.join(column_options.options(roles))
            print(visible(f"signed; say to the gate what the job reads: foretaste gate … {options}"), file=sys.stderr)
    return EXITS[found["verdict"]]
