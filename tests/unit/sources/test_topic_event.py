"""A message of a topic exchange as the event of SNS."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.message import Message
from sources.topic_event import Notification, attributes_of, notification

ARN = "arn:aws:sns:us-east-1:000000000000:orders"
NOW = datetime(2019, 1, 2, 12, 45, 7, tzinfo=UTC)


def of(message: Message, subscription: str = "sub-1") -> Notification:
    return notification(message, subscription=subscription, topic_arn=ARN, now=NOW)


def sns(message: Message) -> dict[str, Any]:
    (record,) = json.loads(of(message).payload)["Records"]
    return dict(record["Sns"])


def test_the_event_has_the_fields_of_sns() -> None:
    message = Message(b"Hello", message_id="m-1", headers={"subject": "Greetings", "Test": "TestString"})
    assert json.loads(of(message).payload) == {
        "Records": [
            {
                "EventVersion": "1.0",
                "EventSubscriptionArn": f"{ARN}:sub-1",
                "EventSource": "aws:sns",
                "Sns": {
                    "Type": "Notification",
                    "MessageId": "m-1",
                    "TopicArn": ARN,
                    "Subject": "Greetings",
                    "Message": "Hello",
                    "Timestamp": "2019-01-02T12:45:07.000Z",
                    "SignatureVersion": "1",
                    "Signature": "",
                    "SigningCertUrl": "",
                    "UnsubscribeUrl": "",
                    "MessageAttributes": {"Test": {"Type": "String", "Value": "TestString"}},
                },
            }
        ]
    }


@pytest.mark.parametrize(
    ("value", "attribute"),
    [
        ("north", ("String", "north")),
        ("", ("String", "")),
        (True, ("String", "true")),
        (5, ("Number", "5")),
        (-1.5, ("Number", "-1.5")),
        (Decimal("1.50"), ("Number", "1.50")),
        (b"\xff\x00", ("Binary", "/wA=")),
        (["a", 1, True, None], ("String.Array", '["a",1,true,null]')),
        ([], ("String.Array", "[]")),
        ([["x"], {"k": b"hi"}], ("String.Array", '["[\\"x\\"]","{\\"k\\":\\"aGk=\\"}"]')),
        (NOW, ("String", "2019-01-02T12:45:07.000Z")),
        ({"a": [1, NOW]}, ("String", '{"a":[1,"2019-01-02T12:45:07.000Z"]}')),
    ],
)
def test_a_header_becomes_an_attribute_of_its_type(value: Any, attribute: tuple[str, str]) -> None:
    assert attributes_of({"name": value}) == {"name": attribute}


@pytest.mark.parametrize(
    "name", ["x-death", "x-delivery-count", "x-first-death-queue", "x-fnrunner-node", "traceparent", "subject"]
)
def test_headers_that_are_not_the_publishers_are_no_attributes(name: str) -> None:
    assert attributes_of({name: "x", "x-mine": "y"}) == {"x-mine": ("String", "y")}


def test_nothing_is_no_attribute() -> None:
    assert attributes_of({"name": None}) == {}


def test_without_a_subject_it_is_null() -> None:
    assert sns(Message(b"x", message_id="1"))["Subject"] is None
    assert sns(Message(b"x", message_id="1", headers={"subject": 5}))["Subject"] is None


def test_the_publishers_time_is_the_timestamp() -> None:
    at = datetime(2020, 5, 5, 5, 5, 5, tzinfo=UTC)
    assert sns(Message(b"x", message_id="1", timestamp=at))["Timestamp"] == "2020-05-05T05:05:05.000Z"


def test_a_body_that_is_no_text_is_given_in_base64_and_says_so() -> None:
    found = sns(Message(b"\xff\xfe", message_id="1"))
    assert base64.b64decode(found["Message"]) == b"\xff\xfe"
    assert found["MessageAttributes"]["x-fnrunner-encoding"] == {"Type": "String", "Value": "base64"}


def test_the_event_id_is_that_of_message_and_subscription() -> None:
    message = Message(b"x", message_id="m-1")
    assert of(message).event_id == of(Message(b"other", message_id="m-1")).event_id
    assert of(message).event_id != of(message, "sub-2").event_id
    assert of(message).event_id != of(Message(b"x", message_id="m-2")).event_id


def test_a_message_without_an_id_gets_another_one_each_time() -> None:
    first, second = of(Message(b"x")), of(Message(b"x"))
    assert first.event_id != second.event_id
    assert sns(Message(b"x"))["MessageId"]


TIMES = st.datetimes(timezones=st.just(UTC))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), TIMES),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)


@given(st.binary(), st.dictionaries(st.text(min_size=1), VALUES, max_size=4))
def test_of_any_message_an_event_is_made(body: bytes, headers: dict[str, Any]) -> None:
    found = sns(Message(body, message_id="1", headers=headers))
    for attribute in found["MessageAttributes"].values():
        assert set(attribute) == {"Type", "Value"}
        assert all(isinstance(each, str) for each in attribute.values())
