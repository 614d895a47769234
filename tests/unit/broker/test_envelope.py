"""The envelope: what goes in comes out, and nothing that is not an envelope passes for one."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.envelope import (
    MAX_ATTEMPTS_KEPT,
    MAX_ERROR_CHARS,
    MAX_TYPE_CHARS,
    SYNC_LIMIT_BYTES,
    VERSION,
    Attempt,
    Envelope,
    decode,
    encode,
    failed,
    to_message,
)
from broker.errors import EnvelopeError, EnvelopeMalformed, EnvelopeTooNew, MessageTooLarge

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SMALL = st.integers(0, 2**31)
KNOWN = {f for f in Envelope.__dataclass_fields__ if f != "extra"} | {"v"}

ATTEMPTS = st.builds(
    Attempt,
    number=SMALL,
    at_ms=st.integers(0, 2**50),
    error_type=TEXT,
    error_message=TEXT,
    worker=TEXT,
    duration_ms=st.floats(0, 1e9),
    traceparent=TEXT,
    digest=TEXT,
)
EXTRA = st.dictionaries(
    TEXT.filter(lambda key: key not in KNOWN), st.one_of(TEXT, SMALL, st.booleans(), st.none()), max_size=3
)
ENVELOPES = st.builds(
    Envelope,
    id=TEXT,
    function=TEXT,
    payload=st.binary(max_size=200),
    accepted_at_ms=st.integers(0, 2**50),
    qualifier=TEXT,
    invoked_arn=TEXT,
    attempt=SMALL,
    throttles=SMALL,
    redrives=SMALL,
    suspect=st.booleans(),
    source=TEXT,
    trigger=TEXT,
    client_context=TEXT,
    log_tail=st.booleans(),
    streamed=st.booleans(),
    xray=TEXT,
    trace=st.dictionaries(st.sampled_from(["traceparent", "tracestate"]), TEXT),
    attempts=st.lists(ATTEMPTS, max_size=3).map(tuple),
    extra=EXTRA,
)
EVENT = Envelope(id="1", function="f", payload=b"{}", accepted_at_ms=0)


@given(ENVELOPES)
def test_an_envelope_is_decoded_to_what_was_encoded(envelope: Envelope) -> None:
    assert decode(encode(envelope)) == envelope


@given(st.binary(max_size=300))
def test_any_bytes_are_an_envelope_or_an_envelope_error(body: bytes) -> None:
    with contextlib.suppress(EnvelopeError):
        assert isinstance(decode(body), Envelope)


@given(ENVELOPES, st.data())
def test_a_damaged_envelope_is_an_envelope_or_an_envelope_error(envelope: Envelope, data: st.DataObject) -> None:
    body = bytearray(encode(envelope))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(EnvelopeError):
        assert isinstance(decode(bytes(body[: data.draw(st.integers(0, len(body)))])), Envelope)


@given(
    st.dictionaries(
        st.sampled_from(sorted(KNOWN)),
        st.recursive(
            st.one_of(st.none(), st.booleans(), SMALL, TEXT, st.binary(max_size=5)),
            lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
            max_leaves=6,
        ),
    )
)
def test_fields_of_the_wrong_type_are_an_envelope_error(wire: dict[str, object]) -> None:
    try:
        envelope = decode(msgpack.packb({**wire, "v": VERSION}))
    except EnvelopeError:
        return
    assert isinstance(envelope.payload, bytes)
    assert all(isinstance(a, Attempt) for a in envelope.attempts)


def test_keys_of_a_later_release_are_carried_along() -> None:
    body = msgpack.packb({**msgpack.unpackb(encode(EVENT)), "later": [1, 2]})
    assert msgpack.unpackb(encode(decode(body)))["later"] == [1, 2]


def test_a_higher_version_is_refused() -> None:
    with pytest.raises(EnvelopeTooNew):
        decode(msgpack.packb({"v": VERSION + 1}))


@pytest.mark.parametrize(
    "body", [b"", b"not msgpack", msgpack.packb([1]), msgpack.packb({"v": "1"}), msgpack.packb({})]
)
def test_what_is_no_envelope_is_malformed(body: bytes) -> None:
    with pytest.raises(EnvelopeMalformed):
        decode(body)


def test_a_payload_over_six_megabytes_is_too_large() -> None:
    encode(replace(EVENT, payload=bytes(SYNC_LIMIT_BYTES)))
    with pytest.raises(MessageTooLarge):
        encode(replace(EVENT, payload=bytes(SYNC_LIMIT_BYTES + 1)))


def test_defaults_cost_no_bytes_on_the_wire() -> None:
    assert set(msgpack.unpackb(encode(EVENT))) == {"v", "id", "function", "payload", "accepted_at_ms"}


def test_failures_are_counted_cut_and_the_newest_kept() -> None:
    envelope = EVENT
    for number in range(1, MAX_ATTEMPTS_KEPT + 4):
        envelope = failed(envelope, Attempt(number, 0, "Error", "x" * (MAX_ERROR_CHARS + 1)))
    assert envelope.attempt == MAX_ATTEMPTS_KEPT + 3
    assert [a.number for a in envelope.attempts] == list(range(4, MAX_ATTEMPTS_KEPT + 4))
    assert all(len(a.error_message) == MAX_ERROR_CHARS for a in envelope.attempts)


ANY_TEXT = st.text(st.one_of(st.characters(), st.sampled_from("a\ud800\udfff")))


@given(st.builds(Attempt, SMALL, SMALL, ANY_TEXT, ANY_TEXT, ANY_TEXT, st.floats(0, 1e9), ANY_TEXT, ANY_TEXT))
def test_whatever_text_a_failure_has_the_event_can_be_sent_again(attempt: Attempt) -> None:
    envelope = failed(EVENT, attempt)
    assert decode(encode(envelope)) == envelope
    (kept,) = envelope.attempts
    assert len(kept.error_message) == min(len(attempt.error_message), MAX_ERROR_CHARS)
    if attempt.error_message.isprintable():
        assert kept.error_message == attempt.error_message[:MAX_ERROR_CHARS]


def test_the_type_of_an_error_is_cut_as_its_message_is() -> None:
    (kept,) = failed(EVENT, Attempt(1, 0, "E" * 300, "no")).attempts
    assert kept.error_type == "E" * MAX_TYPE_CHARS


def test_the_message_carries_id_trace_and_given_headers() -> None:
    event = replace(EVENT, trace={"traceparent": "t", "other": "not a header"})
    message = to_message(event, headers={"h": 1}, persistent=False)
    assert (message.message_id, message.persistent) == ("1", False)
    assert dict(message.headers) == {"traceparent": "t", "h": 1}
    assert decode(message.body) == event
