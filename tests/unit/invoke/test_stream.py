"""A streamed answer read from replies, and what is asked of the broker for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any, cast

import pytest

from broker.broker import Broker
from broker.errors import NoReply, RequestReturned, Unavailable
from broker.message import Message
from broker.reply import Reply, ReplyKind, encode
from fnrunner.invoke import errors
from fnrunner.invoke.request import Requests
from fnrunner.invoke.stream import StreamedCall
from fnrunner.model import limits
from fnrunner.model.function import Function

CHUNK, ANSWER, ERROR = ReplyKind.CHUNK, ReplyKind.ANSWER, ReplyKind.ERROR
FUNCTION = cast("Function", type("F", (), {"name": "f", "reserved_concurrency": None, "timeout": timedelta(seconds=3)}))


class ScriptedBroker:
    """Answers a request with what is scripted, an exception being raised."""

    def __init__(self, *script: Reply | Exception) -> None:
        self.script = script
        self.asked: list[dict[str, Any]] = []
        self.yielded = 0
        self.closed = 0

    async def request(self, message: Message, **more: Any) -> AsyncGenerator[Message]:
        self.asked.append(more)
        try:
            for step in self.script:
                if isinstance(step, Exception):
                    raise step
                self.yielded += 1
                yield Message(encode(step))
        finally:
            self.closed += 1


async def opened(*script: Reply | Exception) -> tuple[StreamedCall, ScriptedBroker]:
    broker = ScriptedBroker(*script)
    requests = Requests(cast("Broker", broker), timedelta(seconds=1))
    first, rest = await requests.ask_for_stream(FUNCTION, Message(b""))
    return StreamedCall("id", "Root=1", first, rest), broker


async def chunks(answer: StreamedCall) -> list[bytes]:
    return [chunk async for chunk in answer]


async def test_the_first_reply_tells_type_and_version_and_the_last_one_the_end() -> None:
    answer, broker = await opened(
        Reply(b"one", CHUNK, "7", content_type="text/plain"), Reply(b"two", CHUNK), Reply(version="7", log_tail=b"END")
    )
    assert (answer.content_type, answer.executed_version, answer.complete) == ("text/plain", "7", False)
    assert await chunks(answer) == [b"one", b"two"]
    assert (answer.error_code, answer.error_details, answer.log_tail, answer.complete) == ("", b"", b"END", True)
    assert broker.asked[0]["window"] == limits.STREAMED_WINDOW


async def test_nothing_is_read_ahead_of_whoever_iterates() -> None:
    answer, broker = await opened(Reply(b"one", CHUNK), Reply(b"two", CHUNK), Reply())
    assert broker.yielded == 1
    assert await anext(aiter(answer)) == b"one"
    assert broker.yielded == 1
    assert await anext(aiter(answer)) == b"two"
    assert broker.yielded == 2


async def test_an_answer_of_a_worker_that_knows_no_streams_is_one_chunk_of_json() -> None:
    answer, _ = await opened(Reply(b'{"a":1}', version="7"))
    assert answer.content_type == "application/json"
    assert await chunks(answer) == [b'{"a":1}']


async def test_an_empty_stream_has_its_type_and_no_chunk() -> None:
    answer, _ = await opened(Reply(b"", CHUNK, "7", content_type="text/html"), Reply(version="7"))
    assert answer.content_type == "text/html"
    assert await chunks(answer) == []


@pytest.mark.parametrize(
    ("error_type", "code"),
    [
        ("ValueError", "Unhandled"),
        ("Runtime.ImportModuleError", "Unhandled"),
        ("Function.ResponseSizeTooLarge", "Unhandled"),
        ("Sandbox.Timedout", "Sandbox.Timedout"),
        ("Runtime.ExitError", "Runtime.ExitError"),
        ("Runtime.TruncatedResponse", "Runtime.TruncatedResponse"),
    ],
)
async def test_what_a_function_raised_is_unhandled_and_what_the_platform_ended_keeps_its_name(
    error_type: str, code: str
) -> None:
    answer, _ = await opened(Reply(b"one", CHUNK), Reply(b'{"errorType":"E"}', ERROR, code=error_type, log_tail=b"END"))
    assert await chunks(answer) == [b"one"]
    assert (answer.error_code, answer.error_details, answer.log_tail) == (code, b'{"errorType":"E"}', b"END")


@pytest.mark.parametrize(
    "broken",
    [NoReply("reply 1 was lost"), Unavailable("cut"), Reply(kind=ReplyKind.FAULT, code="WorkerDied", message="died")],
)
async def test_a_stream_that_breaks_off_ends_with_the_platforms_error(broken: Reply | Exception) -> None:
    answer, _ = await opened(Reply(b"one", CHUNK), broken)
    assert await chunks(answer) == [b"one"]
    assert answer.error_code == "Sandbox.Failure"
    assert b'"errorType":"Sandbox.Failure"' in answer.error_details
    assert await chunks(answer) == []


@pytest.mark.parametrize(
    ("first", "raised"),
    [
        (NoReply("none"), errors.WorkerLost),
        (Unavailable("cut"), errors.ServiceUnavailable),
        (Reply(kind=ReplyKind.FAULT, message="no"), errors.ServiceFault),
        (Reply(kind=ReplyKind.THROTTLED, code="ConcurrentInvocationLimitExceeded"), errors.Throttled),
    ],
)
async def test_before_the_first_piece_what_goes_wrong_is_raised_and_the_request_is_over(
    first: Reply | Exception, raised: type[Exception]
) -> None:
    broker = ScriptedBroker(first)
    requests = Requests(cast("Broker", broker), timedelta(seconds=1))
    with pytest.raises(raised):
        await requests.ask_for_stream(FUNCTION, Message(b""))
    assert broker.closed == 1


async def test_a_queue_that_is_gone_is_made_and_asked_again() -> None:
    class Forgetful(ScriptedBroker):
        declared = 0

        async def declare(self, topology: object) -> None:
            self.declared += 1
            self.script = (Reply(b"x"),)

    broker = Forgetful(RequestReturned("unroutable"))
    answer = await Requests(cast("Broker", broker), timedelta(seconds=1)).ask(FUNCTION, Message(b""))
    assert (answer.payload, broker.declared, len(broker.asked), broker.closed) == (b"x", 1, 2, 2)
    assert broker.asked[1]["window"] == 0
