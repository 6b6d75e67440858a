from xml.etree import ElementTree as Tree

from foretaste.report.document import document
from foretaste.report.formats.junit import junit


def outcomes(report):
    suite = Tree.fromstring(junit(document(report)))
    return suite, {case.get("name"): [child.tag for child in case] for case in suite}


def test_every_run_is_a_testcase(report):
    suite, cases = outcomes(report)
    assert cases == {
        "verdict": ["failure"],
        "spectral on pixels": ["failure"],
        "clustering on pixels": [],
        "tokens on text": ["skipped"],
        "probe-label on probe": ["error"],
    }
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5", "failures": "2", "errors": "1", "skipped": "1",
    }  # fmt: skip


def test_a_dataset_that_warns_fails_no_build(report):
    found = document(report) | {"verdict": "warned"}
    cases = {case.get("name"): [child.tag for child in case] for case in Tree.fromstring(junit(found))}
    assert cases["verdict"] == cases["spectral on pixels"] == ["system-out"]


def test_a_required_run_that_did_not_complete_still_fails_the_build(clean):
    found = document(clean) | {"verdict": "failed", "reason": "spectral: required, did not complete"}
    assert Tree.fromstring(junit(found)).get("failures") == "1"
