"""Compare the directory with the checkpoint: at the start, where a hint says that much has changed, and now and then.

Everything that can be missed elsewhere is found here, so nothing else needs an unbounded memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from math import inf
from time import monotonic

from sources.announcer import Announcer, InThread, Pace
from sources.errors import CheckpointsUnavailable
from sources.probe import Probe
from sources.snapshot import Change, Objects, Remembered, removals_credible, within
from sources.source import Checkpoints
from sources.walk import Walk

log = logging.getLogger(__name__)
_MANY_DIRECTORIES = 500
_DUTY = 10
"""Comparing takes at most one part in this many of the time."""
_ROOT_EVERY_S = 2.0
_ROOM_PATIENCE_S = 10.0
"""How long a listing may stay open while there is no room: an open directory cannot be unmounted."""


class Comparer:
    """``ready`` is set when nothing that happens from then on is missed. ``withheld`` says why removals are not believed."""

    def __init__(
        self,
        bucket: str,
        checkpoints: Checkpoints,
        pace: Pace,
        *,
        probe: Probe,
        remembered: Remembered,
        seen: Objects,
        counters: Counter[str],
        in_thread: InThread,
        enter: Callable[[str], None],
        hears: Callable[[], bool],
        ready: asyncio.Event,
    ) -> None:
        """``enter`` is called, on a thread, before a directory is listed; ``hears``: hints come from everywhere."""
        self.withheld = ""
        self._bucket = bucket
        self._checkpoints = checkpoints
        self._pace = pace
        self._probe = probe
        self._root = remembered.root
        self._seen = seen
        self._counters = counters
        self._in_thread = in_thread
        self._enter = enter
        self._hears = hears
        self._ready = ready
        self._directories: set[str] = set()
        self._at = inf
        self._news = asyncio.Event()

    def look_into(self, directory: str) -> None:
        """Compare this directory as soon as possible; ``""`` is all of it."""
        self._directories.add(directory)
        if len(self._directories) > _MANY_DIRECTORIES:
            self._directories = {""}
        self._news.set()

    def again(self, at: float) -> None:
        """Compare everything at that time of the monotonic clock, or sooner."""
        self._at = min(self._at, at)
        self._news.set()

    async def run(self, announcer: Announcer, *, announce_existing: bool) -> None:
        """Compare until cancelled. Raises RootLost."""
        if not announce_existing and self._root is None:
            await self._baseline()
        self._ready.set()
        self.look_into("")
        while True:
            directories = await self._next()
            if not directories:
                await self._in_thread(self._probe.check_root)
                continue
            if "" in directories:
                self._at = inf  # before looking: what is asked for meanwhile must not be lost
            busy = await self._compare(announcer, directories)
            rest = self._pace.compare_every if self._hears() and not self.withheld else self._pace.scan_every
            self.again(monotonic() + max(rest.total_seconds(), _DUTY * busy))

    async def _next(self) -> set[str]:
        """What to compare, waiting for it; nothing when it is time to see whether the directory is still there."""
        self._news.clear()
        if not self._directories and (wait := self._at - monotonic()) > 0:
            try:
                async with asyncio.timeout(min(wait, _ROOT_EVERY_S)):
                    await self._news.wait()
            except TimeoutError:
                pass
        directories, self._directories = self._directories, set()
        return {""} if monotonic() >= self._at else directories

    async def _compare(self, announcer: Announcer, directories: set[str]) -> float:
        """The seconds that looking took, without the waiting."""
        busy = 0.0
        for key in announcer.pending.taken_keys():
            if within(key, directories):
                announcer.mark(key, timedelta(0))  # it may be gone by the time it is remembered: look again after that
        walk = await self._in_thread(self._walk, directories)
        done = False
        while not done:
            began = monotonic()
            part = await self._in_thread(walk.slice)
            busy += monotonic() - began
            done = part.done
            if not await self._mark(announcer, part.differing):
                self.again(monotonic() + self._pace.retry_longest.total_seconds())
                return busy
        await self._in_thread(self._probe.check_root)
        for directory, reason in walk.unlisted.items():
            log.warning("bucket %s: directory %r cannot be listed: %s", self._bucket, directory, reason)
            self._counters["unlisted"] += 1
        if "" in directories:
            await self._believe(walk)
        if not self.withheld:
            await self._mark(announcer, await self._in_thread(walk.vanished))
        return busy

    def _walk(self, directories: set[str]) -> Walk:
        return Walk(self._probe.root, directories, self._seen, identity_of=self._probe.identity_of, enter=self._enter)

    async def _mark(self, announcer: Announcer, keys: Iterable[str]) -> bool:
        """Hand the keys over as there is room. False when there was none for too long."""
        for key in keys:
            if announcer.pending.crowded and (until := announcer.gated(key)) is not None:
                self.again(until)  # whoever takes nothing must not fill the room of the others
                continue
            if announcer.pending.full:
                try:
                    async with asyncio.timeout(_ROOM_PATIENCE_S):
                        await announcer.room()
                except TimeoutError:
                    return False
            announcer.mark(key, timedelta(0))
        return True

    async def _believe(self, walk: Walk) -> None:
        """Decide whether what is missing was removed, and remember the directory when it is the bucket's."""
        now = self._probe.identity
        if not removals_credible(self._root, now, survivors=walk.survivors, empty=walk.objects == 0):
            if self._seen and not self.withheld:
                self.withheld = (
                    f"none of the {len(self._seen)} objects is there, in a directory that is not the one it was: mount or "
                    "restore it. Nothing counts as removed meanwhile"
                )
                log.error("bucket %s: %s", self._bucket, self.withheld)
            if self._seen:
                return
        self.withheld = ""
        if self._root != now:
            try:
                await self._checkpoints.remember_root(self._bucket, now)
                self._root = now
            except CheckpointsUnavailable as error:
                log.warning("bucket %s: %s", self._bucket, error)
                self.again(monotonic() + self._pace.scan_every.total_seconds())

    async def _baseline(self) -> None:
        """Remember what is there without announcing it. Until it is complete, the next start does it again."""
        walk = await self._in_thread(self._walk, {""})
        done = False
        while not done:
            part = await self._in_thread(walk.slice, 500)
            identities = await self._in_thread(lambda keys=part.differing: [(k, walk.identity(k)) for k in keys])
            found = [Change(key, identity) for key, identity in identities if identity is not None]
            await self._checkpoints.record(self._bucket, found)
            self._seen.update({change.key: change.identity for change in found if change.identity})
            done = part.done
        await self._in_thread(self._probe.check_root)
        await self._checkpoints.remember_root(self._bucket, self._probe.identity)
        self._root = self._probe.identity
