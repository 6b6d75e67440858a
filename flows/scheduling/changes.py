"""Datasets that change: seen when they have come to rest, and announced as a Prefect event that anybody may send."""

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
PATIENCE = 10  # settle times that a file may lie unfinished before it counts as damaged
# What file systems say of a file without reading it. Who sets back the time of a local file still changes "created".
FACTS = ("size", "mtime", "created", "ino", "LastModified", "ETag", "etag", "updated", "md5Hash", "content_md5")

Listing = tuple[tuple[str, ...], ...] | str


def resource(name: str) -> str:
    """The id by which events name a dataset."""
    return f"foretaste.dataset.{name}"


def digest(places: Sequence[str]) -> Digest:
    """The digest of a dataset's bytes, as its audit will give it.

    Raises PlanError where the places name nothing, DataError where they hold what cannot be told apart from data.
    """
    _, found = find(places)
    values = each(found, lambda one: sha256(one.path)[0])
    return root_digest((one.name, value) for one, value in zip(found, values, strict=True))


def changes(places: Sequence[str], *, poll: float, settle: float, stop: threading.Event) -> Iterator[str]:
    """The digest of the dataset, first as it is, then whenever it is another; a sentence where there is none.

    The files are listed every `poll` seconds and read when nothing moved for `settle` seconds and all end as Parquet
    does: who writes takes time, and half a shard is no dataset. A file that stays unfinished is announced in the end,
    because an audit that fails is heard of and a wait is not.
    """
    seen: Listing | None = None
    done: Listing | None = None
    told: str | None = None
    since = time.monotonic()
    while True:
        now = listing(places)
        rest = time.monotonic() - since
        if now != seen:
            seen, since = now, time.monotonic()
        elif seen != done and rest >= settle and (rest >= PATIENCE * settle or _finished(places)):
            what = _content(places)
            if listing(places) == seen:  # or it moved while it was read
                done = seen
                if what != told:
                    told = what
                    yield what
        if stop.wait(poll):
            return


def listing(places: Sequence[str]) -> Listing:
    """What can be said of the files without reading them, or why they cannot be listed."""
    try:
        return tuple((one.name, *_facts(one)) for one in find(places)[1])
    except (ForetasteError, OSError) as error:
        return str(error)


def announce(name: str, places: Sequence[str], what: str) -> None:
    """Tell the Prefect server that the dataset `name` has changed. Raises what Prefect's client raises."""
    event = Event(
        event=CHANGED,
        resource=Resource({"prefect.resource.id": resource(name), "prefect.resource.name": name}),
        payload={"digest": what, "places": list(places)},
    )
    with get_client(sync_client=True) as client:  # answers whether it arrived, which emit_event does not
        client.request("POST", "/events", json=[event.model_dump(mode="json")])


def watch(name: str, places: Sequence[str], *, poll: float, settle: float, stop: threading.Event) -> None:
    """Announce every change until `stop`; what the server does not hear is said again."""
    for what in changes(places, poll=poll, settle=settle, stop=stop):
        while True:
            try:
                announce(name, places, what)
                break
            except Exception as error:  # the server may be away for a while, and httpx has many names for it
                logger.warning("the change of %s could not be announced and will be again: %s", name, error)
            if stop.wait(poll):
                return


def _facts(one: Found) -> Iterator[str]:
    fs, path = fsspec.core.url_to_fs(one.path)
    info = fs.info(path)
    yield from (f"{fact}={info[fact]}" for fact in FACTS if info.get(fact) is not None)


def _finished(places: Sequence[str]) -> bool:
    """Whether every file ends as Parquet does; what cannot be listed will not get any better."""
    try:
        return all(_ends(one.path) for one in find(places)[1])
    except (ForetasteError, OSError):
        return True


def _ends(path: str) -> bool:
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
