"""report.json: the result of an audit in JSON types. Other tools read it, so its keys are stable."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from foretaste.errors import DataError
from foretaste.types.dataset import NamedFiles
from foretaste.types.findings import Finding, Report

Document = dict[str, Any]


def document(report: Report) -> Document:
    """The report in JSON types; numbers that are not finite become null."""
    data = report.dataset
    return {
        "verdict": str(report.verdict),
        "reason": report.reason,
        "rows": report.rows,
        "flagged": report.flagged,
        "dataset": {
            "root": data.root,
            "digest": str(data.digest),
            "files": [
                {"name": file.name, "rows": file.rows, "size": file.size, "digest": str(file.digest)}
                for file in data.files
            ],
            "classes": list(data.classes),
            "class_rows": list(data.class_rows),
            "named_files": named_files(data.named),
        },
        "roles": {
            "modality": str(data.roles.modality),
            "payload": list(data.roles.payload),
            "label": data.roles.label,
            "id": data.roles.id,
            "source": data.roles.source,
            "chosen": list(report.chosen),
            "unaudited": {one.column: one.why for one in data.roles.unaudited},
            "unread": [one.column for one in data.roles.unaudited if one.payload],
        },
        "ordinary": report.ordinary,
        "runs": [plain(run) for run in report.runs],
        "groups": [_finding(group) for group in report.groups],
        "counts": plain(report.counts),
        "notes": list(report.notes),
        "power": plain(report.power),
        "false_alarms": plain(report.false_alarms),
        "versions": plain(report.versions),
        "seconds": plain(report.seconds),
        "plan": plain(report.plan),
    }


def named_files(named: NamedFiles | None) -> Document | None:
    """The files that rows name by path, without the digest of each; None where no row names one."""
    if named is None:
        return None
    counts = {"files": named.files, "missing": named.missing, "size": named.size}
    return {"columns": list(named.columns), "digest": str(named.digest)} | counts


def _finding(group: Finding) -> Document:
    """A finding without `shown`, which only the page uses."""
    return {
        "kind": str(group.kind),
        "label": group.label,
        "rows": group.rows,
        "p_value": plain(group.p_value),
        "detectors": list(group.detectors),
        "reason": group.reason,
        "evidence": plain(group.evidence),
    }


def plain(value: Any) -> Any:  # noqa: PLR0911
    """The value in JSON types: tensors and arrays as lists, string enums as strings, anything else as its str."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if hasattr(value, "tolist"):  # numpy and torch
        return plain(value.tolist())
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        return [plain(item) for item in value]
    return str(value)


def text(document: Mapping[str, Any]) -> str:
    """The document as JSON. ASCII only, so that no class name can send control characters to a terminal."""
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=True)


def read(folder: str | Path) -> Document:
    """report.json of a stored audit. Raises DataError where the folder holds no audit."""
    path = Path(folder) / "report.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder}: an audit is a folder with a report.json, and there is none") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: report.json cannot be read: {error}") from None
    needed = {"verdict", "reason", "rows", "flagged", "dataset", "roles", "runs", "groups"}
    missing = sorted(needed - set(found if isinstance(found, dict) else ()))
    if missing:
        raise DataError(f"{path}: not the report of an audit, {', '.join(missing)} missing")
    return dict(found)
