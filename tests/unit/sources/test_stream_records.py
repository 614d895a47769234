"""Records as functions see them, made of messages of every kind."""

from __future__ import annotations

import base64
import doctest
import importlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.message import Message
from sources import stream_message
from sources.dynamodb_record import DynamoDBRecords, Malformed, parse
from sources.kafka_record import KafkaRecords, signed
from sources.kinesis_record import KinesisRecords
from sources.stream import Record

NOW = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
TABLE = "arn:aws:dynamodb:eu-west-1:000000000000:table/T/stream/L"
MODULES = ("broker_stream", "dynamodb_record", "kafka_reader", "kafka_record", "kinesis_record", "shard_lineage",
           "stream_message", "stream_verdict")  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"sources.{name}")).failed == 0


# Messages

HEADER = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(["partition-key", "timestamp_in_ms", "traceparent", "other"]), HEADER),
    st.binary(max_size=50),
    st.none() | st.text(max_size=20),
    st.none() | st.datetimes(timezones=st.just(UTC)),
)
def test_no_message_is_too_strange(
    headers: dict[str, Any], body: bytes, message_id: str | None, moment: datetime | None
) -> None:
    message = Message(body, message_id=message_id, headers=headers, timestamp=moment)
    key = stream_message.key(message, "", "q")
    arrived = stream_message.arrived(message, NOW)
    record = KinesisRecords("arn:aws:kinesis:eu-west-1:0:stream/s", "0").record(
        "shardId-000000000000", 3, body, key=key, arrived=arrived, identity=stream_message.identity(message)
    )
    assert arrived <= NOW
    assert len(record.identity) == 16
    assert stream_message.size(message) >= len(body)
    assert base64.b64decode(json.loads(json.dumps(record.event))["kinesis"]["data"]) == body


@pytest.mark.parametrize(
    ("second", "milliseconds", "expected"),
    [
        (NOW - timedelta(hours=1), None, NOW - timedelta(hours=1)),
        (None, 1_000, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1_250, datetime(1970, 1, 1, 0, 0, 1, 250_000, tzinfo=UTC)),
        (datetime(1970, 1, 1, 0, 0, 9, tzinfo=UTC), 1_250, datetime(1970, 1, 1, 0, 0, 9, tzinfo=UTC)),
        (NOW + timedelta(days=1), None, NOW),
        (None, True, NOW),
        (None, "1000", NOW),
        (None, -5, NOW),
        (None, 2**60, NOW),
        (None, None, NOW),
    ],
)
def test_a_message_arrived_when_it_says_and_never_later_than_now(
    second: datetime | None, milliseconds: Any, expected: datetime
) -> None:
    headers = {} if milliseconds is None else {"timestamp_in_ms": milliseconds}
    assert stream_message.arrived(Message(b"", headers=headers, timestamp=second), NOW) == expected


def test_a_message_without_an_id_has_another_identity_than_one_with_an_empty_id() -> None:
    assert stream_message.identity(Message(b"x")) != stream_message.identity(Message(b"x", message_id=""))


# DynamoDB


def made(document: Any, **parts: Any) -> Record:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return DynamoDBRecords(TABLE).record("s", 9, body, **{"key": "", "arrived": NOW, "identity": "i", **parts})


def test_what_a_document_leaves_out_is_filled_in() -> None:
    record = made({"eventName": "MODIFY", "dynamodb": {"Keys": {"Id": {"N": "1"}}, "NewImage": {}, "OldImage": {}}})
    assert record.fault == ""
    assert len(record.event["eventID"]) == 32
    assert record.event["dynamodb"] == {
        "ApproximateCreationDateTime": 1777636800,
        "SizeBytes": 20,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
        "Keys": {"Id": {"N": "1"}},
        "NewImage": {},
        "OldImage": {},
        "SequenceNumber": "9",
    }
    rest = {key: value for key, value in record.event.items() if key not in ("eventID", "dynamodb")}
    assert rest == {
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "eventName": "MODIFY",
        "eventSourceARN": TABLE,
    }
    assert json.loads(record.data or b"") == record.event["dynamodb"]
    assert record.key == '{"Id":{"N":"1"}}'


def test_what_a_document_says_stays_except_its_sequence_number() -> None:
    given_ = {
        "eventID": "e-1",
        "eventName": "REMOVE",
        "eventVersion": "1.0",
        "awsRegion": "mars",
        "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
        "eventSourceARN": "theirs",
        "dynamodb": {"SequenceNumber": "777", "SizeBytes": 5, "ApproximateCreationDateTime": 1_000_000_000},
    }
    record = made(given_)
    assert record.event["dynamodb"]["SequenceNumber"] == "9"
    assert record.event["dynamodb"]["SizeBytes"] == 5
    assert {key: record.event[key] for key in given_ if key != "dynamodb"} == {
        key: value for key, value in given_.items() if key != "dynamodb"
    }
    assert record.arrived == datetime.fromtimestamp(1_000_000_000, UTC)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "no JSON object"),
        (b"{}", "dynamodb is missing"),
        (b'{"eventName":"INSERT","dynamodb":[]}', "dynamodb is missing, or is no object"),
        (b'{"dynamodb":{}}', "eventName is null"),
        (b'{"eventName":"insert","dynamodb":{}}', 'eventName is "insert"'),
        (b'{"eventName":["INSERT"],"dynamodb":{}}', "eventName is"),
        (b'{"eventName":"INSERT","dynamodb":{"Keys":1}}', "Keys is no object"),
        (b'{"eventName":"INSERT","dynamodb":{"x":NaN}}', "not JSON"),
        (b'{"eventName":"INSERT","dynamodb":{"x":1e999}}', "out of range"),
        (b"[" * 100_000, "nested too deeply"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_record_says_why_and_keeps_its_bytes(body: bytes, fault: str) -> None:
    record = made(body)
    assert fault in record.fault
    assert record.data == body
    assert base64.b64decode(record.event["data"]) == body
    json.dumps(record.event)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_a_body_is_a_record_or_malformed(body: bytes) -> None:
    try:
        parse(body)
    except Malformed as error:
        assert str(error)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_a_document_of_anything_is_a_record_or_malformed(value: Any) -> None:
    record = made({"eventName": "INSERT", "dynamodb": value})
    assert bool(record.fault) == (not isinstance(value, dict) or any(
        image in value and not isinstance(value[image], dict) for image in ("Keys", "NewImage", "OldImage")
    ))  # fmt: skip


def test_a_record_of_the_service_is_as_lambda_has_it() -> None:
    raw = {
        "eventID": "e",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "awsRegion": "eu-west-1",
        "userIdentity": {"PrincipalId": "p", "Type": "Service"},
        "dynamodb": {
            "ApproximateCreationDateTime": NOW,
            "Keys": {"Id": {"B": b"\x01"}},
            "NewImage": {"S": {"BS": [b"\x02"]}},
            "SequenceNumber": "123",
        },
    }
    record = DynamoDBRecords(TABLE).of_service(raw)
    assert record.position == 123
    assert record.event["userIdentity"] == {"type": "Service", "principalId": "p"}
    assert record.event["dynamodb"] == {
        "ApproximateCreationDateTime": 1777636800,
        "Keys": {"Id": {"B": "AQ=="}},
        "NewImage": {"S": {"BS": ["Ag=="]}},
        "SequenceNumber": "123",
    }


# Kafka


class Said:
    """A message of a Kafka client."""

    def __init__(self, **parts: Any) -> None:
        self.parts = {
            "offset": 15,
            "key": b"k",
            "value": b"v",
            "timestamp": (1, 1_545_084_650_987),
            "headers": None,
            **parts,
        }

    def __getattr__(self, name: str) -> Any:
        return lambda: self.parts[name]


def test_a_batch_of_a_self_managed_cluster() -> None:
    records = KafkaRecords("clicks", "", ["b-1:9092", "b-2:9092"])
    record = records.record(3, Said(headers=[("h", b"he\xeb"), ("none", None)]), NOW)
    assert json.loads(records.payload([record.event], {})) == {
        "eventSource": "SelfManagedKafka",
        "bootstrapServers": "b-1:9092,b-2:9092",
        "records": {
            "clicks-3": [
                {
                    "topic": "clicks",
                    "partition": 3,
                    "offset": 15,
                    "timestamp": 1545084650987,
                    "timestampType": "CREATE_TIME",
                    "key": "aw==",
                    "value": "dg==",
                    "headers": [{"h": [104, 101, -21]}, {"none": []}],
                }
            ]
        },
    }
    assert (record.key, record.data) == ("k", b"v")


def test_a_batch_of_a_managed_cluster_names_it() -> None:
    event = json.loads(KafkaRecords("t", "arn:aws:kafka:r:a:cluster/c/1", ["b:1"]).payload([], {"state": {}}))
    assert (event["eventSource"], event["eventSourceArn"]) == ("aws:kafka", "arn:aws:kafka:r:a:cluster/c/1")
    assert (event["records"], event["state"]) == ({}, {})


def test_a_tombstone_has_no_data() -> None:
    record = KafkaRecords("t", "", ["b:1"]).record(0, Said(key=None, value=None), NOW)
    assert (record.key, record.data) == ("", None)
    assert (record.event["key"], record.event["value"]) == (None, None)


@pytest.mark.parametrize("stamp", [(0, -1), (1, -1), (1, 2**62), (2, 9_999_999_999_999)])
def test_a_time_that_cannot_be_is_now(stamp: tuple[int, int]) -> None:
    assert KafkaRecords("t", "", ["b:1"]).record(0, Said(timestamp=stamp), NOW).arrived == NOW


@pytest.mark.parametrize(
    "identifier",
    [None, "", 15, [], {}, {"partition": "t-0"}, {"partition": "u-0", "offset": 1}, {"partition": 0, "offset": 1},
     {"partition": "t-0", "offset": "1"}, {"partition": "t-0", "offset": True}, {"partition": "t-0", "offset": -1}],
)  # fmt: skip
def test_an_identifier_that_is_none_is_malformed(identifier: Any) -> None:
    assert KafkaRecords("t", "", ["b:1"]).failure_key(identifier) is None


def test_an_identifier_is_partition_and_offset() -> None:
    assert KafkaRecords("t", "", ["b:1"]).failure_key({"partition": "t-0", "offset": 15}) == 15


@given(st.binary())
def test_signed_bytes_are_those_bytes(content: bytes) -> None:
    assert bytes(number % 256 for number in signed(content)) == content
