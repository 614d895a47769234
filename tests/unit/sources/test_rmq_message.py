from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.message import Message
from sources import rmq_message


def test_a_message_looks_as_lambda_documents_it() -> None:
    data = '{"timeout":0,"data":"CZrmf0Gw8Ov4bqLQxD4E"}'
    message = Message(
        data.encode(),
        content_type="text/plain",
        headers={"header1": "value1", "header2": "value2", "numberInHeader": 10},
        persistent=False,
        priority=34,
        expiration=timedelta(minutes=1),
        timestamp=datetime(1970, 1, 1, 0, 33, 41, tzinfo=UTC),
        user_id="AIDACKCEVSQ6C2EXAMPLE",
    )
    arn = "arn:aws:mq:us-west-2:111122223333:broker:pizzaBroker:b-9bcfa592-423a-4942-879d-eb284b418fc8"
    record = rmq_message.record(message, redelivered=False)
    event = json.loads(rmq_message.payload([record], arn=arn, queue="pizzaQueue", virtual_host="/"))
    assert event == {
        "eventSource": "aws:rmq",
        "eventSourceArn": arn,
        "rmqMessagesByQueue": {
            "pizzaQueue::/": [
                {
                    "basicProperties": {
                        "contentType": "text/plain",
                        "contentEncoding": None,
                        "headers": {
                            "header1": {"bytes": [118, 97, 108, 117, 101, 49]},
                            "header2": {"bytes": [118, 97, 108, 117, 101, 50]},
                            "numberInHeader": 10,
                        },
                        "deliveryMode": 1,
                        "priority": 34,
                        "correlationId": None,
                        "replyTo": None,
                        "expiration": "60000",
                        "messageId": None,
                        "timestamp": "Jan 1, 1970, 12:33:41 AM",
                        "type": None,
                        "userId": "AIDACKCEVSQ6C2EXAMPLE",
                        "appId": None,
                        "clusterId": None,
                        "bodySize": len(data),
                    },
                    "redelivered": False,
                    "data": "eyJ0aW1lb3V0IjowLCJkYXRhIjoiQ1pybWYwR3c4T3Y0YnFMUXhENEUifQ==",
                }
            ]
        },
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("é", {"bytes": [-61, -87]}),
        (b"\x00\xff\x80", {"bytes": [0, -1, -128]}),
        (True, True),
        (None, None),
        (7, 7),
        (0.5, 0.5),
        (Decimal("2.00"), 2),
        (Decimal("2.5"), 2.5),
        (float("nan"), "nan"),
        ([1, "a", [None]], [1, {"bytes": [97]}, [None]]),
        ({"a": {"b": "c"}}, {"a": {"b": {"bytes": [99]}}}),
        (datetime(2026, 12, 31, 23, 5, 9, tzinfo=UTC), "Dec 31, 2026, 11:05:09 PM"),
    ],
)
def test_a_header_is_what_java_made_of_it(value: Any, expected: Any) -> None:
    assert rmq_message.header_value(value) == expected


@pytest.mark.parametrize(
    ("hour", "text"), [(0, "12:00:00 AM"), (1, "1:00:00 AM"), (12, "12:00:00 PM"), (13, "1:00:00 PM")]
)
def test_the_clock_has_twelve_hours(hour: int, text: str) -> None:
    assert rmq_message.java_time(datetime(2026, 5, 3, hour, tzinfo=UTC)) == f"May 3, 2026, {text}"


@given(
    st.binary(max_size=99),
    st.dictionaries(st.text(), st.text() | st.integers() | st.floats() | st.binary(), max_size=4),
)
def test_whatever_a_message_has_its_event_is_json(body: bytes, headers: dict[str, Any]) -> None:
    record = rmq_message.record(Message(body, headers=headers), redelivered=True)
    event = json.loads(rmq_message.payload([record], arn="a", queue="q", virtual_host="/"))
    (found,) = event["rmqMessagesByQueue"]["q::/"]
    assert base64.b64decode(found["data"]) == body
    assert json.loads(json.dumps(found, allow_nan=False)) == found
