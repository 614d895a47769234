"""Clients that are slow, silent, endless or broken: each is dealt with, and no other hears of it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from fnrunner.app.connection import HEAD_BYTES, URL_BYTES, Connection

App = Callable[[Scope, Receive, Send], Awaitable[None]]
PLENTY_S = 30


class Impatient(Connection):
    patience = timedelta(seconds=0.4)
    stall = timedelta(seconds=0.6)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the number of bytes of the body and of headers."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            scope["state"]["gone"].set()
            return
        size, more = size + len(message["body"]), message["more_body"]
    text = f"{size} {len(scope['headers'])}".encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(text)).encode())]}
    )
    await send({"type": "http.response.body", "body": text})


@asynccontextmanager
async def serving(app: App = echo, protocol: type[Connection] = Impatient) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A server of this application; its port, and an event that :func:`echo` sets when a client has left."""
    gone = asyncio.Event()

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"gone": gone}
        await app(scope, receive, send)

    config = uvicorn.Config(
        told, http=protocol, ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield listener.getsockname()[1], gone
    finally:
        server.should_exit = True
        await task
        listener.close()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def all_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PLENTY_S):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b"reset"


async def asked(port: int, data: bytes) -> bytes:
    """Everything that comes back for these bytes, until the server closes."""
    async with connected(port) as (reader, writer):
        writer.write(data)
        return await all_of(reader)


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n"])
async def test_a_request_that_does_not_come_is_given_up(begun: bytes) -> None:
    async with serving() as (port, _):
        found = await asked(port, begun)
    assert found.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


async def test_a_head_that_drips_in_is_given_up_all_the_same() -> None:
    async with serving() as (port, _), connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n")
        answer = asyncio.create_task(all_of(reader))
        while not answer.done():
            writer.write(b"X-A: 1\r\n")
            await asyncio.wait((answer,), timeout=0.05)
    assert b"408" in await answer or await answer == b"reset"


async def test_a_body_that_stops_is_given_up_and_the_application_hears_of_it() -> None:
    async with serving() as (port, gone):
        found = await asked(port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        async with asyncio.timeout(PLENTY_S):
            await gone.wait()
    assert found in (b"", b"reset")


async def test_a_body_that_drips_in_is_waited_for() -> None:
    async with serving() as (port, _), connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nConnection: close\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.1)
            writer.write(b"x")
        found = await all_of(reader)
    assert found.endswith(b"\r\n\r\n10 3")


async def test_a_function_may_take_longer_than_a_client_may() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.sleep(1.2)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async with serving(slow) as (port, _):
        found = await asked(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert found.endswith(b"ok")


async def test_a_request_after_an_early_answer_does_not_hold_the_connection() -> None:
    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with serving(early) as (port, _), connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        async with asyncio.timeout(PLENTY_S):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 403")
        writer.write(b"a bit more")
        assert b"408" in await all_of(reader)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * URL_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * HEAD_BYTES + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X-A: 1\r\n" * (HEAD_BYTES // 4) + b"\r\n", b"431"),
    ],
)
@pytest.mark.parametrize("piece", [1 << 20, 1000])
async def test_a_head_without_end_is_refused(request_: bytes, status: bytes, piece: int) -> None:
    async with serving(protocol=Connection) as (port, _), connected(port) as (reader, writer):
        for start in range(0, len(request_), piece):
            writer.write(request_[start : start + piece])
            await asyncio.sleep(0)
        found = await all_of(reader)
    assert found.startswith(b"HTTP/1.1 %s " % status) or found == b"reset"


async def test_a_head_that_never_ends_is_refused_and_not_kept() -> None:
    async with serving(protocol=Connection) as (port, _), connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nX-A: ")
        answer = asyncio.create_task(all_of(reader))
        sent = 0
        while not answer.done() and sent < 1 << 26:
            writer.write(b"a" * 4096)
            sent += 4096
            await asyncio.wait((answer,), timeout=0.001)
        assert (await answer)[:12] in (b"HTTP/1.1 431", b"reset")
    assert sent < 1 << 24


async def test_trailers_and_chunk_extensions_without_end_are_refused() -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for begun, piece in ((b"0\r\nX-T: ", b"a" * 4096), (b"0\r\n", b"X-T: 1\r\n" * 512), (b"1;x=", b"a" * 4096)):
        async with serving(protocol=Connection) as (port, gone), connected(port) as (reader, writer):
            writer.write(chunked + begun)
            answer = asyncio.create_task(all_of(reader))
            sent = 0
            while not answer.done() and sent < 1 << 25:
                writer.write(piece)
                sent += len(piece)
                await asyncio.wait((answer,), timeout=0.001)
            assert (await answer)[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"reset", b""), begun
            async with asyncio.timeout(PLENTY_S):
                await gone.wait()


async def test_trailers_are_no_headers() -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    async with serving() as (port, _):
        found = await asked(port, chunked + b"2\r\nab\r\n0\r\nX-Forged: 1\r\n\r\n")
    assert found.endswith(b"\r\n\r\n2 3")


async def test_long_but_bounded_requests_pass() -> None:
    head = b"POST /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\nX-A: %s\r\n\r\n"
    async with serving(protocol=Connection) as (port, _):
        found = await asked(port, head % (b"a" * (URL_BYTES - 1), b"b" * 40_000) + b"x" * 1_000_000)
    assert found.endswith(b"\r\n\r\n1000000 4")


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    last = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nend"
    async with serving(protocol=Connection) as (port, _):
        found = await asked(port, one + one + last)
    assert [part.rpartition(b"\r\n\r\n")[2] for part in found.split(b"HTTP/1.1 200 OK")[1:]] == [
        b"100000 2",
        b"100000 2",
        b"3 3",
    ]


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"FROBNICATE / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX\x00A: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_told_so_and_others_go_on(request_: bytes) -> None:
    async with serving(protocol=Connection) as (port, _), connected(port) as (reader, writer):
        found = await asked(port, request_)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await all_of(reader)).endswith(b"0 2")
    assert found.startswith(b"HTTP/1.1 400 Bad Request\r\n"), found


async def test_an_error_of_a_following_request_does_not_look_like_an_answer_to_the_first() -> None:
    gate = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()

    async with serving(waits, protocol=Connection) as (port, _):
        found = await asked(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n")
        gate.set()
    assert found in (b"", b"reset")


async def test_an_error_within_a_following_request_does_not_end_up_in_the_answer_to_the_first() -> None:
    gate = asyncio.Event()

    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await gate.wait()

    async with serving(streams, protocol=Connection) as (port, _), connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"first\r\n")
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n")
        assert await all_of(reader) in (b"", b"reset")
        gate.set()


async def test_a_request_hears_that_its_client_left_though_another_waits_behind_it() -> None:
    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        left = asyncio.ensure_future(receive())
        while not left.done():
            await send({"type": "http.response.body", "body": b"more" * 10_000, "more_body": True})
            await asyncio.wait((left,), timeout=0.01)
        scope["state"]["gone"].set()

    async with serving(streams, protocol=Connection) as (port, gone):
        async with connected(port) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"more")
            writer.transport.abort()
        async with asyncio.timeout(PLENTY_S):
            await gone.wait()


async def test_a_response_that_nobody_takes_ends_the_connection() -> None:
    ended = asyncio.Event()

    async def big(scope: Scope, receive: Receive, send: Send) -> None:
        length = 64 << 20
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(length).encode())]}
        )
        await send({"type": "http.response.body", "body": b"x" * length, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.set()

    async with serving(big) as (port, _):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(PLENTY_S):
                await ended.wait()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def test_a_response_that_is_taken_slowly_is_not_given_up() -> None:
    size = 10 << 20

    async def streamed(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(size >> 16):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with serving(streamed) as (port, _), connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        taken = 0
        async with asyncio.timeout(PLENTY_S):
            while chunk := await reader.read(1 << 20):
                taken += len(chunk)
                await asyncio.sleep(0.02)
    assert taken > size
