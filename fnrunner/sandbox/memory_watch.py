"""The memory limit where no cgroup enforces it: one look at the process table for all environments, several times a second.

A function that allocates faster than that is stopped by its RLIMIT_DATA.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

from fnrunner.sandbox import process_tree
from fnrunner.sandbox.process_tree import Entry


class Watched(Protocol):
    """A process with its tree."""

    @property
    def removed(self) -> bool:
        """Nobody need look at it any more."""

    def observe(self, entries: Mapping[int, Entry], /) -> bool:
        """Take the tree's size from a process table. Whether it is over its limit."""

    async def kill_tree(self) -> None: ...


class MemoryWatch:
    """Kills trees that have outgrown their limit. It runs only while there is something to watch."""

    def __init__(self, interval: timedelta = timedelta(milliseconds=200)) -> None:
        self._interval_s = interval.total_seconds()
        self._processes: set[Watched] = set()
        self._task: asyncio.Task[None] | None = None
        self._kills: set[asyncio.Task[None]] = set()

    def add(self, process: Watched) -> None:
        """Watch it until it is removed."""
        self._processes.add(process)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._processes:
            await asyncio.sleep(self._interval_s)
            self._processes = {process for process in self._processes if not process.removed}
            if not self._processes:
                return
            entries = await asyncio.to_thread(process_tree.table)
            over = [process for process in self._processes if not process.removed and process.observe(entries)]
            for process in over:
                self._processes.discard(process)
                # not waited for: one that sleeps uninterruptibly may take for ever, and the others are watched on
                kill = asyncio.create_task(process.kill_tree())
                self._kills.add(kill)
                kill.add_done_callback(self._kills.discard)
