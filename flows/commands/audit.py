"""foretaste audit."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.output import print_report


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


def _column(help: str, *names: str, metavar: str = "COLUMN") -> Any:  # noqa: A002
    return typer.Option(*names, metavar=metavar, rich_help_panel="Columns", help=help)


def audit(  # noqa: PLR0917
    dataset: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Parquet files, folders, globs or URLs.")],
    plan: Annotated[
        str | None, typer.Option(metavar="FILE", help="audit.toml; by default the plan follows the data.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder to create; by default audits/NAME-TIME.")
    ] = None,
    id_: Annotated[str | None, _column("Names each row in the findings.", "--id")] = None,
    label: Annotated[str | None, _column('The class of each row; "" for none.')] = None,
    source: Annotated[str | None, _column("Where each row came from.")] = None,
    image: Annotated[str | None, _column("The rows are pictures.")] = None,
    text: Annotated[str | None, _column("The rows are texts.")] = None,
    messages: Annotated[str | None, _column("The rows are conversations.")] = None,
    prompt: Annotated[str | None, _column("The rows are prompts …")] = None,
    response: Annotated[str | None, _column("… and their responses.")] = None,
    embedding: Annotated[str | None, _column("The rows are vectors.")] = None,
    features: Annotated[str | None, _column("The rows are table features.", metavar="A,B,C")] = None,
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
    json: Annotated[bool, typer.Option("--json", help="Print report.json instead of a table.")] = False,
) -> int:
    """Audit a training dataset for poison and write a report."""
    from auditors.report.document import read
    from auditors.report.rows import flagged
    from auditors.roles import Request
    from flows.progress import progress

    columns = tuple(name.strip() for name in features.split(",") if name.strip()) if features else ()
    request = Request(image, text, messages, prompt, response, embedding, columns, label, id_, source)
    folder = out or f"audits/{_name(dataset[0])}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    if engine is EngineName.AUTO:
        engine = EngineName.THREADS if os.environ.get("PREFECT_API_URL") else EngineName.LOCAL
    with progress() as watch:
        if engine is EngineName.LOCAL:
            from auditors.auditing import audit as run_here

            report = run_here(
                dataset, request=request, plan=plan, out=folder, device=device.value, seed=seed, progress=watch
            )
            folder = report.folder
        else:
            from flows import environment

            environment.settle()
            from flows.audit import run

            result = run(
                dataset,
                request=request,
                plan=plan,
                out=folder,
                device=device.value,
                seed=seed,
                engine=engine.value,
                progress=watch,
            )
            folder = result["folder"]
    found = read(folder)
    print_report(found, folder, rows=() if json else flagged(folder, top=40), as_json=json)
    return 1 if found["verdict"] == "failed" else 0


def _name(place: str) -> str:
    """What to call an audit of this place: the last part of it that is a name."""
    local = str(Path(place).absolute()) if "://" not in place else place.partition("://")[2]
    parts = [part for part in re.split(r"[/\\]+", local) if part.strip(".") and not re.search(r"[*?\[\]]", part)]
    name = re.sub(r"[^\w.]+", "-", parts[-1].removesuffix(".parquet")).strip("-.") if parts else ""
    return name[:80] or "dataset"
