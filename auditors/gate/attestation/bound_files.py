"""What an attestation states of the files that rows name by path: one entry of its configuration.

It is absent in attestations of releases before it, whose gates must not let pass data whose rows name files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foretaste.gate.attestation import fields
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


def stated(resources: Mapping[str, Mapping[str, Any]]) -> NamedFiles | None:
    """What the entries of a statement's configuration say, by name; None where they say nothing.

    Raises ValueError where it is malformed.
    """
    if NAME not in resources:
        return None
    said = fields.table(resources[NAME], "annotations")
    digest = Digest(fields.text(said, "recipe"), fields.sha256(fields.table(resources[NAME], "digest"), "sha256"))
    files, missing, size = (fields.count(said, name) for name in ("files", "missing", "size"))
    return NamedFiles(tuple(fields.texts(said, "columns")), digest, files, missing, size)
