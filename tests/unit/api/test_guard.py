"""Web pages of other sites stay out; programs, and the console's own pages, come in."""

from __future__ import annotations

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from fnrunner.api.guard import Guard, local_host
from tests.unit.api.asgi import Answer, ask

PATH = "/2015-03-31/functions/f/invocations"


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("in", headers={"x-frame-options": "SAMEORIGIN"})(scope, receive, send)


async def through(headers: dict[str, str], path: str = PATH, *, check_host: bool = True) -> Answer:
    return await ask(Guard(inner, check_host=check_host), "POST", path, headers=headers)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:9000", "127.8.9.1", "localhost", "LOCALHOST:1", "[::1]:9000", "::1", "localhost.:9000",
     "x.lambda-url.us-east-1.localhost:9000"],
)  # fmt: skip
async def test_names_of_this_machine_come_in(host: str) -> None:
    assert local_host(host)
    assert (await through({"host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9000", "127.0.0.1.evil.example", "localhost.evil.example", "notlocalhost", "10.0.0.1",
     "0.0.0.0", "", ":9000", "[::2]:9000", "evil.example:9000@127.0.0.1"],
)  # fmt: skip
async def test_a_name_that_somebody_else_may_own_stays_out(host: str) -> None:
    answer = await through({"host": host})
    assert answer.status == 403
    assert answer.headers["x-amzn-errortype"] == "AccessDeniedException"
    assert "FNRUNNER_TRUST_NETWORK=1" in answer.json()["message"]


async def test_a_trusted_network_may_use_any_name() -> None:
    assert (await through({"host": "api.internal"}, check_host=False)).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:9001"])
@pytest.mark.parametrize("path", [PATH, "/fnrunner/v1/queues", "/healthz"])
@pytest.mark.parametrize("check_host", [True, False])
async def test_a_page_of_another_site_stays_out(origin: str, path: str, check_host: bool) -> None:
    headers = {"host": "127.0.0.1:9000", "origin": origin}
    assert (await through(headers, path, check_host=check_host)).status == 403


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
async def test_a_browser_that_says_only_where_it_comes_from_is_believed(site: str, status: int) -> None:
    assert (await through({"sec-fetch-site": site})).status == status


async def test_a_page_of_this_server_comes_in() -> None:
    headers = {"host": "127.0.0.1:9000", "origin": "http://127.0.0.1:9000", "sec-fetch-site": "same-origin"}
    assert (await through(headers)).status == 200


async def test_every_response_has_security_headers_and_the_applications_own_win() -> None:
    for answer in (await through({}), await through({"host": "evil.example"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert (await through({})).headers["x-frame-options"] == "SAMEORIGIN"


async def test_many_hosts_do_not_fill_the_memory() -> None:
    guard = Guard(inner, check_host=True)
    for number in range(1000):
        await ask(guard, "GET", PATH, headers={"host": f"h{number}.example"})
    assert len(guard._hosts) <= 256
