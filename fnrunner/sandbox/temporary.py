"""The size of /tmp in total, where a function may write as much as it likes to the host's disk.

Linux has no limit for a directory that would work everywhere: project quotas need a file system that was made for them, and
memory (tmpfs) would count against the function's memory, which it does not on Lambda. So each environment that runs is looked
at several times a second. One that has written more than it may can make no file longer until it has deleted something: its
writes fail with EFBIG ("File too large"), where Lambda's say ENOSPC. One that goes on all the same is ended.

::

    under ──► over: soft RLIMIT_FSIZE of all its processes is 0 ──► far over: it has raised that limit, and is killed
      ▲                       │
      └── it deleted enough ──┘

What counts are blocks on the disk: of files in /tmp, and of files that it has deleted and keeps open. How far a function can
get beyond its size before it is stopped is what it can write in :data:`INTERVAL`; each single file is bounded exactly, by its
RLIMIT_FSIZE.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import time
from collections.abc import Collection, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from fnrunner.model.limits import MB

log = logging.getLogger(__name__)

INTERVAL = timedelta(milliseconds=250)
SHARE = 20
"""At most one part in so many of the time is spent with looking."""

FAR_OVER = 1.5
FAR_OVER_MB = 512
"""So much more than its size, in addition, is what a fast disk takes before anybody looks."""

BLOCK = 512


class Storing(Protocol):
    """An environment's process, with what it may write."""

    @property
    def temporary(self) -> Path:
        """Its /tmp, on the host."""

    @property
    def storage_mb(self) -> int: ...

    @property
    def at_rest(self) -> bool:
        """Nothing of it runs at present."""

    @property
    def removed(self) -> bool: ...

    def pids(self) -> Collection[int]:
        """Of its tree, as well as the host can tell."""

    async def kill_tree(self) -> None: ...


class TemporaryWatch:
    """It runs only while there is something to watch, and looks only at what runs."""

    def __init__(self, interval: timedelta = INTERVAL) -> None:
        self._interval_s = interval.total_seconds()
        self._processes: dict[Storing, bool] = {}
        """Whether each may write no more."""
        self._task: asyncio.Task[None] | None = None
        self._kills: set[asyncio.Task[None]] = set()

    def add(self, process: Storing) -> None:
        """Watch it until it is removed."""
        self._processes[process] = False
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="watch of /tmp")

    async def _run(self) -> None:
        took_s = 0.0
        while self._processes:
            await asyncio.sleep(max(self._interval_s, SHARE * took_s))
            for process in [process for process in self._processes if process.removed]:
                del self._processes[process]
            running = [process for process in self._processes if not process.at_rest]
            began = time.monotonic()
            for process, used in await asyncio.to_thread(_all_used, running) if running else ():
                if not process.removed:
                    self._judge(process, used)
            took_s = time.monotonic() - began

    def _judge(self, process: Storing, used: int) -> None:
        size = process.storage_mb * MB
        over = used > size
        # again each time: it may have started processes, or raised the limit itself
        if over or self._processes.get(process):
            self._processes[process] = over
            _let_grow(process.pids(), 0 if over else size)
        if used > FAR_OVER * size + FAR_OVER_MB * MB:
            log.warning(
                "an environment that has written %d MB to a /tmp of %d MB is ended", used // MB, process.storage_mb
            )
            self._processes.pop(process, None)
            kill = asyncio.create_task(process.kill_tree())
            self._kills.add(kill)
            kill.add_done_callback(self._kills.discard)


def _all_used(processes: Iterable[Storing]) -> list[tuple[Storing, int]]:
    return [(process, _used(process)) for process in processes]


def _used(process: Storing) -> int:
    """Bytes on the disk. Each file counts once, however many names it has."""
    seen: set[tuple[int, int]] = set()
    found = _below(process.temporary, seen)
    return found + sum(_deleted(pid, seen) for pid in process.pids())


def _below(top: Path, seen: set[tuple[int, int]]) -> int:
    total = 0
    pending = [str(top)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                        total += _counted(entry.stat(follow_symlinks=False), seen)
        except OSError:
            continue  # it was removed meanwhile
    return total


def _deleted(pid: int, seen: set[tuple[int, int]]) -> int:
    """Of regular files that have no name any more and are still open."""
    total = 0
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found = os.stat(entry.path)
                    if found.st_nlink == 0 and os.path.isabs(os.readlink(entry.path)):
                        total += _counted(found, seen)
    except OSError:
        return total
    return total


def _counted(found: os.stat_result, seen: set[tuple[int, int]]) -> int:
    key = found.st_dev, found.st_ino
    if key in seen:
        return 0
    seen.add(key)
    return found.st_blocks * BLOCK


def _let_grow(pids: Iterable[int], size: int) -> None:
    """No file of theirs becomes longer than so many bytes."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            soft = size if hard == resource.RLIM_INFINITY else min(size, hard)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
