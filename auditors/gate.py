"""The gate: may a training job read these bytes? Only where a signed audit of exactly them satisfies the policy.

    table = pyarrow.parquet.read_table(auditors.require("data/train").files()[0])
    loader = DataLoader(auditors.require("data/train").rows(["image", "label"]), shuffle=True)
    train = datasets.load_dataset("parquet", data_files=auditors.require("data/train", snapshot="/scratch/1").paths)

What cannot be checked is refused.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from auditors import attest, gatefile, keys, ledger, policy, results
from auditors.comparison import changes, differences
from auditors.errors import DataError, PlanError, Refused
from auditors.files import Found, each, find, root_digest, sha256, streamed
from auditors.held import Held
from auditors.policy import Facts, Policy
from auditors.values import Digest

if TYPE_CHECKING:
    from auditors.rows import Rows


@dataclass(frozen=True)
class Decision:
    """Whether these bytes may be read, and if not, why, a sentence for each reason."""

    allowed: bool
    reasons: tuple[str, ...]
    places: tuple[str, ...]
    digest: Digest  # of the dataset as it is now
    files: Mapping[str, Digest]  # as they are now, by name
    size: int  # bytes
    policy: Digest
    attestation: str | None  # the file that was judged
    facts: Facts | None  # what it says, where its signature holds
    notes: tuple[str, ...] = ()  # what refuses nothing and should be known


@dataclass(frozen=True)
class Attested:
    """Data that passed the gate. As a context manager it checks once more on leaving, and closes its files."""

    decision: Decision
    paths: list[str]  # the files' names, for readers that want names; a snapshot's are the ones to rely on
    held: tuple[Held, ...] = field(repr=False)

    def files(self) -> list[Held]:
        """The files themselves, open: what is read from them is what was hashed, whatever their names lead to now."""
        return list(self.held)

    def rows(self, columns: Sequence[str] | None = None) -> Rows:
        """Every attested row and no other, for PyTorch's DataLoader; see auditors.rows."""
        from auditors.rows import Rows

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
) -> Decision:
    """Hash the data as it is now and judge the attestation of these bytes.

    places       what was audited: files, folders, globs or fsspec URLs
    policy       a Policy or the path of a gate.toml; by default `auditors.policy.DEFAULT`
    attestation  its file; by default the newest one for these bytes in the log (FORETASTE_LEDGER, audits/ledger.jsonl)
    key          the public key's file; by default FORETASTE_PUBLIC_KEY, else key.pub in ~/.config/foretaste

    Raises PlanError or DataError where something cannot be read at all: no such data, no key, a policy or attestation
    that is none. Everything else is a reason to refuse.
    """
    call = _Call.of(places, policy, attestation, key, now)
    root, found = find(call.places)
    read = each(found, lambda one: sha256(one.path))
    files = {one.name: digest for one, (digest, _) in zip(found, read, strict=True)}
    return _judged(call, root, files, sum(size for _, size in read))


def require(
    places: str | Sequence[str],
    *,
    policy: Policy | str | None = None,
    attestation: str | None = None,
    key: str | None = None,
    snapshot: str | None = None,
) -> Attested:
    """Let a training script go on with exactly the bytes that passed the gate.

    snapshot    a new folder: the files are copied there while they are hashed, and the copies are what is handed out.
                Without it the files stay open as they were hashed. Data behind a URL needs it.

    The rest is as for `decide`, which also says what is raised where something cannot be read at all.
    Raises Refused, with the reasons, where the gate does not open. Nothing is left of a snapshot then.
    """
    call = _Call.of(places, policy, attestation, key, None)
    root, found = find(call.places)
    if snapshot is not None:
        return _copied(call, root, found, snapshot)
    if any("://" in one.path for one in found):
        raise PlanError(f"{call.places[0]}: what a URL returns can change with every call, give snapshot=FOLDER")
    return _opened(call, root, found)


def _opened(call: _Call, root: str, found: Sequence[Found]) -> Attested:
    _handles(len(found))
    held: list[Held] = []
    try:
        each(found, lambda one: held.append(Held(one)))
        held.sort(key=lambda file: file.name)  # as `find` sorts
        files = {file.name: file.digest for file in held}
        decision = _judged(call, root, files, sum(file.size for file in held))
        if not decision.allowed:
            raise Refused(*decision.reasons)
        return Attested(decision, [one.path for one in found], tuple(held))
    except BaseException:
        for file in held:
            file.close()
        raise


def _copied(call: _Call, root: str, found: Sequence[Found], snapshot: str) -> Attested:
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
        with results.folder(snapshot, what="a snapshot", mode=0o700) as folder:
            read = each(found, lambda one: copy(one, folder))
            files = {one.name: digest for one, (digest, _) in zip(found, read, strict=True)}
            decision = _judged(call, root, files, sum(size for _, size in read))
            if not decision.allowed:
                raise Refused(*decision.reasons)
    except OSError as error:
        raise PlanError(f"{snapshot}: the snapshot cannot be written: {error.strerror}") from error
    # The copies are hashed as well, since a disk can fail and a folder can be shared.
    _handles(len(found))
    copies = [Found(one.name, os.path.join(snapshot, *one.name.split("/"))) for one in found]
    held = tuple(each(copies, Held))
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


# Judging


@dataclass(frozen=True)
class _Call:
    places: tuple[str, ...]
    policy: Policy
    attestation: str | None
    key: str | None
    now: datetime

    @classmethod
    def of(cls, places: Any, rules: Any, attestation: str | None, key: str | None, now: datetime | None) -> _Call:
        return cls(
            (places,) if isinstance(places, str) else tuple(places),
            gatefile.chosen(rules),
            attestation,
            key or keys.public(),
            now or datetime.now(UTC),
        )


def _judged(call: _Call, root: str, files: Mapping[str, Digest], size: int) -> Decision:
    digest = root_digest(files.items())
    reasons: list[str] = []
    notes: list[str] = []
    attestation, facts = call.attestation, None
    try:
        entries = _logged(call)
        same = sorted((one for one in entries if one.dataset == digest), key=lambda one: one.ended)
        newest = same[-1] if same else None
        if attestation is None and newest is not None:
            attestation = ledger.located(ledger.path(), newest)
        if attestation is None:
            nothing, attestation = _nothing(call, root, files, entries)
            reasons += nothing
        else:
            facts, reasons = _one(call, attestation, files, None if call.attestation else newest)
            if call.attestation and newest is not None and facts is not None and newest.ended > facts.ended:
                later = ledger.located(ledger.path(), newest)
                _, worse = _one(call, later, files, newest)
                reasons += [f"a newer audit of these bytes ({later}) is refused: {one}" for one in worse]
            failed = [one for one in same if one.result == "FAILED" and (facts is None or one.ended < facts.ended)]
            if failed:
                notes.append(
                    f"{len(failed)} earlier audit{'s' * (len(failed) > 1)} of these same bytes failed, the last on "
                    f"{failed[-1].ended:%Y-%m-%d}: {ledger.located(ledger.path(), failed[-1])}"
                )
    except Refused as refused:
        reasons += refused.reasons
    unique = tuple(dict.fromkeys(reasons))
    return Decision(
        not unique, unique, call.places, digest, files, size, call.policy.digest, attestation, facts, tuple(notes)
    )


def _logged(call: _Call) -> tuple[ledger.Entry, ...]:
    """The log's entries by the owner of the key. A log that is not whole refuses everything it might speak of."""
    if not os.path.lexists(ledger.path()):
        return ()
    try:
        return ledger.read(ledger.path(), _key(call))
    except DataError as error:
        raise Refused(str(error)) from None


def _one(
    call: _Call, path: str, files: Mapping[str, Digest], entry: ledger.Entry | None
) -> tuple[Facts | None, list[str]]:
    """What one attestation says, and why it does not let these files through."""
    try:
        envelope = Path(path).read_bytes()
    except OSError as error:
        if entry is None:
            raise DataError(f"{path}: the attestation cannot be read: {error.strerror}") from None
        return None, [f"{path}: the attestation that the log names cannot be read: {error.strerror}; {_command(call)}"]
    if entry is not None and hashlib.sha256(envelope).hexdigest() != entry.sha256:
        return None, [f"{path}: is not the attestation that the log names, it was changed since; {_command(call)}"]
    try:
        body = attest.verified(envelope, _key(call), where=path)
        changed = differences(body, files)
        facts = attest.facts(body)
    except Refused as refused:
        return None, list(refused.reasons)
    # What is not what was audited needs no other reason.
    return facts, list(changed) or list(policy.decide(call.policy, facts, call.now))


def _nothing(
    call: _Call, root: str, files: Mapping[str, Digest], entries: Sequence[ledger.Entry]
) -> tuple[tuple[str, ...], str | None]:
    """Why there is no attestation for these bytes: they changed since their audit, which is named, or had none."""
    here = os.path.realpath(root) if "://" not in root else root
    for entry in sorted(entries, key=lambda one: one.ended, reverse=True):
        if entry.root != here:
            continue
        with suppress(OSError, DataError, Refused):
            path = ledger.located(ledger.path(), entry)
            body = attest.verified(Path(path).read_bytes(), _key(call), where=path)
            signed = attest.subjects(body)[1]
            if set(signed) & set(files):
                since = f"since it was audited at {attest.stamp(entry.ended)} the dataset changed; {_command(call)}"
                return (*changes(signed, files), since), path
    log, digest = ledger.path(), root_digest(files.items())
    strangers = sorted({one.keyid[:8] for one in ledger.read(log) if one.dataset == digest})
    if strangers:
        whose = f"signed with another key ({', '.join(strangers)}), not with that of {call.key}"
        return (f"the audits of these bytes in {log} were {whose}; {_command(call)}",), None
    return (f"there is no signed audit of these bytes in {log}; {_command(call)}",), None


def _command(call: _Call) -> str:
    make = "foretaste keygen && " if keys.private() is None and call.key is None else ""
    return f"run: {make}foretaste audit {shlex.join(call.places)}"


def _key(call: _Call) -> str:
    if call.key is None:
        raise PlanError("a gate needs a public key to check with, give --key FILE or FORETASTE_PUBLIC_KEY")
    return call.key


def _binary(path: str) -> Any:
    if "://" not in path:
        return open(path, "rb", buffering=0)
    import fsspec

    return fsspec.open(path, "rb")
