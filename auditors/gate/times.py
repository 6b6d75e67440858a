"""Times of statements and logs, as text in RFC 3339 and in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(text: str) -> datetime:
    """A time in RFC 3339, in UTC. Raises ValueError where it has no offset or lies outside of the years 1 to 9999."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"a time needs an offset, got {text!r}")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"a time must lie in the years 1 to 9999 of UTC, got {text!r}") from None


def stamp(when: datetime) -> str:
    """A time in RFC 3339, in UTC, to the second."""
    return f"{when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
