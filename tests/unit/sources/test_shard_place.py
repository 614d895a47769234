from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.errors import PositionLost
from sources.lanes import Settled
from sources.mapping import EventSourceMapping, StartingPosition
from sources.retrying import Block
from sources.shard_place import Place, Wish, document, first_start, followed, read, wish
from sources.stream import After, Begin
from sources.window import window_at

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATEST = StartingPosition.LATEST
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
begins = st.builds(Begin, st.sampled_from(StartingPosition), st.none() | moments)
blocks = st.builds(Block, moments, st.none() | moments)
windows = moments.map(lambda moment: window_at(moment, timedelta(minutes=1)).with_state({"n": 1}))
settled = st.integers(1, 10).flatmap(
    lambda n: st.builds(Settled, st.just(n), st.tuples(*[st.integers(-1, 10**60)] * n))
)
places = st.builds(
    Place,
    low=st.builds(After, st.integers(0, 10**60), st.text()),
    began=st.none() | moments,
    settled=st.lists(settled, max_size=3).map(tuple),
    factor=st.integers(1, 10),
    windows=st.dictionaries(st.integers(0, 12), windows, max_size=3),
    blocks=st.dictionaries(st.integers(0, 9), blocks, max_size=3),
    result=st.text(),
    result_at=st.none() | moments,
    error=st.text(),
    rewound=st.text(),
)


@settings(max_examples=60, deadline=None)
@given(places | st.builds(replace, places, low=st.none(), start=begins))
def test_a_place_is_read_as_it_was_stored(place: Place) -> None:
    assert read(json.loads(json.dumps(document(place)))) == place


def test_what_was_never_stored_is_an_empty_place() -> None:
    assert read({}) == Place()
    assert read({}).fresh


def test_losses_are_remembered_once_and_not_for_ever() -> None:
    place = Place(low=After(4, "x"))
    for n in range(15):
        place = place.lost(PositionLost(n, n + 5), NOW)
        place = place.lost(PositionLost(n, n + 5), NOW + timedelta(seconds=1))
    assert [gap["from"] for gap in place.gaps] == [str(n) for n in range(5, 15)]
    assert place.low == After(4, "x")
    assert place.lost(PositionLost(5, None), NOW).gaps[-1]["to"] is None


def test_a_stream_made_anew_is_begun_anew() -> None:
    place = Place(low=After(4, "x"), settled=(Settled(2, (8, 9)),)).lost(PositionLost(5, 0, remade=True), NOW)
    assert (place.low, place.start, place.settled) == (None, Begin(StartingPosition.TRIM_HORIZON), ())


@pytest.mark.parametrize(
    ("to", "start"),
    [
        ({"position": 8}, After(7)),
        ({"position": "8"}, After(7)),
        ({"position": "0"}, Begin(StartingPosition.TRIM_HORIZON)),
        ({"at": "LATEST"}, Begin(LATEST)),
        ({"timestamp": "2026-01-01T00:00:00+00:00"}, Begin(StartingPosition.AT_TIMESTAMP, NOW)),
        ({"at": "AT_TIMESTAMP", "timestamp": "2026-01-01T00:00:00+00:00"}, Begin(StartingPosition.AT_TIMESTAMP, NOW)),
    ],
)
def test_a_wish_says_where_to_go_on(to: Any, start: Any) -> None:
    assert wish({"id": "1", "to": to}) == Wish("1", start)


@pytest.mark.parametrize("known", [{}, {"id": "1"}, {"id": "1", "to": 5}, {"id": "1", "to": {"at": "x"}}, {"id": "1", "to": {"position": "x"}}, {"to": {"at": "LATEST"}}])  # fmt: skip  # noqa: E501
def test_what_is_no_wish_is_none(known: Any) -> None:
    assert wish(known) is None


def test_a_wish_is_followed_once_and_drops_what_was_done_elsewhere() -> None:
    wanted = Wish("1", After(7))
    place = Place(low=After(50, "x"), settled=(Settled(2, (60, 70)),), blocks={0: Block(NOW)})
    after = followed(place, wanted, ())
    assert (after.low, after.settled, after.blocks, after.rewound) == (After(7), (), {}, "1")
    assert followed(replace(after, low=After(9)), wanted, ()).low == After(9)
    assert followed(place, None, ()) == place


def test_a_shard_that_came_after_the_wish_is_not_meant_and_one_never_begun_is() -> None:
    wanted = Wish("1", After(7))
    assert followed(Place(), wanted, ()).low == After(7)
    late = followed(Place(), wanted, (Place(low=After(9), rewound="1"),))
    assert (late.low, late.rewound) == (None, "1")


def test_a_new_shard_of_latest_is_read_from_when_the_mapping_began() -> None:
    mapping = EventSourceMapping("u", "f", starting_position=LATEST)
    began = NOW - timedelta(hours=1)
    assert first_start(mapping, (), NOW) == Begin(LATEST)
    assert first_start(mapping, (Place(began=NOW - timedelta(seconds=1)),), NOW) == Begin(LATEST)
    assert first_start(mapping, (Place(), Place(began=began)), NOW) == Begin(
        StartingPosition.AT_TIMESTAMP, began, exact=False
    )
