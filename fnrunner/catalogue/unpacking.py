"""Unzip code once a host into a cache that environments read. Blocking.

A cache holds one directory for each boot of the host and in it one for each digest. A tree is written aside and renamed
when it is whole, without waiting for the disk: after a power cut nothing of an earlier boot is trusted.
"""

from __future__ import annotations

import calendar
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from uuid import uuid4

from fnrunner.catalogue.archive import Archive, Entry, Kind
from fnrunner.model import limits

_ASIDE = ".aside-"
_LOCK = ".lock"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def place(cache_directory: Path, digest: str) -> Path:
    """Where the unzipped code is once it exists; that it exists means that it is whole."""
    return cache_directory / boot() / digest


def keep(tree: Path) -> bool:
    """Count its age from now, since it is about to be used; False when it is not there."""
    try:
        os.utime(tree)
    except FileNotFoundError:
        return False
    except PermissionError:
        # somebody else's, who also sweeps it
        return tree.is_dir()
    return True


def unpack(cache_directory: Path, digest: str, read: Callable[[], bytes]) -> Path:
    """Unzip what ``read`` returns unless someone has; one at a time on this host. Raises OSError, BadArchive."""
    return build(
        cache_directory, digest, lambda directory: write_tree(Archive(read(), limits.UNZIPPED_BYTES), directory)
    )


def build(cache_directory: Path, name: str, write: Callable[[Path], None]) -> Path:
    """The tree of this name, which ``write`` makes in an empty directory unless someone has; one at a time on this host.

    Raises OSError, and what ``write`` raises: nothing is left of it then.
    """
    ready = place(cache_directory, name)
    ready.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(ready.parent / f"{name}{_LOCK}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not keep(ready):
            _write_aside(ready, write)
    finally:
        os.close(lock)
    return ready


class Mark:
    """That something was done to a tree, for every process of this host. Its file is held meanwhile."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def done(self) -> None:
        os.write(self._descriptor, b"done\n")


@contextmanager
def once(tree: Path, what: str) -> Iterator[Mark | None]:
    """Do something to an unpacked tree once a host: None where it was done, or is being done by another process.

    Raises OSError.
    """
    descriptor = os.open(tree.parent / f"{tree.name}.{what}{_LOCK}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        held = _held(descriptor) and not os.fstat(descriptor).st_size
        yield Mark(descriptor) if held else None
    finally:
        os.close(descriptor)


def _held(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sweep(cache_directory: Path, in_use: Collection[str], older_than: timedelta) -> int:
    """Delete what earlier boots left, and trees that are not ``in_use`` and were not asked for since; how many trees went.

    Only for the one process of a host that owns the cache.
    """
    removed = 0
    if not cache_directory.is_dir():
        return removed
    for era in cache_directory.iterdir():
        if era.name != boot():
            _remove(era)
            continue
        for tree in era.iterdir():
            young = time.time() - tree.stat().st_mtime < older_than.total_seconds()
            if young or tree.name in in_use or tree.name.endswith(_LOCK):
                continue
            _remove(tree)
            for mark in era.glob(f"{tree.name}.*-*{_LOCK}"):
                mark.unlink(missing_ok=True)
            removed += 1
    return removed


@cache
def boot() -> str:
    """The first eight digits of the kernel's boot id."""
    try:
        return _BOOT_ID.read_text().strip().replace("-", "")[:8]
    except OSError:
        return "unknown"


def write_tree(archive: Archive, directory: Path) -> None:
    """Write every entry below ``directory``, which must be empty and unknown to others. Raises OSError, BadArchive.

    Files become 0444, or 0555 where the zip says executable, folders 0755 until :func:`_seal`. Links come last, so that
    nothing is ever written through one. Times are kept, since compiled Python in the zip names its source's.
    """
    links: list[Entry] = []
    for entry in archive.entries:
        path = directory.joinpath(*entry.path)
        if entry.kind is Kind.LINK:
            links.append(entry)
        elif entry.kind is Kind.DIRECTORY:
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        else:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with path.open("xb") as file:
                for chunk in archive.contents(entry):
                    file.write(chunk)
                os.fchmod(file.fileno(), entry.mode & 0o555)
            _keep_time(path, entry)
    for entry in links:
        path = directory.joinpath(*entry.path)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.symlink_to(entry.target)


def _write_aside(ready: Path, write: Callable[[Path], None]) -> None:
    aside = ready.parent / f"{_ASIDE}{uuid4().hex}"
    try:
        aside.mkdir(mode=0o755)
        write(aside)
        _seal(aside)
        aside.rename(ready)
    except BaseException:
        _remove(aside)
        raise


def _seal(tree: Path) -> None:
    """Folders 0555, whatever the umask made of them."""
    for folder, _, _ in os.walk(tree, topdown=False):
        os.chmod(folder, 0o555)  # noqa: S103 - environments run as others and must read it


def _remove(tree: Path) -> None:
    """Also what was sealed."""
    if not tree.is_dir() or tree.is_symlink():
        tree.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(tree):
        os.chmod(folder, 0o700)
    shutil.rmtree(tree, ignore_errors=True)


def _keep_time(path: Path, entry: Entry) -> None:
    try:
        moment = calendar.timegm((*entry.info.date_time, 0, 0, 0))
    except (ValueError, OverflowError):
        return
    os.utime(path, (moment, moment))
