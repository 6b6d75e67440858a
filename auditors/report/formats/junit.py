"""A report as JUnit XML, for CI systems.

One testcase for the verdict, so that a failed build and an exit code other than 0 always agree, and one for each run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as Tree

from foretaste.report import numbers
from foretaste.report.visible import visible


def junit(document: Mapping[str, Any]) -> str:
    """The report as JUnit XML.

    A run is an error if it failed, skipped if it did not apply, and a failure if it led to a finding in a dataset that
    failed. If the dataset passed or warned, findings are output and no testcase fails.
    """
    failed = document["verdict"] == "failed"
    suite = Tree.Element("testsuite", name=_text(f"foretaste {document['dataset'].get('root', '')}".strip()))
    took = sum(seconds or 0.0 for seconds in document.get("seconds", {}).values())
    verdict = _case(suite, "foretaste", "verdict", took)
    if failed:
        Tree.SubElement(verdict, "failure", message=_text(document["reason"]), type="failed")
    elif document["verdict"] == "inconclusive":
        Tree.SubElement(verdict, "error", message=_text(document["reason"]), type="inconclusive")
    else:
        Tree.SubElement(verdict, "system-out").text = _text(f"{document['verdict']}: {document['reason']}")
    for run in document["runs"]:
        case = _case(suite, run["detector"], f"{run['detector']} on {run['embedder']}", run["seconds"] or 0.0)
        found = [_finding(group) for group in document["groups"] if run["detector"] in group["detectors"]]
        if run["status"] == "failed":
            Tree.SubElement(case, "error", message=_text(run["reason"]), type="failed")
        elif run["status"] != "completed":
            Tree.SubElement(case, "skipped", message=_text(run["reason"]))
        elif found and failed:
            Tree.SubElement(case, "failure", message=found[0], type="found").text = "\n".join(found)
        elif found:
            Tree.SubElement(case, "system-out").text = "\n".join(found)
    suite.set("tests", str(len(suite)))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall(f"testcase/{tag}"))))
    Tree.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Tree.tostring(suite, encoding="unicode") + "\n"


def _case(suite: Tree.Element, classname: str, name: str, seconds: float) -> Tree.Element:
    return Tree.SubElement(suite, "testcase", classname=_text(classname), name=_text(name), time=f"{seconds:.3f}")


def _finding(group: Mapping[str, Any]) -> str:
    label = "" if group["label"] is None else f" labelled {group['label']}"
    rows = numbers.plural(group["rows"], "row")
    return _text(f"{group['kind']}: {rows}{label}, p {numbers.probability(group['p_value'])}: {group['reason']}")


def _text(value: str) -> str:
    """XML cannot represent most control characters, so they are replaced by their codes."""
    return visible(value)
