"""The gate as a Prefect task: what comes after it in a flow starts only on bytes that passed.

    from foretaste.flows.gate import gate

    @flow
    def training():
        gate(["data/train"])     # Refused: the flow fails here, and nothing after it starts
        train("data/train")

With tasks that are submitted, `train.submit(..., wait_for=[gate.submit(["data/train"])])` is never run after a refusal.
Between this task and the next somebody can still exchange a file; a training script that reads only what it has checked
calls `foretaste.require` itself.
"""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from foretaste.errors import Refused
from foretaste.flows.artifacts import key_of
from foretaste.flows.naming import name_of
from foretaste.gate import render
from foretaste.gate.require import decide


@task(name="gate", task_run_name="gate {datasets}", cache_policy=NO_CACHE, persist_result=False)
def gate(
    datasets: list[str], policy: str | None = None, attestation: str | None = None, key: str | None = None
) -> dict[str, str]:
    """Let the flow go on where a signed audit of exactly these bytes satisfies the policy; see foretaste.gate.require.

    Returns the digest of the dataset and the attestation that speaks for it. Fails with foretaste.errors.Refused where
    the gate refuses, with PlanError or DataError where it cannot be said at all, and is never tried again.
    """
    decision = decide(datasets, policy=policy, attestation=attestation, key=key)
    create_markdown_artifact(render.markdown(decision), key=key_of(name_of(datasets[0]), "gate"))
    if not decision.allowed:
        # A task that returns a failed state hands it to its caller as if it were a result, and the flow goes on.
        raise Refused(*decision.reasons)
    return {"digest": str(decision.digest), "attestation": decision.attestation or ""}
