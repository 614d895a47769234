"""Carry the engine's decisions out: one loop, one journal thread, shared by all clients of one directory.

Group commit: while a transaction is being written, what is decided meanwhile collects; then that is the next one. What
somebody waits for starts a commit at once; what is only owed (acks) waits a moment for company.

When a commit fails, those who waited are told, what is owed is kept, and a commit that also asks for space is tried at
intervals: the first that succeeds ends the blockade.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.broker import State, Status
from broker.embedded.engine import Engine
from broker.embedded.journal import Journal
from broker.embedded.lock import DirectoryLock
from broker.embedded.permits import Counter
from broker.embedded.recovery import mark_clean, recover
from broker.embedded.values import Batch, HeldState, Read
from broker.errors import Unavailable
from broker.window import Window

if TYPE_CHECKING:
    from broker.embedded.client import EmbeddedBroker

OWED_LINGER_S = 0.003
RETRY_S = 0.25
PATIENCE_STEP = timedelta(milliseconds=500)
log = logging.getLogger(__name__)


def epoch_ms() -> int:
    """The clock of a hub."""
    return time.time_ns() // 1_000_000


class Hub:
    """Opens with its first client and closes with its last."""

    def __init__(
        self, directory: Path, delays: Sequence[timedelta], *, clock: Callable[[], int], max_pages: int | None
    ) -> None:
        self.delays = tuple(delays)
        self.clients: dict[str, EmbeddedBroker] = {}
        self.permits: dict[str, Counter] = {}
        self.windows: dict[str, Window] = {}
        self.engine = Engine(clock)
        self.directory = directory
        self._clock = clock
        self._journal = Journal(directory, max_pages=max_pages)
        self._lock = DirectoryLock(directory)
        self._gate = asyncio.Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._committing = False
        self._idle = asyncio.Event()
        self._flush_at: asyncio.Handle | None = None
        self._flush_waits = False
        self._tick_at: tuple[int, asyncio.TimerHandle] | None = None
        self._deliver_soon = False
        self._recoveries = 0
        self._patience: dict[asyncio.Future[None], float] = {}
        self._patience_timer: asyncio.TimerHandle | None = None
        self._patience_ends = 0.0
        self._answers: set[asyncio.Future[None]] = set()

    @property
    def status(self) -> Status:
        if (error := self.engine.blocked) is not None:
            return Status(State.BLOCKED, str(error), self._recoveries)
        return Status(State.CONNECTED, "", self._recoveries)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None
        return self._loop

    async def join(self, client: EmbeddedBroker) -> None:
        """Open for the first client. Raises Locked, JournalCorrupt, Unavailable."""
        async with self._gate:
            if not self.clients:
                await self._open()
            self.clients[client.node] = client

    async def leave(self, client: EmbeddedBroker) -> None:
        """Close after the last client. Idempotent."""
        async with self._gate:
            if self.clients.pop(client.node, None) is not None and not self.clients:
                await self._close()

    async def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock.acquire()
        self._thread = ThreadPoolExecutor(1, "broker-journal")
        self.engine, self.permits = Engine(self._clock), {}
        try:
            await self._loop.run_in_executor(self._thread, self._journal.open)
            found = await self._loop.run_in_executor(self._thread, recover, self._journal)
        except BaseException:
            await self._shut()
            raise
        self.engine.recover(found)
        self.wake()

    async def _close(self) -> None:
        await self.flush()
        if self.engine.is_asked or self.engine.owes:
            log.error("the journal takes no writes: what was acknowledged last will be delivered again")
        else:
            try:
                await self._run(lambda: mark_clean(self._journal))
            except Unavailable as error:
                log.warning("closing: %s", error)
        await self._shut()

    async def _shut(self) -> None:
        for handle in (self._flush_at, self._patience_timer, self._tick_at[1] if self._tick_at else None):
            if handle is not None:
                handle.cancel()
        self._flush_at = self._patience_timer = self._tick_at = None
        if self._thread is not None:
            await self._run(self._journal.close)
            self._thread.shutdown()
            self._thread = None
        self._lock.release()

    async def _run(self, work: Callable[[], object]) -> None:
        await self.loop.run_in_executor(self._thread, work)

    async def flush(self) -> None:
        """Return when nothing is left to write, or when writing fails."""
        while self._thread is not None:
            if not self._committing:
                if not (self.engine.is_asked or self.engine.owes):
                    return
                self._commit()
            self._idle.clear()
            await self._idle.wait()
            if self.engine.blocked is not None:
                return

    async def confirmed(self, future: asyncio.Future[None], timeout: timedelta) -> None:
        """Wait for a commit. Raises what it failed with, and Unavailable after ``timeout`` or a little later.

        One timer for all who wait: a timer for each costs as much as the rest of a publish.
        """
        until = self._patience[future] = self.loop.time() + timeout.total_seconds()
        if self._patience_timer is None or until < self._patience_ends:
            self._watch(min(timeout, PATIENCE_STEP))
        try:
            await future
        finally:
            del self._patience[future]

    def _watch(self, wait: timedelta) -> None:
        if self._patience_timer is not None:
            self._patience_timer.cancel()
        self._patience_ends = self.loop.time() + wait.total_seconds()
        self._patience_timer = self.loop.call_later(wait.total_seconds(), self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience_timer = None
        now = self.loop.time()
        for future, until in self._patience.items():
            if until <= now and not future.done():
                future.set_exception(
                    Unavailable(
                        "the journal has not confirmed in time. "
                        "Publish again with the same message id: it may have been accepted."
                    )
                )
        if self._patience:
            self._watch(PATIENCE_STEP)

    # --- after every call of the engine

    def wake(self) -> None:
        """Do what the engine has left to do: hand over, read, write, set the timer."""
        if self._thread is None:
            return
        engine = self.engine
        if engine.has_deliveries and not self._deliver_soon:
            self._deliver_soon = True
            self.loop.call_soon(self._deliver)
        for read in engine.take_reads():
            self._read(read)
        if not self._committing and engine.blocked is None:
            if engine.is_asked:
                self._commit_soon(0)
            elif engine.owes:
                self._commit_soon(OWED_LINGER_S)
        self._set_timer()

    def _deliver(self) -> None:
        self._deliver_soon = False
        for held in self.engine.take_deliveries():
            if held.consumer is not None and held.state is HeldState.OUT:
                held.consumer.deliver(held)

    def _set_timer(self) -> None:
        due = self.engine.next_wake
        if due is None or (self._tick_at is not None and self._tick_at[0] <= due):
            return
        if self._tick_at is not None:
            self._tick_at[1].cancel()
        wait_s = max(0, due - self._clock()) / 1000
        self._tick_at = (due, self.loop.call_later(wait_s, self._tick))

    def _tick(self) -> None:
        self._tick_at = None
        self.engine.tick()
        self.wake()

    # --- writing

    def _commit_soon(self, wait_s: float) -> None:
        if self._flush_at is not None:
            if wait_s or not self._flush_waits:
                return
            self._flush_at.cancel()
        self._flush_waits = wait_s > 0
        self._flush_at = self.loop.call_later(wait_s, self._commit) if wait_s else self.loop.call_soon(self._commit)

    def _commit(self) -> None:
        if self._flush_at is not None:
            self._flush_at.cancel()
            self._flush_at = None
        if self._committing or self._thread is None:
            return
        self._committing = True
        asked, owed = self.engine.take_batches()
        probe = self.engine.blocked is not None
        journal = self._journal

        def write() -> Unavailable | None:
            # what is owed mostly deletes, and may use the reserve; while blocked nothing is asked
            if asked and (shortage := journal.shortage()) is not None:
                journal.commit(owed)
                return shortage
            journal.commit(owed, asked)
            return journal.probe() if probe else None

        self._submit(write, lambda still, error: self._written(asked, owed, still, error))

    def _written(self, asked: Batch, owed: Batch, still: Unavailable | None, error: Exception | None) -> None:
        self._committing = False
        blocked = self.engine.blocked
        if error is None and still is None:
            self.engine.committed(asked, owed)
            if blocked is not None:
                self._recoveries += 1
                log.info("the journal can be written again")
        else:
            reason = still if error is None else self._journal.translated(error)
            assert reason is not None
            if blocked is None:
                log.error("the journal takes no messages: %s", reason)
            if error is None:
                self.engine.committed(Batch(), owed, still)
                owed = Batch()
            self.engine.failed(asked, owed, reason)
            self._commit_soon(RETRY_S)
        self._idle.set()
        self.wake()

    def _submit(self, work: Callable[[], Any], done: Callable[[Any, Exception | None], None]) -> None:
        """Run on the journal's thread; ``done`` runs on the loop, in the order of submission."""
        assert self._thread is not None
        loop = self.loop

        def finished(future: Future[Any]) -> None:
            error = future.exception()
            assert error is None or isinstance(error, Exception)
            loop.call_soon_threadsafe(done, None if error else future.result(), error)

        self._thread.submit(work).add_done_callback(finished)

    # --- reading

    def _read(self, read: Read) -> None:
        self._submit(lambda: read.run(self._journal), lambda answer, error: self._answered(read, answer, error))

    def _answered(self, read: Read, answer: object, error: Exception | None) -> None:
        if self._thread is None:
            return
        if error is not None:
            log.error("reading the journal failed: %s", error)
            self.loop.call_later(RETRY_S, self._read_again, read)
            return
        self.engine.answered(read, answer)
        for waiter in self._answers:
            if not waiter.done():
                waiter.set_result(None)
        self.wake()

    def _read_again(self, read: Read) -> None:
        if self._thread is not None:
            self._read(read)

    def next_answer(self) -> Awaitable[None]:
        """Done when the journal has answered some question."""
        waiter: asyncio.Future[None] = self.loop.create_future()
        self._answers.add(waiter)
        waiter.add_done_callback(self._answers.discard)
        return waiter
