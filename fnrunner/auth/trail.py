"""Takes records of calls and writes them in the background: no call waits for it, and none is lost silently.

::

    add ─► queue (bounded) ─► one batch after the other ─► the store
               └── full, or the store has failed for too long ─► the process's log, in full, as an error

Whoever has shown no key can make as many refused calls as he likes: of those, :data:`STRANGERS` a second are recorded, and the
log says how many were not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from dataclasses import asdict
from datetime import timedelta

from fnrunner.auth import call as calls
from fnrunner.auth.call import Call
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreError

log = logging.getLogger("fnrunner.trail")

MAX_WAITING = 10_000
BATCH = 500
PAUSE = timedelta(seconds=1)
STRANGERS = 20


class Trail:
    """From ``start`` to ``close``, which writes what is left."""

    def __init__(self, store: Store, max_waiting: int = MAX_WAITING) -> None:
        self._store = store
        self._max = max_waiting
        self._waiting: deque[Call] = deque()
        self._due = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._task: asyncio.Task[None] | None = None
        self._second = 0
        self._strangers = 0
        self.problem = ""

    def start(self) -> None:
        self._task = self._task or asyncio.create_task(self._for_ever(), name="trail")

    def add(self, call: Call) -> None:
        """At once, and never an exception. What does not fit any more goes to the log instead."""
        if not call.principal and call.status >= 400 and self._too_many(call.at_ms // 1000):
            return
        if len(self._waiting) >= self._max:
            self.problem = "records of calls go to the log: the store does not take them"
            _to_log(call)
            return
        self._waiting.append(call)
        self._empty.clear()
        self._due.set()

    def _too_many(self, second: int) -> bool:
        """Whether this refusal of somebody unknown is one of too many in its second."""
        if second != self._second:
            if self._strangers > STRANGERS:
                log.warning("%d refused calls of callers without a key were not recorded", self._strangers - STRANGERS)
            self._second, self._strangers = second, 0
        self._strangers += 1
        return self._strangers > STRANGERS

    async def written(self) -> None:
        """Until everything that was added is in the store or in the log."""
        await self._empty.wait()

    async def settled(self, patience: timedelta = PAUSE) -> None:
        """As ``written``, but no longer than this."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience.total_seconds()):
                await self._empty.wait()

    async def close(self) -> None:
        """Idempotent."""
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        while self._waiting:
            try:
                await self._write()
            except Exception:
                log.exception("records of calls could not be written at the end")
                while self._waiting:
                    _to_log(self._waiting.popleft())
        self._empty.set()

    async def _for_ever(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                while self._waiting:
                    await self._write()
                self.problem = ""
                self._empty.set()
            except StoreError as error:
                self.problem = f"records of calls wait for the store: {error}"
                self._due.set()
                await asyncio.sleep(PAUSE.total_seconds())
            except Exception:
                # a record that no store takes must not hold up those behind it
                log.exception("records of calls could not be written")
                for _ in range(min(BATCH, len(self._waiting))):
                    _to_log(self._waiting.popleft())
                self._due.set()

    async def _write(self) -> None:
        batch = [self._waiting[index] for index in range(min(BATCH, len(self._waiting)))]
        await self._store.write(lambda connection: calls.write(connection, batch))
        # only now: what could not be written is still there
        for _ in batch:
            self._waiting.popleft()


def _to_log(call: Call) -> None:
    log.error("call not in the store: %s", json.dumps(asdict(call)))
