"""Places behind URLs whose client has no network, no library, or nothing to say."""

from __future__ import annotations

import pytest

from foretaste.dataset import files
from foretaste.errors import DataError


class Unreachable(Exception):
    """As clients raise them: neither an OSError nor one of ours."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unreachable("[Errno -2] Name or service not known\nmore"), "cannot be reached: .* not known$"),
        (OSError("Unable to load libjvm"), "cannot be reached: Unable to load libjvm"),
        (Unreachable(), "cannot be reached: Unreachable"),
    ],
)
def test_what_a_client_raises_is_one_sentence(monkeypatch, error, said):
    def raises(*_):
        raise error

    monkeypatch.setattr(files, "_filesystem", raises)
    with pytest.raises(DataError, match=f"^hf://x/y.parquet: {said}"):
        files.find(["hf://x/y.parquet"])


def test_a_fault_of_a_local_place_is_no_fault_of_a_network(monkeypatch):
    def raises(*_):
        raise PermissionError(13, "Permission denied", "/data")

    monkeypatch.setattr(files, "_filesystem", raises)
    with pytest.raises(PermissionError):
        files.find(["/data"])


def test_an_archive_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"cannot be reached: .*No such file"):
        files.find([f"zip://a.parquet::{tmp_path}/none.zip"])
