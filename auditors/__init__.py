"""foretaste: a poisoning auditor for training data, from plain Python.

    import foretaste

    report = foretaste.audit("data/train")        # → Report: verdict, findings, the folder it was written to
    attested = foretaste.require("data/train")    # what a training job calls first: signed and passed, or Refused

Each name is imported when it is first asked for, so that the first line of a training job does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foretaste import errors, testing
    from foretaste.curation.export import export
    from foretaste.dataset.roles import Request
    from foretaste.gate.attestation.verify import verify
    from foretaste.gate.policy import Policy
    from foretaste.gate.require import require
    from foretaste.pipeline.audit import audit
    from foretaste.pipeline.drill import drill
    from foretaste.pipeline.plan import Plan
    from foretaste.types.findings import Finding, Kind, Report, Verdict

    __version__: str

__all__ = [
    "Finding",
    "Kind",
    "Plan",
    "Policy",
    "Report",
    "Request",
    "Verdict",
    "__version__",
    "audit",
    "drill",
    "errors",
    "export",
    "require",
    "testing",
    "verify",
]

HOMES = {
    "audit": "pipeline.audit",
    "require": "gate.require",
    "verify": "gate.attestation.verify",
    "drill": "pipeline.drill",
    "export": "curation.export",
    "Plan": "pipeline.plan",
    "Policy": "gate.policy",
    "Request": "dataset.roles",
    "Report": "types.findings",
    "Finding": "types.findings",
    "Kind": "types.findings",
    "Verdict": "types.findings",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("foretaste.registry").release()
    if name in HOMES:
        return getattr(import_module(f"foretaste.{HOMES[name]}"), name)
    if name in __all__:
        return import_module(f"foretaste.{name}")
    raise AttributeError(f"module 'foretaste' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
