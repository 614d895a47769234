"""Write checkpoints many at a time: whoever finished an announcement waits until it is remembered."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future, Queue
from time import monotonic

from sources.errors import CheckpointsUnavailable
from sources.pending import Backoff
from sources.snapshot import Change, Objects
from sources.source import Checkpoints

log = logging.getLogger(__name__)
_BATCH = 256
_FINISH_S = 5.0


class Recorder:
    """``seen`` follows what is recorded, never before it is. ``trouble`` says why the last try failed, or nothing."""

    def __init__(self, checkpoints: Checkpoints, bucket: str, seen: Objects, backoff: Backoff) -> None:
        self._checkpoints = checkpoints
        self._bucket = bucket
        self._seen = seen
        self._backoff = backoff
        self._waiting: Queue[tuple[Change, Future[None]]] = Queue()
        self._writing: list[tuple[Change, Future[None]]] = []
        self.trouble = ""

    async def record(self, change: Change) -> None:
        """Returns when the change is remembered, however long the store is away. At most one at a time for a key."""
        done: Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((change, done))
        await done

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            batch = self._writing = [await self._waiting.get()]
            while len(batch) < _BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            await self._write([change for change, _ in batch])
            self._writing = []
            for change, done in batch:
                if change.identity is None:
                    self._seen.pop(change.key, None)
                else:
                    self._seen[change.key] = change.identity
                if not done.done():
                    done.set_result(None)

    async def finish(self) -> None:
        """After ``run`` was cancelled: write what was announced and is not recorded yet, or its removal would go unheard.

        Tries once; what cannot be written now is announced again by the next session.
        """
        left = [change for change, _ in self._writing]
        while not self._waiting.empty():
            left.append(self._waiting.get_nowait()[0])
        if not left:
            return
        try:
            async with asyncio.timeout(_FINISH_S):
                await self._checkpoints.record(self._bucket, left)
        except (CheckpointsUnavailable, TimeoutError) as error:
            log.warning("bucket %s: %d announcements were not recorded: %s", self._bucket, len(left), error)

    async def _write(self, changes: list[Change]) -> None:
        attempts = 0
        since = monotonic()
        while True:
            try:
                await self._checkpoints.record(self._bucket, changes)
            except CheckpointsUnavailable as error:
                attempts += 1
                self.trouble = f"{error}; announcements wait until it does"
                log.warning("bucket %s: %s (try %d, for %.0f s)", self._bucket, error, attempts, monotonic() - since)
                await asyncio.sleep(self._backoff.delay(attempts))
            else:
                self.trouble = ""
                return
