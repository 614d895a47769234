"""Changes of one function that come at once: one is carried out, and the others are told so in Lambda's words."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from fnrunner.api import updates
from fnrunner.api.app import create_app
from fnrunner.api.services import Services
from fnrunner.api.updates import Updates
from fnrunner.catalogue import update_mark
from fnrunner.store.errors import StoreUnavailable
from tests.api_server import CODE, HOME, ROLE, services_in, zipped

FUNCTIONS = "/2015-03-31/functions"
ZIP = base64.b64encode(CODE).decode()
IN_PROGRESS = (
    f"The operation cannot be performed at this time. An update is in progress for resource: {HOME.function('f')}"
)


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    async with services_in(tmp_path) as made:
        yield made


@pytest.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(services)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=60) as made:
        assert (await make(made)).status_code == 201
        yield made


async def make(client: httpx.AsyncClient) -> httpx.Response:
    document = {
        "FunctionName": "f", "Role": ROLE, "Runtime": "python3.12", "Handler": "app.handler", "Code": {"ZipFile": ZIP}
    }  # fmt: skip
    return await client.post(FUNCTIONS, json=document)


class Held:
    """Keeps a change of the catalogue from ending until it is let go."""

    def __init__(self, services: Services, method: str) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        original = getattr(services.catalogue, method)

        async def held(*args: Any, **kwargs: Any) -> Any:
            self.begun.set()
            async with asyncio.timeout(30):
                await self.go.wait()
            return await original(*args, **kwargs)

        setattr(services.catalogue, method, held)


async def test_while_an_update_is_carried_out_another_is_a_conflict(
    client: httpx.AsyncClient, services: Services
) -> None:
    held = Held(services, "update_code")
    newer = base64.b64encode(zipped(app_py="x = 1\n")).decode()
    first = asyncio.create_task(client.put(f"{FUNCTIONS}/f/code", json={"ZipFile": newer}))
    await held.begun.wait()
    during = (await client.get(f"{FUNCTIONS}/f/configuration")).json()
    assert (during["State"], during["LastUpdateStatus"]) == ("Active", "InProgress")
    assert (await client.get(f"{FUNCTIONS}/f")).json()["Configuration"]["LastUpdateStatusReasonCode"] == "Creating"
    for answer in (
        await client.put(f"{FUNCTIONS}/f/code", json={"ZipFile": ZIP}),
        await client.put(f"{FUNCTIONS}/f/configuration", json={"Timeout": 9}),
        await client.post(f"{FUNCTIONS}/f/versions", json={}),
    ):
        assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (409, "ResourceConflictException")
        assert answer.json() == {"Type": "User", "message": IN_PROGRESS}
    assert (await client.post(f"{FUNCTIONS}/f/invocations", content=b"{}")).status_code == 200
    held.go.set()
    answer = await first
    assert (answer.status_code, answer.json()["LastUpdateStatus"]) == (200, "InProgress")
    after = (await client.get(f"{FUNCTIONS}/f/configuration")).json()
    assert (after["LastUpdateStatus"], after["Timeout"], after["CodeSha256"]) == (
        "Successful", 3, answer.json()["CodeSha256"],
    )  # fmt: skip


async def test_an_update_that_fails_leaves_the_function_free(client: httpx.AsyncClient) -> None:
    bad = base64.b64encode(b"no zip").decode()
    for _ in range(2):
        answer = await client.put(f"{FUNCTIONS}/f/code", json={"ZipFile": bad})
        assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "InvalidParameterValueException")
    assert (await client.put(f"{FUNCTIONS}/f/configuration", json={"Timeout": 9})).status_code == 200


async def test_of_many_creations_at_once_one_makes_it(client: httpx.AsyncClient) -> None:
    assert (await client.delete(f"{FUNCTIONS}/f")).status_code == 204
    answers = await asyncio.gather(*(make(client) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]
    assert {answer.json()["message"] for answer in answers if answer.status_code == 409} == {
        "Function already exist: f"
    }


async def test_of_updates_with_one_revision_at_once_one_makes_it(client: httpx.AsyncClient) -> None:
    revision = (await client.get(f"{FUNCTIONS}/f/configuration")).json()["RevisionId"]
    answers = await asyncio.gather(*(
        client.put(f"{FUNCTIONS}/f/configuration", json={"Timeout": number, "RevisionId": revision})
        for number in range(1, 9)
    ))  # fmt: skip
    right = [answer for answer in answers if answer.status_code == 200]
    assert len(right) == 1
    refused = {answer.headers["x-amzn-errortype"] for answer in answers if answer not in right}
    assert refused <= {"ResourceConflictException", "PreconditionFailedException"}
    found = (await client.get(f"{FUNCTIONS}/f/configuration")).json()
    assert (found["Timeout"], found["RevisionId"]) == (right[0].json()["Timeout"], right[0].json()["RevisionId"])


async def test_versions_published_at_once_are_one(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post(f"{FUNCTIONS}/f/versions", json={}) for _ in range(8)))
    assert {(answer.status_code, answer.json()["Version"]) for answer in answers} == {(201, "1")}


class TestTwoProcesses:
    """That share a store: what one is doing the other knows, without having been told."""

    @pytest.fixture
    async def other(self, services: Services, client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
        """Another process's API: of its own it knows nothing of the first's updates."""
        app = create_app(replace(services, updates=Updates(services.store, services.now)))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=60
        ) as made:
            yield made

    @pytest.fixture
    async def slow(self, client: httpx.AsyncClient, services: Services) -> AsyncIterator[Slow]:
        """An update of the first process that others have heard of."""
        held = Held(services, "update_code")
        body = {"ZipFile": base64.b64encode(zipped(app_py="x = 1\n")).decode()}
        running = asyncio.create_task(client.put(f"{FUNCTIONS}/f/code", json=body))
        await held.begun.wait()
        async with asyncio.timeout(30):
            while not await marked(services):
                await asyncio.sleep(0.01)
        yield Slow(held, running)
        held.go.set()
        await asyncio.gather(running, return_exceptions=True)

    async def test_both_show_and_refuse_what_one_is_updating(
        self, slow: Slow, other: httpx.AsyncClient, services: Services
    ) -> None:
        during = (await other.get(f"{FUNCTIONS}/f/configuration")).json()
        assert (during["State"], during["LastUpdateStatus"]) == ("Active", "InProgress")
        for answer in (
            await other.put(f"{FUNCTIONS}/f/code", json={"ZipFile": ZIP}),
            await other.put(f"{FUNCTIONS}/f/configuration", json={"Timeout": 9}),
            await other.post(f"{FUNCTIONS}/f/versions", json={}),
        ):
            assert (answer.status_code, answer.json()["message"]) == (409, IN_PROGRESS)
        assert (await other.post(f"{FUNCTIONS}/f/invocations", content=b"{}")).status_code == 200
        slow.held.go.set()
        answer = await slow.running
        assert answer.status_code == 200
        after = (await other.get(f"{FUNCTIONS}/f/configuration")).json()
        assert (after["LastUpdateStatus"], after["CodeSha256"]) == ("Successful", answer.json()["CodeSha256"])
        assert not await marked(services)
        assert (await other.put(f"{FUNCTIONS}/f/configuration", json={"Timeout": 9})).status_code == 200

    async def test_the_mark_of_a_process_that_died_lapses(
        self, client: httpx.AsyncClient, other: httpx.AsyncClient, services: Services
    ) -> None:
        long_ago = services.now() - update_mark.LEASE
        await update_mark.put(services.store, "f", "dead", long_ago + timedelta(seconds=5))
        assert (await other.put(f"{FUNCTIONS}/f/configuration", json={"Timeout": 9})).status_code == 409
        await update_mark.put(services.store, "f", "dead", long_ago)
        assert (await other.put(f"{FUNCTIONS}/f/configuration", json={"Timeout": 9})).status_code == 200
        found = (await client.get(f"{FUNCTIONS}/f/configuration")).json()
        assert (found["LastUpdateStatus"], found["Timeout"]) == ("Successful", 9)

    async def test_nobody_removes_the_mark_of_another(self, services: Services, client: httpx.AsyncClient) -> None:
        await update_mark.put(services.store, "f", "one", services.now())
        await update_mark.remove(services.store, "f", "another")
        assert await marked(services) == "one"

    async def test_an_update_that_is_quick_costs_the_store_no_mark(
        self, services: Services, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def never(*_: object) -> None:
            raise AssertionError("it is marked")

        monkeypatch.setattr(updates, "AT_ONCE", timedelta(seconds=30))
        monkeypatch.setattr(update_mark, "put", never)
        monkeypatch.setattr(update_mark, "remove", never)
        assert (await client.put(f"{FUNCTIONS}/f/code", json={"ZipFile": ZIP})).status_code == 200

    async def test_a_store_that_takes_no_mark_does_not_stop_the_update(
        self, services: Services, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried = asyncio.Event()

        async def away(*_: object) -> None:
            tried.set()
            raise StoreUnavailable

        monkeypatch.setattr(update_mark, "put", away)
        monkeypatch.setattr(update_mark, "remove", away)
        held = Held(services, "update_configuration")
        running = asyncio.create_task(client.put(f"{FUNCTIONS}/f/configuration", json={"Timeout": 9}))
        async with asyncio.timeout(30):
            await tried.wait()
        held.go.set()
        assert (await running).status_code == 200


@dataclass
class Slow:
    """An update that is held, until it is let go."""

    held: Held
    running: asyncio.Task[httpx.Response]


async def marked(services: Services) -> str:
    return await services.store.read(lambda connection: update_mark.find(connection, "f", services.now()))
