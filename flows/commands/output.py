"""What a command prints: data on stdout, whole, and a report as a table or as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def print_text(text: str) -> None:
    """To stdout, whole; a reader that has seen enough (head) is no failure and changes no exit code."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_report(found: Mapping[str, Any], folder: str, *, rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        from foretaste.report.document import plain, text

        print_text(text(plain(found)) + "\n")
        return
    import shutil

    from foretaste.report.formats.terminal import terminal
    from foretaste.report.html import stored

    people = sys.stdout.isatty()
    width = min(shutil.get_terminal_size().columns, 160) if people else 120
    colours = _colours() if people else None
    pictures = stored.pictures(folder) if colours and found["roles"]["modality"] == "image" else {}
    print_text(terminal(found, folder, rows=rows, width=width, colours=colours, pictures=pictures))


def _colours() -> Any:
    """What the terminal says that it can show; None where nobody wants colours (https://no-color.org)."""
    from rich.console import Console

    said = Console(force_terminal=True).color_system
    return None if os.environ.get("NO_COLOR") else {"windows": "standard"}.get(said or "", said)
