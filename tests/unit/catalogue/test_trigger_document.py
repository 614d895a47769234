"""Triggers and mappings go into the store and come back as they were, also between releases that differ."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fnrunner.catalogue.trigger_document import dump, load
from fnrunner.model.trigger import (
    AuthType,
    Cors,
    FunctionUrl,
    HttpRoute,
    InvokeMode,
    Schedule,
    TopicSubscription,
)
from sources.mapping import EventSourceMapping, SourceAccess, StartingPosition
from sources.schedule import CatchUp

AT = datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)
MAPPING = EventSourceMapping(
    "u", "f", "", "arn:aws:mq:us-east-1:000000000000:broker:b:1",
    queue="q", bootstrap_servers=("a:1", "b:2"), access=(SourceAccess("VIRTUAL_HOST", "/"),),
    batching_window=timedelta(seconds=3),
    starting_position=StartingPosition.AT_TIMESTAMP, starting_timestamp=AT, maximum_record_age=timedelta(seconds=60),
    maximum_retry_attempts=0, filters=('{"a":[1]}',), maximum_concurrency=2, created=AT,
)  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        MAPPING,
        EventSourceMapping("u", "f", source_arn="arn:aws:sqs:us-east-1:000000000000:q"),
        FunctionUrl("id", "f", "", AuthType.AWS_IAM, Cors(True, allow_origins=("*",)), InvokeMode.RESPONSE_STREAM, AT),
        FunctionUrl("id", "f"),
        Schedule("s", "f", "rate(1 hour)", input="{}", start=AT, flexible_window=timedelta(minutes=5), catch_up=CatchUp.ALL),
        TopicSubscription("i", "news", "f", "", '{"a": ["b"]}', True),
        HttpRoute("api", "f", "GET", "/x/{y}", cors=Cors(max_age_s=3), timeout=timedelta(seconds=29)),
    ],
)  # fmt: skip
def test_what_is_written_is_read_back(value: Any) -> None:
    assert load(type(value), dump(value)) == value


def test_a_key_of_a_newer_release_is_passed_over_and_one_that_is_missing_has_its_default() -> None:
    document = json.loads(dump(MAPPING))
    del document["bisect"]
    document["access"][0]["newer"] = document["newer"] = 1
    assert load(EventSourceMapping, json.dumps(document)) == MAPPING


def test_what_no_release_wrote_is_an_error() -> None:
    with pytest.raises((TypeError, ValueError)):
        load(EventSourceMapping, '{"starting_position": "NOWHERE"}')
