"""Two processes' catalogues on one store, with a broadcast that works, fails, or is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgpack
import pytest

from broker.errors import Unavailable
from broker.message import Message
from fnrunner.catalogue import Artifacts, Catalogue, CatalogueWatcher, ChangeNotice
from fnrunner.model.arn import Home
from fnrunner.model.function import Bucket
from fnrunner.store.engine import Store

NEVER = timedelta(hours=1)
SOON = timedelta(milliseconds=20)


class Broadcasts:
    """The part of a broker that the watcher uses. ``deaf`` loses what is sent, ``down`` refuses it."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[Message], None]] = []
        self.sent: list[Message] = []
        self.refused = asyncio.Event()
        self.deaf = self.down = False

    async def broadcast(self, message: Message) -> None:
        if self.down:
            self.refused.set()
            raise Unavailable
        self.sent.append(message)
        if not self.deaf:
            for listener in self.listeners:
                listener(message)

    async def listen(self, on_message: Callable[[Message], None]) -> Any:
        self.listeners.append(on_message)
        return _Listening(self, on_message)


class _Listening:
    def __init__(self, broker: Broadcasts, on_message: Callable[[Message], None]) -> None:
        self._broker, self._on_message = broker, on_message

    async def cancel(self) -> None:
        self._broker.listeners.remove(self._on_message)


def catalogue(store: Store, tmp_path: Path) -> Catalogue:
    return Catalogue(store, Artifacts(tmp_path / "artifacts"), Home(), lambda: datetime.now(UTC))


async def heard(catalogue: Catalogue, name: str) -> None:
    """Wait until the catalogue has the bucket."""
    changed = asyncio.Event()
    forget = catalogue.on_change(lambda change: changed.set())
    async with asyncio.timeout(30):
        while name not in [bucket.name for bucket in catalogue.snapshot.buckets]:
            await changed.wait()
            changed.clear()
    forget()


@pytest.mark.parametrize(("deaf", "every"), [(False, NEVER), (True, SOON)], ids=["told", "looking"])
async def test_a_change_reaches_the_other_process(store: Store, tmp_path: Path, deaf: bool, every: timedelta) -> None:
    broker = Broadcasts()
    broker.deaf = deaf
    here, there = catalogue(store, tmp_path), catalogue(store, tmp_path)
    watchers = [CatalogueWatcher(one, broker, every) for one in (here, there)]
    for watcher in watchers:
        await watcher.start()
    for name in ("photos", "texts"):
        await here.put_bucket(Bucket(name, "/srv"))
        await heard(there, name)
    await there.put_bucket(Bucket("videos", "/srv"))
    await heard(here, "videos")
    for watcher in watchers:
        await watcher.close()
        await watcher.close()
    assert broker.listeners == []


async def test_a_change_succeeds_when_it_cannot_be_broadcast(store: Store, tmp_path: Path) -> None:
    broker = Broadcasts()
    broker.down = True
    here = catalogue(store, tmp_path)
    watcher = CatalogueWatcher(here, broker, NEVER)
    await watcher.start()
    await here.put_bucket(Bucket("photos", "/srv"))
    await asyncio.wait_for(broker.refused.wait(), 30)
    broker.down = False
    told = asyncio.Event()
    await broker.listen(lambda message: told.set())
    await here.put_bucket(Bucket("texts", "/srv"))
    await asyncio.wait_for(told.wait(), 30)
    assert ChangeNotice.decode(broker.sent[-1]) == ChangeNotice(here.snapshot.change)
    await watcher.close()


async def test_a_store_that_fails_is_a_problem_until_it_is_back(store_url: str, tmp_path: Path) -> None:
    store = Store(store_url)
    await store.start()
    here = catalogue(store, tmp_path)
    watcher = CatalogueWatcher(here, Broadcasts(), SOON)
    await watcher.start()
    assert watcher.problem == ""
    await store.close()
    async with asyncio.timeout(30):
        while not watcher.problem:
            await asyncio.sleep(0.01)
    await store.start()
    async with asyncio.timeout(30):
        while watcher.problem:
            await asyncio.sleep(0.01)
    await watcher.close()
    await store.close()


@pytest.mark.parametrize(
    "message",
    [
        Message(b"", type="event"),
        Message(msgpack.packb({"change": 1})),
        Message(b"", type="catalogue-changed"),
        Message(b"\xc1", type="catalogue-changed"),
        Message(msgpack.packb([1]), type="catalogue-changed"),
        Message(msgpack.packb({"change": "1"}), type="catalogue-changed"),
        Message(msgpack.packb({"change": True}), type="catalogue-changed"),
    ],
)
def test_other_messages_and_malformed_ones_are_no_notices(message: Message) -> None:
    assert ChangeNotice.decode(message) is None
