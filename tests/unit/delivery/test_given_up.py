"""What a poller gives up reaches the destination and the dead letters, or is not passed over."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from broker import names
from broker.broker import Broker
from broker.envelope import SYNC_LIMIT_BYTES, decode
from broker.errors import Unavailable
from broker.message import Message
from fnrunner.delivery.destinations import Destinations
from fnrunner.delivery.given_up import BATCH, POISON, PollerLetters, document
from fnrunner.delivery.ledger import Ledger
from fnrunner.delivery.letter import read_dead_message
from fnrunner.delivery.record import AcceptedEvent
from fnrunner.model.arn import Home
from fnrunner.store.errors import StoreUnavailable
from sources.errors import NotAccepted
from sources.invocation import Answered, Crashed, Failed, GivenUp
from sources.mapping import EventSourceMapping

HOME = Home()
STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/readings"
MAPPING = EventSourceMapping("uuid", "f", source_arn=STREAM, on_failure=HOME.queue("fails"))
REPORT = {
    "records": [{"position": "7", "first_difference": "$.celsius is a string where 9 of 9 neighbours have a number"}]
}
GIVEN_UP = GivenUp(
    mapping=MAPPING,
    shard="shardId-000000000000",
    condition="RetryAttemptsExhausted",
    payload=b'{"Records":[]}',
    first="7",
    last="7",
    size=1,
    attempts=3,
    at=datetime(2026, 1, 2, tzinfo=UTC),
    result=Failed("ValueError", "no", b"{}", "r1", "$LATEST"),
    info_key="KinesisBatchInfo",
    info={"shardId": "shardId-000000000000", "batchSize": 1},
    report=REPORT,
)


class RecordingBroker:
    """Keeps what is published; ``trouble`` is raised instead."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str, Message]] = []
        self.trouble: Exception | None = None

    async def declare(self, topology: Any) -> None:
        pass

    async def publish(self, message: Message, *, exchange: str = "", routing_key: str) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.published.append((exchange, routing_key, message))


class RecordingLedger:
    def __init__(self) -> None:
        self.events: list[AcceptedEvent] = []
        self.trouble: Exception | None = None

    async def accepted(self, event: AcceptedEvent) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.events.append(event)


@pytest.fixture
def broker() -> RecordingBroker:
    return RecordingBroker()


@pytest.fixture
def ledger() -> RecordingLedger:
    return RecordingLedger()


@pytest.fixture
def letters(broker: RecordingBroker, ledger: RecordingLedger) -> PollerLetters:
    async def accept(*_: Any, **__: Any) -> None:
        raise AssertionError("no function is a destination here")

    real = cast(Broker, broker)
    destinations = Destinations(real, HOME, accept=accept, clock=lambda: 0)
    return PollerLetters(real, HOME, cast(Ledger, ledger), destinations, clock=lambda: 0)


async def test_the_destination_gets_positions_and_report_and_a_dead_letter_is_filed(
    letters: PollerLetters, broker: RecordingBroker, ledger: RecordingLedger
) -> None:
    await letters.give_up(GIVEN_UP)
    (_, queue, told), (exchange, key, dead) = broker.published
    assert (queue, exchange, key) == ("fails", names.DEAD, "f")
    record = json.loads(told.body)
    assert record["KinesisBatchInfo"] == {"shardId": "shardId-000000000000", "batchSize": 1}
    assert record["report"] == REPORT
    assert [event.event_id for event in ledger.events] == [GIVEN_UP.event_id]
    letter = read_dead_message(dead, names.dead("f"), 0)
    assert (letter.event_id, letter.reason, letter.error_type) == (
        GIVEN_UP.event_id, "RetryAttemptsExhausted", "ValueError"
    )  # fmt: skip
    envelope = decode(letter.envelope)
    assert envelope.payload == b'{"Records":[]}'
    assert json.loads(envelope.extra[POISON]) == REPORT
    assert envelope.extra[BATCH]["first"] == "7"


async def test_the_same_records_given_up_again_are_the_same_letter(
    letters: PollerLetters, broker: RecordingBroker
) -> None:
    await letters.give_up(GIVEN_UP)
    await letters.give_up(GIVEN_UP)
    assert len({message.message_id for _, queue, message in broker.published if queue == "fails"}) == 1
    assert len({message.message_id for _, queue, message in broker.published if queue == "f"}) == 1


async def test_while_the_broker_is_away_nothing_may_be_passed_over(
    letters: PollerLetters, broker: RecordingBroker
) -> None:
    broker.trouble = Unavailable()
    with pytest.raises(NotAccepted):
        await letters.give_up(GIVEN_UP)
    with pytest.raises(NotAccepted):
        await letters.give_up(replace(GIVEN_UP, mapping=replace(MAPPING, on_failure="")))


async def test_while_the_store_is_away_nothing_may_be_passed_over(
    letters: PollerLetters, ledger: RecordingLedger
) -> None:
    ledger.trouble = StoreUnavailable()
    with pytest.raises(NotAccepted):
        await letters.give_up(GIVEN_UP)


async def test_a_destination_that_cannot_be_told_is_written_on_the_dead_letter(
    letters: PollerLetters, broker: RecordingBroker
) -> None:
    await letters.give_up(replace(GIVEN_UP, mapping=replace(MAPPING, on_failure="arn:aws:s3:::bucket")))
    ((_, _, dead),) = broker.published
    envelope = decode(dead.body)
    assert "s3 cannot be a destination" in envelope.extra["destination_errors"][0]


async def test_an_event_too_large_for_an_envelope_keeps_all_its_bytes(
    letters: PollerLetters, broker: RecordingBroker
) -> None:
    payload = b"[" + b" " * SYNC_LIMIT_BYTES + b"]"
    large = replace(GIVEN_UP, payload=payload, condition="InvokePayloadTooLarge", result=None)
    await letters.give_up(large)
    letter = read_dead_message(broker.published[-1][2], names.dead("f"), 0)
    assert letter.envelope == payload
    assert letter.event_id == large.event_id


async def test_lost_records_have_no_payload_and_only_the_destination_hears(
    letters: PollerLetters, broker: RecordingBroker, ledger: RecordingLedger
) -> None:
    await letters.give_up(replace(GIVEN_UP, condition="RecordsLost", payload=b"", result=None))
    assert [queue for _, queue, _ in broker.published] == ["fails"]
    assert ledger.events == []


def test_the_record_has_the_fields_that_lambda_writes() -> None:
    record = document(replace(GIVEN_UP, report={}), HOME.function("f"), 1_767_312_000_000)
    assert record == {
        "requestContext": {
            "requestId": "r1",
            "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 3,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2026-01-02T00:00:00.000Z",
        "KinesisBatchInfo": {"shardId": "shardId-000000000000", "batchSize": 1},
    }


def test_what_grew_too_old_has_no_response() -> None:
    assert "responseContext" not in document(replace(GIVEN_UP, condition="RecordAgeExceeded"), "arn", 0)


def test_other_records_at_the_same_positions_are_another_letter() -> None:
    assert replace(GIVEN_UP, payload=b"other").event_id != GIVEN_UP.event_id


@pytest.mark.parametrize(
    ("result", "response"),
    [
        (None, None),
        (Answered(b"{}", "r", "$LATEST"), {"statusCode": 200, "executedVersion": "$LATEST", "functionError": None}),
        (Crashed("gone"), {"statusCode": 500, "executedVersion": "$LATEST", "functionError": "Unhandled"}),
    ],
)
def test_the_response_says_how_the_last_try_ended(result: Any, response: Any) -> None:
    assert document(replace(GIVEN_UP, result=result), "arn", 0).get("responseContext") == response


@pytest.mark.parametrize(
    ("report", "error_type"),
    [
        ({"records": [{"error_type": "BatchItemFailure"}]}, "Source.BatchItemFailures"),
        ({"records": [{"error_type": "BatchResponseMalformed"}]}, "Source.BatchResponseMalformed"),
        ({}, "Source.BatchResponseMalformed"),
    ],
)
async def test_an_answer_that_names_nobody_is_not_said_to_have_named_the_records(
    letters: PollerLetters, broker: RecordingBroker, report: dict[str, Any], error_type: str
) -> None:
    await letters.give_up(replace(GIVEN_UP, result=Answered(b"[]", "r1", "$LATEST"), report=report))
    letter = read_dead_message(broker.published[-1][2], names.dead("f"), 0)
    assert letter.error_type == error_type
