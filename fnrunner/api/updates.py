"""Which functions are being updated at this moment: a second update meanwhile is a conflict, as on Lambda.

What this process does it knows; what takes longer than :data:`AT_ONCE` is marked in the store
(:mod:`fnrunner.catalogue.update_mark`), so that the other API processes know it too. Updates that are quicker cost the store
nothing, and those of several processes follow one another there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import Connection

from fnrunner.api.errors import ApiError
from fnrunner.catalogue import update_mark
from fnrunner.model.arn import Home
from fnrunner.model.function import Function
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreError

log = logging.getLogger(__name__)

AT_ONCE = timedelta(milliseconds=100)
"""An update that is carried out within this time is not marked."""


class UpdateInProgress(ApiError):
    """``arn`` is the function's. Wait until LastUpdateStatus is Successful."""

    code, status, message_key = "ResourceConflictException", 409, "message"

    def __init__(self, arn: str) -> None:
        super().__init__(
            f"The operation cannot be performed at this time. An update is in progress for resource: {arn}"
        )


class Updates:
    """Those of this process, and what it knows of others'. ``now`` gives aware UTC."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._names: set[str] = set()

    def look(self, connection: Connection, home: Home, name: str) -> tuple[Function, bool]:
        """The function as it is, and whether it is being updated, here or elsewhere. Raises FunctionNotFound."""
        function, who = update_mark.fetch(connection, home, name, self._now())
        return function, bool(who) or name in self._names

    async def check(self, name: str, arn: str) -> None:
        """Raises UpdateInProgress, StoreError."""
        if name in self._names or await self._elsewhere(name):
            raise UpdateInProgress(arn)

    @asynccontextmanager
    async def of(self, name: str, arn: str) -> AsyncIterator[None]:
        """Raises UpdateInProgress when there is another, and StoreError."""
        if name in self._names:
            raise UpdateInProgress(arn)
        self._names.add(name)
        try:
            if await self._elsewhere(name):
                raise UpdateInProgress(arn)
            async with self._marking(name):
                yield
        finally:
            self._names.discard(name)

    async def _elsewhere(self, name: str) -> bool:
        return bool(await self._store.read(lambda connection: update_mark.find(connection, name, self._now())))

    @asynccontextmanager
    async def _marking(self, name: str) -> AsyncIterator[None]:
        """While it lasts, the others know of it."""
        who, marked = uuid4().hex, asyncio.Event()
        marking = asyncio.create_task(self._mark(name, who, marked), name=f"mark the update of {name}")
        try:
            yield
        finally:
            marking.cancel()
            await asyncio.gather(marking, return_exceptions=True)
            if marked.is_set():
                await self._unmark(name, who)

    async def _mark(self, name: str, who: str, marked: asyncio.Event) -> None:
        await asyncio.sleep(AT_ONCE.total_seconds())
        while True:
            marked.set()  # before, since a write that is cancelled may be carried out all the same
            try:
                await update_mark.put(self._store, name, who, self._now())
            except StoreError as error:
                log.warning("others do not know that %s is being updated: %s", name, error)
            await asyncio.sleep(update_mark.LEASE.total_seconds() / 3)

    async def _unmark(self, name: str, who: str) -> None:
        try:
            await update_mark.remove(self._store, name, who)
        except StoreError as error:
            log.warning("that %s is being updated is believed for %s more: %s", name, update_mark.LEASE, error)
