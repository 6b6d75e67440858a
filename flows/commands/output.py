"""What a command prints: data on stdout, whole, and a report as a table or as JSON; and streams that can be written.

A stream may be closed, its reader may leave, its encoding may lack a character: none of it changes a verdict.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

# How the report's own signs read in an encoding that lacks them: 6 x 10^-8 instead of 6 ? 10??.
PLAIN = {"×": "x", "⁻": "^-", "…": "...", "→": "->", "–": "-", "—": "-", "≥": ">=", "≤": "<="}
PLAIN |= {sign: digit for digit, sign in zip("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True)}


def _plainer(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


codecs.register_error("foretaste.plainer", _plainer)


class _Outlet(io.FileIO):
    """A standard stream. Once it cannot be written, what follows goes nowhere.

    `needed` streams raise OSError then, unless a reader has seen enough (head), which is no failure.
    """

    def __init__(self, number: int, *, needed: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self._needed = needed

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if self._needed and not isinstance(error, BrokenPipeError):
                raise OSError(error.errno, error.strerror, "standard output") from error
            return memoryview(data).nbytes


def settle_streams() -> None:
    """Replace the interpreter's stdout and stderr by streams that no surroundings can break.

    Characters that the encoding lacks become plainer ones or "?"; closed streams lead nowhere. Streams that a caller
    has put in their place are left as they are.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # otherwise the next file that is opened would be taken for this stream
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(1, sys.stdout, needed=True, errors="foretaste.plainer")
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(2, sys.stderr, needed=False, errors="backslashreplace")


def _text(number: int, before: Any, *, needed: bool, errors: str) -> io.TextIOWrapper:
    encoding = "utf-8" if before is None else before.encoding
    outlet = _Outlet(number, needed=needed)
    whole = needed and not outlet.isatty()
    return io.TextIOWrapper(io.BufferedWriter(outlet), encoding=encoding, errors=errors, line_buffering=not whole)


def print_text(text: str) -> None:
    """To stdout, whole."""
    sys.stdout.write(text)
    sys.stdout.flush()


def print_document(text: str) -> None:
    """CSV, XML or HTML to stdout, whole, in UTF-8 whatever the terminal speaks: it is for a file or a program."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        sys.stdout.flush()
    else:
        print_text(text)


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
