"""Sequences of operations with mostly valid parameters, and bytes that are no HTTP: no 5xx, no hang, nothing corrupted.

The same where callers have to sign: by somebody who may do everything, and by somebody who may do a part of it.
``FNRUNNER_TEST_FUZZ_S`` says how long each of them goes on, in seconds.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fnrunner.catalogue.snapshot import Snapshot, load
from tests.api_server import CODE, HOME, ROLE, ApiServer
from tests.conformance.api import model
from tests.conformance.api.signing import Signature
from tests.conformance.api.strategies import SEEN, parameters
from tests.conformance.api.verdict import of_an_error
from tests.conformance.api.wire import send
from tests.iam_kit import Site

DURATION_S = float(os.environ.get("FNRUNNER_TEST_FUZZ_S", "4"))
SIGNED_S = float(os.environ.get("FNRUNNER_TEST_FUZZ_S", "1.5"))
STEPS = 25
NEW = {"Role": ROLE, "Code": {"ZipFile": CODE}, "Runtime": "python3.12", "Handler": "app.handler"}
ROUND = settings(
    max_examples=10,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
TABLES = ("functions", "configs", "triggers", "aliases", "provisioned", "policies")


def for_a_while(round_: Callable[[], None], duration_s: float = DURATION_S) -> int:
    """Runs hypothesis again and again with other seeds until the time is over; how often."""
    end, count = time.monotonic() + duration_s, 0
    while time.monotonic() < end:
        seed(random.randrange(2**32))(round_)()
        count += 1
    return count


class Sequence:
    """A client that uses what the server gave it before."""

    def __init__(self, server: ApiServer, client: httpx.Client, others: Iterable[httpx.Client] = ()) -> None:
        """``others`` send now and then a request of it instead."""
        self.server, self.client = server, client
        self.senders = (*[client] * 3, *others)
        self.seen: dict[str, list[str]] = {name: [] for name in SEEN}
        self.statuses: dict[int, int] = {}
        self.done: list[str] = []

    def do(self, name: str, params: dict[str, Any], which: int) -> None:
        for member in model.members(name):
            known = self.seen.get(member)
            if known and (member in model.required(name) or which % 3 == 0):
                params = {**params, member: known[which % len(known)]}
            elif member in SEEN and member in model.required(name):
                params = {**params, member: "00000000-0000-4000-8000-000000000000"}
        answer = send(self.senders[which % len(self.senders)], name, params)
        self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
        self.done = [*self.done[-STEPS:], f"{name} {params}: {answer.status_code}"]
        assert answer.status_code < 500, "\n".join([*self.done, answer.text])
        if answer.status_code >= 400:
            assert of_an_error(answer) == "", f"{name} {params}"
        elif answer.content and "json" in answer.headers.get("content-type", "") and name != "Invoke":
            self._remember(answer.json())

    def share(self, first: int, beyond: int) -> float:
        """Of the answers, those with a status of this range."""
        found = sum(count for status, count in self.statuses.items() if first <= status < beyond)
        return found / sum(self.statuses.values())

    def _remember(self, value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                self._remember(item)
        elif isinstance(value, dict):
            for key, item in value.items():
                name = "Marker" if key == "NextMarker" else key
                if name in self.seen and isinstance(item, str):
                    self.seen[name] = [*self.seen[name][-3:], item]
                self._remember(item)

    def begin(self) -> None:
        """Two functions with a version and an alias each, unless they are there."""
        for function in ("a", "b"):
            named = {"FunctionName": function}
            send(self.client, "CreateFunction", {**named, **NEW})
            send(self.client, "PublishVersion", named)
            send(self.client, "CreateAlias", {**named, "Name": "live", "FunctionVersion": "1"})

    def check(self) -> None:
        """The memory of the process is the store's, and what refers to something refers to what there is."""
        services = self.server.services
        stored = self.server.run(services.store.read(lambda connection: load(connection, Snapshot())))
        held = services.catalogue.snapshot
        for table in TABLES:
            assert getattr(held, table) == getattr(stored, table), f"{table} in memory differ from the store's"
        listed = send(self.client, "ListFunctions", {}).json()["Functions"]
        for name in (function["FunctionName"] for function in listed):
            assert send(self.client, "GetFunction", {"FunctionName": name}).status_code == 200
            found = send(self.client, "ListVersionsByFunction", {"FunctionName": name}).json()["Versions"]
            versions = {version["Version"] for version in found}
            assert "$LATEST" in versions
            for alias in send(self.client, "ListAliases", {"FunctionName": name}).json()["Aliases"]:
                pointed = {
                    alias["FunctionVersion"],
                    *alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {}),
                }
                assert pointed <= versions, f"{alias} points at what {name} has not: {versions}"


def test_sequences_of_operations_are_never_a_failure_and_corrupt_nothing(
    server: ApiServer, client: httpx.Client
) -> None:
    sequence = Sequence(server, client)
    carry_out(sequence, DURATION_S)
    assert sequence.share(200, 300) > 0.1


def test_sequences_of_signed_operations_are_neither(
    guarded: Site, administrator: httpx.Client, stranger: httpx.Client
) -> None:
    partly = guarded.user("partly", {"Effect": "Allow", "Action": ["lambda:G*", "lambda:P*"], "Resource": "*"})
    signature = Signature(partly, HOME.region)
    with httpx.Client(base_url=guarded.url, timeout=60, auth=signature) as half:
        sequence = Sequence(guarded.server, administrator, [stranger, half])
        carry_out(sequence, SIGNED_S)
    assert sequence.share(200, 300) > 0.04
    assert sequence.share(403, 404) > 0.05


def carry_out(sequence: Sequence, duration_s: float) -> None:
    sequence.client.put("/fnrunner/v1/queues/q", json={}).raise_for_status()
    makers = [name for name in model.supported() if name.startswith(("Create", "Publish", "Put", "Add"))]
    steps = st.sampled_from([*model.supported(), *makers, "CreateFunction", "CreateFunction"]).flatmap(
        lambda name: st.tuples(st.just(name), parameters(name), st.integers(0, 11))
    )

    @ROUND
    @given(st.lists(steps, min_size=STEPS, max_size=STEPS))
    def round_(sequence_of: list[tuple[str, dict[str, Any], int]]) -> None:
        sequence.begin()
        for name, params, which in sequence_of:
            sequence.do(name, params, which)
        sequence.check()

    assert for_a_while(round_, duration_s) > 0
    told = dict(sorted(sequence.statuses.items()))
    print(f"\n{sum(told.values())} requests in {duration_s:g} s, by status: {told}")


LINES = (
    "GET /2015-03-31/functions HTTP/1.1", "POST /2015-03-31/functions HTTP/1.1", "GET / HTTP/1.1", "GET /healthz HTTP/1.0",
    "POST /2015-03-31/functions/f/invocations HTTP/1.1", "PUT /2015-03-31/functions/f/code HTTP/1.1", "GET  HTTP/1.1",
    "get /healthz http/1.1", "FOO /2015-03-31/functions HTTP/1.1", "GET /%00%ff HTTP/1.1", "GET * HTTP/1.1",
    "GET http://[::1 HTTP/1.1", "CONNECT a:1 HTTP/1.1", "PRI * HTTP/2.0", "GET /healthz HTTP/9.9",
)  # fmt: skip
HEADERS = (
    "Host: localhost", "Host: localhost", "Host: a\0b", "Content-Length: 5", "Content-Length: -1",
    "Content-Length: 99999999999",
    "Content-Length: 5\r\nContent-Length: 6", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: gzip", "Content-Encoding: gzip", "Expect: 100-continue", "Connection: Upgrade\r\nUpgrade: websocket",
    "Upgrade: h2c", "X: @", "X-Amz-Client-Context: @", "X-Amz-Invocation-Type: \u00e9",
    " folded: a", "no colon", ": empty", "X-Amz-Log-Type: Tail", "Connection: close", "Authorization: AWS4-HMAC-SHA256 x",
    "Origin: https://evil.example", "\0: \0", "Authorization: AWS4-HMAC-SHA256 Credential=", "Authorization: \u00e9",
    "Authorization: AWS4-HMAC-SHA256 Credential=#/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0",
    "Authorization: AWS4-HMAC-SHA256 Credential=#/20260101/us-east-1/lambda/aws4_request, SignedHeaders=;;@, Signature=\0",
    "X-Amz-Date: 20260101T000000Z", "X-Amz-Date: 99999999T999999Z", "X-Amz-Date: \u0661", "X-Amz-Security-Token: @",
    "X-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "X-Amz-Decoded-Content-Length: -9",
)  # fmt: skip
"""An @ stands for more than any header may have, a # for a key that exists."""
BODIES = (
    b"", b"{}", b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\nhello\r\n", b"ffffffffffffffff\r\n", b"5\r\nhel", b"0\r\nX: y\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01", b"\0" * 2_000, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3,
)  # fmt: skip


def test_what_is_no_request_harms_nobody(client: httpx.Client) -> None:
    send_what_is_none(client, DURATION_S, "AKIAIOSFODNN7EXAMPLE")


def test_what_is_no_request_and_not_signed_harms_nobody_and_does_nothing(
    guarded: Site, administrator: httpx.Client
) -> None:
    before, asked = administrator.get("/2015-03-31/functions").json(), len(guarded.server.front.asked)
    send_what_is_none(administrator, SIGNED_S, guarded.admin.access_key)
    assert administrator.get("/2015-03-31/functions").json() == before
    assert len(guarded.server.front.asked) == asked


def send_what_is_none(client: httpx.Client, duration_s: float, key: str) -> None:
    address = (client.base_url.host, client.base_url.port)
    sent = 0

    @ROUND
    @given(
        line=st.sampled_from(LINES) | st.text(max_size=30),
        headers=st.lists(st.sampled_from(HEADERS), max_size=5),
        body=st.sampled_from(BODIES) | st.binary(max_size=100),
        ends=st.booleans(),
        cut=st.integers(0, 400) | st.none(),
    )
    def round_(line: str, headers: list[str], body: bytes, ends: bool, cut: int | None) -> None:
        nonlocal sent
        head = "\r\n".join([line, *headers]).replace("@", "A" * 70_000).replace("#", key).encode("utf-8", "replace")
        raw = (head + (b"\r\n\r\n" if ends else b"") + body)[:cut]
        with socket.create_connection(address, timeout=20) as connection:
            try:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                answer = _everything(connection)
            except TimeoutError:
                raise  # it hangs
            except OSError:
                answer = b""  # it was closed while we sent
        sent += 1
        for status in _statuses(answer):
            assert status < 500 or status == 501, f"{raw[:300]!r}: {answer[:300]!r}"
        assert client.get("/healthz").status_code == 200

    for_a_while(round_, duration_s)
    print(f"\n{sent} broken requests in {duration_s:g} s")
    assert sent > 0
    assert client.get("/2015-03-31/functions").status_code == 200


def test_a_client_that_sends_half_a_request_and_waits_keeps_nobody_waiting(
    server: ApiServer, client: httpx.Client
) -> None:
    address = (client.base_url.host, client.base_url.port)
    halves = []
    try:
        for _ in range(50):
            half = socket.create_connection(address, timeout=20)
            half.sendall(b"POST /2015-03-31/functions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
            halves.append(half)
        began = time.monotonic()
        assert client.get("/2015-03-31/functions").status_code == 200
        assert time.monotonic() - began < 10
    finally:
        for half in halves:
            half.close()
    assert client.get("/2015-03-31/functions").status_code == 200


def _everything(connection: socket.socket) -> bytes:
    """Until the server closes. A server that neither answers nor closes within the timeout hangs."""
    parts = []
    while data := connection.recv(65_536):
        parts.append(data)
    return b"".join(parts)


def _statuses(answer: bytes) -> list[int]:
    return [int(line[9:12]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.") and line[9:12].isdigit()]


@pytest.mark.parametrize("size", [60_000, 120_000, 2_000_000])
def test_headers_without_end_are_refused(client: httpx.Client, size: int) -> None:
    try:
        answer = client.get("/2015-03-31/functions", headers={"x": "x" * size})
    except httpx.TransportError:
        return
    assert answer.status_code in (200, 400, 413, 431)
