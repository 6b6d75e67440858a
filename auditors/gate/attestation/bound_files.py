"""What an attestation states of the files that rows name by path: one entry of its configuration.

It is absent in attestations of releases before it, whose gates must not let pass data whose rows name files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foretaste.errors import Refused
from foretaste.types.dataset import NamedFiles
from foretaste.types.digests import Digest

NAME = "files named by rows"
EMPTY = "none:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # the sha256 of nothing
NONE: Mapping[str, Any] = {"columns": [], "digest": EMPTY, "files": 0, "missing": 0, "size": 0}


def resource(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entry for an audit's report.json; none where that is of an earlier release."""
    if "named_files" not in document["dataset"]:
        return []
    held = document["dataset"]["named_files"] or NONE
    digest = Digest.parse(held["digest"])
    said = {name: held[name] for name in ("columns", "files", "missing", "size")} | {"recipe": digest.algorithm}
    return [{"name": NAME, "digest": {"sha256": digest.value}, "annotations": said}]


def stated(body: Mapping[str, Any]) -> NamedFiles | None:
    """What a statement says; None where it says nothing. Raises Refused where that is malformed."""
    try:
        entries = [entry for entry in body["predicate"]["configuration"] if entry["name"] == NAME]
        if not entries:
            return None
        [entry] = entries
        said, columns = entry["annotations"], entry["annotations"]["columns"]
        if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
            raise ValueError(f"columns must be names, got {columns!r}")
        digest = Digest(str(said["recipe"]), str(entry["digest"]["sha256"]))
        return NamedFiles(tuple(columns), digest, int(said["files"]), int(said["missing"]), int(said["size"]))
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"the attestation does not say which files its rows name: {error!r}") from None
