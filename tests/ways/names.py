"""Names of files: what a file system allows, and a terminal, a report or a digest may not."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
from ways.contract import Options, Scene, way

for name, said, spelt in [
    ("not UTF-8", "b'a\\xff.parquet': a file name must be UTF-8, and it is not; rename the file", b"a\xff.parquet"),
    ("a folder that is not UTF-8", "a file name must be UTF-8, and it is not; rename the file", b"x\xff/a.parquet"),
    ("a line feed", "a file name must not hold a line break", b"a\nb.parquet"),
    ("a carriage return", "", b"a\rb.parquet"),
    ("a tab", "", b"a\tb.parquet"),
    ("escape codes", "", b"\x1b[31mred\x1b[0m.parquet"),
    ("a bidirectional override", "", "a\u202egpj.parquet".encode()),
    ("markup", "", b"<img src=x onerror=alert(1)>.parquet"),
    ("240 bytes", "", b"x" * 232 + b".parquet"),
    ("quotes", "", b"a'\"`$(id).parquet"),
    ("glob characters", "", b"a[1]*?.parquet"),
    ("percent codes", "", b"a%2e%2e%2fb.parquet"),
    ("two colons", "", b"a::b.parquet"),
    ("spaces", "", b" a .parquet"),
    ("a fragment", "", b"a#frag?x=1.parquet"),
    ("a protocol", "", b"http:.parquet"),
]:

    @way(f"file name: {name}", said)
    def _(scene: Scene, spelt: bytes = spelt) -> Options:
        path = os.path.join(os.fsencode(scene.workshop.data), spelt)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            pq.write_table(pa.table({"id": range(100), "label": ["cat", "dog"] * 50}), file)
        scene.workshop.sign()
        return {}
