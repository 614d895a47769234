"""The frames written out by hand say what pamqp would say, and damaged ones are refused."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.encode import field_table
from pamqp.header import ContentHeader

from broker.errors import MessageTooLarge
from broker.message import Message
from broker.rabbitmq import wire

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)).map(lambda t: t.replace(microsecond=0, tzinfo=UTC))
SCALARS = st.one_of(
    TEXT,
    st.binary(max_size=20),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    TIMES,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=8,
)
MESSAGES = st.builds(
    Message,
    body=st.binary(max_size=300),
    message_id=st.none() | TEXT,
    headers=st.dictionaries(TEXT, VALUES, max_size=4),
    content_type=st.none() | TEXT,
    content_encoding=st.none() | TEXT,
    correlation_id=st.none() | TEXT,
    reply_to=st.none() | TEXT,
    expiration=st.none() | st.integers(0, 10**9).map(lambda ms: timedelta(milliseconds=ms)),
    persistent=st.booleans(),
    priority=st.none() | st.integers(0, 255),
    timestamp=st.none() | TIMES,
    type=st.none() | TEXT,
    app_id=st.none() | TEXT,
    user_id=st.none() | TEXT,
)


def frames(data: bytes) -> list[Any]:
    found = []
    while data:
        used, _, frame = pamqp.frame.unmarshal(data)
        found.append(frame)
        data = data[used:]
    return found


@given(MESSAGES)
def test_a_message_is_decoded_to_what_was_encoded(message: Message) -> None:
    assert wire.message(wire.properties(message), message.body) == message


@given(MESSAGES, TEXT, TEXT, st.booleans(), st.integers(1, 100))
def test_pamqp_reads_a_publish_as_it_was_meant(
    message: Message, exchange: str, key: str, mandatory: bool, room: int
) -> None:
    head = wire.properties(message)
    method, header, *bodies = frames(wire.publish(5, exchange, key, mandatory, head, message.body, room))
    assert isinstance(method, commands.Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory) == (exchange, key, mandatory)
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(message.body)
    assert header.properties.message_id == message.message_id
    assert header.properties.delivery_mode == (2 if message.persistent else 1)
    assert all(isinstance(b, ContentBody) and len(b.value) <= room for b in bodies)
    assert b"".join(b.value for b in bodies) == message.body


@given(st.integers(0, 2**63 - 1), st.booleans())
def test_pamqp_reads_acknowledgements_as_they_were_meant(tag: int, flag: bool) -> None:
    (ack,) = frames(wire.ack(3, tag, flag))
    assert isinstance(ack, commands.Basic.Ack)
    assert (ack.delivery_tag, ack.multiple) == (tag, flag)
    (nack,) = frames(wire.nack(3, tag, flag))
    assert isinstance(nack, commands.Basic.Nack)
    assert (nack.delivery_tag, nack.multiple, nack.requeue) == (tag, False, flag)
    (get,) = frames(wire.get(3, "queue"))
    assert isinstance(get, commands.Basic.Get)
    assert (get.queue, get.no_ack) == ("queue", False)


@given(st.dictionaries(TEXT, st.integers(-(2**63), 2**63 - 1) | TEXT | st.booleans(), min_size=1, max_size=4))
def test_header_values_have_the_types_that_bindings_have(values: dict[str, Any]) -> None:
    in_order = dict(sorted(values.items()))
    assert wire.table(in_order) == field_table(in_order)


@given(MESSAGES, st.data())
def test_damaged_properties_are_a_message_or_malformed(message: Message, data: st.DataObject) -> None:
    head = bytearray(wire.properties(message))
    at = data.draw(st.integers(12, len(head) - 1))
    head[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(12, len(head)))
    with contextlib.suppress(wire.Malformed):
        assert isinstance(wire.message(bytes(head[:cut]), b""), Message)


@given(st.binary(max_size=200))
def test_any_bytes_are_properties_or_malformed(head: bytes) -> None:
    with contextlib.suppress(wire.Malformed):
        assert isinstance(wire.message(head, b""), Message)


def test_a_property_over_255_bytes_is_too_large() -> None:
    with pytest.raises(MessageTooLarge):
        wire.properties(Message(b"", message_id="x" * 256))


def test_a_header_of_a_type_that_amqp_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError):
        wire.properties(Message(b"", headers={"k": object()}))
