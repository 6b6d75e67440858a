"""What can happen to an audit. Each fault runs one audit or several, and returns how they ended."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from benchmarks.soak.ground import RIGHT, Ground, Ran


def killed(ground: Ground) -> list[Ran]:
    """SIGKILL at any moment."""
    return [interrupted(ground, signal.SIGKILL)]


def terminated(ground: Ground) -> list[Ran]:
    """SIGTERM at any moment."""
    return [interrupted(ground, signal.SIGTERM)]


def interrupted(ground: Ground, number: int) -> Ran:
    run = ground.any()
    ground.wait()
    run.process.kill(number)
    return run.ended()


def full(ground: Ground) -> list[Ran]:
    """No room for results, cache and log: files cannot grow beyond some size."""
    if ground.draw.random() < 0.5:
        empty(ground)
    return [ground.any(largest=int(10 ** ground.draw.uniform(2, 5.3))).ended()]


def full_disk(ground: Ground) -> list[Ran]:
    """A small disk of its own for the results; without the right to mount one, the same as `full`."""
    disk = ground.place / "disk"
    disk.mkdir(exist_ok=True)
    with mounted(disk, ground.draw.randrange(8, 400)) as there:
        run = ground.begin(ground.draw.choice(list(RIGHT)), disk / "a") if there else ground.any(largest=50_000)
        found = run.ended()
        return [whole(found, ground)] if there else [found]


def whole(run: Ran, ground: Ground) -> Ran:
    """The same audit where it stays: what lay on the disk is gone with it, but not from the log."""
    kept = ground.new()
    if run.out.exists():
        shutil.copytree(run.out, kept)
    return replace(run, out=kept)


def no_cache(ground: Ground) -> list[Ran]:
    """A cache that cannot be used."""
    empty(ground)
    shutil.rmtree(ground.cache)
    ground.draw.choice(
        [
            lambda: ground.cache.write_text("a file"),
            lambda: ground.cache.symlink_to(ground.cache),
            lambda: ground.cache.symlink_to("/proc/self"),
            lambda: (ground.cache.mkdir(), ground.cache.chmod(0o777)),
        ]
    )()
    try:
        return [ground.any().ended()]
    finally:
        remove(ground.cache)
        ground.cache.mkdir(mode=0o700)


def damaged(ground: Ground) -> list[Ran]:
    """Entries of the cache are cut, overwritten, exchanged or no files; sometimes while an audit runs."""
    late = ground.draw.random() < 0.3
    run = ground.any() if late else None
    if late:
        ground.wait()
    before = {entry: entry.read_bytes() for entry in sorted(ground.cache.glob("*.sealed"))}
    for entry, content in before.items():
        if ground.draw.random() < 0.6:
            entry.unlink(missing_ok=True)
            with suppress(FileExistsError):  # the audit was quicker
                damage(entry, content, ground.draw.choice(list(before.values())), ground.draw)
    return [(run or ground.any()).ended()]


def damage(entry: Path, content: bytes, other: bytes, draw: random.Random) -> None:
    at, how = draw.randrange(len(content)), draw.randrange(5)
    if how == 0:
        entry.write_bytes(content[:at])
    elif how == 1:
        entry.write_bytes(content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :])
    elif how == 2:
        entry.write_bytes(other)
    elif how == 3:
        entry.mkdir()
    else:
        entry.symlink_to("/dev/zero")


def same_folder(ground: Ground) -> list[Ran]:
    """Two audits at once for one folder."""
    first = ground.any()
    second = ground.begin(first.data, first.out)
    runs = [first.ended(), second.ended()]
    # One of them wrote it, whichever, and the other must not say that it did.
    return runs if [run.code for run in runs].count(2) == 1 else [replace(run, code=97) for run in runs]


def together(ground: Ground) -> list[Ran]:
    """Three audits at once with one cache and one log, of which one is killed."""
    runs = [ground.any() for _ in range(3)]
    ground.wait()
    runs[0].process.kill(signal.SIGKILL)
    return [run.ended() for run in runs]


FAULTS = (killed, terminated, full, full_disk, no_cache, damaged, same_folder, together)


def empty(ground: Ground) -> None:
    for entry in ground.cache.glob("*.sealed"):
        remove(entry)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def mounted(disk: Path, kilobytes: int) -> Iterator[bool]:
    """A disk of this size, where this process may mount one."""
    call = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "soak", str(disk)]
    there = shutil.which("mount") is not None and not subprocess.run(call, capture_output=True, check=False).returncode
    try:
        yield there
    finally:
        if there:
            subprocess.run(["umount", str(disk)], check=True)
