"""Key pairs in files: key.pem is private and signs audits, key.pub is public and verifies them.

Standard PEM (PKCS #8 and SubjectPublicKeyInfo), by `cryptography` through securesystemslib.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from foretaste import user_folders
from foretaste.errors import MissingPackage, PlanError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

PRIVATE, PUBLIC = "key.pem", "key.pub"


def folder() -> Path:
    """The default folder of key pairs."""
    return user_folders.config()


def private() -> str | None:
    """Path of the private key: FORETASTE_KEY (empty for none), else the one in `folder` if there is one."""
    return _named("FORETASTE_KEY", PRIVATE)


def public() -> str | None:
    """Path of the public key: FORETASTE_PUBLIC_KEY, else the one in `folder` if there is one."""
    return _named("FORETASTE_PUBLIC_KEY", PUBLIC)


def generate(where: str | Path) -> tuple[Path, Path]:
    """A new Ed25519 key pair in the folder `where`: the private file, for its owner only, and the public one.

    Raises PlanError where either file exists (what a replaced key signed could not be verified any more) or cannot be
    written.
    """
    paths = Path(where) / PRIVATE, Path(where) / PUBLIC
    _library()
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    for path in paths:
        if os.path.lexists(path):
            raise PlanError(f"{path}: a key is never replaced, it exists already; choose another folder with --out")
    secret = CryptoSigner.generate_ed25519().private_bytes
    shown = (
        load_pem_private_key(secret, None).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _create(paths[0], secret, 0o600)
        try:
            _create(paths[1], shown, 0o644)
        except BaseException:
            with suppress(FileNotFoundError):
                paths[0].unlink()
            raise
    except OSError as error:
        raise PlanError(f"{error.filename}: the key cannot be written: {error.strerror}") from error
    return paths


def signer(path: str | Path) -> CryptoSigner:
    """The private key in a file. Raises PlanError where there is none, or where other users can read it."""
    _library()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise PlanError(f"{path}: others can read this private key; run chmod 600 on it, or make a new one")
            text = file.read()
    except OSError as error:
        raise PlanError(f"{path}: the private key cannot be read: {error.strerror}") from error
    try:
        return CryptoSigner(load_pem_private_key(text, None))
    except TypeError:
        raise PlanError(f"{path}: the private key must not be encrypted, no password is asked for") from None
    except Exception as error:
        raise PlanError(f"{path}: not a private key in PEM that can sign: {_first(error)}") from None


def verifier(path: str | Path) -> SSlibKey:
    """The public key in a file. Raises PlanError where there is none."""
    _library()
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise PlanError(f"{path}: the public key cannot be read: {error.strerror}") from error
    if b"PRIVATE KEY" in text:
        raise PlanError(f"{path}: a private key has no place where audits are checked, give the public one, {PUBLIC}")
    try:
        return SSlibKey.from_crypto(load_pem_public_key(text))
    except Exception as error:
        raise PlanError(f"{path}: not a public key in PEM that can check signatures: {_first(error)}") from None


def _named(variable: str, name: str) -> str | None:
    given = os.environ.get(variable)
    if given is not None:
        return given or None
    path = folder() / name
    return str(path) if path.exists() else None


def _create(path: Path, text: bytes, mode: int) -> None:
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
        file.write(text)


def _library() -> None:
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: F401
        from securesystemslib import signer  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            f"signatures need two packages: pip install securesystemslib cryptography ({error})"
        ) from error


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
