"""Whatever lies on a dead-letter queue becomes a row that says why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import names
from broker.envelope import SYNC_LIMIT_BYTES, VERSION, Attempt, Envelope, decode, encode, to_message
from broker.message import Message
from fnrunner.delivery import letter
from fnrunner.delivery.letter import NO_FUNCTION, FiledLetter, dead_message, opened, read_dead_message, renamed

EVENT = Envelope(id="e1", function="f", payload=b"{}", accepted_at_ms=5, redrives=2, trace={"traceparent": "00-a-b-01"})
QUEUE = names.dead("f")


def test_a_letter_is_filed_with_what_the_pipeline_wrote() -> None:
    message = dead_message(EVENT, "RetriesExhausted", "ValueError", "no", "d1", at_ms=77)
    assert read_dead_message(message, QUEUE, 99) == FiledLetter(
        event_id="e1",
        redrives=2,
        function="f",
        reason="RetriesExhausted",
        error_type="ValueError",
        error_message="no",
        at_ms=77,
        envelope=encode(EVENT),
        digest="d1",
        traceparent="00-a-b-01",
    )


def test_without_its_time_a_letter_is_dated_when_it_is_read() -> None:
    assert read_dead_message(dead_message(EVENT, "r", "t", "m"), QUEUE, 99).at_ms == 99


def test_a_long_or_strange_error_message_is_cut_and_made_storable() -> None:
    filed = read_dead_message(dead_message(EVENT, "r", "t", "\0\ud800" + "x" * 5_000), QUEUE, 99)
    assert filed.error_message == "\ufffd?" + "x" * 1_022


@pytest.mark.parametrize(
    ("reason", "filed_as"),
    [("delivery_limit", "DeliveryLimit"), ("rejected", "Rejected"), ("maxlen", "QueueFull"), ("expired", "Orphaned")],
)
def test_an_envelope_that_the_broker_gave_up_tells_the_brokers_reason(reason: str, filed_as: str) -> None:
    message = to_message(EVENT, headers={"x-death": [{"reason": reason, "queue": names.events("f"), "count": 1}]})
    assert read_dead_message(message, QUEUE, 99).reason == filed_as


def test_an_envelope_that_no_queue_took_is_an_orphan_with_its_last_error() -> None:
    event = Envelope(id="e", function="gone", payload=b"", accepted_at_ms=0, attempts=(Attempt(1, 0, "T", "the last"),))
    filed = read_dead_message(to_message(event), names.ORPHANS, 99)
    assert (filed.reason, filed.function) == ("Orphaned", "gone")
    assert "the last" in filed.error_message


@pytest.mark.parametrize("deaths", ["no list", [], ["no table"], [{}], [{"reason": 7}], None])
def test_a_malformed_x_death_is_passed_over(deaths: object) -> None:
    assert read_dead_message(to_message(EVENT, headers={"x-death": deaths}), QUEUE, 99).reason == "Orphaned"


def test_foreign_bytes_are_filed_as_they_are_under_their_own_id() -> None:
    filed = read_dead_message(Message(b"hello", message_id="m1"), QUEUE, 99)
    assert (filed.event_id, filed.function, filed.reason) == ("m1", "f", "Undecodable")
    assert opened("m1", "f", filed.envelope, 99).payload == b"hello"
    assert filed.error_message


@pytest.mark.parametrize("message_id", [None, "", "x" * 65, "a\nb"])
def test_foreign_bytes_without_a_usable_id_get_the_same_one_each_time(message_id: str | None) -> None:
    message = Message(b"hello", message_id=message_id)
    one, two = read_dead_message(message, QUEUE, 1), read_dead_message(message, QUEUE, 2)
    other = read_dead_message(Message(b"other", message_id=message_id), QUEUE, 1)
    assert one.event_id == two.event_id != other.event_id
    assert len(one.event_id) == 36


def test_a_foreign_message_that_is_too_large_for_an_envelope_is_kept_whole() -> None:
    body = b"x" * (SYNC_LIMIT_BYTES + 1)
    filed = read_dead_message(Message(body, message_id="m1"), QUEUE, 99)
    assert opened("m1", "f", filed.envelope, 99).payload == body


def test_an_envelope_of_a_newer_release_is_kept_as_bytes() -> None:
    body = encode(EVENT).replace(b"\xa1v" + bytes([VERSION]), b"\xa1v" + bytes([VERSION + 1]), 1)
    filed = read_dead_message(Message(body, message_id="e1"), QUEUE, 99)
    assert filed.reason == "Undecodable"
    assert "version 2" in filed.error_message
    assert decode(filed.envelope).payload == body


@pytest.mark.parametrize(
    "change", [{"id": ""}, {"id": "x" * 65}, {"function": ""}, {"redrives": -1}, {"redrives": 2**40}]
)
def test_an_envelope_that_no_row_can_hold_is_filed_as_foreign(change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"id": "e", "function": "f", "payload": b"", "accepted_at_ms": 0, **change}
    filed = read_dead_message(Message(encode(Envelope(**fields))), QUEUE, 99)
    assert filed.reason == "Undecodable"
    assert 0 < len(filed.event_id) <= 64


def test_an_orphan_that_names_no_function_is_filed_where_no_function_can_be() -> None:
    assert read_dead_message(Message(b"?"), names.ORPHANS, 99).function == NO_FUNCTION


def test_a_queue_of_a_name_that_no_function_can_have_belongs_to_none() -> None:
    assert read_dead_message(Message(b"?"), names.dead("x" * 65), 99).function == NO_FUNCTION


def test_a_foreign_orphan_belongs_to_the_queue_it_was_sent_to_or_died_in() -> None:
    by_key = read_dead_message(Message(b"?"), names.ORPHANS, 99, routing_key=names.events("g"))
    deaths = [{"queue": names.delay(1000), "reason": "expired"}, {"queue": names.requests("h"), "reason": "rejected"}]
    by_death = read_dead_message(Message(b"?", headers={"x-death": deaths}), names.ORPHANS, 99)
    assert (by_key.function, by_death.function) == ("g", "h")


def test_renaming_a_foreign_letter_changes_nothing_else() -> None:
    filed = read_dead_message(Message(b"?", message_id="m"), QUEUE, 99)
    again = renamed(filed, "n")
    assert (again.event_id, decode(again.envelope).id, decode(again.envelope).payload) == ("n", "n", b"?")


headers = st.dictionaries(
    st.sampled_from(
        ["x-death", "traceparent", *[getattr(letter, n) for n in ("REASON", "ERROR_TYPE", "DIGEST", "AT_MS")]]
    ),
    st.none()
    | st.text()
    | st.binary()
    | st.integers()
    | st.booleans()
    | st.lists(st.dictionaries(st.text(), st.text())),
)


@given(st.binary(), st.none() | st.text(), headers, st.sampled_from([QUEUE, names.ORPHANS, "anything"]), st.text())
def test_nothing_that_a_broker_can_deliver_makes_reading_fail(
    body: bytes, message_id: str | None, found: dict[str, Any], queue: str, key: str
) -> None:
    for message in (Message(body, message_id=message_id, headers=found), to_message(EVENT, headers=found)):
        filed = read_dead_message(message, queue, 99, key)
        assert 0 < len(filed.event_id) <= 64
        assert 0 < len(filed.function) <= 64
        assert 0 < len(filed.reason) <= 64
        assert "\0" not in filed.event_id + filed.function + filed.reason + filed.error_message + filed.error_type
        assert filed.at_ms >= 0
