"""Look at one object: what is there, whether it is complete, and the tag of its content. Blocking; for threads.

Nothing outside the bucket is ever read: a file is opened first, and then the kernel says where it really is, so that
neither a link nor a directory that becomes a link at the wrong moment leads out.

Whether a writer has a file open is asked with a read lease, which the kernel grants only when nobody has. It needs the
file's owner or CAP_LEASE, and a local file system; elsewhere the answer is UNKNOWN and time has to tell. The lease is
given back at once; a writer who opens the file in those microseconds waits for it, or, with O_NONBLOCK, gets EWOULDBLOCK.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from sources import object_key
from sources.errors import RootLost
from sources.snapshot import Identity, Root

_CHUNK = 1 << 20
_FARTHEST = (1 << 63) - 1
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_GONE = {errno.ENOENT, errno.ENOTDIR}


class Openness(Enum):
    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Missing:
    """There is nothing."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """There is something that is no object, and why. An empty reason is not worth a word: a directory, a hidden name."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """There is something that cannot be read now, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file. ``etag`` is empty when it was not asked for, or the file is too large to be read on the way."""

    identity: Identity
    ctime_ns: int
    openness: Openness = Openness.UNKNOWN
    etag: str = ""


Observation = Missing | Unfit | Unreadable | Found


def root_of(directory: str) -> Root:
    """Which directory is there now. Raises RootLost."""
    try:
        found = os.stat(directory)
    except OSError as error:
        raise RootLost(
            f"{directory}: {error.strerror}. Create or mount it; nothing counts as removed meanwhile"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise RootLost(f"{directory} is not a directory. Put it back; nothing counts as removed meanwhile")
    return Root(found.st_dev, found.st_ino)


def resolved(directory: str) -> str:
    """The directory without symbolic links in its path. Raises RootLost."""
    try:
        return os.path.realpath(directory, strict=True)
    except OSError as error:
        raise RootLost(
            f"{directory}: {error.strerror}. Create or mount it; nothing counts as removed meanwhile"
        ) from error


class Probe:
    """Looks at objects of one directory, as long as it is the same directory.

    ``leases``: ask the kernel for open writers. ``inodes``: they outlive a new mount. ``inline_bytes``: larger files are
    hashed apart, with :meth:`hash`. ``hash_limit_bytes``: larger ones get a tag from their ends, not from all they hold.
    """

    def __init__(
        self,
        root: str,
        *,
        leases: bool = True,
        inodes: bool = True,
        inline_bytes: int = 256 << 10,
        hash_limit_bytes: int = 256 << 20,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.root = root
        self.identity = root_of(root)
        self._inodes = inodes
        self._leases = leases
        self._inline_bytes = inline_bytes
        self._hash_limit_bytes = hash_limit_bytes
        self._stopped = stopped

    def check_root(self) -> None:
        """Raises RootLost when the directory is not the one it was."""
        if root_of(self.root) != self.identity:
            raise RootLost(f"{self.root} is another directory now, or its file system was mounted or unmounted")

    def observe_all(self, keys: Sequence[str], known: Mapping[str, Identity]) -> list[Observation]:
        """What is there for each key; a file that is as ``known`` is not opened. Raises RootLost.

        The directory is checked *after* looking, so that nothing it lost by being unmounted counts as missing.
        """
        found = [self.observe(key, known.get(key)) for key in keys]
        self.check_root()
        return found

    def observe(self, key: str, known: Identity | None = None) -> Observation:
        if object_key.hidden(key):
            return Unfit("")
        path = f"{self.root.rstrip('/')}/{key}"
        try:
            found = os.lstat(path)
            if link := stat.S_ISLNK(found.st_mode):
                found = os.stat(path)
            if (kind := unfit_kind(found.st_mode)) is not None:
                return Unfit(kind)
            if object_key.too_long(key):
                return Unfit(f"the key has more than {object_key.LONGEST_BYTES} bytes")
            if known is not None and self.identity_of(found) == known:
                return Found(known, found.st_ctime_ns, Openness.CLOSED)
            return self._opened(path, link=link)
        except OSError as error:
            return self._failed(path, error)

    def hash(self, key: str, identity: Identity) -> str | None:
        """The content's tag while the file stays what ``identity`` says; None when it does not, or cannot be read."""
        try:
            descriptor = os.open(f"{self.root}/{key}", _OPEN)
        except OSError:
            return None
        try:
            if not _where(descriptor).startswith(self.root.rstrip("/") + "/"):
                return None
            if self.identity_of(os.fstat(descriptor)) != identity:
                return None
            tag = self._tag(descriptor, identity)
            return tag if self.identity_of(os.fstat(descriptor)) == identity else None
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def identity_of(self, found: os.stat_result) -> Identity:
        time = max(-_FARTHEST, min(found.st_mtime_ns, _FARTHEST))  # some file systems have times that no database takes
        return Identity(found.st_size, time, found.st_ino if self._inodes else 0)

    def _opened(self, path: str, *, link: bool) -> Observation:
        descriptor = os.open(path, _OPEN)
        try:
            found = os.fstat(descriptor)
            if (kind := unfit_kind(found.st_mode)) is not None:
                return Unfit(kind)
            if found.st_nlink == 0:
                return Missing()
            where = _where(descriptor)
            if not where.startswith(self.root.rstrip("/") + "/"):
                self.check_root()
                return Unfit("it leads out of the bucket's directory")
            if not link and where != path:
                return Unfit("")  # a directory on the way is a link, or the file was moved just now
            identity, openness = self.identity_of(found), self._openness(descriptor, found)
            etag = ""
            if openness is not Openness.OPEN and found.st_size <= self._inline_bytes:
                etag = self._tag(descriptor, identity)
                found = os.fstat(descriptor)
                if self.identity_of(found) != identity:
                    identity, openness, etag = self.identity_of(found), Openness.OPEN, ""
            return Found(identity, found.st_ctime_ns, openness, etag)
        finally:
            os.close(descriptor)

    def _failed(self, path: str, error: OSError) -> Observation:
        if error.errno in _GONE:
            return Unfit("a link to nothing") if os.path.islink(path) else Missing()
        if error.errno == errno.ELOOP:
            return Unfit("a link that leads to itself")
        if error.errno == errno.ENXIO:
            return Unfit("a socket or a device")
        return Unreadable(error.strerror or type(error).__name__)

    def _openness(self, descriptor: int, found: os.stat_result) -> Openness:
        if not self._leases or found.st_dev != self.identity.device:
            return Openness.UNKNOWN
        try:
            # a broken lease sends a signal: one that is ignored by default, instead of SIGIO, which kills
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # type: ignore[attr-defined, unused-ignore]
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except OSError as error:
            return Openness.OPEN if error.errno == errno.EAGAIN else Openness.UNKNOWN
        return Openness.CLOSED

    def _tag(self, descriptor: int, identity: Identity) -> str:
        """MD5 of the content; of the first and last MiB, the size and the time, with ``-n``, when there is too much."""
        digest = hashlib.md5(usedforsecurity=False)
        if identity.size_bytes > self._hash_limit_bytes:
            digest.update(os.pread(descriptor, _CHUNK, 0))
            digest.update(os.pread(descriptor, _CHUNK, identity.size_bytes - _CHUNK))
            digest.update(f"{identity.size_bytes} {identity.mtime_ns}".encode())
            return f"{digest.hexdigest()}-{-(-identity.size_bytes // self._hash_limit_bytes)}"
        offset = 0
        while chunk := os.pread(descriptor, _CHUNK, offset):
            digest.update(chunk)
            offset += len(chunk)
            if self._stopped():
                raise InterruptedError(errno.EINTR, "the watcher is being closed")
        return digest.hexdigest()


def _where(descriptor: int) -> str:
    """Where the open file really is, as the kernel says."""
    return os.readlink(f"/proc/self/fd/{descriptor}")


_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "",
}


def unfit_kind(mode: int) -> str | None:
    """None for a regular file; otherwise what it is, in words, and nothing for a directory."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no regular file")
