"""Which columns an audit read, and which a training job is about to read: a pass holds for what was audited only.

Whoever starts an audit may choose its columns, and so could have harmless ones audited beside those that are trained
on. Where the columns were chosen, or where other content lies beside them, the job must therefore say what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foretaste.errors import PlanError

MODALITIES = ("image", "text", "messages", "embedding")  # of one column each, by the name of its option
NAMES = (*MODALITIES, "prompt", "response", "features", "label")


@dataclass(frozen=True)
class Reading:
    """What a training job reads.

    modality  what the rows are; None where not said
    payload   their columns; empty where not said
    label     the column of their classes; "" for none, None where not said
    """

    modality: str | None = None
    payload: tuple[str, ...] = ()
    label: str | None = None


@dataclass(frozen=True)
class AuditedColumns:
    """What an audit read.

    modality  what the rows are
    payload   their columns
    label     the column of their classes; None without
    chosen    the roles that somebody chose columns for, instead of leaving them to be inferred
    unread    columns of content that the audit did not read
    """

    modality: str
    payload: tuple[str, ...]
    label: str | None
    chosen: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.payload if self.label is None else (*self.payload, self.label)


def reading(said: Mapping[str, Any], where: str) -> Reading | None:
    """What a job reads, by the NAMES under which an audit is told its columns; None where nothing is said.

    Raises PlanError where they contradict each other or are no names of columns; `where` names the place in messages.
    """
    named = {name: value for name, value in said.items() if value or (name == "label" and value is not None)}
    for name, value in named.items():
        texts = value if name == "features" and not isinstance(value, str) else [value]
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
            raise PlanError(f"{where} {name} must be the name of a column, got {value!r}")
    kinds = sorted({"pair" if name in ("prompt", "response") else name for name in named} - {"label"})
    if len(kinds) > 1:
        raise PlanError(f"{where} a job reads rows of one kind, got {' and '.join(kinds)}")
    if not named:
        return None
    payload: tuple[str, ...] = ()
    for name in MODALITIES:
        payload += (named[name],) if name in named else ()
    for name in ("prompt", "response", "features"):
        payload += _several(named.get(name, ()))
    return Reading(kinds[0] if kinds else None, payload, named.get("label"))


def _several(value: str | Sequence[str]) -> tuple[str, ...]:
    """Columns, separated by commas as on the command line."""
    listed = value.split(",") if isinstance(value, str) else value
    return tuple(name.strip() for name in listed if name.strip())


def refusals(audited: AuditedColumns | None, job: Reading | None) -> list[str]:
    """Why what the job reads is not what was audited, a sentence each; empty where it is."""
    if audited is None:  # an attestation of release 0.1
        return [] if job is None else ["the attestation does not say which columns were audited: run the audit again"]
    job = job or Reading()
    out = []
    read = f"{audited.modality} = {', '.join(audited.payload)}"
    if job.payload and (job.modality != audited.modality or not set(job.payload) <= set(audited.payload)):
        out.append(f"the job reads {job.modality} = {', '.join(job.payload)}, and the audit read {read}")
    if job.label is not None and job.label != (audited.label or ""):
        out.append(f"the job reads {_label(job.label)}, and the audit {_label(audited.label or '')}")
    if not job.payload and set(audited.chosen) - {"label", "id", "source"}:
        out.append(f"somebody chose the columns that the audit read ({read}){SAY} (--{audited.modality}, …)")
    if not job.payload and audited.unread:
        unread = ", ".join(audited.unread[:8]) + (", …" if len(audited.unread) > 8 else "")
        out.append(f"the audit read {read} and nobody looked at {unread}{SAY} (--{audited.modality}, …)")
    if job.label is None and "label" in audited.chosen:
        out.append(f"somebody chose that the audit read {_label(audited.label or '')}{SAY} (--label)")
    return out


SAY = ": say what the job reads"


def _label(name: str) -> str:
    return f"label = {name}" if name else "no label"
