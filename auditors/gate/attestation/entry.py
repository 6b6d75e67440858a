"""An entry of the log: one signed audit, as one line of JSON."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from foretaste.gate.attestation import strict_json
from foretaste.gate.attestation.envelope import seal, signed_by
from foretaste.gate.times import moment, stamp
from foretaste.types.digests import Digest, canonical

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD = "application/vnd.foretaste.ledger+json"


@dataclass(frozen=True)
class Entry:
    """One signed audit. `attestation` is a path, relative to the log's folder if it lies below."""

    number: int
    previous: str  # sha256 of the line before
    logged: str
    dataset: Digest
    root: str  # where the dataset was
    result: str
    ended: datetime
    attestation: str
    sha256: str  # of the attestation's file
    keyid: str


@dataclass(frozen=True)
class Line:
    """An entry as it is written; its signature is not verified until `verified_by`."""

    text: bytes  # without the line feed
    entry: Entry

    @classmethod
    def signed(cls, entry: Entry, key: CryptoSigner) -> Line:
        plain = asdict(entry) | {"dataset": str(entry.dataset), "ended": stamp(entry.ended)}
        return cls(canonical({"entry": plain, "signatures": seal(canonical(plain), PAYLOAD, key)["signatures"]}), entry)

    @classmethod
    def parse(cls, text: bytes) -> Line:
        """Raises ValueError, with what is wrong, where the text is not an entry's in canonical JSON."""
        found = strict_json.loads(text)
        if not isinstance(found, dict) or set(found) != {"entry", "signatures"} or canonical(found) != text:
            raise ValueError("it is no entry and its signatures in canonical JSON")
        plain, signatures = found["entry"], found["signatures"]
        if not isinstance(plain, dict) or set(plain) != set(Entry.__dataclass_fields__):
            raise ValueError("its fields are not those of an entry")
        number = plain["number"]
        if not all(isinstance(value, str) for name, value in plain.items() if name != "number"):
            raise ValueError("its fields are no texts")
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"its number is {number!r}")
        if not isinstance(signatures, list) or not all(_is_signature(one) for one in signatures):
            raise ValueError("its signature is no text")
        return cls(text, Entry(**plain | {"dataset": Digest.parse(plain["dataset"]), "ended": moment(plain["ended"])}))

    @property
    def sha256(self) -> str:
        """The hash that the next line holds as `previous`."""
        return hashlib.sha256(self.text).hexdigest()

    def verified_by(self, key: SSlibKey) -> bool:
        """Whether the entry was signed with this key."""
        found: dict[str, Any] = strict_json.loads(self.text)
        payload = base64.b64encode(canonical(found["entry"])).decode()
        sealed = {"payload": payload, "payloadType": PAYLOAD, "signatures": found["signatures"]}
        return signed_by(sealed, key) is not None


def located(log: str, entry: Entry) -> str:
    """Path of the attestation of an entry of a log."""
    return os.path.join(os.path.dirname(os.path.realpath(log)), entry.attestation)


def _is_signature(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("keyid", "sig"))
