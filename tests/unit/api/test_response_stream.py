"""InvokeWithResponseStream without a server: the messages that an ASGI server would get."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.eventstream import EventStreamBuffer
from starlette.types import Message

from fnrunner.api import shape
from fnrunner.api.response_stream import InvokeWithResponseStream
from fnrunner.api.services import Services
from fnrunner.invoke import errors
from fnrunner.model.arn import FunctionRef, Home
from fnrunner.model.invocation import ThrottleReason

OPERATION = next(operation for operation in shape.load() if operation.name == "InvokeWithResponseStream")
PATH = "/2021-11-15/functions/{}/response-streaming-invocations"


@dataclass
class Answer:
    """A streamed call that pauses at each event among its chunks."""

    chunks: list[bytes | asyncio.Event]
    error_code: str = ""
    error_details: bytes = b""
    log_tail: bytes = b""
    request_id: str = "run-1"
    executed_version: str = "$LATEST"
    content_type: str = "text/plain"
    xray: str = "Root=1-0-0;Sampled=0"
    taken: int = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            if isinstance(chunk, asyncio.Event):
                await chunk.wait()
            else:
                self.taken += 1
                yield chunk


@dataclass
class Front:
    answer: Answer
    error: Exception | None = None
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def stream(self, ref: FunctionRef, payload: bytes, **more: Any) -> AsyncIterator[Answer]:
        self.asked.append((ref, payload, more))
        if self.error:
            raise self.error
        try:
            yield self.answer
        finally:
            self.left.set()

    async def check(self, ref: FunctionRef) -> None:
        self.asked.append((ref,))


class Client:
    """One request. ``send`` may be replaced by one that is slow; ``gone`` closes the connection."""

    def __init__(self, front: Front, name: str = "f", body: bytes = b'{"a":1}', **headers: str) -> None:
        self.got: list[Message] = []
        self.gone = asyncio.Event()
        self.send: Callable[[Message], Any] = self._take
        services = cast("Services", SimpleNamespace(front=front, home=Home(), version="9.9"))
        self._door = InvokeWithResponseStream(services, OPERATION)
        path = PATH.format(name)
        self._segment = self._door.function_of("POST", path)
        self._body: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        self._headers = [(k.replace("_", "-").lower().encode(), v.encode()) for k, v in headers.items()]

    async def run(self) -> Client:
        assert self._segment is not None
        scope = {"headers": self._headers, "query_string": b""}
        await self._door(scope, self._receive, self.send, self._segment)
        return self

    async def _receive(self) -> Message:
        if self._body:
            return self._body.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _take(self, message: Message) -> None:
        self.got.append(message)

    @property
    def status(self) -> int:
        return int(self.got[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.got[0]["headers"]}

    def events(self) -> list[tuple[str, bytes]]:
        buffer = EventStreamBuffer()
        for message in self.got[1:]:
            buffer.add_data(message["body"])
        return [(message.headers[":event-type"], message.payload) for message in buffer]


async def test_an_answer_is_an_event_stream_with_lambdas_headers() -> None:
    front = Front(Answer([b"one", b"two"]))
    client = await Client(front).run()
    assert (client.status, client.headers) == (
        200,
        {
            "content-type": "application/vnd.amazon.eventstream",
            "x-amzn-requestid": "run-1",
            "x-amz-executed-version": "$LATEST",
            "x-amzn-trace-id": "Root=1-0-0;Sampled=0",
        },
    )
    assert client.events() == [("PayloadChunk", b"one"), ("PayloadChunk", b"two"), ("InvokeComplete", b"{}")]
    assert [message.get("more_body") for message in client.got[1:]] == [True, True, False]
    ref, payload, more = front.asked[0]
    assert (ref, payload) == (FunctionRef("f"), b'{"a":1}')
    assert more == {"client_context": "", "log_tail": False, "xray": "", "trace": {}}


async def test_an_error_and_the_log_come_with_the_last_event() -> None:
    front = Front(Answer([b"one"], "Unhandled", b'{"errorType":"E"}', b"START\n"))
    client = await Client(front, X_Amz_Log_Type="Tail").run()
    name, payload = client.events()[-1]
    assert (name, json.loads(payload)) == (
        "InvokeComplete",
        {
            "ErrorCode": "Unhandled",
            "ErrorDetails": '{"errorType":"E"}',
            "LogResult": base64.b64encode(b"START\n").decode(),
        },
    )
    assert front.asked[0][2]["log_tail"] is True


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.FunctionNotFound("no"), 404, "ResourceNotFoundException"),
        (errors.Throttled(ThrottleReason.RESERVED), 429, "TooManyRequestsException"),
        (RuntimeError("a bug"), 500, "ServiceException"),
    ],
)
async def test_what_goes_wrong_before_the_first_byte_is_an_http_error(error: Exception, status: int, code: str) -> None:
    client = await Client(Front(Answer([]), error)).run()
    assert (client.status, client.headers["x-amzn-errortype"]) == (status, code)
    assert client.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"X_Amz_Invocation_Type": "Event"}, "ValidationException"),
        ({"X_Amz_Log_Type": "All"}, "ValidationException"),
        ({"X_Amz_Tenant_Id": "t"}, "InvalidParameterValueException"),
        ({"X_Amz_Client_Context": "!"}, "InvalidRequestContentException"),
    ],
)
async def test_a_header_that_is_wrong_is_refused_and_nothing_runs(headers: dict[str, str], code: str) -> None:
    front = Front(Answer([]))
    client = await Client(front, **headers).run()
    assert (client.status, client.headers["x-amzn-errortype"]) == (400, code)
    assert front.asked == []


async def test_a_dry_run_is_204_and_runs_nothing() -> None:
    front = Front(Answer([]))
    client = await Client(front, X_Amz_Invocation_Type="DryRun").run()
    assert (client.status, client.got[1]["body"], front.asked) == (204, b"", [(FunctionRef("f"),)])


async def test_a_piece_is_sent_before_the_next_one_is_asked_for() -> None:
    answer = Answer([b"one", b"two", b"three"])
    client = Client(Front(answer))
    room = asyncio.Semaphore(0)
    sending = asyncio.Event()

    async def slow(message: Message) -> None:
        sending.set()
        await room.acquire()
        client.got.append(message)

    client.send = slow
    running = asyncio.create_task(client.run())
    await sending.wait()
    for expected in (0, 1, 2):
        for _ in range(10):
            await asyncio.sleep(0)
        assert answer.taken == expected, "the head, and then each piece, waits for the one before it"
        room.release()
    for _ in range(3):
        room.release()
    await running
    assert client.events()[-1][0] == "InvokeComplete"


async def test_the_stream_is_left_when_the_client_closes_the_connection() -> None:
    never = asyncio.Event()
    front = Front(Answer([b"one", never, b"two"]))
    client = Client(front)
    running = asyncio.create_task(client.run())
    while len(client.got) < 2:
        await asyncio.sleep(0)
    assert not front.left.is_set()
    client.gone.set()
    await running
    assert front.left.is_set()
    assert client.events() == [("PayloadChunk", b"one")]


async def test_a_body_that_breaks_off_is_not_ended_as_if_it_were_whole() -> None:
    @dataclass
    class Broken(Answer):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"one"
            raise RuntimeError("a bug")

    client = Client(Front(Broken([])))
    with pytest.raises(RuntimeError, match="a bug"):
        await client.run()
    assert all(message.get("more_body", True) for message in client.got)


@pytest.mark.parametrize(
    "path",
    [
        "/2015-03-31/functions/f/response-streaming-invocations",
        "/2021-11-15/functions/f/invocations",
        "/2021-11-15/functions/a/b/response-streaming-invocations",
    ],
)
def test_other_paths_are_not_this_operation(path: str) -> None:
    assert InvokeWithResponseStream.function_of("POST", path) is None
    assert InvokeWithResponseStream.function_of("GET", PATH.format("f")) is None
