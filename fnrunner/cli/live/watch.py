"""Hear which files of a source have changed: from the kernel, settled for an instant, never by reading them.

An editor that writes another file and renames it, one that truncates and writes, a checkout of a thousand files: each is
one set of paths. Where the kernel does not watch so much, the stamps of all files are compared twice a second.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from fnrunner.cli.live.source import Source, Stamp, stamp_of
from sources.directory_watch import DirectoryWatch, Hint, Signal
from sources.errors import WatchesExhausted

QUIET = timedelta(milliseconds=20)
"""So long nothing more may come before a set of changes counts as whole."""
LONGEST = timedelta(milliseconds=150)
"""A set is whole after so long at the latest."""
POLL = timedelta(milliseconds=500)


@dataclass(slots=True)
class SourceWatch:
    """``start`` once, then ``changes`` again and again, and ``close``. ``warn`` is told when the kernel cannot be asked."""

    source: Source
    warn: Callable[[str], None]
    _stamps: dict[str, Stamp] = field(default_factory=dict)
    _watch: DirectoryWatch | None = None
    _signals: asyncio.Queue[Signal] = field(default_factory=asyncio.Queue)
    _listener: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """What changes after it has returned is heard of."""
        try:
            self._watch = DirectoryWatch(str(self.source.folder), hidden=True)
            self._stamps = await asyncio.to_thread(self._added, "")
        except WatchesExhausted as error:
            await self._poll_instead(str(error))
        else:
            self._listener = asyncio.create_task(self._listen(self._watch), name="watch of source")

    async def close(self) -> None:
        """Idempotent."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    async def changes(self) -> set[str]:
        """Paths below the folder that were written, made or deleted since the last call; at least one."""
        changed: set[str] = set()
        while not changed:
            if self._watch is None:
                await asyncio.sleep(POLL.total_seconds())
                changed = await self._compared()
                continue
            for signal in await self._settled():
                changed |= await self._meant(signal)
        return changed

    def changed_since(self, moment_ns: int) -> set[str]:
        """Files that were written or moved here after this time of the host's clock, as far as they were there at the start."""
        return {path for path, stamp in self._stamps.items() if stamp[0] >= moment_ns}

    async def _listen(self, watch: DirectoryWatch) -> None:
        while True:
            self._signals.put_nowait(await watch.next())

    async def _settled(self) -> list[Signal]:
        signals = [await self._signals.get()]
        loop = asyncio.get_running_loop()
        end = loop.time() + LONGEST.total_seconds()
        with contextlib.suppress(TimeoutError):
            while loop.time() < end:
                async with asyncio.timeout(QUIET.total_seconds()):
                    signals.append(await self._signals.get())
        return signals

    async def _meant(self, signal: Signal) -> set[str]:
        match signal.hint:
            case Hint.WRITTEN:
                return self._noted(signal.path)
            case Hint.APPEARED:
                # a link is whole at once; a file is announced again when its writer has closed it
                place = self.source.folder / signal.path
                linked = place.is_symlink() or (place.exists() and place.stat().st_nlink > 1)
                return self._noted(signal.path) if linked else set()
            case Hint.GONE:
                return {signal.path} if self._stamps.pop(signal.path, None) else set()
            case Hint.TREE_CAME:
                return await self._came(signal.path)
            case Hint.TREE_WENT:
                return self._went(signal.path)
            case Hint.OVERFLOW | Hint.ROOT:
                return await self._compared()

    def _noted(self, path: str) -> set[str]:
        if not self.source.concerns(path):
            return set()
        if (stamp := stamp_of(self.source.folder / path)) is None:
            return {path} if self._stamps.pop(path, None) else set()
        self._stamps[path] = stamp
        return {path}

    async def _came(self, folder: str) -> set[str]:
        if not self.source.has_folder(folder):
            return set()
        try:
            found = await asyncio.to_thread(self._added, folder)
        except WatchesExhausted as error:
            await self._poll_instead(str(error))
            return await self._compared()
        self._stamps |= found
        return set(found)

    def _went(self, folder: str) -> set[str]:
        if self._watch is not None:
            self._watch.forget(folder)
        gone = {path for path in self._stamps if path.startswith(f"{folder}/")}
        for path in gone:
            del self._stamps[path]
        return gone

    def _added(self, below: str) -> dict[str, Stamp]:
        """Watch a folder and all in it; the files that are there. Raises WatchesExhausted."""
        found: dict[str, Stamp] = {}
        pending = [below]
        while pending:
            here = pending.pop()
            if self._watch is not None:
                # before it is listed: what comes between the two is then seen twice and not never
                self._watch.add(here)
            folders, files = self.source.listed(here)
            pending += folders
            found |= files
        return found

    async def _compared(self) -> set[str]:
        """Compare the stamps of everything."""
        former, self._stamps = self._stamps, await asyncio.to_thread(self._added, "")
        return {path for path in former.keys() | self._stamps.keys() if former.get(path) != self._stamps.get(path)}

    async def _poll_instead(self, why: str) -> None:
        if self._watch is not None:
            watch, self._watch = self._watch, None
            if self._listener is not None:
                self._listener.cancel()
            watch.close()
        self.warn(f"{self.source.folder}: {why}. Saved code takes up to {POLL.total_seconds()} s to be seen")
        self._stamps = await asyncio.to_thread(self._added, "") if not self._stamps else self._stamps
