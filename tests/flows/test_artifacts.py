"""What Prefect's page would show, hostile names included."""

import pytest

from foretaste.flows.artifacts import SHOWN, key_of, markdown, plain, state, table

FOUND = {
    "verdict": "failed",
    "reason": "12 rows labelled <img src=x onerror=alert(1)> share a pattern",
    "rows": 1797,
    "flagged": 12,
    "dataset": {"root": "/data/pets", "digest": "dirHash1:abc"},
    "groups": [{"kind": "backdoor", "label": "a|b\n# c", "rows": 12, "p_value": 1e-9, "reason": "[x](http://y) `z`"}],
    "runs": [{"detector": "spectral", "embedder": "grey", "status": "completed", "reason": ""}],
    "notes": ["**bold**"],
}


def test_the_verdict_with_its_groups_and_runs():
    text = markdown(FOUND, "/audits/pets-1")
    assert text.startswith("# FAILED\n\n12 rows labelled &lt;img src=x onerror=alert\\(1\\)&gt;")
    assert "12 rows of 1,797 flagged" in text
    assert "| backdoor | a\\|b\\\\n\\# c | 12 | 1 × 10⁻⁹ | \\[x\\]\\(http\\://y\\) \\`z\\` |" in text
    assert "| spectral | grey | completed |  |" in text
    assert "- \\*\\*bold\\*\\*" in text


def test_text_from_the_data_stays_text():
    assert plain("www.x.y me@x.y\x1b[31m") == "www\\.x.y me\\@x.y\\\\x1b\\[31m"


def test_a_long_table_is_cut_and_says_so():
    lines = table(("a", "b"), [(n, n) for n in range(SHOWN + 3)]).splitlines()
    assert len(lines) == 2 + SHOWN + 1
    assert lines[-1].startswith("| 3 more |")
    assert {line.count("|") for line in lines} == {3}
    assert table(("a",), []) == ""


@pytest.mark.parametrize(
    ("verdict", "name", "failed"),
    [
        ("passed", "Completed", False),
        ("warned", "Warned", False),
        ("failed", "Poisoned", True),
        ("Refused", "Refused", True),
    ],
)
def test_a_state_says_what_was_found(verdict, name, failed):
    ended = state(verdict, "why\n", {"verdict": verdict})
    assert (ended.name, ended.is_failed(), ended.is_completed()) == (name, failed, not failed)
    assert "why\\n" in ended.message
    assert getattr(ended.data, "result", ended.data) == {"verdict": verdict}


@pytest.mark.parametrize(
    ("name", "key"), [("My Set_1.v2", "foretaste-my-set-1-v2-verdict"), ("é", "foretaste-dataset-verdict")]
)
def test_keys_are_what_prefect_takes(name, key):
    assert key_of(name, "verdict") == key
