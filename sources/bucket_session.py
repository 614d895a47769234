"""Watch one directory for as long as it is there and ours: load what is remembered, compare, listen, announce.

A session ends when the directory is lost, the lease is, or it is told to stop; the next one starts from the checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import TaskGroup
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import monotonic
from typing import Any, NoReturn

from sources.announcer import Announcer, InThread, Pace
from sources.comparer import Comparer
from sources.directory_watch import DirectoryWatch, Hint, Signal
from sources.errors import CheckpointsUnavailable, RootLost, WatchesExhausted
from sources.mount import changes_elsewhere, filesystem_of, keeps_inodes, read_mounts
from sources.notification_filter import Notification
from sources.object_event import Place
from sources.pending import Backoff
from sources.probe import Probe, resolved
from sources.recorder import Recorder
from sources.source import Services

log = logging.getLogger(__name__)
_THREADS = 3


class BucketSession:
    """One period of watching. ``ready`` is set when nothing that happens from then on is missed."""

    def __init__(
        self,
        place: Place,
        directory: str,
        services: Services,
        pace: Pace,
        notifications: tuple[Notification, ...],
        counters: Counter[str],
        *,
        announce_existing: bool,
    ) -> None:
        self.ready = asyncio.Event()
        self.degraded = ""
        self._place = place
        self._directory = directory
        self._services = services
        self._pace = pace
        self._notifications = notifications
        self._counters = counters
        self._announce_existing = announce_existing
        self._stopped = False
        self._recorder: Recorder | None = None
        self._comparer: Comparer | None = None
        self._announcer: Announcer | None = None

    @property
    def withheld(self) -> str:
        """Why removals are not believed, or nothing."""
        return self._comparer.withheld if self._comparer else ""

    @property
    def troubles(self) -> tuple[str, ...]:
        """What keeps it from announcing at once, in words."""
        found = [self._recorder.trouble] if self._recorder and self._recorder.trouble else []
        if (announcer := self._announcer) is None:
            return tuple(found)
        found += [f"{name} takes no events; they wait" for name in announcer.gates.waiting]
        if announcer.unreadable:
            key, reason = next(iter(announcer.unreadable.items()))
            found.append(f"{len(announcer.unreadable)} files cannot be read, such as {key!r}: {reason}")
        oldest = announcer.pending.oldest()
        if oldest is not None and (age := monotonic() - oldest) > self._pace.lag.total_seconds():
            found.append(f"{len(announcer.pending)} files wait, the first for {age:.0f} s")
        return tuple(found)

    def renotify(self, notifications: tuple[Notification, ...]) -> None:
        """Follow these notifications from now on."""
        self._notifications = notifications
        if self._announcer:
            self._announcer.notifications = notifications

    def stop(self) -> None:
        """Take no more in; :meth:`run` returns when what was taken is done."""
        self._stopped = True
        if self._announcer:
            self._announcer.stop()

    async def run(self) -> None:
        """Returns after :meth:`stop`. Raises RootLost, CheckpointsUnavailable; other errors are bugs."""
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"bucket-{self._place.bucket}")
        loop = asyncio.get_running_loop()

        async def in_thread(call: Callable[..., Any], *arguments: Any) -> Any:
            return await loop.run_in_executor(threads, call, *arguments)

        with ExitStack() as stack:  # the watch is closed after the threads that add to it have ended
            try:
                await self._run(stack, in_thread)
            except* (RootLost, CheckpointsUnavailable) as group:
                _raise_first(group)
            finally:
                self._stopped = True
                await asyncio.to_thread(threads.shutdown, cancel_futures=True)

    async def _run(self, stack: ExitStack, in_thread: InThread) -> None:
        root = await in_thread(resolved, self._directory)
        filesystem = filesystem_of(root, await in_thread(read_mounts))
        watch = self._watch(stack, root, filesystem)
        comparer, announcer = await self._compose(in_thread, root, filesystem, watch)
        await in_thread(self._enter, watch, "")
        assert self._recorder is not None
        try:
            await self._work(watch, self._recorder, comparer, announcer)
        except* RootLost:
            await self._recorder.finish()
            raise

    async def _work(
        self, watch: DirectoryWatch | None, recorder: Recorder, comparer: Comparer, announcer: Announcer
    ) -> None:
        async with TaskGroup() as tasks:
            background = [
                tasks.create_task(recorder.run()),
                tasks.create_task(comparer.run(announcer, announce_existing=self._announce_existing)),
            ]
            if watch is not None:
                background.append(tasks.create_task(self._listen(watch, comparer, announcer)))
            if not self._stopped:
                await announcer.run()
            for task in background:
                task.cancel()

    async def _compose(
        self, in_thread: InThread, root: str, filesystem: str, watch: DirectoryWatch | None
    ) -> tuple[Comparer, Announcer]:
        pace, checkpoints = self._pace, self._services.checkpoints
        probe = await in_thread(
            lambda: Probe(
                root,
                leases=not changes_elsewhere(filesystem),
                inodes=keeps_inodes(filesystem),
                hash_limit_bytes=pace.hash_limit_bytes,
                stopped=lambda: self._stopped,
            )
        )
        remembered = await checkpoints.load(self._place.bucket)
        seen = remembered.objects
        backoff = Backoff(pace.retry_first.total_seconds(), pace.retry_longest.total_seconds())
        self._recorder = Recorder(checkpoints, self._place.bucket, seen, backoff)
        self._comparer = Comparer(
            self._place.bucket,
            checkpoints,
            pace,
            probe=probe,
            remembered=remembered,
            seen=seen,
            counters=self._counters,
            in_thread=in_thread,
            enter=lambda directory: self._enter(watch, directory),
            hears=lambda: not self.degraded,
            ready=self.ready,
        )
        self._announcer = Announcer(
            self._place,
            self._services,
            pace,
            probe=probe,
            recorder=self._recorder,
            seen=seen,
            notifications=self._notifications,
            counters=self._counters,
            in_thread=in_thread,
            compare_again=self._comparer.again,
        )
        return self._comparer, self._announcer

    def _watch(self, stack: ExitStack, root: str, filesystem: str) -> DirectoryWatch | None:
        if changes_elsewhere(filesystem):
            self.degraded = f"{filesystem} does not tell of changes on other hosts: the tree is scanned"
        try:
            return stack.enter_context(DirectoryWatch(root))
        except WatchesExhausted as error:
            self._degrade(error)
            return None

    def _enter(self, watch: DirectoryWatch | None, directory: str) -> None:
        """Watch a directory before it is listed. On any thread."""
        try:
            if watch is not None:
                watch.add(directory)
        except WatchesExhausted as error:
            self._degrade(error)

    def _degrade(self, error: WatchesExhausted) -> None:
        if self.degraded != str(error):
            self.degraded = str(error)
            log.warning("bucket %s: %s", self._place.bucket, error)

    async def _listen(self, watch: DirectoryWatch, comparer: Comparer, announcer: Announcer) -> None:
        while True:
            self._heard(await watch.next(), watch, comparer, announcer)

    def _heard(self, signal: Signal, watch: DirectoryWatch, comparer: Comparer, announcer: Announcer) -> None:
        match signal.hint:
            case Hint.WRITTEN:
                announcer.mark(signal.path, self._pace.coalesce, written=True)
            case Hint.APPEARED:
                announcer.mark(signal.path, self._pace.settle, appeared=True)
            case Hint.GONE:
                announcer.mark(signal.path, self._pace.coalesce)
            case Hint.TREE_CAME:
                comparer.look_into(signal.path)
            case Hint.TREE_WENT:
                watch.forget(signal.path)
                comparer.look_into(signal.path)
            case Hint.OVERFLOW:
                log.warning("bucket %s: changes came faster than they could be read; comparing all", self._place.bucket)
                self._counters["overflowed"] += 1
                comparer.look_into("")
            case Hint.ROOT:
                comparer.look_into("")  # which finds out whether it is still the same directory


def _raise_first(group: BaseExceptionGroup[Exception]) -> NoReturn:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    raise error from group
