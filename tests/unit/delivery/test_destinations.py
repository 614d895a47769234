"""Destinations are told what Lambda tells them, where their ARN points, and never hold the event up."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from broker.broker import Broker
from broker.envelope import Attempt, Envelope
from broker.errors import Unavailable, Unroutable
from broker.message import Message
from fnrunner.delivery.destinations import Destinations, noted
from fnrunner.delivery.retry import Reason
from fnrunner.model.arn import FunctionRef, Home
from fnrunner.model.function import EventInvokeConfig
from fnrunner.model.invocation import (
    Expired,
    FunctionError,
    Outcome,
    Succeeded,
    SystemFault,
    Throttled,
    ThrottleReason,
    WorkerDied,
)

HOME = Home()
EVENT = Envelope(
    id="e1",
    function="f",
    payload=b'{"n": 1.0}',
    accepted_at_ms=0,
    xray="Root=1-2-3",
    trace={"traceparent": "00-aa-bb-01", "tracestate": "v=1"},
)
FAILED = replace(EVENT, attempt=2, attempts=(Attempt(1, 0, "A", "first"), Attempt(2, 0, "ValueError", "last")))
ERROR = FunctionError("ValueError", "é" * 1000, b'{"errorMessage":"no"}')
QUEUE, TOPIC = HOME.queue("fails"), "arn:aws:sns:us-east-1:000000000000:news"
STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/log"


class RecordingBroker:
    """Keeps what is published; ``trouble`` is raised instead."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.published: list[tuple[str, str, Message]] = []
        self.trouble = trouble

    async def publish(self, message: Message, *, exchange: str = "", routing_key: str) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.published.append((exchange, routing_key, message))


class Acceptor:
    def __init__(self) -> None:
        self.calls: list[tuple[FunctionRef, bytes, dict[str, Any]]] = []

    async def __call__(self, ref: FunctionRef, payload: bytes, **more: Any) -> str:
        self.calls.append((ref, payload, more))
        return "new"


def make(broker: RecordingBroker, accept: Any = None, timeout: timedelta = timedelta(seconds=30)) -> Destinations:
    return Destinations(
        cast(Broker, broker), HOME, accept=accept or Acceptor(), clock=lambda: 1_700_000_000_000, timeout=timeout
    )


async def failure(broker: RecordingBroker, outcome: Outcome, arn: str = QUEUE, event: Envelope = FAILED) -> Message:
    failures = await make(broker).deliver_failure(
        event, EventInvokeConfig("f"), Reason.RETRIES_EXHAUSTED, outcome, dead_letter_arn=arn
    )
    assert failures == ()
    return broker.published[-1][2]


async def test_a_success_goes_to_the_queue_of_exactly_that_name() -> None:
    broker = RecordingBroker()
    config = EventInvokeConfig("f", on_success=QUEUE)
    assert await make(broker).deliver_success(replace(EVENT, attempt=1), config, Succeeded(b'"ok"')) == ()
    exchange, key, message = broker.published[0]
    written = json.loads(message.body)
    assert (exchange, key, message.content_type) == ("", "fails", "application/json")
    assert (written["requestContext"]["condition"], written["requestContext"]["approximateInvokeCount"]) == (
        "Success",
        2,
    )
    assert written["requestContext"]["functionArn"] == HOME.function("f", "$LATEST")
    assert written["responsePayload"] == "ok"


async def test_without_destinations_nothing_is_published() -> None:
    broker = RecordingBroker()
    destinations = make(broker)
    assert await destinations.deliver_success(EVENT, EventInvokeConfig("f"), Succeeded(b"1")) == ()
    assert await destinations.deliver_failure(FAILED, EventInvokeConfig("f"), Reason.RETRIES_EXHAUSTED, ERROR) == ()
    assert broker.published == []


async def test_trace_context_goes_along_in_both_forms() -> None:
    message = await failure(RecordingBroker(), ERROR)
    assert message.headers["AWSTraceHeader"] == "Root=1-2-3"
    assert message.headers["traceparent"] == "00-aa-bb-01"
    assert message.headers["tracestate"] == "v=1"


async def test_a_dead_letter_target_gets_the_event_unchanged_and_the_error_in_headers() -> None:
    message = await failure(RecordingBroker(), ERROR)
    assert message.body == b'{"n": 1.0}'
    assert (message.headers["RequestID"], message.headers["ErrorCode"]) == ("e1", 200)
    assert message.headers["ErrorMessage"] == "é" * 512, "the first 1 KB, never half a character"


@pytest.mark.parametrize(
    ("outcome", "event", "code"),
    [
        (ERROR, FAILED, 200),
        (WorkerDied(), FAILED, 200),
        (Throttled(ThrottleReason.CAPACITY), FAILED, 429),
        (SystemFault("S", "m"), FAILED, 500),
        (Expired(), FAILED, 200),
        (Expired(), EVENT, 429),
    ],
)
async def test_the_error_code_says_whose_fault_it_was(outcome: Outcome, event: Envelope, code: int) -> None:
    assert (await failure(RecordingBroker(), outcome, event=event)).headers["ErrorCode"] == code


async def test_a_failure_tells_both_the_destination_and_the_dead_letter_target() -> None:
    broker = RecordingBroker()
    await make(broker).deliver_failure(
        FAILED,
        EventInvokeConfig("f", on_failure=TOPIC),
        Reason.RETRIES_EXHAUSTED,
        ERROR,
        dead_letter_arn=QUEUE,
        version="$LATEST",
    )
    (topic, key, record), (_, queue, _) = broker.published
    written = json.loads(record.body)
    assert (topic, key, queue) == ("news", "f", "fails")
    assert written["requestContext"]["approximateInvokeCount"] == 2
    assert written["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert written["responsePayload"] == {"errorMessage": "no"}


@pytest.mark.parametrize(
    ("reason", "outcome", "event", "payload"),
    [
        (Reason.ZERO_RESERVED_CONCURRENCY, Throttled(ThrottleReason.RESERVED), EVENT, None),
        (Reason.EVENT_AGE_EXCEEDED, Throttled(ThrottleReason.CAPACITY), EVENT, None),
        (Reason.EVENT_AGE_EXCEEDED, Expired(), FAILED, {"errorType": "ValueError", "errorMessage": "last"}),
        (
            Reason.RETRIES_EXHAUSTED,
            WorkerDied("gone"),
            FAILED,
            {"errorType": "Runtime.WorkerDied", "errorMessage": "gone"},
        ),
    ],
)
async def test_the_response_is_the_last_answer_there_was(
    reason: Reason, outcome: Outcome, event: Envelope, payload: object
) -> None:
    broker = RecordingBroker()
    await make(broker).deliver_failure(event, EventInvokeConfig("f", on_failure=QUEUE), reason, outcome)
    written = json.loads(broker.published[0][2].body)
    assert written.get("responsePayload") == payload
    assert ("responseContext" in written) == (payload is not None)


async def test_a_stream_gets_a_partition_key() -> None:
    broker = RecordingBroker()
    message = await failure(broker, ERROR, arn=STREAM)
    assert (broker.published[0][1], message.headers["partition-key"]) == ("log", "e1")


async def test_a_function_gets_the_record_as_a_new_event() -> None:
    accept = Acceptor()
    config = EventInvokeConfig("f", on_success=HOME.function("g", "prod"))
    await make(RecordingBroker(), accept).deliver_success(EVENT, config, Succeeded(b"1"))
    await make(RecordingBroker(), accept).deliver_success(EVENT, config, Succeeded(b"1"))
    (ref, payload, more), (_, _, again) = accept.calls
    assert (ref.name, ref.qualifier) == ("g", "prod")
    assert json.loads(payload)["requestContext"]["requestId"] == "e1"
    assert (more["source"], more["xray"], more["trace"]) == ("lambda:f", "Root=1-2-3", EVENT.trace)
    assert more["event_id"] == again["event_id"] != "e1", "told again after a crash, it is the same event"


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (Unroutable(), "create the queue"),
        (RuntimeError(), "Runtime"),
    ],
)
async def test_a_destination_that_cannot_be_told_is_named_and_counted(trouble: Exception, words: str) -> None:
    destinations = make(RecordingBroker(trouble))
    failures = await destinations.deliver_failure(
        FAILED, EventInvokeConfig("f", on_failure=TOPIC), Reason.RETRIES_EXHAUSTED, ERROR, dead_letter_arn=QUEUE
    )
    assert [f.kind for f in failures] == ["OnFailure", "DeadLetterConfig"]
    assert all(words in f.why for f in failures)
    told = destinations.told
    assert (told.delivered, told.destination_failures, told.dead_letter_errors) == (0, 1, 1)
    assert noted(FAILED, failures).extra["destination_errors"] == [str(f) for f in failures]
    assert noted(FAILED, ()) is FAILED


async def test_a_broker_that_is_away_is_raised_so_that_the_destination_is_told_later() -> None:
    destinations = make(RecordingBroker(Unavailable("the broker is away")))
    with pytest.raises(Unavailable, match="away"):
        await destinations.deliver_success(EVENT, EventInvokeConfig("f", on_success=QUEUE), Succeeded(b"1"))
    assert destinations.told.destination_failures == 0


@pytest.mark.parametrize("arn", ["nonsense", "arn:aws:s3:::bucket", "arn:aws:kinesis:us-east-1:000000000000:other"])
async def test_an_arn_that_leads_nowhere_is_a_failure_and_no_crash(arn: str) -> None:
    destinations = make(RecordingBroker())
    assert len(await destinations.deliver_success(EVENT, EventInvokeConfig("f", on_success=arn), Succeeded(b"1"))) == 1


async def test_a_destination_that_does_not_answer_holds_the_event_up_for_a_bounded_time() -> None:
    async def never(ref: FunctionRef, payload: bytes, **more: Any) -> str:
        await asyncio.Event().wait()
        raise AssertionError

    destinations = make(RecordingBroker(), never, timeout=timedelta(milliseconds=5))
    config = EventInvokeConfig("f", on_success=HOME.function("g"))
    (failed,) = await destinations.deliver_success(EVENT, config, Succeeded(b"1"))
    assert "in time" in failed.why


async def test_the_same_telling_has_the_same_message_id_and_another_has_another() -> None:
    broker = RecordingBroker()
    one, two = await failure(broker, ERROR), await failure(broker, ERROR)
    redriven = await failure(broker, ERROR, event=replace(FAILED, redrives=1))
    assert one.message_id == two.message_id != redriven.message_id
