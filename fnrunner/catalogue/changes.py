"""Hear of changes that other processes make: by broadcast within milliseconds, by looking within seconds.

A notice carries only the counter of the change. Whoever hears it reads the store; a notice that was lost, repeated or
late does no harm. ::

    this process: commit ─► on_commit ─► broadcast ─► the others: notice newer than their snapshot? ─► refresh
                                                      the others: every 5 s, is the counter newer?  ─► refresh
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import msgpack

from broker.broker import Broker, Subscription
from broker.errors import BrokerError
from broker.message import Message
from fnrunner.catalogue.catalogue import Catalogue
from fnrunner.store.errors import StoreError

log = logging.getLogger(__name__)

KIND = "catalogue-changed"
"""The message's ``type``: other control messages share the broadcast."""

EVERY = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class ChangeNotice:
    """``change`` is the catalogue's counter after the change.

    >>> ChangeNotice.decode(ChangeNotice(7).encode())
    ChangeNotice(change=7)
    """

    change: int

    def encode(self) -> Message:
        return Message(
            body=msgpack.packb({"change": self.change}), type=KIND, content_type="application/msgpack", persistent=False
        )

    @classmethod
    def decode(cls, message: Message) -> ChangeNotice | None:
        """None for every other message, and for one that is malformed."""
        if message.type != KIND:
            return None
        try:
            body = msgpack.unpackb(message.body)
        except (ValueError, msgpack.exceptions.UnpackException):
            return None
        change = body.get("change") if isinstance(body, dict) else None
        return cls(change) if type(change) is int else None


class CatalogueWatcher:
    """Keeps the catalogue's snapshot current from ``start`` to ``close`` and tells others of this process's changes."""

    def __init__(self, catalogue: Catalogue, broker: Broker, every: timedelta = EVERY) -> None:
        self._catalogue = catalogue
        self._broker = broker
        self._every = every
        self._due = asyncio.Event()
        self._untold = 0
        self._tell = asyncio.Event()
        self._problem = ""
        self._subscription: Subscription | None = None
        self._forget: Callable[[], None] = _nothing
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    @property
    def problem(self) -> str:
        """Why the snapshot may be out of date, for people; empty while all is well."""
        return self._problem

    async def start(self) -> None:
        """Listens, then reads: no change can fall between. Raises StoreUnavailable, and BrokerError of ``listen``."""
        self._subscription = await self._broker.listen(self._hear)
        await self._catalogue.refresh()
        self._forget = self._catalogue.on_commit(self._committed)
        self._tasks = (asyncio.create_task(self._follow()), asyncio.create_task(self._announce()))

    async def close(self) -> None:
        """Idempotent."""
        self._forget()
        self._forget = _nothing
        tasks, self._tasks = self._tasks, ()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if (subscription := self._subscription) is not None:
            self._subscription = None
            await subscription.cancel()

    def _hear(self, message: Message) -> None:
        notice = ChangeNotice.decode(message)
        if notice is not None and notice.change > self._catalogue.snapshot.change:
            self._due.set()

    def _committed(self, change: int) -> None:
        self._untold = max(self._untold, change)
        self._tell.set()

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._every.total_seconds()):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            try:
                await self._catalogue.refresh()
                self._problem = ""
            except StoreError as error:
                self._problem = f"the catalogue cannot be read: {error}"
                log.warning("%s", self._problem)
            except Exception:
                self._problem = "the catalogue cannot be read; the log says why"
                log.exception("the catalogue could not be read")

    async def _announce(self) -> None:
        # One broadcast may stand for several changes: only the newest counter matters.
        while True:
            await self._tell.wait()
            self._tell.clear()
            try:
                await self._broker.broadcast(ChangeNotice(self._untold).encode())
            except BrokerError as error:
                log.info("change %d was not broadcast; the others look within seconds: %s", self._untold, error)
            except Exception:
                log.exception("change %d was not broadcast; the others look within seconds", self._untold)


def _nothing() -> None:
    """Before the start and after the close there is nothing to forget."""
