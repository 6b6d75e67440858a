"""An audit under review: its flagged rows as a detector would write them, and the page, served."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn

import foretaste
from foretaste.flows.review.queue import ReviewQueue
from foretaste.flows.review.server import application, configured

TOKEN = "a-token"


def audited(
    folder: Path,
    table: pa.Table,
    plan: str,
    *,
    rows: int,
    groups: Sequence[dict[str, Any]] = (),
    row_group: int = 40,
) -> Path:
    """An audit of the table whose flagged rows are its first `rows`, odd ones a backdoor, even ones wrong labels."""
    data, written = folder / "data.parquet", folder / "plan.toml"
    pq.write_table(table, data, row_group_size=row_group)
    written.write_text(plan)
    foretaste.audit(str(data), plan=str(written), out=str(folder / "audit"))
    samples = pq.read_table(folder / "audit/samples.parquet")
    made = samples.slice(0, rows)
    for name, value in (
        ("flagged", [True] * rows),
        ("risk", [1 - n / max(100, rows) for n in range(rows)]),
        ("kinds", [["backdoor"] if n % 2 else ["label"] for n in range(rows)]),
        ("detectors", [["spectral-signature"]] * rows),
    ):
        column = made.schema.field(name)
        made = made.set_column(made.schema.get_field_index(name), column, pa.array(value, column.type))
    pq.write_table(made, folder / "audit/flagged.parquet")
    if groups:
        report = folder / "audit/report.json"
        report.write_text(json.dumps({**json.loads(report.read_text()), "groups": list(groups)}))
    return folder / "audit"


def group(kind: str, label: str | None, rows: int, **evidence: Any) -> dict[str, Any]:
    """A group as report.json has it."""
    shared = {"p_value": 1e-9, "detectors": ["spectral-signature"], "reason": "they share a pattern"}
    return {"kind": kind, "label": label, "rows": rows, **shared, "evidence": evidence}


@contextmanager
def served(audit: Path, reviewer: str = "ada") -> Iterator[str]:
    """The address of the page, served from a thread of this process."""
    listener = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    app = application(ReviewQueue.of(str(audit)), reviewer=reviewer, token=TOKEN, hosts=frozenset({host}))
    server = uvicorn.Server(configured(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://{host}/?token={TOKEN}"
    finally:
        server.should_exit = True
        thread.join()
