"""Detects changes of a dataset, once its files are stable, and announces them as a Prefect event.

Other programs may send the same event.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence

import fsspec
from prefect.client.orchestration import get_client
from prefect.events import Event, Resource

from foretaste.dataset.files import MAGIC, Found, each, find, root_digest, sha256
from foretaste.errors import ForetasteError
from foretaste.types.digests import Digest

logger = logging.getLogger("foretaste")

CHANGED = "foretaste.dataset.changed"
PATIENCE = 10  # settle times after which an incomplete file counts as damaged
# File metadata that are compared. Resetting the mtime of a local file still changes "created".
FACTS = ("size", "mtime", "created", "ino", "LastModified", "ETag", "etag", "updated", "md5Hash", "content_md5")

Listing = tuple[tuple[str, ...], ...] | str


def resource(name: str) -> str:
    """The resource id of a dataset in events."""
    return f"foretaste.dataset.{name}"


def digest(places: Sequence[str]) -> Digest:
    """The digest of a dataset's bytes, the same as in an audit.

    Raises PlanError where the places name nothing, DataError where they hold files that may or may not be data.
    """
    _, found = find(places)
    values = each(found, lambda file: sha256(file.path)[0])
    return root_digest((file.name, value) for file, value in zip(found, values, strict=True))


def changes(places: Sequence[str], *, poll: float, settle: float, stop: threading.Event) -> Iterator[str]:
    """The digest of the dataset, first as it is, then after every change; an error message where there is none.

    The files are listed every `poll` seconds, and hashed once nothing changed for `settle` seconds and all end with the
    Parquet magic bytes, so that files that are still being written are not read. A file that stays incomplete is
    announced eventually, since a failed audit is noticed and an endless wait is not.
    """
    current: Listing | None = None
    hashed: Listing | None = None
    announced: str | None = None
    since = time.monotonic()
    while True:
        now = listing(places)
        stable = time.monotonic() - since
        if now != current:
            current, since = now, time.monotonic()
        elif current != hashed and stable >= settle and (stable >= PATIENCE * settle or _complete(places)):
            content = _content(places)
            if listing(places) == current:  # else it changed while it was read
                hashed = current
                if content != announced:
                    announced = content
                    yield content
        if stop.wait(poll):
            return


def listing(places: Sequence[str]) -> Listing:
    """The names and metadata of the files, or why they cannot be listed."""
    try:
        return tuple((file.name, *_facts(file)) for file in find(places)[1])
    except (ForetasteError, OSError) as error:
        return str(error)


def announce(name: str, places: Sequence[str], content: str) -> None:
    """Tell the Prefect server that the dataset `name` has changed. Raises what Prefect's client raises."""
    event = Event(
        event=CHANGED,
        resource=Resource({"prefect.resource.id": resource(name), "prefect.resource.name": name}),
        payload={"digest": content, "places": list(places)},
    )
    with get_client(sync_client=True) as client:  # reports whether it arrived, which emit_event does not
        client.request("POST", "/events", json=[event.model_dump(mode="json")])


def watch(name: str, places: Sequence[str], *, poll: float, settle: float, stop: threading.Event) -> None:
    """Announce every change until `stop`; an announcement that fails is repeated."""
    for content in changes(places, poll=poll, settle=settle, stop=stop):
        while True:
            try:
                announce(name, places, content)
                break
            except Exception as error:  # the server may be down for a while; httpx raises many kinds of errors
                logger.warning("the change of %s could not be announced and will be again: %s", name, error)
            if stop.wait(poll):
                return


def _facts(file: Found) -> Iterator[str]:
    fs, path = fsspec.core.url_to_fs(file.path)
    info = fs.info(path)
    yield from (f"{fact}={info[fact]}" for fact in FACTS if info.get(fact) is not None)


def _complete(places: Sequence[str]) -> bool:
    """Whether every file ends with the Parquet magic bytes; True where the files cannot be listed."""
    try:
        return all(_has_footer(file.path) for file in find(places)[1])
    except (ForetasteError, OSError):
        return True


def _has_footer(path: str) -> bool:
    with fsspec.open(path, "rb") as file:
        if file.seek(0, 2) < 2 * len(MAGIC):
            return False
        file.seek(-len(MAGIC), 2)
        return bool(file.read() == MAGIC)


def _content(places: Sequence[str]) -> str:
    try:
        return str(digest(places))
    except (ForetasteError, OSError) as error:
        return str(error)
