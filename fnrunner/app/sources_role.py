"""The sources: watchers of buckets, pollers of event source mappings, schedules and topics, following the catalogue.

::

    catalogue ── snapshot ──► Kept buckets ──► file watchers  ──┐
                              Kept mappings ─► pollers          ├─► front ──► broker
                              Kept schedules, subscriptions     ┘
                              MappingStates ──► what the API says of each mapping

Any number of processes may have this role. Watchers share buckets by leases, pollers and schedules by claims; topics are
queues that all of them consume.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path

from fnrunner.app.acceptor import FrontAcceptor
from fnrunner.app.foreign_brokers import ForeignBrokers
from fnrunner.app.kept import Kept
from fnrunner.app.mapping_state import MappingStates
from fnrunner.app.parts import Parts, now, now_ms
from fnrunner.app.push_source import topic_watch
from fnrunner.app.source_metrics import SourceCollector
from fnrunner.catalogue.follower import Follower
from fnrunner.catalogue.queues import attributes_of
from fnrunner.catalogue.schedule import watch_of
from fnrunner.delivery.given_up import PollerLetters
from fnrunner.invoke.batch import BatchInvoker
from fnrunner.model.function import Bucket, Notification
from fnrunner.model.problem import Code, Problem
from fnrunner.model.trigger import Schedule, TopicSubscription
from fnrunner.store.errors import StoreError
from fnrunner.store.schema import checkpoint, seen_object
from sources import registry
from sources.adapters import schedule, topic
from sources.adapters.file import BucketWatch
from sources.checkpoints import StoredCheckpoints
from sources.claims import StoredClaims
from sources.errors import CheckpointsUnavailable
from sources.inbox import InboxAdapter
from sources.lease import StoredLease
from sources.mapping import EventSourceMapping
from sources.notification_filter import Notification as Wish
from sources.queue_poller import QueuePoller
from sources.source import Adapter, Health, Services, Source
from sources.stream_poller import StreamPoller

log = logging.getLogger(__name__)

TELL_EVERY = timedelta(seconds=1)
"""How often the state of mappings is looked at: a process that took one over tells what it found."""


class SourcesRole:
    """Buckets come from the settings and from the catalogue; those of the settings are entered in the catalogue."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._adapters = registry.adapters(Adapter)
        self._claims = StoredClaims(parts.store, checkpoint)
        self._foreign = ForeignBrokers(parts.broker, parts.settings.brokers, parts.name, parts.settings.connect_timeout)
        self._services = self._make_services()
        self._states = MappingStates(parts.catalogue, self._claims)
        self._buckets: Kept[Bucket] = Kept(
            "bucket",
            configuration=self._bucket_watch,
            make=self._watcher,
            gone=self._services.checkpoints.delete,
            remedy="Correct the bucket or its notifications",
        )
        self._mappings: Kept[EventSourceMapping] = Kept(
            "event source mapping",
            configuration=lambda mapping: mapping,
            make=self._poller,
            remedy="Correct the mapping",
        )
        self._schedules: Kept[Schedule] = Kept(
            "schedule",
            configuration=watch_of,
            make=lambda wanted: self._adapters["schedule"].make(watch_of(wanted), self._services),
            gone=self._schedule_gone,
            remedy="Correct the schedule",
        )
        self._topics: Kept[TopicSubscription] = Kept(
            "topic subscription",
            configuration=topic_watch,
            make=lambda wanted: self._adapters["topic"].make(topic_watch(wanted), self._services),
            gone=self._subscription_gone,
            remedy="Correct the subscription",
        )
        self._kinds: tuple[Kept[Bucket] | Kept[EventSourceMapping] | Kept[Schedule] | Kept[TopicSubscription], ...] = (
            self._buckets, self._mappings, self._schedules, self._topics
        )  # fmt: skip
        self._follower = Follower(parts.catalogue, self._follow, "the sources")
        self._telling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises StoreError, BrokerError."""
        known = {bucket.name: bucket for bucket in self._parts.catalogue.snapshot.buckets}
        for name, directory in self._parts.settings.buckets.items():
            bucket = Bucket(name, directory)
            if known.get(name) != bucket:
                await self._parts.catalogue.put_bucket(bucket)
        self._parts.metrics.registry.register(SourceCollector(self.health))
        await self._claims.start()
        await self._follower.start()
        self._telling = asyncio.create_task(self._tell_for_ever(), name="states of mappings")

    async def close(self) -> None:
        """What has been taken is recorded; the rest is found again by the next start. Idempotent."""
        await self._follower.close()
        if (task := self._telling) is not None:
            self._telling = None
            task.cancel()
            await asyncio.wait([task])
        await asyncio.gather(*(kind.close() for kind in self._kinds))
        await self._states.close()
        await self._claims.close()
        await self._foreign.close()

    def health(self) -> Mapping[str, Mapping[str, Health]]:
        """Of each source, by its kind and name."""
        return {kind.what: kind.health() for kind in self._kinds}

    def problems(self) -> Iterable[Problem]:
        for kind in self._kinds:
            yield from kind.problems()
        if self._follower.problem:
            why, remedy = f"the catalogue cannot be followed: {self._follower.problem}", "Run `fnrunner doctor`"
            yield Problem("sources", why, remedy, Code.CATALOGUE_STALE, disabling=True)

    async def _follow(self) -> None:
        snapshot = self._parts.catalogue.snapshot
        mappings = snapshot.of_type(EventSourceMapping)
        await asyncio.gather(
            self._buckets.follow({bucket.name: bucket for bucket in snapshot.buckets}),
            self._mappings.follow({uuid: mapping for uuid, mapping in mappings.items() if not mapping.deleting}),
            self._schedules.follow(snapshot.of_type(Schedule)),
            self._topics.follow(snapshot.of_type(TopicSubscription)),
        )

    async def _tell_for_ever(self) -> None:
        while True:
            try:
                await self._states.tell(self._to_be_told(), self._mappings.refused)
            except (CheckpointsUnavailable, StoreError) as error:
                log.warning("the states of event source mappings cannot be told now: %s", error)
            except Exception:
                log.exception("the states of event source mappings cannot be told")
            await asyncio.sleep(TELL_EVERY.total_seconds())

    def _to_be_told(self) -> Mapping[str, EventSourceMapping]:
        """Each mapping as its poller follows it, and those that are to go. Of one that still starts, nothing is told."""
        mappings, followed = self._parts.catalogue.snapshot.of_type(EventSourceMapping), self._mappings.followed
        return {
            uuid: mapping if mapping.deleting else followed[uuid]
            for uuid, mapping in mappings.items()
            if mapping.deleting or uuid in followed
        }

    async def _schedule_gone(self, name: str) -> None:
        """One that is there again already is left alone: another process may have begun it."""
        if name not in self._parts.catalogue.snapshot.of_type(Schedule):
            await schedule.forget(name, self._services)

    async def _subscription_gone(self, name: str) -> None:
        """As of a schedule: the queue may have messages for the new one already."""
        if name not in self._parts.catalogue.snapshot.of_type(TopicSubscription):
            await topic.forget(name, self._services)

    def _poller(self, mapping: EventSourceMapping) -> Source:
        adapter = registry.adapter_of(mapping, self._services)
        if isinstance(adapter, InboxAdapter):
            return QueuePoller(mapping, self._services, adapter)
        return StreamPoller(mapping, self._services, adapter)

    def _watcher(self, bucket: Bucket) -> Source:
        """A new bucket's directory is made. One that has been watched is never made again: its absence is an outage."""
        try:
            Path(bucket.directory).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning("bucket %s: %s cannot be made: %s", bucket.name, bucket.directory, error)
        return self._adapters["s3"].make(self._bucket_watch(bucket), self._services)

    def _bucket_watch(self, bucket: Bucket) -> BucketWatch:
        notifications = self._parts.catalogue.snapshot.notifications_of(bucket.name)
        return BucketWatch(bucket.name, bucket.directory, tuple(map(_wish, notifications)))

    def _make_services(self) -> Services:
        parts, settings = self._parts, self._parts.settings
        return Services(
            acceptor=FrontAcceptor(parts.front),
            checkpoints=StoredCheckpoints(parts.store, seen_object, checkpoint),
            lease=lambda name: StoredLease(parts.store, checkpoint, name),
            region=settings.home.region,
            account=settings.home.account,
            clock=now,
            broker=parts.broker,
            invoker=BatchInvoker(parts.front, parts.tracing),
            letters=PollerLetters(parts.broker, settings.home, parts.ledger, parts.destinations(), clock=now_ms),
            claims=self._claims,
            brokers=self._foreign.get,
            endpoints=settings.aws_endpoints,
            queue_attributes=lambda name: attributes_of(parts.store, name),
            virtual_hosts=settings.virtual_hosts,
            retry_first=settings.backoff_first,
            lag=settings.lag,
        )


def _wish(notification: Notification) -> Wish:
    return Wish(
        notification.id,
        notification.function,
        notification.qualifier,
        notification.events,
        notification.prefix,
        notification.suffix,
    )
