"""The sources: one watcher for each bucket, following the catalogue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from fnrunner.api.services import Problem
from fnrunner.app.parts import Parts, now
from fnrunner.catalogue.follower import Follower
from fnrunner.invoke import errors
from fnrunner.invoke.front import Front
from fnrunner.model.arn import FunctionRef
from fnrunner.model.function import Bucket, Notification
from fnrunner.store.schema import checkpoint, seen_object
from sources import registry
from sources.checkpoints import StoredCheckpoints
from sources.errors import NotAccepted, Refused
from sources.lease import StoredLease
from sources.notification_filter import Notification as Wish
from sources.source import Adapter, Health, Services, Source, SourceEvent

log = logging.getLogger(__name__)


class FrontAcceptor:
    """Hands what a source found to the front, as anybody else's event."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def accept(self, event: SourceEvent) -> str:
        try:
            return await self._front.accept(
                FunctionRef(event.function, event.qualifier),
                event.payload,
                event_id=event.event_id,
                source=event.source,
                trigger=event.trigger,
            )
        except errors.ServiceUnavailable as error:
            raise NotAccepted(str(error)) from error
        except errors.InvokeError as error:
            raise Refused(str(error)) from error


class SourcesRole:
    """Buckets come from the settings and from the catalogue; those of the settings are entered in the catalogue."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._adapter = registry.adapters(Adapter)["s3"]
        self._watchers: dict[str, Source] = {}
        self._refused: dict[str, str] = {}
        self._follower = Follower(parts.catalogue, self._follow, "the file watchers")
        self._services = Services(
            acceptor=FrontAcceptor(parts.front),
            checkpoints=StoredCheckpoints(parts.store, seen_object, checkpoint),
            lease=lambda name: StoredLease(parts.store, checkpoint, name),
            region=parts.settings.home.region,
            account=parts.settings.home.account,
            clock=now,
        )

    async def start(self) -> None:
        """Raises StoreError, BrokerError."""
        known = {bucket.name: bucket for bucket in self._parts.catalogue.snapshot.buckets}
        for name, directory in self._parts.settings.buckets.items():
            bucket = Bucket(name, directory)
            if known.get(name) != bucket:
                await self._parts.catalogue.put_bucket(bucket)
        await self._follower.start()

    async def close(self) -> None:
        """What has been taken is recorded; the rest is found again by the next start. Idempotent."""
        await self._follower.close()
        await asyncio.gather(*(watcher.close() for watcher in self._watchers.values()))

    def health(self) -> Mapping[str, Health]:
        """Of each bucket."""
        return {name: watcher.health() for name, watcher in self._watchers.items()}

    def problems(self) -> Iterable[Problem]:
        for name, reason in self._refused.items():
            yield Problem(f"bucket {name}", reason, "Correct the bucket or its notifications")
        for name, state in self.health().items():
            if not state.ok and name not in self._refused:
                yield Problem(f"bucket {name}", "; ".join(state.reasons) or state.condition.value)
        if self._follower.problem:
            yield Problem("sources", self._follower.problem)

    async def _follow(self) -> None:
        buckets = {bucket.name: bucket for bucket in self._parts.catalogue.snapshot.buckets}
        for gone in set(self._watchers) - set(buckets):
            await self._forget(gone)
        refused = {}
        for name, bucket in buckets.items():
            try:
                await self._watch(bucket)
            except Exception as error:  # whatever is wrong with one bucket, the others are watched
                refused[name] = str(error) or type(error).__name__
                if refused[name] != self._refused.get(name):
                    log.exception("bucket %s cannot be watched as it is", name)
        self._refused = refused

    async def _watch(self, bucket: Bucket) -> None:
        self._make_directory(bucket)
        notifications = self._parts.catalogue.snapshot.notifications_of(bucket.name)
        watch = self._adapter.configuration(bucket.name, bucket.directory, tuple(map(_wish, notifications)))
        if watcher := self._watchers.get(bucket.name):
            await watcher.reconfigure(watch)
        else:
            self._watchers[bucket.name] = self._adapter.make(watch, self._services)
            await self._watchers[bucket.name].start()

    async def _forget(self, name: str) -> None:
        """A bucket that was removed: if there is one of its name again, everything in it is new. Closed before that."""
        await self._watchers[name].close()
        await self._services.checkpoints.delete(name)
        del self._watchers[name]

    def _make_directory(self, bucket: Bucket) -> None:
        """A new bucket's directory. One that has been watched is never made again: its absence is an outage."""
        if bucket.name in self._watchers:
            return
        try:
            Path(bucket.directory).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning("bucket %s: %s cannot be made: %s", bucket.name, bucket.directory, error)


def _wish(notification: Notification) -> Wish:
    return Wish(
        notification.id,
        notification.function,
        notification.qualifier,
        notification.events,
        notification.prefix,
        notification.suffix,
    )
