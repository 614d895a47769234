"""Forget what is old: finished events, logs and code that nothing refers to."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from fnrunner.app.parts import Parts, now
from fnrunner.auth import call as calls
from fnrunner.delivery.retention import Retention

log = logging.getLogger(__name__)

EVERY = timedelta(minutes=10)
WRITERS = timedelta(days=1)
"""A writer that has written nothing for so long waits for no answer to a commit."""


class Housekeeping:
    """Runs now and then while the API does. Two processes that do it at once are harmless."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._retention = Retention(parts.store)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._for_ever(), name="housekeeping")

    async def close(self) -> None:
        """Idempotent."""
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def once(self) -> None:
        """Raises StoreError."""
        before = now() - self._parts.settings.history
        pruned = await self._retention.prune(int(before.timestamp() * 1000))
        if pruned.events or pruned.requests or pruned.logs:
            log.info("forgot %d events, %d requests, %d logs", pruned.events, pruned.requests, pruned.logs)
        before_ms = int(before.timestamp() * 1000)
        await self._parts.store.write(lambda connection: calls.forget(connection, before_ms))
        if self._parts.iam is not None:
            await self._parts.iam.forget_expired(now())
        await self._parts.store.sweep(int((now() - WRITERS).timestamp() * 1000))
        await self._parts.catalogue.collect_artifacts()

    async def _for_ever(self) -> None:
        while True:
            await asyncio.sleep(EVERY.total_seconds())
            try:
                await self.once()
            except Exception:
                log.exception("old records could not be forgotten; it is tried again")
