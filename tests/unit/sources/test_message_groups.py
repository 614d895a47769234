from __future__ import annotations

from sources.message_groups import RestingGroups


def test_a_group_rests_until_its_latest_time() -> None:
    rest = RestingGroups[str]()
    rest.put("g", 1, "a", until=10.0)
    rest.put("g", 2, "b", until=5.0)
    assert (rest.due(), rest.take(9.9, 10), rest.take(10.0, 10)) == (10.0, [], ["a", "b"])
    assert (rest.due(), len(rest), rest.blocks("g")) == (None, 0, False)


def test_places_decide_whatever_the_order_of_putting() -> None:
    rest = RestingGroups[str]()
    for place, name in ((3, "c"), (1, "a"), (2, "b")):
        rest.put("g", place, name, until=0.0)
    assert rest.take(0.0, 10) == ["a", "b", "c"]


def test_a_group_that_was_taken_in_part_still_blocks() -> None:
    rest = RestingGroups[str]()
    rest.put("g", 1, "a", until=0.0)
    rest.put("g", 2, "b", until=0.0)
    assert rest.take(0.0, 1) == ["a"]
    assert rest.blocks("g")
    assert rest.take(0.0, 0) == []
    assert rest.take(0.0, 1) == ["b"]
    assert not rest.blocks("g")


def test_other_groups_are_not_held_up() -> None:
    rest = RestingGroups[str]()
    rest.put("g", 1, "a", until=99.0)
    rest.put("h", 2, "b", until=1.0)
    assert rest.take(1.0, 10) == ["b"]
    assert rest.blocks("g")


def test_all_of_it_comes_in_the_order_of_places() -> None:
    rest = RestingGroups[str]()
    rest.put("g", 3, "c", until=1.0)
    rest.put("h", 1, "a", until=1.0)
    rest.put("g", 2, "b", until=1.0)
    assert list(rest) == ["a", "b", "c"]
    rest.clear()
    assert (len(rest), rest.due()) == (0, None)
