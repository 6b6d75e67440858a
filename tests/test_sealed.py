"""Sealed files: what was not written with the key, whole and under this name, is not believed."""

from __future__ import annotations

import os
import stat

import pytest

from foretaste import sealed

KEY, OTHER = bytes(32), bytes(31) + b"x"


def write(path, *pieces, key=KEY, name=None):
    writer = sealed.Writer(str(path), name or path.name, key)
    for piece in pieces:
        writer.write(piece)
    writer.finish()
    return path


def read(path, key=KEY):
    return list(sealed.pieces(str(path), key))


@pytest.mark.parametrize("pieces", [(), (b"one",), (b"one", b"", bytes(100_000))])
def test_what_was_written_is_read(tmp_path, pieces):
    path = write(tmp_path / "a", *pieces)
    assert read(path) == list(pieces)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_bit_and_every_length_counts(tmp_path):
    path = write(tmp_path / "a", b"one", b"two")
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(sealed.Broken):
            read(path)
        path.write_bytes(whole[:at])
        with pytest.raises(sealed.Broken):
            read(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(sealed.Broken):
        read(path)


def test_pieces_cannot_change_places_and_files_cannot_change_names(tmp_path):
    path = write(tmp_path / "a", b"one", b"two")
    whole, size = path.read_bytes(), sealed.HEAD + 3
    for mixed in (whole[size : 2 * size] + whole[:size] + whole[2 * size :], whole[:size] + whole[2 * size :]):
        path.write_bytes(mixed)
        with pytest.raises(sealed.Broken):
            read(path)
    other = tmp_path / "b"
    other.write_bytes(whole)
    with pytest.raises(sealed.Broken, match="altered"):
        read(other)


def test_another_key_writes_nothing_that_is_believed(tmp_path):
    with pytest.raises(sealed.Broken, match="another key"):
        read(write(tmp_path / "a", b"one", key=OTHER))


def link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def folder(path):
    path.unlink()
    path.mkdir()


def pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("spoil", [link, device, folder, pipe, lambda path: path.chmod(0o622)])
def test_what_is_no_file_of_ones_own_is_not_read(tmp_path, spoil):
    path = write(tmp_path / "a", b"one")
    spoil(path)
    with pytest.raises(sealed.Broken):
        read(path)


def test_a_file_of_somebody_else_is_not_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a", b"one")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(sealed.Broken, match="somebody else"):
        read(path)


def test_nothing_is_overwritten(tmp_path):
    write(tmp_path / "a", b"one")
    with pytest.raises(FileExistsError):
        sealed.Writer(str(tmp_path / "a"), "a", KEY)


def test_absent_is_absent(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")
