"""foretaste, the library: audit a training dataset for poison from plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foretaste.dataset.roles import Request
    from foretaste.gate.require import require
    from foretaste.pipeline.audit import audit
    from foretaste.types.findings import Report

__all__ = ["Report", "Request", "audit", "require"]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: the first line of a training job must not wait for torch.
    homes = {
        "audit": "foretaste.pipeline.audit",
        "require": "foretaste.gate.require",
        "Request": "foretaste.dataset.roles",
        "Report": "foretaste.types.findings",
    }
    if name in homes:
        from importlib import import_module

        return getattr(import_module(homes[name]), name)
    raise AttributeError(f"module 'auditors' has no attribute {name!r}")
