"""foretaste schedule."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from foretaste.flows.commands import column_options
from foretaste.flows.commands.audit import Device
from foretaste.flows.commands.contract import command

if TYPE_CHECKING:
    from foretaste.flows.scheduling.alerts import Channels


@command("Audit", exits="0: stopped. 2: it could not be done.")
def schedule(  # noqa: PLR0917
    dataset: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Parquet files, folders, globs or URLs.")],
    cron: Annotated[
        str | None,
        typer.Option(metavar="EXPRESSION", help='Audit at these times: "0 3 * * *" is every night at three.'),
    ] = None,
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="Where it is three, such as Europe/Berlin.")] = "UTC",
    watch: Annotated[bool, typer.Option("--watch", help="Audit when files are added, changed or removed.")] = False,
    poll: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How often --watch lists the files.")] = 10,
    settle: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="--watch waits until nothing moved for so long.")
    ] = 30,
    name: Annotated[str | None, typer.Option(help="Of the deployment; by default the dataset's.")] = None,
    notify_url: Annotated[
        str | None, typer.Option(metavar="URL", help="POST alerts as JSON there; or FORETASTE_NOTIFY_URL.")
    ] = None,
    notify_command: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Run this without a shell, alerts as JSON on its standard input; or FORETASTE_NOTIFY_COMMAND.",
        ),
    ] = None,
    plan: Annotated[
        str | None, typer.Option(metavar="FILE", help="audit.toml; by default the plan follows the data.")
    ] = None,
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder for the audits, NAME-TIME each.")] = "audits",
    key: Annotated[str | None, typer.Option(metavar="FILE", help="Private key to sign the audits with.")] = None,
    policy: Annotated[
        str | None, typer.Option(metavar="FILE", help="gate.toml; an audit it refuses is an alert as well.")
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
    seed: Annotated[int, typer.Option(help="The same data, plan and seed give the same result.")] = 0,
) -> int:
    """Audit a dataset by the clock, when it changes, or both, until stopped: a Prefect deployment, served from here.

    The Prefect server is the one at PREFECT_API_URL, else one that starts and ends with this command.
    """
    from foretaste.errors import PlanError
    from foretaste.flows import prefect_server
    from foretaste.flows.naming import name_of, safe
    from foretaste.flows.scheduling import alerts

    if not cron and not watch:
        raise PlanError("a schedule needs --cron, --watch or both, got neither")
    named = safe(name) if name else name_of(dataset[0])
    places = [_absolute(place) for place in dataset]
    root = os.path.abspath(out)
    prefect_server.settle()
    to = alerts.channels(notify_url, notify_command)
    parameters = {
        "datasets": places,
        "root": root,
        "request": column_options.request(
            image, text, messages, prompt, response, embedding, features, label, id_, source
        ),
        "plan": plan and os.path.abspath(plan),
        "device": device.value,
        "seed": seed,
        "key": key and os.path.abspath(key),
        "policy": policy and os.path.abspath(policy),
    }
    from foretaste.flows.progress import log_lines
    from foretaste.flows.scheduling.deployment import deployment
    from foretaste.flows.scheduling.serve import checked, stay

    begins = checked(parameters, cron=cron, timezone=timezone)
    # Audits run in other processes, which inherit the environment.
    os.environ.update(alerts.environment(to))
    os.environ.setdefault("FORETASTE_LEDGER", os.path.join(root, "ledger.jsonl"))
    with prefect_server.server(whole=True):
        made = deployment(named, parameters, cron=cron, timezone=timezone, watched=watch)
        _explain(named, begins, watch, to)
        with log_lines():
            stay(made, places, poll=poll, settle=settle)
    return 0


def _absolute(place: str) -> str:
    return place if "://" in place else os.path.abspath(place)


def _explain(name: str, begins: str, watch: bool, to: Channels) -> None:
    from foretaste.report.visible import visible

    page = os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
    told = [*(["a webhook"] if to.url else []), *([to.command[0]] if to.command else [])]
    lines = [
        f"{name}: serving the deployment foretaste-scheduled/{name}" + (f", see {page}/deployments" if page else ""),
        *([f"next audit by the clock: {begins}"] if begins else []),
        *(["watching: an audit starts when the data changed"] if watch else []),
        f"alerts go to {' and '.join(told)}" if told else "alerts go nowhere: see --notify-url and --notify-command",
        "Ctrl-C or SIGTERM stops it; to keep it running make it a service (README, Schedule)",
    ]
    print("\n".join(visible(line) for line in lines), file=sys.stderr, flush=True)
