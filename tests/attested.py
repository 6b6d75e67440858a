"""A small dataset, its report as an audit would write it, a key pair and a log: what a gate works with."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from foretaste.dataset.files import Found, each, find, root_digest, sha256
from foretaste.gate import require
from foretaste.gate.attestation import keys, statement
from foretaste.gate.attestation import signing as signature
from foretaste.gate.attestation.envelope import FILE
from foretaste.gate.decision import GateDecision
from foretaste.gate.policy import DEFAULT, Policy

NOW = datetime.now(UTC).replace(microsecond=0)
PLAN: dict[str, Any] = {
    "embedders": {"grey": {"kind": "pixels", "size": 32}},
    "detectors": {
        "spectral-signature": {"kind": "spectral-signature", "on": ["grey"]},
        "labels": {"kind": "label-issue", "on": ["grey"]},
    },
    "decide": {"fdr": 0.01},
    "seed": 0,
    "device": "cpu",
}
TWO = {"classes": ["cat", "dog"], "class_rows": [100, 100]}


def run(detector: str = "spectral-signature", status: str = "completed", reason: str = "") -> dict[str, Any]:
    return {"detector": detector, "embedder": "grey", "status": status, "reason": reason, "seconds": 0.1}


def group(kind: str = "backdoor", label: str | None = "cat", rows: int = 12, p_value: float = 1e-9) -> dict[str, Any]:
    found = {"kind": kind, "label": label, "rows": rows, "p_value": p_value, "detectors": ["spectral-signature"]}
    return found | {"reason": f"{rows} rows share a pattern", "evidence": {}}


def report(places: str | list[str], **changed: Any) -> dict[str, Any]:
    """report.json of an audit of `places` that passed, but for what is `changed`."""
    root, found = find([places] if isinstance(places, str) else places)
    digests = each(found, lambda one: sha256(one.path))
    files = [
        {"name": one.name, "rows": 100, "size": size, "digest": str(digest)}
        for one, (digest, size) in zip(found, digests, strict=True)
    ]
    digest = root_digest((one.name, digest) for one, (digest, _) in zip(found, digests, strict=True))
    return {
        "verdict": "passed",
        "reason": "nothing was found",
        "rows": 100 * len(files),
        "flagged": max(changed.get("counts", {}).values(), default=0),
        "dataset": {"root": root, "digest": str(digest), "files": files} | TWO,
        "roles": {"modality": "image", "payload": ["img"], "label": "label", "id": None, "source": None},
        "runs": [run(), run("labels")],
        "groups": [],
        "counts": {},
        "notes": [],
        "power": {},
        "versions": {"foretaste": "0.1.0"},
        "seconds": {"sweep": 1.0},
        "plan": PLAN,
    } | changed


class Workshop:
    """A folder with data, keys and audits, in which a gate can be tried."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.count = folder, folder / "data", 0
        self.data.mkdir()
        for number, name in enumerate(("a", "b")):
            table = pa.table({"id": range(100 * number, 100 * number + 100), "label": ["cat", "dog"] * 50})
            pq.write_table(table, self.data / f"{name}.parquet", row_group_size=25)
        self.private, self.public = map(str, keys.generate(folder / "keys"))

    def sign(
        self, *, policy: Policy = DEFAULT, ended: datetime = NOW, key: str | None = None, afterwards: bool = False,
        logged: bool = True, **changed: Any,
    ) -> str:  # fmt: skip
        """Sign an audit of the data as it is now, and return the attestation's path."""
        self.count += 1
        audit = self.folder / "audits" / str(self.count)
        audit.mkdir(parents=True)
        document = report(str(self.data), **changed)
        (audit / "report.json").write_text(json.dumps(document))
        signing = signature.Signing(signature.prepare(key or self.private).key, policy, ended - timedelta(minutes=1))
        signature.write(str(audit), document, signing, ended=ended, afterwards=afterwards)
        if logged:
            signature.log(str(audit), document, signing)
        return str(audit / FILE)

    def decide(self, **options: Any) -> GateDecision:
        return require.decide(str(self.data), **({"key": self.public, "now": NOW} | options))

    def refused(self, **options: Any) -> tuple[str, ...]:
        decision = self.decide(**options)
        assert decision.allowed == (not decision.reasons)
        return decision.reasons


def annotated(workshop: Workshop, **told: Any) -> str:
    """The attestation of a passed audit, signed again with other annotations; not logged."""
    path = Path(workshop.sign(logged=False))
    body = statement.verified(path.read_bytes(), workshop.public)
    [found] = [one for one in body["predicate"]["configuration"] if one["name"] == statement.REPORT]
    found["annotations"].update(told)
    path.write_bytes(statement.sign(body, workshop.private))
    return str(path)


def held(path: Path) -> Any:
    from foretaste.gate.verified_file import VerifiedFile

    return VerifiedFile(Found(path.name, str(path)))


__all__ = ["NOW", "PLAN", "Workshop", "annotated", "group", "held", "report", "run"]
