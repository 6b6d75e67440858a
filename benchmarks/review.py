"""How the review page keeps up with a hundred thousand flagged rows, in a real browser driven by keys.

python -m benchmarks.review [--rows 100000] [--presses 300]
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer
from PIL import Image

from tests.browser import Tab, browser
from tests.reviewed import audited, group

PLAN = """
[embedders.grey]
kind = "pixels"
size = 16
grid = 16

[detectors.spectral-signature]

[decide]
content = "grey"
"""
CLASSES = 10
FIRST = "document.querySelector('#grid li').id"
NEAR = "document.querySelectorAll('#near:not([hidden]) .glance').length === 8"
# From a key to the second frame after it: what it changed is on the screen by then.
TIMED = """
window.times = [];
addEventListener('keydown', () => {
  const start = performance.now();
  requestAnimationFrame(() => requestAnimationFrame(() => window.times.push(performance.now() - start)));
}, true);
"""


def photographs(rows: int) -> pa.Table:
    """Pictures of 32 × 32 pixels in ten classes; as photographs do, they compress badly."""
    draw = np.random.default_rng(0)
    image = []
    for pixels in draw.integers(0, 256, (rows, 32, 32, 3), dtype=np.uint8):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        image.append(file.getvalue())
    label = [f"class {n % CLASSES}" for n in range(rows)]
    return pa.table({"image": image, "label": label, "source": [f"site {n % 7}" for n in range(rows)]})


def memory(process: int) -> str:
    """The most memory that a process ever held."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return f"{int(status.partition('VmHWM:')[2].split()[0]) / 1e6:.2f} GB"


def waited(tab: Tab, what: str, script: str, *keys: str) -> None:
    """Seconds from the keys until the page says so."""
    start = time.monotonic()
    for key in keys:
        tab.press(key)
    tab.wait(script, 120)
    print(f"{what}: {time.monotonic() - start:.2f} s", flush=True)


def pressed(tab: Tab, what: str, keys: list[str]) -> None:
    """How soon keys show, at the pace of somebody who holds ten a second."""
    tab.run("times.length = 0")
    for key in keys:
        tab.press(key)
        time.sleep(0.1)
    tab.wait(f"times.length === {len(keys)}")
    times = tab.run("times")
    print(f"{what}: {median(times):.0f} ms, 95 % within {quantiles(times, n=20)[-1]:.0f}, at most {max(times):.0f}")


def main(
    rows: Annotated[int, typer.Option(min=1000, help="Flagged rows.")] = 100_000,
    presses: Annotated[int, typer.Option(min=20, help="Keys of each kind.")] = 300,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        found = [group("backdoor", f"class {n}", rows // CLASSES) for n in range(1, CLASSES, 2)]
        audit = audited(made, photographs(rows + rows // 10), PLAN, rows=rows, groups=found, row_group=1000)
        command = [sys.executable, "-m", "foretaste.flows.cli", "review", str(audit), "--no-open", "--reviewer", "ada"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        try:
            address = server.stderr.readline().strip()
            with browser(made) as tab:
                tab.call("Page.addScriptToEvaluateOnNewDocument", source=TIMED)
                start = time.monotonic()
                tab.open(address)
                tab.wait("document.body?.dataset.ready === 'yes'")
                print(f"{rows:,} flagged rows of {rows + rows // 10:,}; opened: {time.monotonic() - start:.2f} s")
                count = "document.getElementById('count').textContent"
                pressed(tab, "moving on, a key until it shows", ["ArrowRight"] * presses)
                pressed(tab, "deciding, a key until it shows", ["d", "k", "u"] * (presses // 3))
                said = presses // 3 * 3
                waited(tab, "the last of them on disk after", f"{count}.includes('; {said} by you')")
                waited(tab, "surroundings of a row", NEAR, "ArrowRight")
                waited(tab, "surroundings of another", NEAR, "ArrowRight")
                first = tab.run(FIRST)
                ready = f"document.querySelector('#grid img')?.complete && {FIRST} !== '{first}'"
                waited(tab, "the next page", ready, "PageDown")
                waited(tab, "choosing a group", "document.getElementById('armed').textContent", "g")
                half = f"({count}.match(/([0-9,]+) by you/)[1].replace(',', '') > {rows // 20})"
                waited(tab, f"dropping its {rows // CLASSES:,} rows", half, "d")
                waited(tab, "taking that back", f"{count}.includes('; {said} by you')", "z")
                tab.run("document.getElementById('all').click()")
                waited(tab, f"dropping all {rows:,} rows", f"{count}.includes('; {rows:,} by you')", "d")
                pressed(tab, "deciding after that, a key until it shows", ["d", "k", "u"] * 20)
                waited(tab, "taking one back", "document.getElementById('armed').textContent.includes('taken')", "z")
                heap = tab.call("Runtime.getHeapUsage")["usedSize"]
                print(f"memory: server {memory(server.pid)}, scripts of the page {heap / 1e6:.0f} MB")
                print(f"elements of the page: {tab.run('document.querySelectorAll(`*`).length')}")
                assert not tab.errors, tab.errors
        finally:
            server.terminate()
            server.communicate()


if __name__ == "__main__":
    typer.run(main)
