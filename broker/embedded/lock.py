"""One process per directory: an exclusive lock that ends with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from broker.errors import Locked, Unavailable

FILE = "broker.lock"


class DirectoryLock:
    """Held from :meth:`acquire` to :meth:`release`; the file names the process that holds it."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises Locked, naming the process that holds it; Unavailable when the directory cannot be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(f"cannot use the directory {self._path.parent}: {error}. Choose another.") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(fd, 32, 0).decode(errors="replace") or "unknown"
            os.close(fd)
            raise Locked(
                f"process {holder} has {self._path.parent} open. Stop it, or choose another --data-dir."
            ) from error
        except OSError as error:
            os.close(fd)
            raise Unavailable(f"cannot lock {self._path}: {error}. Choose another directory.") from error
        self._fd = fd

    def release(self) -> None:
        """Idempotent. The file stays: removing it would let two processes lock two files of the same name."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
