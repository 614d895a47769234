"""Hear of changes in a directory tree from the kernel, as hints of where to look. Never the truth: a comparison is.

The library is asyncinotify, because it gives what inotify gives: the close of a writer, moves in and out, overflow of the
queue. watchfiles folds a close into "modified" and drops overflow; watchdog needs a thread and hides overflow as well.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

from asyncinotify import Event, Inotify, Mask

from sources.errors import WatchesExhausted

_MASK = Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.CREATE | Mask.DELETE
_MASK |= Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR | Mask.EXCL_UNLINK
_LIMITS = {errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_EVENTS_A_READ = 96
"""Full-size events in the buffer of a read: what is parsed in one go, about ten milliseconds of short names."""


class Hint(Enum):
    """WRITTEN: a writer closed the file, or it was moved here. APPEARED: it was made, and may be being written.
    GONE: it was deleted or moved away. TREE_CAME, TREE_WENT: the same of a directory. OVERFLOW: some hints were lost.
    ROOT: something happened to the bucket's directory itself.
    """

    WRITTEN = "written"
    APPEARED = "appeared"
    GONE = "gone"
    TREE_CAME = "tree came"
    TREE_WENT = "tree went"
    OVERFLOW = "overflow"
    ROOT = "root"


@dataclass(frozen=True, slots=True)
class Signal:
    """``path`` is below the bucket's directory; ``""`` is the directory itself."""

    hint: Hint
    path: str = ""


class DirectoryWatch:
    """Watches the directories that were added. ``add`` may be called from another thread than ``next``."""

    def __init__(self, root: str, *, hidden: bool = False) -> None:
        """``hidden``: names that begin with a dot count too. Raises WatchesExhausted."""
        self._root = root
        self._hidden = hidden
        self._paths: dict[int, str] = {}
        try:
            self._inotify = Inotify(cache_size=_EVENTS_A_READ)
        except OSError as error:
            raise WatchesExhausted(_exhausted(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, directory: str) -> None:
        """Watch it from now on; a directory that is gone is passed over. Raises WatchesExhausted.

        A directory that was moved keeps its watch in the kernel: adding it again corrects the path.
        """
        try:
            mask = _MASK if not directory else _MASK | Mask.DONT_FOLLOW
            watch = self._inotify.add_watch(f"{self._root}/{directory}" if directory else self._root, mask)
        except OSError as error:
            if error.errno in _LIMITS:
                raise WatchesExhausted(_exhausted(error)) from error
            return  # gone, or not ours to read: the comparison that follows says which
        self._paths[watch.wd] = directory

    def forget(self, directory: str) -> None:
        """Stop watching a directory and what is below it, because it was moved away."""
        gone = {wd for wd, path in list(self._paths.items()) if path == directory or path.startswith(f"{directory}/")}
        for watch in self._inotify.watches:
            if watch.wd in gone:
                self._paths.pop(watch.wd, None)
                try:
                    self._inotify.rm_watch(watch)
                except OSError:
                    continue  # the kernel removed it first

    async def next(self) -> Signal:
        """The next hint. Not to be cancelled except to close: hints that have been read would be lost."""
        while True:
            if (signal := self._translated(await self._inotify.get())) is not None:
                return signal

    def close(self) -> None:
        """Idempotent. No ``add`` may be running."""
        self._inotify.close()

    def _translated(self, event: Event) -> Signal | None:
        if Mask.Q_OVERFLOW in event.mask:
            return Signal(Hint.OVERFLOW)
        if event.watch is None or (directory := self._paths.get(event.watch.wd)) is None:
            return None  # a watch that was removed, or is being added: the comparison after adding sees what this was
        if event.name is None:
            return self._itself(event.watch.wd, directory, event.mask)
        name = str(event.name)
        if name.startswith(".") and not self._hidden:
            return None
        path = f"{directory}/{name}" if directory else name
        hints = _TREE_HINTS if Mask.ISDIR in event.mask else _FILE_HINTS
        return next((Signal(hint, path) for mask, hint in hints if event.mask & mask), None)

    def _itself(self, wd: int, directory: str, mask: Mask) -> Signal | None:
        if mask & (Mask.IGNORED | Mask.UNMOUNT):
            self._paths.pop(wd, None)
        if not directory:
            return Signal(Hint.ROOT)
        return Signal(Hint.TREE_WENT, directory) if mask & Mask.UNMOUNT else None


_FILE_HINTS = (
    (Mask.CLOSE_WRITE | Mask.MOVED_TO, Hint.WRITTEN),
    (Mask.CREATE, Hint.APPEARED),
    (Mask.DELETE | Mask.MOVED_FROM, Hint.GONE),
)
_TREE_HINTS = (
    (Mask.CREATE | Mask.MOVED_TO, Hint.TREE_CAME),
    (Mask.DELETE | Mask.MOVED_FROM, Hint.TREE_WENT),
)


def _exhausted(error: OSError) -> str:
    if error.errno == errno.EMFILE:
        return (
            "the kernel gives this user no more inotify instances, or the process no more files; the tree is scanned "
            "instead. Raise the limit: `sysctl -w fs.inotify.max_user_instances=1024`, or `ulimit -n`"
        )
    if error.errno == errno.ENOSPC:
        return str(WatchesExhausted())
    return f"inotify: {error.strerror}; the tree is scanned instead"
