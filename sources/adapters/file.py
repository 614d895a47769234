"""A watched directory is an S3 bucket: files that are created, overwritten, moved in or removed become ``aws:s3`` events.

What counts
    Every regular file below the directory, by its path with ``/`` as the key, once it is complete: its writer closed it,
    or, where nobody can tell, size and time did not change for a second. A renamed file is one removed and one created.
    A new modification time is a new write. What came and went between two looks is not announced.
    Names that begin with a dot are ignored, directories included: rsync, editors and browsers use them for partial files.
    Links to files inside are followed; what links, FIFOs, sockets and devices lead to otherwise is reported and ignored.

Restarts
    What has been announced is in the checkpoint. The first start announces what is there already, unless ``existing``
    says otherwise; every later one announces the differences. A bucket that nobody is notified of is not watched at all:
    its first notification counts as the first start.

When things die
    The directory goes away: that is an outage, not a removal; watching resumes when it is back. The acceptor or the store
    goes away: announcements wait. The process dies: the next one, here or on another host, takes over within seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
from asyncio import Task, TaskGroup
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import monotonic
from typing import Any, Literal

from sources.announcer import Pace
from sources.bucket_session import BucketSession
from sources.errors import CheckpointsUnavailable, Misconfigured, RootLost
from sources.notification_filter import Notification
from sources.object_event import Place
from sources.pending import Backoff
from sources.source import Adapter, Condition, Health, Services

log = logging.getLogger(__name__)
_STARTING = timedelta(seconds=10)
_ROOT_RETRY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class BucketWatch:
    """``directory`` is absolute. ``existing``: whether the first start announces or ignores what is there already."""

    bucket: str
    directory: str
    notifications: tuple[Notification, ...] = ()
    existing: Literal["announce", "ignore"] = "announce"
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        if not os.path.isabs(self.directory):
            raise Misconfigured(f"bucket {self.bucket}: {self.directory!r} is not an absolute path")
        if self.existing not in ("announce", "ignore"):
            raise Misconfigured(f"bucket {self.bucket}: existing is announce or ignore, not {self.existing!r}")
        if len({(n.id, n.function) for n in self.notifications}) != len(self.notifications):
            raise Misconfigured(f"bucket {self.bucket}: two notifications of a function have the same id")


class FileWatcher:
    """Watches one bucket. Of several watchers of a bucket, in any process, one works and the others wait."""

    def __init__(self, watch: BucketWatch, services: Services) -> None:
        self._watch = watch
        self._services = services
        self._lease = services.lease(self.name)
        self._counters: Counter[str] = Counter()
        self._condition = Condition.STARTING
        self._reason = ""
        self._session: BucketSession | None = None
        self._task: Task[None] | None = None
        self._settled = asyncio.Event()
        self._changed = asyncio.Event()
        self._closing = False

    @property
    def name(self) -> str:
        return f"s3:{self._watch.bucket}"

    async def start(self) -> None:
        """Returns when files are watched, or :meth:`health` says why they are not yet."""
        if self._task is None and not self._closing:
            self._task = asyncio.create_task(self._run(), name=self.name)
        try:
            async with asyncio.timeout(_STARTING.total_seconds()):
                await self._settled.wait()
        except TimeoutError:
            log.warning("%s takes long to start", self.name)

    async def close(self) -> None:
        """Finish what has been taken, for a bounded time, and leave the rest to the next start. Idempotent."""
        self._closing = True
        self._changed.set()
        if self._session:
            self._session.stop()
        if (task := self._task) is not None:
            _, late = await asyncio.wait([task], timeout=self._watch.pace.closing.total_seconds())
            if late:
                task.cancel()
                await asyncio.wait([task])
            self._task = None
        self._condition, self._reason = Condition.CLOSED, ""
        self._settled.set()

    async def reconfigure(self, configuration: Any) -> None:
        """Follow another BucketWatch of the same bucket. Notifications change without a pause."""
        watch: BucketWatch = configuration
        if watch.bucket != self._watch.bucket:
            raise Misconfigured(f"{self.name} cannot become bucket {watch.bucket}: close it and make another one")
        before, self._watch = self._watch, watch
        if self._session and watch.notifications and replace(before, notifications=watch.notifications) == watch:
            self._session.renotify(watch.notifications)
            return
        self._changed.set()
        if self._session:
            self._session.stop()

    def health(self) -> Health:
        counters = dict(self._counters)
        if self._condition is not Condition.WATCHING or (session := self._session) is None:
            return Health(self._condition, (self._reason,) if self._reason else (), counters)
        reasons = tuple(reason for reason in (session.withheld, *session.troubles, session.degraded) if reason)
        if session.withheld:
            return Health(Condition.OUTAGE, reasons, counters)
        if session.troubles:
            return Health(Condition.LAGGING, reasons, counters)
        return Health(Condition.DEGRADED if session.degraded else Condition.WATCHING, reasons, counters)

    def _say(self, condition: Condition, reason: str = "") -> None:
        if (condition, reason) != (self._condition, self._reason):
            log.log(
                logging.WARNING if condition is Condition.OUTAGE else logging.INFO,
                "%s: %s%s", self.name, condition.value, reason and f": {reason}",
            )  # fmt: skip
        self._condition, self._reason = condition, reason
        self._settled.set()

    async def _run(self) -> None:
        """One session after another. The loop top: whatever ends a session, the next one starts from the checkpoint."""
        backoff, failures = Backoff(0.5, 30), 0
        while not self._closing:
            self._changed.clear()
            if not self._watch.notifications:
                self._say(Condition.IDLE, "nobody is notified of this bucket, so it is not watched")
                await self._changed.wait()
                continue
            began = monotonic()
            try:
                await self._turn()
                failures = 0
            except RootLost as error:
                self._say(Condition.OUTAGE, str(error))
                await self._pause(_ROOT_RETRY.total_seconds())
            except CheckpointsUnavailable as error:
                failures = 1 if monotonic() - began > 60 else failures + 1
                self._say(Condition.OUTAGE, str(error))
                await self._pause(backoff.delay(failures))
            except Exception as error:
                failures = 1 if monotonic() - began > 60 else failures + 1
                log.exception("%s failed; it starts again", self.name)
                self._say(Condition.OUTAGE, f"it failed and starts again: {error or type(error).__name__}")
                await self._pause(backoff.delay(failures))

    async def _pause(self, seconds: float) -> None:
        """Wait, unless there is news."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _turn(self) -> None:
        """Wait for the lease, then watch until it is lost, the configuration changes, or the watcher is closed."""
        while not await self._lease.acquire():
            self._say(Condition.WAITING, "another process watches this bucket")
            await self._pause(self._lease.ttl.total_seconds() / 6)
            if self._changed.is_set():
                return
        try:
            if not self._closing:
                await self._hold()
        finally:
            await self._release()

    async def _hold(self) -> None:
        watch = self._watch
        session = self._session = BucketSession(
            Place(watch.bucket, self._services.region, self._services.account),
            watch.directory,
            self._services,
            watch.pace,
            watch.notifications,
            self._counters,
            announce_existing=watch.existing == "announce",
        )
        try:
            async with TaskGroup() as tasks:
                keeping = tasks.create_task(self._keep_lease(session))
                telling = tasks.create_task(self._tell_ready(session))
                if self._closing or self._watch != watch:
                    session.stop()
                await session.run()
                keeping.cancel()
                telling.cancel()
        except* (RootLost, CheckpointsUnavailable) as group:
            raise group.exceptions[0] from group
        finally:
            self._session = None

    async def _tell_ready(self, session: BucketSession) -> None:
        await session.ready.wait()
        self._say(Condition.WATCHING)

    async def _keep_lease(self, session: BucketSession) -> None:
        """Renew until cancelled. Without the lease no more is taken in, before anybody else can have it.

        Raises CheckpointsUnavailable, which cancels the session, when it could not be renewed for most of its time.
        """
        ttl = self._lease.ttl.total_seconds()
        renewed = monotonic()
        while True:
            await asyncio.sleep(min(ttl / 3, max(0.1, renewed + ttl * 0.7 - monotonic())))
            tried = monotonic()
            try:
                async with asyncio.timeout(max(0.1, renewed + ttl * 0.8 - tried)):
                    held = await self._lease.renew()
            except (CheckpointsUnavailable, TimeoutError) as error:
                if monotonic() - renewed > ttl * 0.7:
                    raise CheckpointsUnavailable(f"the lease of {self.name} could not be renewed: {error}") from error
                continue
            if not held:
                raise CheckpointsUnavailable(f"another process took the lease of {self.name}")
            renewed = tried

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(self._lease.ttl.total_seconds()):
                await self._lease.release()
        except (CheckpointsUnavailable, TimeoutError) as error:
            log.warning("%s: the lease was not given back; it runs out: %s", self.name, error)


ADAPTER = Adapter(name="s3", configuration=BucketWatch, make=FileWatcher, watches=True)
