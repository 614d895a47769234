"""What is on the wire, beyond what an SDK shows: headers, limits, health, metrics, and who may call."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from fnrunner.api.app import create_app
from fnrunner.api.services import Health
from fnrunner.model.problem import Code, Problem
from fnrunner.store.errors import StoreUnavailable
from tests.api_server import CODE, HOME, ROLE, ApiServer, services_in

FUNCTIONS = "/2015-03-31/functions"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api")) as running:
        document = {
            "FunctionName": "f", "Role": ROLE, "Runtime": "python3.12", "Handler": "app.handler",
            "Code": {"ZipFile": base64.b64encode(CODE).decode()},
        }  # fmt: skip
        assert httpx.post(running.url + FUNCTIONS, json=document, timeout=60).status_code == 201
        yield running


@pytest.fixture
def client(server: ApiServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as running:
        yield running


def test_every_answer_of_the_lambda_api_has_a_request_id(client: httpx.Client) -> None:
    for path in (FUNCTIONS, f"{FUNCTIONS}/f", f"{FUNCTIONS}/missing", "/2015-03-31/nothing", "/2018-10-31/layers"):
        answer = client.get(path)
        UUID(answer.headers["x-amzn-requestid"])
        assert answer.headers["content-type"] == "application/json"
        assert ("x-amzn-errortype" in answer.headers) == (answer.status_code >= 400)


def test_a_function_that_is_missing_is_told_under_the_key_of_its_shape(client: httpx.Client) -> None:
    answer = client.get(f"{FUNCTIONS}/missing")
    assert answer.headers["x-amzn-errortype"] == "ResourceNotFoundException"
    assert answer.json() == {
        "Type": "User",
        "Message": "Function not found: arn:aws:lambda:us-east-1:000000000000:function:missing",
    }


@pytest.mark.parametrize(
    "name",
    ["f", "f:$LATEST", "function:f", "000000000000:function:f", HOME.function("f"), HOME.function("f", "$LATEST")],
)
def test_a_function_is_found_by_every_name_encoded_or_not(client: httpx.Client, name: str) -> None:
    from urllib.parse import quote

    for form in (name, quote(name, safe="")):
        answer = client.get(f"{FUNCTIONS}/{form}")
        assert answer.json()["Configuration"]["FunctionName"] == "f"


def test_code_can_be_downloaded_by_its_link_and_by_no_other(client: httpx.Client) -> None:
    link = client.get(f"{FUNCTIONS}/f").json()["Code"]["Location"]
    answer = client.get(link)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, CODE, "application/zip")
    for forged in (
        link[:-1],
        link.replace("expires=", "expires=1"),
        link.split("?")[0],
        link.replace("/code/", "/code/0"),
    ):
        assert client.get(forged).status_code == 403


def test_a_request_of_more_than_the_limit_is_told_so_after_it_was_sent(client: httpx.Client) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(68):
            yield b"x" * 1024 * 1024

    for content in (body(), b"x" * 70_167_212):
        answer = client.post(FUNCTIONS, content=content)
        assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException")
        assert (
            answer.json()["message"] == "Request must be smaller than 70167211 bytes for the CreateFunction operation"
        )


def test_a_signature_is_accepted_and_not_looked_at(client: httpx.Client) -> None:
    headers = {"authorization": "AWS4-HMAC-SHA256 Credential=nobody/20200101/x/y/aws4_request, Signature=0"}
    assert client.get(FUNCTIONS, headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}])
@pytest.mark.parametrize("path", [FUNCTIONS, "/fnrunner/v1/status", "/healthz"])
def test_web_pages_of_others_are_kept_out(client: httpx.Client, headers: dict[str, str], path: str) -> None:
    assert client.get(path, headers=headers).status_code == 403


def test_health_is_json_and_metrics_are_prometheus_text(client: httpx.Client) -> None:
    for path in ("/healthz", "/readyz"):
        assert client.get(path).json() == {
            "status": "ok", "alive": True, "ready": True, "roles": ["api"], "problems": []
        }  # fmt: skip
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "fnrunner_accepted_total 3.0" in answer.text


async def test_what_is_not_ready_says_what_is_wrong(tmp_path: Path) -> None:
    async with services_in(tmp_path) as services:

        async def health() -> Health:
            return Health(
                True, False, ("worker",), (Problem("broker", "it is away", "start it", Code.BROKER_DISCONNECTED),)
            )

        app = create_app(replace(services, health=health))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            assert (await client.get("/healthz")).status_code == 200
            answer = await client.get("/readyz")
    assert answer.status_code == 503
    told = {"code": "broker-disconnected", "part": "broker", "message": "it is away", "remedy": "start it"}
    assert answer.json()["problems"] == [told]


async def test_what_nobody_expected_is_a_500_that_tells_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with services_in(tmp_path) as services:
        services.front.error = RuntimeError("s3cret")  # type: ignore[attr-defined]
        services.front.check = none  # type: ignore[method-assign]
        app = create_app(services)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            answer = await client.post(f"{FUNCTIONS}/f/invocations", content=b"{}")
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (500, "ServiceException")
    assert "s3cret" not in answer.text
    assert answer.headers["x-amzn-requestid"] in answer.text
    assert "s3cret" in caplog.text


async def none(*_: Any) -> None:
    return None


async def test_a_store_that_is_away_is_a_503_and_admin_says_so_in_its_shape(tmp_path: Path) -> None:
    async with services_in(tmp_path) as services:

        async def away(*_: Any, **__: Any) -> Any:
            raise StoreUnavailable

        services.catalogue.get_function = services.catalogue.read = away  # type: ignore[method-assign]
        app = create_app(services)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            answer = await client.get(f"{FUNCTIONS}/f")
            admin = await client.get("/fnrunner/v1/functions/f/notifications")
    assert (answer.status_code, answer.json()["Type"], answer.headers["retry-after"]) == (503, "Service", "1")
    assert (admin.status_code, admin.json()["error"]["code"]) == (503, "ServiceException")


async def test_a_trusted_network_may_use_any_host(tmp_path: Path) -> None:
    async with services_in(tmp_path, trust_network=True) as services:
        app = create_app(services)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.internal") as client:
            assert (await client.get(FUNCTIONS)).status_code == 200


async def test_long_polls_end_when_the_process_stops(tmp_path: Path) -> None:
    import asyncio

    async with services_in(tmp_path) as services:
        app = create_app(services)
        async with httpx.AsyncClient(transport=Endless(app), base_url="http://localhost", timeout=60) as client:
            poll = asyncio.create_task(client.get("/fnrunner/v1/functions/f/logs", params={"wait_s": 20}))
            await asyncio.sleep(0.05)
            services.stopping.set()
            async with asyncio.timeout(10):
                answer = await poll
    assert json.loads(answer.content)["lines"] == []


class Endless(httpx.ASGITransport):
    """A client that stays connected while it waits: httpx's own says it has gone once the body is sent."""

    def __init__(self, app: Any) -> None:
        async def connected(scope: Any, receive: Any, send: Any) -> None:
            import asyncio

            sent = False

            async def waiting() -> Any:
                nonlocal sent
                if sent:
                    await asyncio.Event().wait()
                sent = True
                return await receive()

            await app(scope, waiting, send)

        super().__init__(connected)
