"""The gate: may a training job read these bytes? Only where a signed audit of exactly them satisfies the policy.

    table = pyarrow.parquet.read_table(foretaste.require("data/train").files()[0])
    loader = DataLoader(foretaste.require("data/train").rows(["image", "label"]), shuffle=True)
    train = datasets.load_dataset("parquet", data_files=foretaste.require("data/train", snapshot="/scratch/1").paths)

What cannot be checked is refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from foretaste import atomic
from foretaste.dataset.files import Found, each, find, sha256, streamed
from foretaste.errors import PlanError, Refused
from foretaste.gate.decision import Asked, GateDecision, judged
from foretaste.gate.policy import Policy
from foretaste.gate.verified_file import VerifiedFile
from foretaste.types.digests import Digest

if TYPE_CHECKING:
    from foretaste.gate.attested_rows import Rows


@dataclass(frozen=True)
class Attested:
    """Data that passed the gate. As a context manager it checks once more on leaving, and closes its files.

    decision  why it passed
    paths     the files' names, for readers that want names; a snapshot's are the ones to rely on
    """

    decision: GateDecision
    paths: list[str]
    held: tuple[VerifiedFile, ...] = field(repr=False)

    def files(self) -> list[VerifiedFile]:
        """The files themselves, open: what is read from them is what was hashed, whatever their names lead to now."""
        return list(self.held)

    def rows(self, columns: Sequence[str] | None = None) -> Rows:
        """Every attested row and no other, for PyTorch's DataLoader; see foretaste.gate.attested_rows."""
        from foretaste.gate.attested_rows import Rows

        return Rows(self.held, columns)

    def check(self) -> None:
        """Raises Refused where a file's bytes, or what its name leads to, are not those any more that were checked."""
        for path, file in zip(self.paths, self.held, strict=True):
            file.check()
            if not file.is_at(path):
                raise Refused(f"{file.name}: was replaced after it was checked")

    def close(self) -> None:
        """Let go of the files."""
        for file in self.held:
            file.close()

    def __enter__(self) -> Attested:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.check()
        finally:
            self.close()


def decide(
    places: str | Sequence[str],
    *,
    policy: Policy | str | None = None,
    attestation: str | None = None,
    key: str | None = None,
    now: datetime | None = None,
) -> GateDecision:
    """Hash the data as it is now and judge the attestation of these bytes.

    places       what was audited: files, folders, globs or fsspec URLs
    policy       a Policy or the path of a gate.toml; by default `foretaste.gate.policy.DEFAULT`
    attestation  its file; by default the newest one for these bytes in the log (FORETASTE_LEDGER, audits/ledger.jsonl)
    key          the public key's file; by default FORETASTE_PUBLIC_KEY, else key.pub in ~/.config/foretaste

    Raises PlanError or DataError where something cannot be read at all: no such data, no key, a policy or attestation
    that is none. Everything else is a reason to refuse.
    """
    asked = Asked.of(places, policy, attestation, key, now)
    root, found = find(asked.places)
    read = each(found, lambda one: sha256(one.path))
    files = {one.name: digest for one, (digest, _) in zip(found, read, strict=True)}
    return judged(asked, root, files, sum(size for _, size in read))


def require(
    places: str | Sequence[str],
    *,
    policy: Policy | str | None = None,
    attestation: str | None = None,
    key: str | None = None,
    snapshot: str | None = None,
) -> Attested:
    """Let a training script go on with exactly the bytes that passed the gate.

    places       what was audited: files, folders, globs or fsspec URLs
    policy       a Policy or the path of a gate.toml; by default a strict one
    attestation  its file; by default the newest one for these bytes in the log (FORETASTE_LEDGER, audits/ledger.jsonl)
    key          the public key's file; by default FORETASTE_PUBLIC_KEY, else key.pub in ~/.config/foretaste
    snapshot     a new folder: the files are copied there while they are hashed, and the copies are what is handed out.
                 Without it the files stay open as they were hashed. Data behind a URL needs it.

    Raises Refused, with the reasons, where the gate does not open, and PlanError or DataError where something cannot be
    read at all. Nothing is left of a snapshot then.
    """
    asked = Asked.of(places, policy, attestation, key, None)
    root, found = find(asked.places)
    if snapshot is not None:
        return _copied(asked, root, found, snapshot)
    if any("://" in one.path for one in found):
        raise PlanError(f"{asked.places[0]}: what a URL returns can change with every call, give snapshot=FOLDER")
    return _opened(asked, root, found)


def _opened(asked: Asked, root: str, found: Sequence[Found]) -> Attested:
    _handles(len(found))
    held: list[VerifiedFile] = []
    try:
        each(found, lambda one: held.append(VerifiedFile(one)))
        held.sort(key=lambda file: file.name)  # as `find` sorts
        files = {file.name: file.digest for file in held}
        decision = judged(asked, root, files, sum(file.size for file in held))
        if not decision.allowed:
            raise Refused(*decision.reasons)
        return Attested(decision, [one.path for one in found], tuple(held))
    except BaseException:
        for file in held:
            file.close()
        raise


def _copied(asked: Asked, root: str, found: Sequence[Found], snapshot: str) -> Attested:
    snapshot = os.path.realpath(snapshot)

    def copy(one: Found, folder: str) -> tuple[Digest, int]:
        target = os.path.join(folder, *one.name.split("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with (
            _binary(one.path) as source,
            open(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o400), "wb") as to,
        ):
            return streamed(source, to)

    try:
        with atomic.folder(snapshot, what="a snapshot", mode=0o700) as folder:
            read = each(found, lambda one: copy(one, folder))
            files = {one.name: digest for one, (digest, _) in zip(found, read, strict=True)}
            decision = judged(asked, root, files, sum(size for _, size in read))
            if not decision.allowed:
                raise Refused(*decision.reasons)
    except OSError as error:
        raise PlanError(f"{snapshot}: the snapshot cannot be written: {error.strerror}") from error
    # The copies are hashed as well, since a disk can fail and a folder can be shared.
    _handles(len(found))
    copies = [Found(one.name, os.path.join(snapshot, *one.name.split("/"))) for one in found]
    held = tuple(each(copies, VerifiedFile))
    for file in held:
        if file.digest != decision.files[file.name]:
            raise Refused(f"{file.name}: the copy in {snapshot} is not what was checked")
    return Attested(decision, [one.path for one in copies], held)


def _handles(count: int) -> None:
    """Raises PlanError where so many files cannot be open at a time."""
    if os.name != "posix":
        return
    import resource

    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY and count + 64 > allowed:
        raise PlanError(f"{count} files must be held open and the system allows {allowed}, run ulimit -n {count + 256}")


def _binary(path: str) -> Any:
    if "://" not in path:
        return open(path, "rb", buffering=0)
    import fsspec

    return fsspec.open(path, "rb")
