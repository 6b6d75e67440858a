"""DSSE envelopes: signing, reading and verifying."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretaste.errors import DataError, Refused
from foretaste.gate.attestation import keys, strict_json

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

FILE = "attestation.json"


def seal(payload: bytes, payload_type: str, key: CryptoSigner | str | Path) -> dict[str, Any]:
    """A signed DSSE envelope, in JSON types."""
    signer = keys.signer(key) if isinstance(key, (str, Path)) else key
    from securesystemslib.dsse import Envelope

    envelope = Envelope(payload, payload_type, {})
    envelope.sign(signer)
    sealed: dict[str, Any] = envelope.to_dict()
    return sealed


def read(envelope: bytes, *, where: str = FILE) -> dict[str, Any]:
    """The envelope in JSON types, not verified. Raises DataError where the bytes are no DSSE envelope."""
    try:
        found = strict_json.loads(envelope)
    except ValueError as error:
        raise DataError(f"{where}: an attestation is JSON, and this is not: {error}") from None
    texts = isinstance(found, dict) and all(isinstance(found.get(name), str) for name in ("payload", "payloadType"))
    signatures = found.get("signatures") if texts else None
    if not isinstance(signatures, list) or not all(
        isinstance(signature, dict) and all(isinstance(signature.get(name), str) for name in ("keyid", "sig"))
        for signature in signatures
    ):
        raise DataError(f"{where}: not an attestation, a DSSE envelope has payload, payloadType and signatures")
    return dict(found)


def unchecked(envelope: bytes, *, where: str = FILE) -> dict[str, Any]:
    """The statement without verifying its signature; never to decide by. Raises DataError where there is none."""
    try:
        body: dict[str, Any] = strict_json.loads(base64.b64decode(read(envelope, where=where)["payload"]))
        return body
    except ValueError as error:
        raise DataError(f"{where}: the attestation holds no statement: {error}") from None


def opened(sealed: Mapping[str, Any], key: str | Path, *, where: str) -> bytes:
    """The payload of an envelope, verified with the public key. Raises Refused where no signature is valid."""
    public = keys.verifier(key)
    payload = signed_by(sealed, public)
    if payload is not None:
        return payload
    # A key id is only a hint, and other tools derive it differently: only the signature counts.
    keyids = [one["keyid"] for one in sealed["signatures"]]
    if public.keyid in keyids or not _decodes(sealed):
        raise Refused(f"{where}: was edited since it was signed, its signature does not fit what it says now")
    by = ", ".join(keyid[:12] for keyid in keyids) or "nobody"
    raise Refused(f"{where}: was signed with another key ({by}) than {key} ({public.keyid[:12]})")


def signed_by(sealed: Mapping[str, Any], key: SSlibKey) -> bytes | None:
    """The payload of an envelope if one of its signatures is valid and was made with this key."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import UnverifiedSignatureError
    from securesystemslib.signer import Signature

    if not _decodes(sealed):
        return None
    payload = base64.b64decode(sealed["payload"])
    pae = Envelope(payload, sealed["payloadType"], {}).pae()
    for one in sealed["signatures"]:
        try:
            key.verify_signature(Signature(key.keyid, base64.b64decode(one["sig"]).hex()), pae)
        except UnverifiedSignatureError:
            continue
        return payload
    return None


def _decodes(sealed: Mapping[str, Any]) -> bool:
    """Whether payload and signatures are base64, and the payload in its only canonical spelling."""
    try:
        payload = base64.b64decode(sealed["payload"], validate=True)
        for one in sealed["signatures"]:
            base64.b64decode(one["sig"], validate=True)
    except (ValueError, binascii.Error):
        return False
    return bool(base64.b64encode(payload).decode() == sealed["payload"])
