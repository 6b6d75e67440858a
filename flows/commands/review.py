"""foretaste review."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated

import typer

from foretaste.flows.commands.contract import command
from foretaste.flows.commands.output import print_text


@command("Review", exits="0: ended. 2: it could not be done.")
def review(
    audit: Annotated[str, typer.Argument(metavar="AUDIT", help="The folder of an audit.")],
    reviewer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose decisions these are; by default your login name.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="By default any that is free.")] = 0,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
    export: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Open nothing: write all decisions to a new .parquet or .csv file."),
    ] = None,
) -> int:
    """Work through the flagged rows of an audit in the browser: keep, drop, unsure."""
    if export is not None:
        return _export(audit, export)
    import secrets
    import socket
    import webbrowser

    import uvicorn

    from foretaste.errors import PlanError
    from foretaste.flows.review.queue import ReviewQueue
    from foretaste.flows.review.server import application, configured

    queue = ReviewQueue.of(audit)
    token = secrets.token_urlsafe(32)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # a browser that is quicker than the server waits instead of being refused
    except OSError as error:
        raise PlanError(f"--port {port}: cannot be listened at: {error.strerror}") from error
    taken = listener.getsockname()[1]
    hosts = frozenset({f"127.0.0.1:{taken}", f"localhost:{taken}"})
    app = application(queue, reviewer=reviewer or getpass.getuser(), token=token, hosts=hosts)
    address = f"http://127.0.0.1:{taken}/?token={token}"
    print(f"{address}\nDecisions are kept in {audit.rstrip('/')}/decisions.sqlite. Ctrl-C ends it.", file=sys.stderr)
    if open_:
        webbrowser.open(address)
    server = uvicorn.Server(configured(app))
    server.run(sockets=[listener])
    return 0


def _export(audit: str, path: str) -> int:
    import os
    from pathlib import Path

    import polars as pl
    import pyarrow.parquet as pq

    from foretaste import atomic
    from foretaste.curation import review_decisions
    from foretaste.errors import DataError, PlanError
    from foretaste.report import numbers
    from foretaste.report.document import read
    from foretaste.report.formats.spreadsheet import sheet
    from foretaste.report.visible import visible

    if not path.endswith((".parquet", ".csv")):
        raise PlanError(f"--export must name a .parquet or a .csv file, got {path!r}")
    if os.path.lexists(path):
        raise PlanError(f"--export must name a new file, {path} exists")
    read(audit)
    found = review_decisions.frame(audit)
    if found.is_empty():
        raise DataError(f"{audit}: nobody has decided about any of its rows yet")
    try:
        with atomic.file(path) as partial:
            if path.endswith(".csv"):
                Path(partial).write_text(sheet(found.to_dicts()), encoding="utf-8", newline="")
            else:
                pq.write_table(found.to_arrow(compat_level=pl.CompatLevel.oldest()), partial, compression="zstd")
    except OSError as error:
        raise PlanError(f"--export {path}: cannot be written: {error.strerror or error}") from error
    print_text(f"{numbers.plural(len(found), 'decision')} in {visible(path)}\n")
    return 0
