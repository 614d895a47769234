"""From a key that wants a look to an announcement that is remembered: look, decide, offer, record.

The order is what makes it safe. The checkpoint is written only after every notification's event was accepted: a crash
before that announces again, with the same ids. One key is dealt with once at a time, so its events stay in order. What
cannot be done now goes back to wait; what there is no room to keep is found again by comparing the directory.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import TaskGroup
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from time import monotonic, time_ns
from typing import Any, TypeVar

from sources import object_event
from sources.errors import NotAccepted, Refused, RootLost
from sources.notification_filter import Notification, wanting
from sources.object_event import Happening, Place
from sources.pending import Backoff, Note, Pending
from sources.probe import Found, Missing, Observation, Openness, Probe, Unfit, Unreadable
from sources.recorder import Recorder
from sources.snapshot import Change, Kind, Objects, change_of
from sources.source import Services, SourceEvent

log = logging.getLogger(__name__)
T = TypeVar("T")
InThread = Callable[..., Awaitable[Any]]
_REMEMBERED_COMPLAINTS = 10_000
_LOOKS = 64
"""How many files a thread looks at in one go."""
_TAKEN_PER_SLOT = 4
"""How many keys are at work for each announcement in flight: the others are looked at, hashed or recorded."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The times and sizes of a file watcher.

    ``coalesce``: writes of a file within this time are one announcement. ``settle``: how long size and time must not
    change where nobody can say whether a writer is at work. ``patience``: the same, when a writer's close should have
    been heard of and was not. ``scan_every``: between comparisons where inotify does not tell; ``compare_every``: where
    it does, for safety. ``in_flight`` announcements run at once; ``pending`` keys are kept in memory. ``hash_limit_bytes``:
    larger files get an eTag from their ends. ``lag``: from when on being behind is worth saying. ``closing``: how long what
    was taken may take to finish.
    """

    coalesce: timedelta = timedelta(milliseconds=50)
    settle: timedelta = timedelta(seconds=1)
    patience: timedelta = timedelta(seconds=30)
    scan_every: timedelta = timedelta(seconds=2)
    compare_every: timedelta = timedelta(minutes=5)
    retry_first: timedelta = timedelta(milliseconds=250)
    retry_longest: timedelta = timedelta(seconds=30)
    accept_timeout: timedelta = timedelta(seconds=60)
    lag: timedelta = timedelta(seconds=10)
    closing: timedelta = timedelta(seconds=10)
    in_flight: int = 64
    pending: int = 10_000
    hash_limit_bytes: int = 256 << 20


class Announcer:
    """Works on ``pending`` until it is told to stop. ``notifications`` may be replaced at any time."""

    def __init__(
        self,
        place: Place,
        services: Services,
        pace: Pace,
        *,
        probe: Probe,
        recorder: Recorder,
        seen: Objects,
        notifications: tuple[Notification, ...],
        counters: Counter[str],
        in_thread: InThread,
        compare_again: Callable[[float], None],
    ) -> None:
        self.notifications = notifications
        self.pending = Pending(pace.pending)
        self.gates = Backoff(pace.retry_first.total_seconds(), pace.retry_longest.total_seconds())
        self.unreadable: OrderedDict[str, str] = OrderedDict()
        self._complained: OrderedDict[str, str] = OrderedDict()
        self._place = place
        self._services = services
        self._pace = pace
        self._probe = probe
        self._recorder = recorder
        self._seen = seen
        self._counters = counters
        self._in_thread = in_thread
        self._compare_again = compare_again
        self._slots = asyncio.Semaphore(pace.in_flight)
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._stopping = False
        self._sequence = 0

    def mark(self, key: str, after: timedelta, *, written: bool = False, appeared: bool = False) -> None:
        """Look at the key soon; when there is no room for it, compare the directory later."""
        now = monotonic()
        due = now + after.total_seconds()
        if self.pending.mark(key, due=due, now=now, written=written, appeared=appeared):
            self._wake.set()
        else:
            self._compare_again(now + self._pace.retry_longest.total_seconds())

    async def room(self) -> None:
        """Wait until another key fits."""
        while self.pending.full:
            self._room.clear()
            await self._room.wait()

    def gated(self, key: str) -> float | None:
        """When those who want the key may be asked again; None: somebody may be asked now, or nobody wants it."""
        now = monotonic()
        kind = Kind.CREATED if key not in self._seen else None
        wanted = wanting(self.notifications, kind, key) if kind else list(self.notifications)
        untils = [self.gates.until(n.function, now) for n in wanted]
        return max(u for u in untils if u is not None) if untils and all(u is not None for u in untils) else None

    def stop(self) -> None:
        """Take no more keys; :meth:`run` returns when those taken are done."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Raises an ExceptionGroup with RootLost when the directory is not the one it was."""
        async with TaskGroup() as tasks:
            while batch := await self._due():
                keys = [key for key, _ in batch]
                observations = await self._in_thread(self._probe.observe_all, keys, self._seen)
                for (key, note), observation in zip(batch, observations, strict=True):
                    tasks.create_task(self._settle(key, note, observation))

    async def _due(self) -> list[tuple[str, Note]]:
        """What is to be looked at now, waiting for it; nothing once stopped."""
        while not self._stopping:
            self._wake.clear()
            now = monotonic()
            room = self._pace.in_flight * _TAKEN_PER_SLOT - self.pending.taken
            if room > 0 and (batch := self.pending.take(now, min(room, _LOOKS))):
                return batch
            due = self.pending.next_due() if room > 0 else None
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - now)):
                    await self._wake.wait()
            except TimeoutError:
                continue
        return []

    async def _settle(self, key: str, note: Note, observation: Observation) -> None:
        """The loop top for one key: whatever goes wrong, the key is finished or waits for another try."""
        try:
            again = await self._announce(key, note, observation)
        except RootLost:
            raise
        except Exception:
            log.exception("bucket %s: %r could not be announced; it will be tried again", self._place.bucket, key)
            again = self._failed(note)
        if again is None:
            self.pending.finish(key)
        elif self.pending.crowded and (again.attempts or again.sighted is None):
            self.pending.finish(key)  # only what is about to settle is worth its place then
            self._compare_again(again.due)
        else:
            self.pending.put_back(key, again)
        self._wake.set()
        self._room.set()

    async def _announce(self, key: str, note: Note, observation: Observation) -> Note | None:
        """What to wait with, or None when the key is done with."""
        match observation:
            case Unreadable(reason):
                self._complain(key, f"cannot be read: {reason}. It is tried again", "unreadable")
                self.unreadable[key] = reason
                if len(self.unreadable) > _REMEMBERED_COMPLAINTS:
                    self.unreadable.popitem(last=False)
                return self._failed(note)
            case Unfit(reason):
                if reason:
                    self._complain(key, f"is no object: {reason}", "ignored")
                now, occasion = None, ""
            case Missing():
                now, occasion = None, ""
            case Found():
                if (found := await self._complete(key, note, observation)) is None or isinstance(found, Note):
                    return found
                note = replace(note, hashed=(found.identity, found.etag))
                now, occasion = found.identity, str(found.ctime_ns)
        self.unreadable.pop(key, None)
        before = self._seen.get(key)
        if (kind := change_of(before, now)) is None or (identity := now or before) is None:
            return None
        etag = note.hashed[1] if now is not None and note.hashed else ""
        happening = Happening(kind, key, identity, etag, self._services.clock(), self._next_sequence(), occasion)
        return await self._deliver(note, happening)

    async def _complete(self, key: str, note: Note, found: Found) -> Found | Note | None:
        """The file with its tag when it is complete, a note when it is not yet, None when there is no news."""
        if self._seen.get(key) == found.identity:
            return None
        now = monotonic()
        if note.hashed and note.hashed[0] != found.identity:
            note = replace(note, hashed=None, accepted=frozenset(), attempts=0)
        if found.openness is Openness.OPEN:
            return replace(note, due=now + self._pace.settle.total_seconds())  # the writer's close makes it sooner
        if found.openness is Openness.UNKNOWN and not note.written:
            if note.sighted is None or note.sighted[0] != found.identity:
                note = replace(note, sighted=(found.identity, now))
            wait = self._pace.patience if note.appeared else self._pace.settle
            if note.sighted and (until := note.sighted[1] + wait.total_seconds()) > now:
                return replace(note, due=until)
        if found.etag:
            return found
        if note.hashed:
            return replace(found, etag=note.hashed[1])
        etag = await self._in_thread(self._probe.hash, key, found.identity)
        return replace(found, etag=etag) if etag else replace(note, due=now + self._pace.settle.total_seconds())

    async def _deliver(self, note: Note, happening: Happening) -> Note | None:
        wanted = wanting(self.notifications, happening.kind, happening.key)
        if not wanted:
            self._counters["skipped"] += 1
        events = [object_event.event(self._place, happening, n) for n in wanted]
        due = [event for event in events if event.event_id not in note.accepted]
        taken = await asyncio.gather(*(self._offer(event) for event in due))
        accepted = note.accepted | {event.event_id for event, ok in zip(due, taken, strict=True) if ok}
        if not all(taken):
            self._counters["retried"] += 1
            later = self._failed(note)
            waits = [u for e in due if (u := self.gates.until(e.function, monotonic())) is not None]
            return replace(later, due=max(waits, default=later.due), accepted=accepted)
        identity = happening.identity if happening.kind is Kind.CREATED else None
        await self._recorder.record(Change(happening.key, identity, happening.etag))
        return None

    async def _offer(self, event: SourceEvent) -> bool:
        """True when there is no more to do for it: accepted, or refused for good."""
        now = monotonic()
        if self.gates.until(event.function, now) is not None:
            return False
        try:
            async with self._slots, asyncio.timeout(self._pace.accept_timeout.total_seconds()):
                await self._services.acceptor.accept(event)
        except Refused as error:
            self._counters["refused"] += 1
            log.error("bucket %s: event %s refused: %s", self._place.bucket, event.event_id, error)
        except (NotAccepted, TimeoutError) as error:
            return self._not_accepted(event, error)
        except Exception as error:
            log.exception("bucket %s: the acceptor failed on event %s", self._place.bucket, event.event_id)
            return self._not_accepted(event, error)
        else:
            self._counters["announced"] += 1
        self.gates.succeeded(event.function)
        return True

    def _not_accepted(self, event: SourceEvent, error: Exception) -> bool:
        now = monotonic()
        if self.gates.failed(event.function, now):
            wait = (self.gates.until(event.function, now) or now) - now
            reason = error or type(error).__name__
            name = event.function
            log.warning("bucket %s: %s takes no events: %s; next try in %.1f s", self._place.bucket, name, reason, wait)
        return False

    def _failed(self, note: Note) -> Note:
        attempts = note.attempts + 1
        return replace(note, attempts=attempts, due=monotonic() + self.gates.delay(attempts))

    def _complain(self, key: str, reason: str, counter: str) -> None:
        """Count and log once, not at every look."""
        if self._complained.get(key) == reason:
            return
        self._complained[key] = reason
        if len(self._complained) > _REMEMBERED_COMPLAINTS:
            self._complained.popitem(last=False)
        self._counters[counter] += 1
        log.warning("bucket %s: %r %s", self._place.bucket, key, reason)

    def _next_sequence(self) -> int:
        self._sequence = max(self._sequence + 1, time_ns())
        return self._sequence
