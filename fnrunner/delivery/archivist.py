"""File dead letters: consume each function's dead-letter queue and the orphans into the store, then acknowledge.

Any number of archivists may run on the same queues. While the store is away nothing is acknowledged or given back:
deliveries stay with this consumer, at most ``prefetch`` a queue, and the rest waits on the broker. A letter that the
store refuses is given back after a pause, and comes again to whichever archivist has room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, select

from broker import names
from broker.broker import Broker, Delivery, Subscription
from broker.errors import BrokerError
from fnrunner.delivery.letter import (
    UNDECODABLE,
    FiledLetter,
    foreign_id,
    opened,
    original_payload,
    read_dead_message,
    renamed,
)
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreClosed, StoreUnavailable
from fnrunner.store.schema import dead_letter

log = logging.getLogger(__name__)

RETRY_FIRST = timedelta(milliseconds=100)
RETRY_MOST = timedelta(seconds=5)
MAX_BATCH = 100
STUCK_PAUSE = timedelta(seconds=30)
"""How long a refused letter is kept before it is given back: at once, it would come again at once."""


@dataclass(frozen=True, slots=True)
class ArchivistHealth:
    """``filing`` is False while the store refuses; ``reason`` says why. ``waiting`` are delivered and not filed yet,
    ``stuck`` are refused and wait to be given back."""

    filing: bool
    reason: str
    waiting: int
    filed: int
    stuck: int

    @property
    def problem(self) -> str:
        """What is wrong, in words for a person; empty when all is well."""
        if not self.filing:
            return f"dead letters are not filed: {self.reason or 'the archivist has ended'}"
        if self.stuck:
            return f"{self.stuck} dead letters cannot be filed and are tried again: see the log"
        return ""


class Archivist:
    """``clock`` gives epoch milliseconds. ``prefetch`` is how many letters of one queue are held at once,
    ``stuck_pause`` how long a refused one is kept before it is given back."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        *,
        clock: Callable[[], int],
        prefetch: int = MAX_BATCH,
        stuck_pause: timedelta = STUCK_PAUSE,
    ) -> None:
        self._store = store
        self._broker = broker
        self._clock = clock
        self._prefetch = prefetch
        self._stuck_pause = stuck_pause
        self._subscriptions: dict[str, Subscription] = {}
        self._changing = asyncio.Lock()
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()
        self._filer: asyncio.Task[None] | None = None
        self._returning: set[asyncio.Task[None]] = set()
        self._reason = ""
        self._filed = 0

    @property
    def health(self) -> ArchivistHealth:
        return ArchivistHealth(
            filing=not self._reason and self._filer is not None and not self._filer.done(),
            reason=self._reason,
            waiting=self._arrived.qsize(),
            filed=self._filed,
            stuck=len(self._returning),
        )

    async def start(self) -> None:
        """File orphans from now on, and the letters of functions that are watched. A second start is harmless."""
        if self._filer is None:
            self._filer = asyncio.create_task(self._file_for_ever(), name="archivist")
            await self._subscribe(names.ORPHANS)

    async def close(self) -> None:
        """Take no more; what is not filed stays on the broker. Idempotent."""
        async with self._changing:
            for subscription in self._subscriptions.values():
                await subscription.cancel()
            self._subscriptions.clear()
        filer, self._filer = self._filer, None
        if tasks := [*self._returning, *([filer] if filer else [])]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def watch(self, function: str) -> None:
        """File this function's dead letters. Idempotent. Raises QueueNotFound, Unavailable, Closed."""
        await self._subscribe(names.dead(function))

    async def forget(self, function: str) -> None:
        """Stop, before the function's queues are deleted. What was delivered is still filed. Idempotent."""
        async with self._changing:
            if (subscription := self._subscriptions.pop(names.dead(function), None)) is not None:
                await subscription.cancel()

    async def _subscribe(self, queue: str) -> None:
        async with self._changing:
            if queue not in self._subscriptions:
                self._subscriptions[queue] = await self._broker.subscribe(
                    queue, self._arrived.put_nowait, prefetch=self._prefetch
                )

    async def _file_for_ever(self) -> None:
        while True:
            batch = [await self._arrived.get()]
            while len(batch) < MAX_BATCH and not self._arrived.empty():
                batch.append(self._arrived.get_nowait())
            try:
                await self._file(batch)
            except Exception as error:
                # One letter that the store refuses must not hold the others of its batch back.
                log.warning("a batch of %d dead letters was refused; filing each alone", len(batch), exc_info=error)
                await self._file_singly(batch)

    async def _file(self, batch: Sequence[Delivery]) -> None:
        now_ms = self._clock()
        letters = [read_dead_message(d.message, d.queue, now_ms, d.routing_key) for d in batch]
        await self._patiently(letters)
        # Filed before acknowledged: a crash between the two delivers again, and filing again changes nothing.
        for delivery in batch:
            await _acknowledge(delivery)
        self._filed += len(batch)

    async def _file_singly(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            try:
                await self._file([delivery])
            except Exception:
                log.exception("a dead letter on %s cannot be filed; it stays on the broker", delivery.queue)
                task = asyncio.create_task(self._give_back(delivery), name="archivist: stuck letter")
                self._returning.add(task)
                task.add_done_callback(self._returning.discard)

    async def _give_back(self, delivery: Delivery) -> None:
        await asyncio.sleep(self._stuck_pause.total_seconds())
        try:
            await delivery.requeue()
        except BrokerError as error:
            log.info("a dead letter that cannot be filed comes again: %s", error)

    async def _patiently(self, letters: Sequence[FiledLetter]) -> None:
        """Until they are filed, however long the store is away. Raises what the store raises for these letters."""
        pause = RETRY_FIRST
        while True:
            try:
                await self._store.write(lambda connection: file_letters(self._store, connection, letters))
            except (StoreUnavailable, StoreClosed) as error:
                if not self._reason:
                    log.error("dead letters cannot be filed and wait on the broker: %s", error)
                self._reason = str(error)
            else:
                self._reason = ""
                return
            await asyncio.sleep(pause.total_seconds())
            pause = min(2 * pause, RETRY_MOST)


def file_letters(store: Store, connection: Connection, letters: Sequence[FiledLetter]) -> None:
    """Insert each letter that is not there; two different foreign messages under one id both get a row."""
    for letter in letters:
        if _insert(store, connection, letter) or letter.reason != UNDECODABLE:
            continue
        stored = connection.execute(
            select(dead_letter.c.reason, dead_letter.c.envelope).where(
                dead_letter.c.event_id == letter.event_id,
                dead_letter.c.redrives == letter.redrives,
                dead_letter.c.function == letter.function,
            )
        ).one()
        body = _body_of(letter.envelope)
        if stored.reason != UNDECODABLE or _body_of(stored.envelope) != body:
            _insert(store, connection, renamed(letter, foreign_id(body, letter.function)))


def _body_of(stored: bytes) -> bytes:
    """The foreign message in a row, as it was before anybody edited it."""
    return original_payload(opened("", "", stored, 0))


def _insert(store: Store, connection: Connection, letter: FiledLetter) -> bool:
    """False when its key is taken."""
    row: dict[str, Any] = {name: getattr(letter, name) for name in FiledLetter.__slots__}
    return connection.execute(store.insert_or_ignore(dead_letter).values(**row, state="held")).rowcount == 1


async def _acknowledge(delivery: Delivery) -> None:
    try:
        await delivery.ack()
    except BrokerError as error:
        log.info("a filed dead letter will be delivered again and filed once: %s", error)
