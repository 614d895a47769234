from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sources.notification_filter import Notification
from sources.object_event import Happening, Place, event, event_id
from sources.snapshot import Identity, Kind

PLACE = Place("photos", "eu-west-1", "123456789012")
NOTE = Notification("resize", "thumbnails", "prod")
AT = datetime(2019, 9, 3, 19, 37, 27, 192_999, tzinfo=UTC)
PUT = Happening(Kind.CREATED, "red flower/é.jpg", Identity(1_305_107, 5, 7), "b21b84d6", AT, 0x0C0F6F405D6ED209, "9")


def record(happening: Happening) -> dict[str, Any]:
    (only,) = json.loads(event(PLACE, happening, NOTE).payload)["Records"]
    return dict(only)


def test_a_created_object_has_the_shape_that_s3_documents() -> None:
    found = record(PUT)
    assert found["s3"]["object"] == {
        "key": "red+flower/%C3%A9.jpg",
        "size": 1_305_107,
        "eTag": "b21b84d6",
        "sequencer": "000C0F6F405D6ED209",
    }
    assert found["s3"]["bucket"] == {
        "name": "photos",
        "ownerIdentity": {"principalId": "123456789012"},
        "arn": "arn:aws:s3:::photos",
    }
    assert (found["s3"]["s3SchemaVersion"], found["s3"]["configurationId"]) == ("1.0", "resize")
    assert found["eventVersion"] == "2.1"
    assert found["eventSource"] == "aws:s3"
    assert found["awsRegion"] == "eu-west-1"
    assert found["eventTime"] == "2019-09-03T19:37:27.192Z"
    assert found["eventName"] == "ObjectCreated:Put"
    assert {"userIdentity", "requestParameters", "responseElements"} < set(found)


def test_a_removed_object_has_neither_size_nor_etag() -> None:
    found = record(replace(PUT, kind=Kind.REMOVED))
    assert found["eventName"] == "ObjectRemoved:Delete"
    assert set(found["s3"]["object"]) == {"key", "sequencer"}


def test_the_event_says_who_gets_it_and_where_it_comes_from() -> None:
    made = event(PLACE, PUT, NOTE)
    assert (made.function, made.qualifier, made.source, made.trigger) == (
        "thumbnails",
        "prod",
        "s3:photos",
        "datasource",
    )
    assert str(uuid.UUID(made.event_id)) == made.event_id


def test_a_repeat_has_the_same_id_whenever_it_is_made() -> None:
    assert event_id(PLACE, PUT, NOTE) == event_id(PLACE, replace(PUT, at=datetime.now(UTC), sequencer_ns=1), NOTE)


def test_whatever_the_event_is_about_is_in_its_id() -> None:
    others = [
        event_id(replace(PLACE, bucket="other"), PUT, NOTE),
        event_id(PLACE, PUT, replace(NOTE, id="other")),
        event_id(PLACE, PUT, replace(NOTE, function="other")),
        event_id(PLACE, replace(PUT, key="other"), NOTE),
        event_id(PLACE, replace(PUT, kind=Kind.REMOVED), NOTE),
        event_id(PLACE, replace(PUT, identity=Identity(1, 5, 7)), NOTE),
        event_id(PLACE, replace(PUT, identity=Identity(1_305_107, 6, 7)), NOTE),
        event_id(PLACE, replace(PUT, identity=Identity(1_305_107, 5, 8)), NOTE),
        event_id(PLACE, replace(PUT, occasion="10"), NOTE),
    ]
    assert len({event_id(PLACE, PUT, NOTE), *others}) == len(others) + 1


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_sequencers_compare_as_text_like_their_numbers(one: int, other: int) -> None:
    texts = [record(replace(PUT, sequencer_ns=n))["s3"]["object"]["sequencer"] for n in (one, other)]
    assert (texts[0] < texts[1]) == (one < other)


@given(st.binary(min_size=1, max_size=9).filter(lambda b: b"\0" not in b))
def test_names_that_are_not_text_make_an_event_all_the_same(name: bytes) -> None:
    record(replace(PUT, key=name.decode("utf-8", "surrogateescape")))
