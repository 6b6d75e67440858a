"""Names of datasets, for their audits, deployments and artifacts."""

from __future__ import annotations

import re
from pathlib import Path


def name_of(place: str) -> str:
    """The last part of a path, glob or URL that is a name, made safe for file systems."""
    local = str(Path(place).absolute()) if "://" not in place else place.partition("://")[2]
    parts = [part for part in re.split(r"[/\\]+", local) if part.strip(".") and not re.search(r"[*?\[\]]", part)]
    return safe(parts[-1].removesuffix(".parquet")) if parts else "dataset"


def safe(name: str) -> str:
    """A name that is safe as a single part of a path."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.")[:80] or "dataset"
