"""The sources' role over a real catalogue and real directories; the front is played by a list."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import Connection, select

from fnrunner.app.parts import Parts
from fnrunner.app.sources_role import SourcesRole
from fnrunner.catalogue import NO_CODE, Artifacts, Catalogue, buckets, positions, triggers
from fnrunner.model.arn import FunctionRef, Home
from fnrunner.model.function import Bucket, Function, Notification
from fnrunner.settings import Settings
from fnrunner.store.engine import Store
from fnrunner.store.schema import seen_object
from fnrunner.telemetry.metrics import Metrics
from sources import registry
from sources.mapping import EventSourceMapping
from sources.source import Adapter, Condition, Health

HOME = Home()


class Front:
    def __init__(self) -> None:
        self.accepted: list[str] = []
        self._changed = asyncio.Condition()

    async def accept(self, ref: FunctionRef, payload: bytes, **more: Any) -> str:
        async with self._changed:
            self.accepted.append(ref.name)
            self._changed.notify_all()
        return str(more["event_id"])

    async def until(self, accepted: list[str]) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: sorted(self.accepted) == accepted)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    await store.start()
    yield store
    await store.close()


@pytest.fixture
async def catalogue(store: Store, tmp_path: Path) -> Catalogue:
    catalogue = Catalogue(store, Artifacts(tmp_path / "artifacts"), HOME, lambda: datetime.now(UTC))
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("app.py", "")
    for name in ("f", "g"):
        draft = Function(name=name, runtime="python3.12", handler="app.handler", code=NO_CODE, role=HOME.role())
        await catalogue.create_function(draft, data.getvalue())
    await catalogue.put_bucket(Bucket("photos", str(tmp_path / "photos")))
    await catalogue.put_notifications("f", [Notification("n", "photos", "f")])
    return catalogue


@pytest.fixture
async def front() -> Front:
    return Front()


def parts_of(store: Store, catalogue: Catalogue, front: Front) -> Parts:
    """What buckets need; nothing here has a broker."""
    settings = Settings(data_dir=Path(), home=HOME)
    parts = SimpleNamespace(
        settings=settings,
        name="test",
        store=store,
        broker=None,
        catalogue=catalogue,
        ledger=None,
        tracing=None,
        metrics=Metrics(),
        front=front,
        destinations=lambda: None,
    )
    return cast(Parts, parts)


@pytest.fixture
async def role(store: Store, catalogue: Catalogue, front: Front) -> AsyncIterator[SourcesRole]:
    role = SourcesRole(parts_of(store, catalogue, front))
    yield role
    await role.close()


async def followed(role: SourcesRole, names: set[str]) -> None:
    """Wait until these buckets and no others have a watcher."""
    async with asyncio.timeout(30):
        while set(role.health()["bucket"]) != names:
            await asyncio.sleep(0.01)


async def test_two_functions_that_call_their_notifications_alike_both_hear_of_a_file(
    role: SourcesRole, catalogue: Catalogue, front: Front, tmp_path: Path
) -> None:
    await catalogue.put_notifications("g", [Notification("n", "photos", "g")])
    await role.start()
    (tmp_path / "photos" / "a.jpg").write_text("x")
    await front.until(["f", "g"])
    assert list(role.problems()) == []


async def test_a_bucket_that_cannot_be_watched_is_reported_and_does_not_stop_the_others(
    role: SourcesRole, catalogue: Catalogue, store: Store, front: Front, tmp_path: Path
) -> None:
    await store.write(lambda connection: buckets.save_bucket(connection, Bucket("bad", "no/absolute/path")))
    await catalogue.put_bucket(Bucket("zebras", str(tmp_path / "zebras")))
    await role.start()
    assert set(role.health()["bucket"]) == {"photos", "zebras"}
    assert [problem.part for problem in role.problems()] == ["bucket bad"]
    assert "not an absolute path" in next(iter(role.problems())).message
    (tmp_path / "photos" / "a.jpg").write_text("x")
    await front.until(["f"])
    await catalogue.put_bucket(Bucket("bad", str(tmp_path / "good")))
    await followed(role, {"bad", "photos", "zebras"})
    assert list(role.problems()) == []


async def test_a_removed_bucket_is_watched_no_longer_and_begins_anew_if_it_is_put_again(
    role: SourcesRole, catalogue: Catalogue, store: Store, front: Front, tmp_path: Path
) -> None:
    await role.start()
    (tmp_path / "photos" / "a.jpg").write_text("x")
    await front.until(["f"])
    await catalogue.put_notifications("f", [])
    await catalogue.delete_bucket("photos")
    await followed(role, set())
    assert await store.read(lambda connection: connection.execute(select(seen_object)).all()) == []
    assert (tmp_path / "photos" / "a.jpg").read_text() == "x"
    await catalogue.put_bucket(Bucket("photos", str(tmp_path / "photos")))
    await catalogue.put_notifications("f", [Notification("n", "photos", "f")])
    await front.until(["f", "f"])


async def test_watchers_are_made_by_the_adapter_that_was_found(
    catalogue: Catalogue, store: Store, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    found = registry.adapters(Adapter)["s3"]

    def make(configuration: Any, services: Any) -> Any:
        made.append(configuration)
        return found.make(configuration, services)

    another = SimpleNamespace(configuration=found.configuration, make=make)
    monkeypatch.setattr(registry, "adapters", lambda kind: {"s3": another})
    role = SourcesRole(parts_of(store, catalogue, front))
    await role.start()
    await role.close()
    assert [watch.bucket for watch in made] == ["photos"]


class Starting:
    """A poller that says it starts until it is let go on."""

    name = "esm:u"

    def __init__(self) -> None:
        self.condition = Condition.STARTING

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def reconfigure(self, configuration: Any) -> None: ...

    def health(self) -> Health:
        return Health(self.condition)


async def test_a_mapping_is_said_to_be_enabled_only_when_its_poller_works(
    catalogue: Catalogue, store: Store, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller = Starting()
    monkeypatch.setattr(SourcesRole, "_poller", lambda role, mapping: poller)
    monkeypatch.setattr("fnrunner.app.sources_role.TELL_EVERY", timedelta(seconds=0.05))
    role = SourcesRole(parts_of(store, catalogue, front))
    mapping = EventSourceMapping("u", "f", source_arn="arn:aws:sqs:us-east-1:000000000000:jobs", revision=3)
    gone = replace(mapping, uuid="v", deleting=True)

    def save(connection: Connection) -> None:
        for each in (mapping, gone):
            triggers.save(connection, each)

    await catalogue.change(save)
    await role.start()
    async with asyncio.timeout(30):
        while "v" in catalogue.snapshot.of_type(EventSourceMapping):  # so what is to be told has been told
            await asyncio.sleep(0.01)
        assert await store.read(lambda connection: positions.told(connection, "u")) is None
        poller.condition = Condition.OUTAGE  # and says why not
        while not (told := await store.read(lambda connection: positions.told(connection, "u"))):
            await asyncio.sleep(0.01)
    assert (told["revision"], told["state"]) == (3, "Enabled")
    await role.close()
