"""Every way past the gate that was tried (see tests/ways) is refused for its own reason, and nothing crashes."""

from __future__ import annotations

import pytest
from attested import Workshop
from ways.contract import Scene, Way, every


@pytest.mark.parametrize("way", every(), ids=lambda way: way.name)
def test_the_gate_holds(way: Way, workshop: Workshop):
    reasons = way.reasons(Scene(workshop))
    assert (way.said in reasons) if way.said else (reasons == ""), reasons or "the gate let it in"
