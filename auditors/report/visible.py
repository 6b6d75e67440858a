"""Escapes invisible characters in untrusted text.

Control characters can drive a terminal and break XML, bidirectional overrides reorder a line, zero-width characters
hide a trigger. These, and what UTF-8 cannot encode, are replaced by their codes.
"""

from __future__ import annotations

import re

_INVISIBLE = re.compile(
    "["
    "\x00-\x1f\x7f-\xa0\xad"  # controls, no-break space, soft hyphen
    "\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u180e"  # format characters of scripts, fillers
    "\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"  # spaces, joiners, overrides
    "\ud800-\udfff"  # surrogates
    "\U000e0000-\U000e0fff"  # tags: an invisible copy of ASCII
    "]"
)
_NAMED = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def visible(text: str, *, lines: bool = False) -> str:
    """The text with every invisible character as \\xNN or \\uNNNN; `lines` keeps line feeds and tabs."""
    return _INVISIBLE.sub(lambda match: match[0] if lines and match[0] in "\n\t" else _code(match[0]), text)


def _code(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
