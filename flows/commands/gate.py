"""foretaste gate."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

import typer

from foretaste.errors import PlanError
from foretaste.flows.commands.contract import command
from foretaste.flows.commands.output import print_document, print_text

KEY = "The public key to check with; by default FORETASTE_PUBLIC_KEY, else ~/.config/foretaste/key.pub."


@command("Sign and gate", exits="0: allowed. 1: refused, with the reasons. 2: something cannot be read.")
def gate(  # noqa: PLR0917
    dataset: Annotated[list[str], typer.Argument(metavar="DATASET...", help="What a training job is about to read.")],
    policy: Annotated[str | None, typer.Option(metavar="FILE", help="gate.toml; by default a strict one.")] = None,
    attestation: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Of these bytes; by default the newest in the log, audits/ledger.jsonl."),
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", help=KEY)] = None,
    json: Annotated[bool, typer.Option("--json", help="The decision as JSON.")] = False,
    junit: Annotated[bool, typer.Option("--junit", help="The decision as JUnit XML.")] = False,
    junit_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the decision as JUnit XML there as well.")
    ] = None,
) -> int:
    """Let a training job start only on bytes whose signed audit satisfies the policy."""
    from foretaste.gate import render
    from foretaste.gate.require import decide

    if json and junit:
        raise PlanError("one of --json and --junit can be chosen, got both")
    decision = decide(dataset, policy=policy, attestation=attestation, key=key)
    if not decision.allowed:
        from foretaste.gate.refusal_details import rowwise

        decision = replace(decision, reasons=(*decision.reasons, *rowwise(decision)))
    if junit_file:
        _written(junit_file, "w", render.junit(decision))
    if json:
        from foretaste.report.document import text

        print_text(text(render.document(decision)) + "\n")
    elif junit:
        print_document(render.junit(decision))
    else:
        print_text(render.lines(decision))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        _written(summary, "a", render.markdown(decision))
    return 0 if decision.allowed else 1


def _written(path: str, mode: str, text: str) -> None:
    try:
        with open(path, mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise PlanError(f"{path}: the decision cannot be written there: {error.strerror}") from error
