from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.message import Message
from sources import sqs_message
from sources.sqs_message import Queue, Receipt

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
NOW_MS = "1767323045678"
QUEUE = Queue("jobs", "arn:aws:sqs:us-east-1:000000000000:jobs", "us-east-1", "000000000000")
RECEIPT = Receipt("m-1", 2, NOW, 17)


def record(message: Message, queue: Queue = QUEUE) -> dict[str, Any]:
    return sqs_message.record(message, RECEIPT, queue)


def test_a_plain_message_looks_as_lambda_has_it() -> None:
    found = record(Message(b"Test message.", timestamp=datetime(2018, 12, 17, 10, 17, 29, tzinfo=UTC)))
    handle = found.pop("receiptHandle")
    assert handle
    assert found == {
        "messageId": "m-1",
        "body": "Test message.",
        "attributes": {
            "ApproximateReceiveCount": "2",
            "SentTimestamp": "1545041849000",
            "SenderId": "000000000000",
            "ApproximateFirstReceiveTimestamp": NOW_MS,
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(b"Test message.").hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:jobs",
        "awsRegion": "us-east-1",
    }


def test_headers_become_message_attributes() -> None:
    headers = {
        "text": "v", "number": 7, "part": 0.5, "exact": Decimal("1.50"), "yes": True, "raw": b"\x00\xff", "nothing": None,
        "time": datetime(2026, 1, 1, tzinfo=UTC), "list": [1, "x"], "table": {"a": b"\x01"},
    }  # fmt: skip
    found = record(Message(b"", headers=headers))["messageAttributes"]
    kinds = {name: (each["dataType"], each.get("stringValue", each.get("binaryValue"))) for name, each in found.items()}
    assert kinds == {
        "text": ("String", "v"), "number": ("Number", "7"), "part": ("Number", "0.5"), "exact": ("Number", "1.50"),
        "yes": ("String", "true"), "raw": ("Binary", "AP8="), "time": ("String", "2026-01-01T00:00:00+00:00"),
        "list": ("String.json", '[1, "x"]'), "table": ("String.json", '{"a": "AQ=="}'),
    }  # fmt: skip
    assert found["text"] == {"stringValue": "v", "stringListValues": [], "binaryListValues": [], "dataType": "String"}


def test_the_digest_of_attributes_is_that_of_sqs() -> None:
    def sized(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    headers = {"beta": "\u00fc", "alpha": 12, "gamma": b"\x00\x01"}
    expected = (
        sized(b"alpha") + sized(b"Number") + b"\x01" + sized(b"12")
        + sized(b"beta") + sized(b"String") + b"\x01" + sized(b"\xc3\xbc")
        + sized(b"gamma") + sized(b"Binary") + b"\x02" + sized(b"\x00\x01")
    )  # fmt: skip
    found = record(Message(b"", headers=headers))["md5OfMessageAttributes"]
    assert found == hashlib.md5(expected).hexdigest()


def test_what_fnrunner_and_the_broker_add_is_not_the_senders() -> None:
    headers = {
        sqs_message.COUNT_HEADER: 3, "x-death": [{"count": 1}], "x-first-death-queue": "q", "x-last-death-reason": "x",
        "x-delivery-count": 4, "timestamp_in_ms": 5, "message-group-id": "g", "message-deduplication-id": "d",
        "AWSTraceHeader": "Root=1-a", "x-own": "kept",
    }  # fmt: skip
    assert set(record(Message(b"", headers=headers))["messageAttributes"]) == {"x-own"}
    assert sqs_message.copy_headers(headers, {"new": 1}).keys() == {
        "timestamp_in_ms", "message-group-id", "message-deduplication-id", "AWSTraceHeader", "x-own", "new"
    }  # fmt: skip


def test_a_message_with_a_group_is_one_of_a_fifo_queue() -> None:
    found = record(Message(b"b", headers={"message-group-id": "g", "message-deduplication-id": "d"}))["attributes"]
    assert (found["MessageGroupId"], found["MessageDeduplicationId"]) == ("g", "d")
    assert found["SequenceNumber"] == "00000000000000000017"
    other = record(Message(b"b", headers={"MessageGroupId": "g"}))["attributes"]
    assert other["MessageDeduplicationId"] == hashlib.sha256(b"b").hexdigest()


def test_in_a_fifo_queue_messages_without_a_group_are_one() -> None:
    assert sqs_message.group_of(Message(b""), fifo=False) == ""
    assert sqs_message.group_of(Message(b""), fifo=True) == "default"
    found = record(Message(b""), replace(QUEUE, fifo=True))["attributes"]
    assert found["MessageGroupId"] == "default"


def test_a_body_that_is_not_text_is_base64_and_says_so() -> None:
    found = record(Message(b"\xff\x00"))
    assert found["body"] == "/wA="
    assert found["messageAttributes"]["Content-Transfer-Encoding"]["stringValue"] == "base64"
    assert found["md5OfBody"] == hashlib.md5(b"/wA=").hexdigest()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"AWSTraceHeader": "Root=1-a"}, "Root=1-a"),
        (
            {"traceparent": "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00"},
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
        ),
        ({"traceparent": "nonsense"}, None),
        ({"traceparent": 7}, None),
        ({}, None),
    ],
)
def test_a_traced_message_says_so(headers: dict[str, Any], expected: str | None) -> None:
    assert record(Message(b"", headers=headers))["attributes"].get("AWSTraceHeader") == expected


def test_the_sender_is_the_user_also_of_a_copy() -> None:
    assert record(Message(b"", user_id="bob"))["attributes"]["SenderId"] == "bob"
    copy = Message(b"", headers={sqs_message.SENDER_HEADER: "bob"})
    assert record(copy)["attributes"]["SenderId"] == "bob"


def test_when_it_was_sent_is_as_exact_as_can_be() -> None:
    second = datetime(2026, 1, 1, tzinfo=UTC)
    exact = Message(b"", timestamp=second, headers={"timestamp_in_ms": 1767225600123})
    assert record(exact)["attributes"]["SentTimestamp"] == "1767225600123"
    assert record(Message(b"", timestamp=second))["attributes"]["SentTimestamp"] == "1767225600000"
    assert record(Message(b""))["attributes"]["SentTimestamp"] == NOW_MS
    assert record(Message(b"", headers={"timestamp_in_ms": 10**30}))["attributes"]["SentTimestamp"] == NOW_MS


def test_an_id_is_the_senders_or_made_of_the_content() -> None:
    assert sqs_message.id_of(Message(b"", message_id="mine"), "jobs") == "mine"
    one = sqs_message.id_of(Message(b"x", headers={"a": 1}), "jobs")
    assert one == sqs_message.id_of(Message(b"x", headers={"a": 1, "x-delivery-count": 3}), "jobs")
    others = [Message(b"y", headers={"a": 1}), Message(b"x", headers={"a": 2}), Message(b"x", timestamp=NOW)]
    assert len({one, *(sqs_message.id_of(other, "jobs") for other in others)}) == 4
    assert sqs_message.id_of(Message(b"x", headers={"a": 1}), "other") != one


@pytest.mark.parametrize("value", [None, "3", True, -1, 0, 2.0])
def test_a_count_that_is_none_is_zero(value: Any) -> None:
    assert sqs_message.count_of({sqs_message.COUNT_HEADER: value}) == 0


header_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.binary(), st.dictionaries(st.text(), header_values, max_size=4))
def test_whatever_a_message_has_its_record_is_json(body: bytes, headers: dict[str, Any]) -> None:
    found = record(Message(body, headers=headers))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    expected = sqs_message.digest_of(found["messageAttributes"]) if found["messageAttributes"] else None
    assert found.get("md5OfMessageAttributes") == expected
