"""The result of an audit as a signed statement that can be verified offline.

An in-toto Statement v1 (https://github.com/in-toto/attestation) with the vetted predicate test-result/v0.1, in a DSSE
envelope, signed through securesystemslib. Its subjects are the dataset and its files, by digest. Its configuration
lists plan, policy, embedders and report, by digest; what a gate decides by is in the annotations of the report.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretaste.errors import DataError, Refused
from foretaste.gate.attestation import bound_files, fields, strict_json
from foretaste.gate.attestation.envelope import FILE, opened, read, seal
from foretaste.gate.facts import AttestedFinding, AttestedRun, Facts
from foretaste.gate.policy import Policy, decide
from foretaste.gate.times import stamp
from foretaste.types.digests import PLAN, Digest, canonical
from foretaste.types.findings import Kind, Verdict

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
PAYLOAD = "application/vnd.in-toto+json"
REPORT = "report.json"
KNOWN = (  # the annotations of the report that this release knows
    *("verdict", "reason", "rows", "counts", "groups", "runs", "fdr", "ended", "afterwards"),
    *("classes", "modality", "flagged", "notes", "power", "versions", "seed", "device", "started"),
)


def statement(
    document: Mapping[str, Any],
    *,
    policy: Policy,
    started: datetime,
    ended: datetime,
    embedders: Mapping[str, str] | None = None,
    evidence: Mapping[str, Digest] | None = None,
    afterwards: bool = False,
) -> dict[str, Any]:
    """The in-toto statement of an audit; `document` is its report.json.

    policy      determines the result, together with the audit's verdict
    embedders   the digest of each fitted embedder, weights included, by its name in the plan
    evidence    sha256 of the audit's files by name; for report.json by default that of `document` as canonical JSON
    afterwards  whether it is signed after the audit instead of by it

    Raises DataError where the report lacks what a statement needs.
    """
    try:
        data = document["dataset"]
        root = Digest.parse(data["digest"])
        files = [{"name": file["name"], "digest": _set(Digest.parse(file["digest"]))} for file in data["files"]]
        plan = {name: document["plan"][name] for name in PLAN if name != "plugins" or name in document["plan"]}
        annotations = _annotations(document, started, ended, afterwards)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the report of the audit lacks what an attestation must say: {error!r}") from None
    named = dict(evidence or {})
    report = named.pop(REPORT, None) or Digest("sha256", _sha256(canonical(document)))
    configuration = [
        _content("plan", canonical(plan)),
        _content("policy", policy.canonical()),
        *(
            _content(f"embedder {name}", canonical({**settings, "digest": (embedders or {}).get(name)}))
            for name, settings in plan["embedders"].items()
        ),
        *bound_files.resource(document),
        *({"name": name, "digest": _set(digest)} for name, digest in sorted(named.items())),
        {"name": REPORT, "digest": _set(report), "mediaType": "application/json", "annotations": annotations},
    ]
    tests = _tests(document)
    body: dict[str, Any] = {
        "_type": STATEMENT,
        "subject": [*files, {"name": _folder(data.get("root", "")), "digest": _set(root)}],
        "predicateType": PREDICATE,
        "predicate": {"result": str(document["verdict"]).upper(), "configuration": configuration, **tests},
    }
    # The result is the verdict, unless the policy refuses the audit; when it was signed does not affect the result.
    if decide(policy, replace(facts(body), afterwards=False), ended):
        body["predicate"]["result"] = "FAILED"
    return body


def sign(body: Mapping[str, Any], key: CryptoSigner | str | Path) -> bytes:
    """The statement in a DSSE envelope, as JSON, signed with a private key or the file of one.

    Raises PlanError where the key is unusable.
    """
    return canonical(seal(canonical(body), PAYLOAD, key)) + b"\n"


def verified(envelope: bytes, key: str | Path, *, where: str = FILE) -> dict[str, Any]:
    """The statement in an envelope, verified with the public key in a file.

    Raises DataError where the bytes are no envelope, PlanError where the key is unusable, and Refused where another key
    signed it, where it was edited since, or where it is no attestation of a test result.
    """
    sealed = read(envelope, where=where)
    if sealed["payloadType"] != PAYLOAD:
        raise Refused(f"{where}: must hold an in-toto statement, its payload is {sealed['payloadType']!r}")
    try:
        body = strict_json.loads(opened(sealed, key, where=where))
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("_type") != STATEMENT or body.get("predicateType") != PREDICATE:
        raise Refused(f"{where}: is signed, but is not the attestation of a test result")
    return body


def subjects(body: Mapping[str, Any]) -> tuple[Digest, dict[str, Digest]]:
    """The dataset's root digest and the files' digests by name. Raises Refused where the subjects are malformed."""
    try:
        roots: list[str] = []
        files: dict[str, Digest] = {}
        for subject in fields.tables(body, "subject"):
            name, digest = fields.text(subject, "name"), fields.table(subject, "digest")
            if "dirHash1" in digest:
                roots.append(fields.sha256(digest, "dirHash1"))
            elif name in files:
                raise ValueError(f"the file {name!r} is named twice")
            else:
                os.fsencode(name)  # the name of a file that there can be
                files[name] = Digest("sha256", fields.sha256(digest, "sha256"))
        if len(roots) != 1:
            raise ValueError(f"there must be one dataset, and there are {len(roots)}")
        return Digest("dirHash1", roots[0]), files
    except ValueError as error:
        raise Refused(f"the attestation does not say which files it is about: {error}") from None


def facts(body: Mapping[str, Any]) -> Facts:
    """The facts in a statement, for a policy to decide on; annotations of later releases are kept in `unknown`.

    Raises Refused, with its name, where something is missing that this release needs, or is not of its type.
    """
    dataset, _ = subjects(body)
    try:
        predicate = fields.table(body, "predicate")
        named = {fields.text(one, "name"): one for one in resources(body)}
        stated = fields.table(fields.table(named, REPORT), "annotations")
        counts = fields.table(stated, "counts")
        return Facts(
            dataset=dataset,
            verdict=Verdict(fields.text(stated, "verdict")),
            result=Verdict(fields.text(predicate, "result").lower()),
            reason=fields.text(stated, "reason"),
            rows=fields.count(stated, "rows"),
            counts={kind: fields.count(counts, kind) for kind in counts},
            groups=tuple(map(_finding, fields.tables(stated, "groups"))),
            runs=tuple(map(_run, fields.tables(stated, "runs"))),
            fdr=fields.rate(stated, "fdr"),
            plan=Digest("sha256", fields.sha256(fields.table(fields.table(named, "plan"), "digest"), "sha256")),
            ended=fields.time(stated, "ended"),
            afterwards=fields.value(stated, "afterwards") is not False,
            classes=None if stated.get("classes") is None else fields.count(stated, "classes"),
            flagged=None if "flagged" not in stated else fields.count(stated, "flagged"),
            started=None if "started" not in stated else fields.time(stated, "started"),
            suspicious=tuple(fields.texts(predicate, "failedTests") if "failedTests" in predicate else ()),
            named=bound_files.stated(named),
            unknown={name: value for name, value in stated.items() if name not in KNOWN},
        )
    except ValueError as error:
        raise Refused(f"the attestation lacks what an audit says: {error}") from None


def resources(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the audit was made of and what it wrote: name and digest each, some with their content.

    Raises ValueError where they are malformed, or where a content has another digest.
    """
    found = fields.tables(fields.table(body, "predicate"), "configuration")
    names = [fields.text(one, "name") for one in found]
    if len(set(names)) < len(names):
        raise ValueError("two parts of its configuration have one name")
    for one, name in zip(found, names, strict=True):
        digest = fields.sha256(fields.table(one, "digest"), "sha256")
        if "content" in one and _sha256(base64.b64decode(fields.text(one, "content"))) != digest:
            raise ValueError(f"the content of its {name} has another digest than it says")
    return found


def _finding(stated: Mapping[str, Any]) -> AttestedFinding:
    fields.said(stated, list(AttestedFinding.__dataclass_fields__), " of a finding")
    return AttestedFinding(
        kind=fields.text(stated, "kind"),
        label=None if fields.value(stated, "label") is None else fields.text(stated, "label"),
        rows=fields.count(stated, "rows"),
        certain=fields.flag(stated, "certain"),
        reason=fields.text(stated, "reason"),
    )


def _run(stated: Mapping[str, Any]) -> AttestedRun:
    names = list(AttestedRun.__dataclass_fields__)
    fields.said(stated, names, " of a run")
    return AttestedRun(**{name: fields.text(stated, name) for name in names})


def _annotations(document: Mapping[str, Any], started: datetime, ended: datetime, afterwards: bool) -> dict[str, Any]:
    plan = document["plan"]
    checks, embedders = plan["detectors"], plan["embedders"]
    return {
        "verdict": document["verdict"],
        "reason": document["reason"],
        "rows": document["rows"],
        "classes": len(document["dataset"]["classes"]) if "classes" in document["dataset"] else None,
        "modality": document.get("roles", {}).get("modality"),
        "flagged": document["flagged"],
        "counts": dict(document["counts"]),
        "groups": [
            {
                "kind": group["kind"],
                "label": group["label"],
                "rows": group["rows"],
                "certain": _certain(group),
                "reason": group["reason"],
            }
            for group in document["groups"]
        ],
        "runs": [
            {
                "name": run["detector"],
                "kind": checks[run["detector"]]["kind"],
                "embedder": run["embedder"],
                "embedder_kind": embedders[run["embedder"]]["kind"],
                "status": run["status"],
                "reason": run["reason"],
            }
            for run in document["runs"]
        ],
        "notes": list(document.get("notes", ())),
        "fdr": plan["decide"]["fdr"],
        "power": document.get("power", {}),
        "versions": document.get("versions", {}),
        "seed": plan.get("seed"),
        "device": plan.get("device"),
        "started": stamp(started),
        "ended": stamp(ended),
        "afterwards": afterwards,
    }


def _certain(group: Mapping[str, Any]) -> bool:
    """Scattered wrong labels and unreadable rows are listed with p = 1; findings of a group test have less."""
    return Kind(group["kind"]).fails_audit or group["p_value"] is None or group["p_value"] < 1


def _tests(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """The runs by result: failed if a run crashed or found an attack, warned if it found wrong labels, else passed."""
    failed: set[str] = set()
    warned: set[str] = set()
    for group in document["groups"]:
        behind = {(test["detector"], test["embedder"]) for test in group.get("evidence", {}).get("tests", ())}
        for run in document["runs"]:
            if (run["detector"], run["embedder"]) in behind or (not behind and run["detector"] in group["detectors"]):
                (failed if Kind(group["kind"]).fails_audit else warned).add(_name(run))
    failed |= {_name(run) for run in document["runs"] if run["status"] == "failed"}
    done = [_name(run) for run in document["runs"] if run["status"] == "completed"]
    return {
        "passedTests": [name for name in done if name not in failed | warned],
        "warnedTests": [name for name in done if name in warned - failed],
        "failedTests": [name for name in map(_name, document["runs"]) if name in failed],
    }


def _name(run: Mapping[str, Any]) -> str:
    return f"{run['detector']} on {run['embedder']}"


def _content(name: str, content: bytes) -> dict[str, Any]:
    """A resource descriptor that includes its content."""
    return {
        "name": name,
        "digest": {"sha256": _sha256(content)},
        "content": base64.b64encode(content).decode(),
        "mediaType": "application/json",
    }


def _folder(root: str) -> str:
    """The name of the dataset: the last part of its path, so that local paths are not disclosed."""
    return (root.rstrip("/").rpartition("/")[2] or "dataset") + "/"


def _set(digest: Digest) -> dict[str, str]:
    return {digest.algorithm: digest.value}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
