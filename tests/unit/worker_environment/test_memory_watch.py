"""The watch over memory, where no cgroup limits it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest

from fnrunner.sandbox import process_tree
from fnrunner.sandbox.memory_watch import MemoryWatch
from fnrunner.sandbox.process_tree import Entry


class Tree:
    """Over its limit. One that is ``stuck`` sleeps uninterruptibly: no signal ends it."""

    removed = False

    def __init__(self, *, stuck: bool) -> None:
        self.killed = asyncio.Event()
        self._ended = asyncio.Event()
        if not stuck:
            self._ended.set()

    def observe(self, entries: Mapping[int, Entry], /) -> bool:
        return True

    async def kill_tree(self) -> None:
        self.killed.set()
        await self._ended.wait()

    def wake(self) -> None:
        self._ended.set()


async def test_one_that_cannot_be_killed_does_not_keep_the_others_from_being_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_tree, "table", dict)
    watch = MemoryWatch(timedelta(milliseconds=1))
    stuck, first = Tree(stuck=True), Tree(stuck=False)
    watch.add(stuck)
    await asyncio.wait_for(stuck.killed.wait(), 10)
    watch.add(first)
    await asyncio.wait_for(first.killed.wait(), 10)
    stuck.wake()
