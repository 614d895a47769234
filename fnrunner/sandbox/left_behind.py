"""What an import has left in its /tmp: whether that can be copied in passing, and the copy for each environment."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_BYTES, TEMPORARY_FILES, DEEPEST = 32 * 1024 * 1024, 1000, 32
COPY_BYTES = 1024 * 1024


def copy_files(source: Path, target: Path) -> None:
    """Files, directories and links, into an empty directory.

    Whose files these are may change them meanwhile, to lead this process elsewhere: no link is followed, neither there nor
    here, and no more is copied than a snapshot may have. Raises OSError.
    """
    with _directory(str(source)) as there, _directory(str(target)) as here:
        _copy_directory(there, here, _Budget(), 0)


class _Budget:
    """What may still be copied. Raises OSError beyond that."""

    def __init__(self) -> None:
        self._bytes, self._files = TEMPORARY_BYTES, TEMPORARY_FILES

    def take(self, size: int = 0) -> None:
        self._bytes -= size
        self._files -= not size
        if self._bytes < 0 or self._files < 0:
            raise OSError(errno.EFBIG, "the snapshot has left too much in its /tmp")


def _copy_directory(there: int, here: int, budget: _Budget, depth: int) -> None:
    if depth > DEEPEST:
        raise OSError(errno.ELOOP, "the snapshot's /tmp is too deep")
    for name in os.listdir(there):
        budget.take()
        with contextlib.suppress(FileNotFoundError):
            kind = os.stat(name, dir_fd=there, follow_symlinks=False).st_mode
            if stat.S_ISLNK(kind):
                os.symlink(os.readlink(name, dir_fd=there), name, dir_fd=here)
            elif stat.S_ISDIR(kind):
                with _directory(name, there) as inner_there:
                    os.mkdir(name, 0o700, dir_fd=here)
                    with _directory(name, here) as inner_here:
                        _copy_directory(inner_there, inner_here, budget, depth + 1)
                        os.fchmod(inner_here, stat.S_IMODE(kind) & 0o777)
            elif stat.S_ISREG(kind):
                _copy_file(name, there, here, budget)


def _copy_file(name: str, there: int, here: int, budget: _Budget) -> None:
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=there)
    try:
        kind = os.fstat(reader).st_mode
        if not stat.S_ISREG(kind):
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        writer = os.open(name, flags, 0o600, dir_fd=here)
        try:
            while data := os.read(reader, COPY_BYTES):
                budget.take(len(data))
                while data:
                    data = data[os.write(writer, data) :]
            os.fchmod(writer, stat.S_IMODE(kind) & 0o777)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


@contextlib.contextmanager
def _directory(name: str, within: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def left_behind(temporary: Path) -> str:
    """Whether more is in /tmp than can be copied in passing."""
    size = count = 0
    for _, names, files, descriptor in os.fwalk(temporary, follow_symlinks=False):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                size += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size
        count += len(names) + len(files)
        if size > TEMPORARY_BYTES or count > TEMPORARY_FILES:
            return "its import leaves much in /tmp"
    return ""
