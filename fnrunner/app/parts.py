"""What every role stands on, made from the settings and started from the bottom up."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from broker.broker import Broker
from broker.delays import BACKOFF, ladder
from fnrunner.app.secrecy import started_keyring
from fnrunner.auth.iam import Iam
from fnrunner.auth.keyring import Keyring
from fnrunner.catalogue import Catalogue
from fnrunner.catalogue.artifacts import Artifacts
from fnrunner.catalogue.changes import CatalogueWatcher
from fnrunner.delivery.books import distinct_functions
from fnrunner.delivery.destinations import Destinations
from fnrunner.delivery.ledger import Ledger
from fnrunner.invoke.front import Front
from fnrunner.settings import Settings
from fnrunner.store.engine import Store
from fnrunner.store.schema import accepted, attempt
from fnrunner.telemetry import tracing
from fnrunner.telemetry.metrics import Metrics
from fnrunner.telemetry.tracing import Tracing


def now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


def now_ms() -> int:
    """The wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def backoff(settings: Settings) -> tuple[timedelta, ...]:
    """Lambda's backoff of 1 s … 5 min, scaled when its first step is set to something else than a second."""
    return tuple(step * (settings.backoff_first / BACKOFF[0]) for step in BACKOFF)


def make_broker(settings: Settings, name: str) -> Broker:
    """The broker that ``FNRUNNER_BROKER_URL`` names."""
    delays = ladder(settings.retry_delays, (*backoff(settings), *BACKOFF))
    if settings.broker_url == "embedded:":
        from broker.embedded import EmbeddedBroker

        return EmbeddedBroker(settings.data_dir / "broker", delays=delays, name=name)
    from broker.rabbitmq import RabbitMQBroker

    return RabbitMQBroker(settings.broker_url, delays=delays, name=name, connect_timeout=settings.connect_timeout)


@dataclass(frozen=True, slots=True)
class Parts:
    """Started. ``name`` is unique among all processes; it is the worker's id where there is a worker."""

    settings: Settings
    name: str
    store: Store
    broker: Broker
    artifacts: Artifacts
    catalogue: Catalogue
    watcher: CatalogueWatcher
    ledger: Ledger
    tracing: Tracing
    metrics: Metrics
    front: Front
    iam: Iam | None = None
    keyring: Keyring | None = None

    async def former_functions(self) -> set[str]:
        """Functions that the books know and the catalogue does not: deleted, perhaps with events on their way."""

        def known(connection: Connection) -> set[str]:
            return {name for table in (accepted, attempt) for name in distinct_functions(connection, table)}

        current = {name for name, _ in self.catalogue.snapshot.functions}
        return await self.store.read(known) - current

    def destinations(self) -> Destinations:
        """Destinations that hand events for functions to the front."""
        return Destinations(self.broker, self.settings.home, accept=self.front.accept, clock=now_ms)


async def started_iam(settings: Settings, store: Store, keyring: Keyring | None) -> Iam | None:
    """Users and roles, where callers have to sign. Raises StoreError."""
    if settings.auth != "iam" or keyring is None:
        return None
    iam = Iam(store, keyring, settings.home, now)
    await iam.start()
    return iam


@asynccontextmanager
async def started(settings: Settings, service: str) -> AsyncIterator[Parts]:
    """The parts, for as long as the context lasts.

    Raises StoreError, BrokerError, MasterKeyError and AuthForgotten with the remedy in the message.
    """
    name = f"{service}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"[:120]
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    store = Store(settings.store)
    broker = make_broker(settings, name)
    traces = tracing.start("fnrunner", settings.otlp_endpoint, instance=name)
    try:
        await broker.start()
        await store.start()
        keyring = await started_keyring(settings, store)
        artifacts = Artifacts(settings.artifacts, keyring)
        catalogue = Catalogue(store, artifacts, settings.home, now, account_concurrency=settings.account_concurrency)
        watcher = CatalogueWatcher(catalogue, broker)
        iam = await started_iam(settings, store, keyring)
        ledger = Ledger(store)
        metrics = Metrics()
        front = Front(
            home=settings.home,
            broker=broker,
            catalogue=catalogue,
            ledger=ledger,
            tracing=traces,
            metrics=metrics,
            sync_wait=settings.sync_wait,
            now=now,
        )
        await ledger.start()
        await watcher.start()
        try:
            yield Parts(
                settings,
                name,
                store,
                broker,
                artifacts,
                catalogue,
                watcher,
                ledger,
                traces,
                metrics,
                front,
                iam,
                keyring,
            )
        finally:
            await watcher.close()
            await ledger.close()
    finally:
        await broker.close()
        await store.close()
        traces.close()
