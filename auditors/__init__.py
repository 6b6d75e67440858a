"""foretaste, the library: audit a training dataset for poison from plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditors.auditing import audit
    from auditors.gate import require
    from auditors.roles import Request
    from auditors.values import Report

__all__ = ["Report", "Request", "audit", "require"]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: the first line of a training job must not wait for torch.
    homes = {
        "audit": "auditors.auditing",
        "require": "auditors.gate",
        "Request": "auditors.roles",
        "Report": "auditors.values",
    }
    if name in homes:
        from importlib import import_module

        return getattr(import_module(homes[name]), name)
    raise AttributeError(f"module 'auditors' has no attribute {name!r}")
