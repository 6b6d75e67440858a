"""Reads a stored report.html: extracts its pictures for terminals, and inserts the measured precision of detectors."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

from foretaste.errors import DataError
from foretaste.report.html.page import environment
from foretaste.types.findings import Precision

PREFIX = "data:image/png;base64,"
PLACE = "<!-- what people decided -->"  # unique in the page, since text from the dataset is escaped


def pictures(folder: str | Path) -> dict[int, bytes]:
    """The PNG of each row that the page shows; empty where there is no page."""
    try:
        page = _Pictures((Path(folder) / "report.html").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return page.found


class _Pictures(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[int, bytes] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        row, source = named.get("data-row") or "", named.get("src") or ""
        if tag == "img" and row.isdecimal() and source.startswith(PREFIX):
            try:
                self.found[int(row)] = base64.b64decode(source.removeprefix(PREFIX), validate=True)
            except binascii.Error:
                return


def reviewed(folder: str | Path, measured: Mapping[str, Precision]) -> str:
    """The stored page with the measured precision of the detectors whose rows were reviewed.

    Raises DataError where there is no page.
    """
    path = Path(folder) / "report.html"
    try:
        html = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the page cannot be read: {error}") from None
    section = _TEMPLATE.render(measured=measured) if measured else ""
    return html.replace(PLACE, section, 1)


_TEMPLATE = environment().from_string((files("foretaste.report.html") / "reviewed.html").read_text(encoding="utf-8"))
