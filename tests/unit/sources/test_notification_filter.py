from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.errors import Misconfigured
from sources.notification_filter import EVENTS, Notification, wanting, wants
from sources.snapshot import Kind


@pytest.mark.parametrize(
    ("event", "created", "removed"),
    [
        ("s3:ObjectCreated:*", True, False),
        ("s3:ObjectCreated:Put", True, False),
        ("ObjectCreated:Put", True, False),
        ("s3:ObjectRemoved:*", False, True),
        ("s3:ObjectRemoved:Delete", False, True),
        ("s3:ObjectCreated:Copy", False, False),
        ("s3:ObjectRemoved:DeleteMarkerCreated", False, False),
    ],
)
def test_a_notification_gets_the_events_it_asks_for(event: str, created: bool, removed: bool) -> None:
    notification = Notification("n", "f", events=(event,))
    assert wants(notification, Kind.CREATED, "k") is created
    assert wants(notification, Kind.REMOVED, "k") is removed


@given(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4), st.sampled_from(EVENTS))
def test_a_key_made_of_prefix_and_suffix_passes_and_filters_only_ever_narrow(
    prefix: str, middle: str, suffix: str, event: str
) -> None:
    key = prefix + middle + suffix
    for kind in Kind:
        filtered = wants(Notification("n", "f", events=(event,), prefix=prefix, suffix=suffix), kind, key)
        assert filtered == wants(Notification("n", "f", events=(event,)), kind, key)


def test_prefix_and_suffix_are_case_sensitive_and_both_needed() -> None:
    notification = Notification("n", "f", prefix="in/", suffix=".jpg")
    assert wants(notification, Kind.CREATED, "in/a.jpg")
    assert not wants(notification, Kind.CREATED, "in/a.JPG")
    assert not wants(notification, Kind.CREATED, "out/a.jpg")


def test_all_that_want_an_event_get_it_in_their_order() -> None:
    first, second = Notification("1", "f"), Notification("2", "g")
    assert wanting([first, second], Kind.CREATED, "k") == [first, second]


@pytest.mark.parametrize("events", [(), ("s3:ObjectMoved:*",), ("s3:ObjectCreated:*", "Put")])
def test_a_notification_of_events_that_do_not_exist_is_refused(events: tuple[str, ...]) -> None:
    with pytest.raises(Misconfigured):
        Notification("n", "f", events=events)
