"""The gate as a Prefect task: later tasks of the flow start only if it allows the data.

    from foretaste.flows.gate import gate

    @flow
    def training():
        gate(["data/train"])     # Refused: the flow fails here, and nothing after it starts
        train("data/train")

With submitted tasks, `train.submit(..., wait_for=[gate.submit(["data/train"])])` does not run after a refusal. A file
can still be replaced between this task and the next; a training script that must read exactly the checked bytes calls
`foretaste.require` itself. What scheduled audits have told the Prefect server of the log counts as an anchor.
"""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from foretaste.errors import Refused
from foretaste.flows import log_variable
from foretaste.flows.artifacts import key_of
from foretaste.flows.naming import name_of
from foretaste.gate import render
from foretaste.gate.attestation import log
from foretaste.gate.require import decide


@task(name="gate", task_run_name="gate {datasets}", cache_policy=NO_CACHE, persist_result=False)
def gate(
    datasets: list[str],
    policy: str | None = None,
    attestation: str | None = None,
    key: str | None = None,
) -> dict[str, str]:
    """Continue only if a signed audit of exactly these bytes satisfies the policy; see foretaste.gate.require.

    Where the gate asks which columns the job reads, the policy says so, in [reads].

    Returns the digest of the dataset and the path of its attestation. Fails with foretaste.errors.Refused where the
    gate refuses, with PlanError or DataError where it cannot decide; it is never retried.
    """
    seen = log_variable.published(log.path())
    decision = decide(datasets, policy=policy, attestation=attestation, key=key, anchors=seen)
    create_markdown_artifact(render.markdown(decision), key=key_of(name_of(datasets[0]), "gate"))
    if not decision.allowed:
        # Raised: a failed state that a task returns is passed to its caller as a result, and the flow continues.
        raise Refused(*decision.reasons)
    return {"digest": str(decision.digest), "attestation": decision.attestation or ""}
