"""What makes a schedule and a topic subscription valid, and when a schedule fires next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fnrunner.catalogue import schedule, subscription
from fnrunner.catalogue.errors import InvalidParameterValue
from fnrunner.model.trigger import Schedule, TopicSubscription

AT = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = Schedule("nightly", "f", "cron(0 2 * * ? *)", timezone="Europe/Berlin", created=AT)


def test_the_next_firings_are_in_utc_and_end_with_the_schedule() -> None:
    assert [tick.isoformat() for tick in schedule.firings(GOOD, AT, 2)] == [
        "2026-01-01T01:00:00+00:00", "2026-01-02T01:00:00+00:00"
    ]  # fmt: skip
    assert len(schedule.firings(replace(GOOD, end=AT + timedelta(days=3)), AT)) == 3
    assert schedule.firings(Schedule("once", "f", "at(2025-01-01T00:00:00)"), AT) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "is no name of a schedule"),
        ({"name": "x" * 65}, "is no name of a schedule"),
        ({"expression": "rate(0 minutes)"}, "Schedule nightly"),
        ({"timezone": "Nowhere/There"}, "time zone 'Nowhere/There' is unknown"),
        ({"input": "{"}, "the input is no JSON"),
        ({"input": '"' + "x" * 1_048_576 + '"'}, "at most 1048576 bytes"),
        ({"description": "x" * 513}, "at most 512 characters"),
        ({"start": AT, "end": AT - timedelta(days=1)}, "ends before it starts"),
        ({"flexible_window": timedelta(days=2)}, "from 0 to 1440 minutes"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused_in_words(changes: dict[str, Any], said: str) -> None:
    schedule.check(GOOD)
    with pytest.raises(InvalidParameterValue, match=said):
        schedule.check(replace(GOOD, **changes))


def test_a_policy_about_attributes_has_no_keys_within_and_one_about_the_body_may() -> None:
    nested = '{"a": {"b": ["c"]}}'
    subscription.check(TopicSubscription("id", "news", "f", filter_policy=nested, body_filter=True))
    with pytest.raises(InvalidParameterValue, match="Invalid parameter: FilterPolicy"):
        subscription.check(TopicSubscription("id", "news", "f", filter_policy=nested))
