"""What goes into the journal comes out equal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.embedded.codec import Encoder, HeadersNotCarried, decode_all
from broker.embedded.declaring import pack_spec, unpack_spec
from broker.message import Message
from broker.topology import Queue, QueueKind

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | text | st.binary(max_size=10)
    | st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))
)  # fmt: skip
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))
spans = st.integers(0, 10**9).map(lambda ms: timedelta(milliseconds=ms))
messages = st.builds(
    Message,
    body=st.binary(max_size=50),
    message_id=st.none() | text,
    headers=st.dictionaries(text, values, max_size=4),
    content_type=st.none() | text,
    content_encoding=st.none() | text,
    correlation_id=st.none() | text,
    reply_to=st.none() | text,
    expiration=st.none() | spans,
    persistent=st.booleans(),
    priority=st.none() | st.integers(0, 255),
    timestamp=st.none() | st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC)),
    type=st.none() | text,
    app_id=st.none() | text,
    user_id=st.none() | text,
)


@given(st.lists(messages, max_size=3))
def test_messages_come_back_equal_and_in_order(some: list[Message]) -> None:
    encoder = Encoder()
    rows = b"".join(encoder.encode(n, None, "x", "k", message) for n, message in enumerate(some))
    assert list(decode_all(rows)) == [(n, None, "x", "k", message) for n, message in enumerate(some)]


@pytest.mark.parametrize("header", [object(), 2**64, datetime(2026, 1, 1), "\ud800", {1, 2}])
def test_what_amqp_does_not_carry_is_refused_and_the_encoder_goes_on(header: object) -> None:
    encoder = Encoder()
    with pytest.raises(HeadersNotCarried):
        encoder.encode(1, None, "", "q", Message(b"m", headers={"h": header}))
    assert [m.body for *_, m in decode_all(encoder.encode(2, None, "", "q", Message(b"ok")))] == [b"ok"]


@given(
    st.builds(
        Queue,
        name=text,
        kind=st.sampled_from(QueueKind),
        dead_letter_exchange=st.none() | text,
        dead_letter_routing_key=st.none() | text,
        ttl=st.none() | spans,
        delivery_limit=st.none() | st.integers(0, 100),
        max_length=st.none() | st.integers(0, 100),
        max_age=st.none() | spans,
        max_size_bytes=st.none() | st.integers(0, 2**40),
    )
)
def test_the_arguments_of_a_queue_come_back_equal(queue: Queue) -> None:
    assert unpack_spec(queue.name, pack_spec(queue)) == queue
