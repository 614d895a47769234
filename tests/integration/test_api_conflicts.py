"""Changes of one function that come at once: one is carried out, and the others are told so in Lambda's words."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fnrunner.api.app import create_app
from fnrunner.api.services import Services
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
