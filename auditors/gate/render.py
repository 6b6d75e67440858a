"""A gate's decision as text, JSON types, JUnit XML, and Markdown for the summary page of a CI job."""

from __future__ import annotations

import os
from typing import Any
from xml.etree import ElementTree as Tree

from foretaste.gate.decision import GateDecision
from foretaste.gate.times import stamp
from foretaste.report.numbers import plural, size
from foretaste.report.visible import visible


def lines(decision: GateDecision) -> str:
    """ALLOWED or REFUSED with the data, then a line for each reason."""
    out = [f"{_word(decision)}  {', '.join(decision.places)} ({_amount(decision)})"]
    out += [f"  - {reason}" for reason in decision.reasons]
    if decision.facts is not None:
        out.append(f"  audit: {_audit(decision)}")
    out += [f"  note: {note}" for note in decision.notes]
    return "".join(f"{visible(line)}\n" for line in out)


def document(decision: GateDecision) -> dict[str, Any]:
    """The decision in JSON types. Other tools read it, so its keys are stable."""
    facts = decision.facts
    return {
        "allowed": decision.allowed,
        "reasons": list(decision.reasons),
        "notes": list(decision.notes),
        "places": list(decision.places),
        "dataset": str(decision.digest),
        "files": {name: str(digest) for name, digest in sorted(decision.files.items())},
        "size": decision.size,
        "policy": str(decision.policy),
        "attestation": decision.attestation,
        "audit": None
        if facts is None
        else {
            "verdict": str(facts.verdict),
            "result": str(facts.result),
            "reason": facts.reason,
            "rows": facts.rows,
            "counts": dict(facts.counts),
            "ended": stamp(facts.ended),
            "plan": str(facts.plan),
        },
    }


def junit(decision: GateDecision) -> str:
    """One testcase for the gate, whose failure lists every reason."""
    suite = Tree.Element("testsuite", name=visible(f"foretaste gate {' '.join(decision.places)}"), tests="1")
    suite.set("failures", str(int(not decision.allowed)))
    suite.set("errors", "0")
    suite.set("skipped", "0")
    case = Tree.SubElement(suite, "testcase", classname="foretaste", name="gate", time="0.000")
    if decision.allowed:
        Tree.SubElement(case, "system-out").text = visible(lines(decision), lines=True)
    else:
        failure = Tree.SubElement(case, "failure", message=visible(decision.reasons[0]), type="refused")
        failure.text = "\n".join(visible(reason) for reason in decision.reasons)
    Tree.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Tree.tostring(suite, encoding="unicode") + "\n"


def markdown(decision: GateDecision) -> str:
    """For the summary page of a CI job; names and reasons are in code spans, so that they are never markup."""
    rows = [("dataset", str(decision.digest)), ("policy", str(decision.policy))]
    if decision.facts is not None:
        rows.append(("audit", _audit(decision)))
    out = [f"### foretaste gate: {_word(decision).lower()}", "", f"{_code(', '.join(decision.places))}", ""]
    out += [f"- {_code(reason)}" for reason in decision.reasons]
    out += ["", "| | |", "|---|---|", *(f"| {name} | {_code(value)} |" for name, value in rows), ""]
    out += [f"- note: {_code(note)}" for note in decision.notes]
    return "\n".join(out) + "\n"


def _word(decision: GateDecision) -> str:
    return "ALLOWED" if decision.allowed else "REFUSED"


def _amount(decision: GateDecision) -> str:
    return f"{plural(len(decision.files), 'file')}, {size(decision.size)}"


def _audit(decision: GateDecision) -> str:
    facts = decision.facts
    if facts is None:
        return "none"
    where = os.path.dirname(decision.attestation or "") or "."
    return f"{facts.verdict}, {plural(facts.rows, 'row')}, ended {stamp(facts.ended)}, {where}"


def _code(text: str) -> str:
    plain = visible(text).replace("|", "\\|")
    fence = "`"
    while fence in plain:
        fence += "`"
    return f"{fence} {plain} {fence}"
