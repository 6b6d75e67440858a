"""foretaste gate."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

import typer

from foretaste.errors import PlanError
from foretaste.flows.commands import column_options
from foretaste.flows.commands.contract import command
from foretaste.flows.commands.output import print_document, print_text
from foretaste.types.findings import Verdict

KEY = "The public key to check with; by default FORETASTE_PUBLIC_KEY, else ~/.config/foretaste/key.pub."


@command(
    "Sign and gate",
    exits="0: allowed. 1: refused, with the reasons. 2: unreadable, or audited inconclusively.",
)
def gate(  # noqa: PLR0917
    dataset: Annotated[list[str], typer.Argument(metavar="DATASET...", help="What a training job is about to read.")],
    policy: Annotated[str | None, typer.Option(metavar="FILE", help="gate.toml; by default a strict one.")] = None,
    attestation: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Of these bytes; by default the newest in the log, audits/ledger.jsonl."),
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", help=KEY)] = None,
    label: column_options.Label = None,
    image: column_options.Image = None,
    text: column_options.Text = None,
    messages: column_options.Messages = None,
    prompt: column_options.Prompt = None,
    response: column_options.Response = None,
    embedding: column_options.Embedding = None,
    features: column_options.Features = None,
    json: Annotated[bool, typer.Option("--json", help="The decision as JSON.")] = False,
    junit: Annotated[bool, typer.Option("--junit", help="The decision as JUnit XML.")] = False,
    junit_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the decision as JUnit XML there as well.")
    ] = None,
) -> int:
    """Let a training job start only on bytes whose signed audit satisfies the policy.

    Say which columns the job reads where the audit's were chosen with options, or other content lies beside them.
    """
    from foretaste.gate import render
    from foretaste.gate.columns import reading
    from foretaste.gate.require import decide

    if json and junit:
        raise PlanError("one of --json and --junit can be chosen, got both")
    said = {"image": image, "text": text, "messages": messages, "prompt": prompt, "response": response}
    reads = reading(said | {"embedding": embedding, "features": features, "label": label}, "gate:")
    decision = decide(dataset, policy=policy, attestation=attestation, key=key, reads=reads)
    if not decision.allowed:
        from foretaste.gate.refusal_details import rowwise

        decision = replace(decision, reasons=(*decision.reasons, *rowwise(decision)))
    if junit_file:
        _written(junit_file, "w", render.junit(decision))
    if json:
        from foretaste.report.document import text as as_text

        print_text(as_text(render.document(decision)) + "\n")
    elif junit:
        print_document(render.junit(decision))
    else:
        print_text(render.lines(decision))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        _written(summary, "a", render.markdown(decision))
    if decision.allowed:
        return 0
    return 2 if decision.facts is not None and decision.facts.verdict is Verdict.INCONCLUSIVE else 1


def _written(path: str, mode: str, text: str) -> None:
    try:
        with open(path, mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise PlanError(f"{path}: the decision cannot be written there: {error.strerror}") from error
