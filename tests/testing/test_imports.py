"""What a plug-in's tests load along with the battery."""

from __future__ import annotations

import subprocess
import sys


def test_the_battery_needs_no_test_runner_and_nothing_above_the_components():
    code = "import sys, foretaste.testing; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    above = {f"foretaste.{name}" for name in ("pipeline", "explain", "report", "gate", "flows")}
    assert {"pytest", "prefect", "polars"} & set(loaded) == set()
    assert {".".join(name.split(".")[:2]) for name in loaded} & above == set()
