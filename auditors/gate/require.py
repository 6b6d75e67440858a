"""The gate: a training job may read data only if a signed audit of exactly these bytes satisfies the policy.

    table = pyarrow.parquet.read_table(foretaste.require("data/train").files()[0])
    loader = DataLoader(foretaste.require("data/train", image="image", label="label").rows(), shuffle=True)
    train = datasets.load_dataset("parquet", data_files=foretaste.require("data/train", snapshot="/scratch/1").paths)

What cannot be verified is refused. The handles of the hashed files return what was hashed, or raise, but for one case:
a process that had mapped a file into its memory before can write there without a trace until `check` hashes the file
again. Where others may do so, take copies: in a snapshot on a disk that they cannot write to, or in memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING

from foretaste import atomic
from foretaste.dataset.files import Found, each, find, opened, streamed
from foretaste.errors import PlanError, Refused
from foretaste.gate import read_data
from foretaste.gate.columns import Reading, reading
from foretaste.gate.decision import GateDecision, GateRequest, judged
from foretaste.gate.policy import Policy
from foretaste.gate.read_data import ReadData, names_files
from foretaste.gate.verified_file import VerifiedFile, copied
from foretaste.types.digests import Digest

if TYPE_CHECKING:
    from foretaste.gate.attestation.anchors import Anchor
    from foretaste.gate.attested_rows import Rows


@dataclass(frozen=True)
class Attested:
    """Data that passed the gate. As a context manager it checks the files again on leaving, and closes them.

    decision  the decision of the gate
    paths     the paths of the files, for readers that need paths; another process can replace a file behind its path
              unless it is that of a copy
    held      the open files
    data      what was read, with what opens it
    """

    decision: GateDecision
    paths: list[str]
    held: tuple[VerifiedFile, ...] = field(repr=False)
    data: ReadData = field(repr=False)

    def files(self) -> list[VerifiedFile]:
        """The open files: what is read from them is what was hashed, even if a path was replaced since."""
        return list(self.held)

    def rows(self, columns: Sequence[str] | None = None) -> Rows:
        """All attested rows, as a map-style dataset for PyTorch's DataLoader; see foretaste.gate.attested_rows.

        columns  of the audited ones; by default all of them, in the order of the files

        Raises Refused for a column that was not audited.
        """
        from foretaste.gate.attested_rows import Rows

        audited = None if self.decision.facts is None else self.decision.facts.columns
        if audited is None:
            return Rows(self.held, columns)
        other = [name for name in columns or () if name not in audited.names]
        if other:
            raise Refused(f"column {other[0]} was not audited, only {', '.join(audited.names)} were")
        return Rows(self.held, audited.names if columns is None else columns)

    def check(self) -> None:
        """Hash everything again, files that rows name included.

        Raises Refused if a file was changed, or replaced behind its path, since it was hashed.
        """
        for path, file in zip(self.paths, self.held, strict=True):
            if not file.is_at(path):
                raise Refused(f"{file.name}: was replaced after it was checked")
        held = {file.name: file for file in self.held}
        each(self.data.found, lambda found: held[found.name].verify())
        read_data.require_same(self.data, self.decision.facts)

    def close(self) -> None:
        """Close the files."""
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
    reads: Reading | None = None,
    anchors: Sequence[Anchor] = (),
) -> GateDecision:
    """Hash the data as it is now, and decide by the attestation of these bytes.

    places       the audited data: files, folders, globs or fsspec URLs
    policy       a Policy or the path of a gate.toml; by default `foretaste.gate.policy.DEFAULT`
    attestation  its path; by default the newest one for these bytes in the log (FORETASTE_LEDGER, audits/ledger.jsonl)
    key          path of the public key; by default FORETASTE_PUBLIC_KEY, else key.pub in ~/.config/foretaste
    reads        the columns that the job reads, needed where the audit's were chosen, or other content was left unread
    anchors      what else has seen the log, besides this user and FORETASTE_ANCHOR

    Raises PlanError or DataError where the data, the key, the policy or the attestation is missing or malformed.
    Everything else is a reason to refuse.
    """
    request = GateRequest.of(places, policy, attestation, key, reads, now=now, anchors=anchors)
    return judged(request, read_data.from_paths(request.places))


def require(
    places: str | Sequence[str],
    *,
    policy: Policy | str | None = None,
    attestation: str | None = None,
    key: str | None = None,
    snapshot: str | None = None,
    in_memory: bool = False,
    image: str | None = None,
    text: str | None = None,
    messages: str | None = None,
    embedding: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    features: Sequence[str] = (),
    label: str | None = None,
) -> Attested:
    """Return the data if the gate allows it: exactly the bytes that were hashed and attested.

    places       the audited data: files, folders, globs or fsspec URLs
    policy       a Policy or the path of a gate.toml; by default a strict one
    attestation  its path; by default the newest one for these bytes in the log (FORETASTE_LEDGER, audits/ledger.jsonl)
    key          path of the public key; by default FORETASTE_PUBLIC_KEY, else key.pub in ~/.config/foretaste
    snapshot     a new folder to copy the files to while they are hashed, with the files that rows name; the copies are
                 returned. Without it the hashed files are returned, held open. Data behind a URL needs a snapshot.
    in_memory    whether to copy the files into memory that nobody can write to, and return these copies: proof against
                 writers that had mapped the files before, for data that fits. Rows that name files need a snapshot.
    image, …     the columns that the job reads, by what they are, as an audit is told its columns; label "" for none.
                 They must be said where the audit's were chosen, or where it left other content unread

    Raises Refused, with the reasons, where the gate refuses, and PlanError or DataError where data, key, policy or
    attestation is missing or malformed. No snapshot is left then.
    """
    said = {"image": image, "text": text, "messages": messages, "embedding": embedding, "prompt": prompt}
    reads = reading(said | {"response": response, "features": tuple(features), "label": label}, "require:")
    request = GateRequest.of(places, policy, attestation, key, reads)
    if snapshot is not None and in_memory:
        raise PlanError("copies are made in a snapshot or in memory, got both")
    root, found = find(request.places)
    if snapshot is not None:
        return _snapshot(request, root, found, snapshot)
    if any("://" in one.path for one in found):
        raise PlanError(f"{request.places[0]}: what a URL returns can change with every call, give snapshot=FOLDER")
    return _opened(request, root, found, in_memory=in_memory)


def _opened(request: GateRequest, root: str, found: tuple[Found, ...], *, in_memory: bool) -> Attested:
    _handles(len(found))
    held: list[VerifiedFile] = []
    try:
        each(found, lambda one: held.append(copied(one) if in_memory else VerifiedFile(one)))
        held.sort(key=lambda file: file.name)  # as `find` sorts
        files, size = {file.name: file.digest for file in held}, sum(file.size for file in held)
        data = ReadData(request.places, root, found, files, size, read_data.by_handle(held))
        decision = judged(request, data)
        if not decision.allowed:
            raise Refused(*decision.reasons)
        if in_memory and names_files(decision.facts):
            raise PlanError(f"{request.places[0]}: rows name files, which need a copy as well, give snapshot=FOLDER")
        return Attested(decision, [file.path for file in (held if in_memory else found)], tuple(held), data)
    except BaseException:
        for file in held:
            file.close()
        raise


def _snapshot(request: GateRequest, root: str, found: tuple[Found, ...], snapshot: str) -> Attested:
    snapshot = os.path.realpath(snapshot)

    def copy(file: Found, folder: str) -> tuple[Digest, int]:
        target = _within(folder, file).path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with (
            opened(file.path) as source,
            open(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o400), "wb") as to,
        ):
            return streamed(source, to)

    try:
        with atomic.folder(snapshot, what="a snapshot", mode=0o700) as folder:
            read = each(found, lambda file: copy(file, folder))
            files = {file.name: digest for file, (digest, _) in zip(found, read, strict=True)}
            sources = read_data.by_path(_within(folder, file) for file in found)
            data = ReadData(request.places, root, found, files, sum(size for _, size in read), sources, folder)
            decision = judged(request, data)
            if not decision.allowed:
                raise Refused(*decision.reasons)
    except OSError as error:
        raise PlanError(f"{snapshot}: the snapshot cannot be written: {error.strerror}") from error
    # The copies are hashed as well, since a disk can fail and another process can write to a shared folder.
    _handles(len(found))
    copies = tuple(_within(snapshot, file) for file in found)
    held = tuple(each(copies, VerifiedFile))
    for file in held:
        if file.digest != decision.files[file.name]:
            raise Refused(f"{file.name}: the copy in {snapshot} is not what was checked")
    data = ReadData(request.places, snapshot, copies, files, data.size, read_data.by_handle(held))
    read_data.require_same(data, decision.facts)
    return Attested(decision, [file.path for file in copies], held, data)


def _within(folder: str, file: Found) -> Found:
    return Found(file.name, os.path.join(folder, *file.name.split("/")))


def _handles(count: int) -> None:
    """Raises PlanError where the system does not allow so many open files."""
    if os.name != "posix":
        return
    import resource

    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY and count + 64 > allowed:
        raise PlanError(f"{count} files must be held open and the system allows {allowed}, run ulimit -n {count + 256}")
