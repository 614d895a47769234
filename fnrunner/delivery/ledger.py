"""Write what happened so that it is on disk before anybody relies on it, many records in each commit.

A record waits for no timer. While one commit runs the next batch gathers; when none runs, the record is committed at
once. One alone costs one commit, thousands at a time share a few.

Records that somebody waits for (accepted, attempted) are never dropped: while the store cannot take them they are tried
again until it can, and the waiting deliveries stay unsettled, which bounds them by prefetch. Notes (logs, attempts of
synchronous requests) are best effort: at most ``max_notes`` are kept, the rest is dropped and counted. Once half of that
room is taken, who has a quarter of it gets no more: a function that floods its log leaves the others room. A transaction
takes a megabyte of notes at most: whoever waits for it does not wait for somebody else's flood.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection

from fnrunner.delivery.record import AcceptedEvent, AttemptRecord, LogChunk, Record, insert_all
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreClosed, StoreError, StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_FIRST = timedelta(milliseconds=100)
RETRY_MOST = timedelta(seconds=5)
CLOSE_PATIENCE = timedelta(seconds=10)
MAX_WAITING = 100_000
MAX_NOTES = 20_000
MAX_NOTE_BYTES = 32 * 1024 * 1024
BATCH_NOTE_BYTES = 1024 * 1024

_Waiter = tuple[Record, "asyncio.Future[None]"]


@dataclass(frozen=True, slots=True)
class LedgerHealth:
    """``writing`` is False while the store refuses; ``reason`` says why. Counts since the start; ``waiting`` and
    ``notes`` are what is not written yet."""

    writing: bool
    reason: str
    waiting: int
    notes: int
    written: int
    commits: int
    dropped_notes: int

    @property
    def problem(self) -> str:
        """What is wrong, in words for a person; empty when all is well."""
        return "" if self.writing else self.reason or "the writer has ended"


class Ledger:
    """Group commit for the tables ``accepted``, ``attempt`` and ``log``. Use it from one event loop.

    ``max_delay`` is how long notes may wait for company when nobody waits for a commit. ``max_batch`` bounds the
    records, and again the notes, of one transaction.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_delay: timedelta = timedelta(milliseconds=5),
        max_batch: int = 500,
        max_notes: int = MAX_NOTES,
    ) -> None:
        self._store = store
        self._max_delay = max_delay
        self._max_batch = max_batch
        self._max_notes = max_notes
        self._waiting: deque[_Waiter] = deque()
        self._notes: deque[Record] = deque()
        self._note_bytes = 0
        self._notes_of: Counter[str] = Counter()
        self._note_bytes_of: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._closing = False
        self._writer: asyncio.Task[None] | None = None
        self._reason = ""
        self._written = self._commits = self._dropped = 0

    @property
    def health(self) -> LedgerHealth:
        return LedgerHealth(
            writing=not self._reason and self._writer is not None and not self._writer.done(),
            reason=self._reason,
            waiting=len(self._waiting),
            notes=len(self._notes),
            written=self._written,
            commits=self._commits,
            dropped_notes=self._dropped,
        )

    async def start(self) -> None:
        """Begin to write. A second start is harmless."""
        if self._writer is None and not self._closing:
            self._writer = asyncio.create_task(self._write_for_ever(), name="ledger")

    async def close(self, patience: timedelta = CLOSE_PATIENCE) -> None:
        """Write what is there, for at most ``patience``; then whoever still waits gets StoreUnavailable. Idempotent."""
        self._closing = True
        self._wake.set()
        self._urgent.set()
        if (writer := self._writer) is not None:
            await asyncio.wait([writer], timeout=patience.total_seconds())
            writer.cancel()
            await asyncio.wait([writer])
            self._writer = None
        self._fail_all()

    async def accepted(self, event: AcceptedEvent) -> None:
        """Return once the event is in the ledger. Raises StoreUnavailable when far too many wait, or at close."""
        await self._committed(event)

    async def attempted(self, attempt: AttemptRecord) -> None:
        """Return once the attempt is in the ledger: only then acknowledge its delivery. Raises as ``accepted``."""
        await self._committed(attempt)

    def note_log(self, chunk: LogChunk) -> None:
        """Write it soon, or drop and count it when too much waits already."""
        self._note(chunk)

    def note_attempt(self, attempt: AttemptRecord) -> None:
        """As ``note_log``, for attempts that nothing depends on."""
        self._note(attempt)

    def _committed(self, record: Record) -> asyncio.Future[None]:
        if self._closing:
            raise StoreClosed
        if len(self._waiting) >= MAX_WAITING:
            raise StoreUnavailable(f"{MAX_WAITING} records wait for the store: {self._reason or 'it is too slow'}")
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((record, done))
        self._wake.set()
        self._urgent.set()
        return done

    def _note(self, record: Record) -> None:
        if self._closing or not self._has_room(record.function):
            self._dropped += 1
            return
        self._notes.append(record)
        self._weigh((record,), 1)
        self._wake.set()

    def _has_room(self, function: str) -> bool:
        return _fits(len(self._notes), self._notes_of[function], self._max_notes) and _fits(
            self._note_bytes, self._note_bytes_of[function], MAX_NOTE_BYTES
        )

    def _weigh(self, notes: Collection[Record], sign: int) -> None:
        """Count notes that have come (1) or gone (-1)."""
        for note in notes:
            self._note_bytes += sign * note.weight
            self._note_bytes_of[note.function] += sign * note.weight
            self._notes_of[note.function] += sign
            if not self._notes_of[note.function]:
                del self._notes_of[note.function], self._note_bytes_of[note.function]

    async def _write_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            if not self._waiting and self._notes and not self._closing:
                await _until_set(self._urgent, self._max_delay)
            await self._write_batch()
            if not self._waiting and not self._notes:
                if self._closing:
                    return
                self._wake.clear()
                self._urgent.clear()

    async def _write_batch(self) -> None:
        waiters = _take(self._waiting, self._max_batch)
        notes = _take(self._notes, _fitting(self._notes, self._max_batch))
        self._weigh(notes, -1)
        try:
            await self._write([*(record for record, _ in waiters), *notes])
        except asyncio.CancelledError:
            self._put_back(waiters, notes)
            raise
        except Exception as error:
            # One record that the store refuses must not take the others of its batch along.
            await self._write_singly(waiters, notes, error)
        else:
            for _, done in waiters:
                if not done.done():
                    done.set_result(None)

    async def _write_singly(self, waiters: Sequence[_Waiter], notes: Sequence[Record], error: Exception) -> None:
        log.warning("a batch of %d records was refused; writing each alone", len(waiters) + len(notes), exc_info=error)
        left, notes_left = deque(waiters), deque(notes)
        try:
            while left:
                record, done = left[0]
                refused = await self._written_alone(record)
                left.popleft()
                if done.done():
                    continue
                if refused is None:
                    done.set_result(None)
                else:
                    done.set_exception(refused)
            while notes_left:
                if (refused := await self._written_alone(notes_left[0])) is not None:
                    self._dropped += 1
                    log.error("a note for the ledger was refused and dropped", exc_info=refused)
                notes_left.popleft()
        except asyncio.CancelledError:
            self._put_back(left, notes_left)
            raise

    async def _written_alone(self, record: Record) -> Exception | None:
        """None when it is written, else why the store refuses it."""
        try:
            await self._write([record])
        except Exception as refused:
            return refused
        return None

    def _put_back(self, waiters: Sequence[_Waiter], notes: Sequence[Record]) -> None:
        """For whoever writes next, or for ``close`` to tell: nobody may wait for ever."""
        self._waiting.extendleft(reversed(waiters))
        self._notes.extendleft(reversed(notes))
        self._weigh(notes, 1)

    async def _write(self, records: list[Record]) -> None:
        """Until it is committed, however long the store is away. Raises what the store raises for these records."""
        pause = RETRY_FIRST

        def work(connection: Connection) -> None:
            insert_all(connection, records)

        while True:
            try:
                await self._store.write(work)
            except (StoreUnavailable, StoreClosed) as error:
                self._complain(error)
            else:
                self._reason = ""
                self._written += len(records)
                self._commits += 1
                return
            await _pause(pause.total_seconds())
            pause = min(2 * pause, RETRY_MOST)

    def _complain(self, error: StoreError) -> None:
        if not self._reason:
            log.error("the ledger cannot write and keeps trying: %s", error)
        self._reason = str(error)

    def _fail_all(self) -> None:
        while self._waiting:
            _, done = self._waiting.popleft()
            if not done.done():
                done.set_exception(StoreUnavailable("The ledger was closed before the store took this record"))
        self._dropped += len(self._notes)
        self._weigh(self._notes, -1)
        self._notes.clear()


def _fits(taken: int, own: int, most: int) -> bool:
    """Whether who has ``own`` of what is taken may have more."""
    return taken < most and (2 * taken < most or 4 * own < most)


def _fitting(notes: Iterable[Record], most: int) -> int:
    """How many of the first notes go into one transaction: one at least."""
    size = 0
    for number, note in enumerate(islice(notes, most)):
        size += note.weight
        if number and size > BATCH_NOTE_BYTES:
            return number
    return most


def _take(queue: deque[T], most: int) -> list[T]:
    taken = list(islice(queue, most))
    if len(taken) == len(queue):
        queue.clear()
    else:
        for _ in taken:
            queue.popleft()
    return taken


async def _pause(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def _until_set(event: asyncio.Event, most: timedelta) -> None:
    try:
        async with asyncio.timeout(most.total_seconds()):
            await event.wait()
    except TimeoutError:
        return
