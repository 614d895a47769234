from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sources.inbox import Received
from sources.queue_batching import ENVELOPE_BYTES, Batches


def message(name: str, group: str = "") -> Received:
    return Received(name, {"body": name}, name.encode(), 1, None, group)


def names(batches: Batches, now: float) -> list[str]:
    batch = batches.take(now)
    return [] if batch is None else [each.id for each in batch.messages]


def filled(*several: str, size: int = 3, window: float = 0.0, weight: int = 1, group: str = "") -> Batches:
    batches = Batches(size, window, limit_bytes=ENVELOPE_BYTES + 100)
    for name in several:
        batches.add(message(name, group), weight, 0.0)
    return batches


def test_a_full_batch_goes_at_once() -> None:
    batches = filled("a", "b", "c", "d", window=10.0)
    assert names(batches, 0.0) == ["a", "b", "c"]
    assert names(batches, 0.0) == []
    assert len(batches) == 1


def test_an_incomplete_batch_goes_when_its_window_is_over() -> None:
    batches = filled("a", window=10.0)
    batches.add(message("b"), 1, 9.0)
    assert (batches.due(), names(batches, 9.9)) == (10.0, [])
    assert names(batches, 10.0) == ["a", "b"]
    assert batches.due() is None


def test_without_a_window_whatever_is_there_goes() -> None:
    assert names(filled("a"), 0.0) == ["a"]


def test_a_batch_is_closed_before_it_is_too_heavy() -> None:
    batches = filled("a", "b", "c", weight=40, window=10.0)
    assert names(batches, 0.0) == ["a", "b"]
    assert names(batches, 0.0) == []


def test_a_message_that_is_too_heavy_goes_alone() -> None:
    batches = filled("huge", weight=1000, window=10.0)
    assert names(batches, 9.0) == []
    batches.add(message("b"), 1, 0.0)
    assert names(batches, 0.0) == ["huge"]


def test_a_group_has_one_batch_at_a_time() -> None:
    batches = filled("a1", "a2", size=1, group="a")
    assert names(batches, 0.0) == ["a1"]
    assert names(batches, 0.0) == []
    batches.done("a")
    assert names(batches, 0.0) == ["a2"]


def test_no_batch_mixes_groups_and_groups_take_turns() -> None:
    batches = filled("a1", "a2", "a3", "a4", size=2, group="a")
    batches.add(message("b1", "b"), 1, 0.0)
    assert names(batches, 0.0) == ["a1", "a2"]
    batches.done("a")
    assert names(batches, 0.0) == ["b1"]
    assert names(batches, 0.0) == ["a3", "a4"]


def test_messages_without_a_group_have_as_many_batches_as_there_is_room_for() -> None:
    batches = filled("a", "b", size=1)
    assert (names(batches, 0.0), names(batches, 0.0)) == (["a"], ["b"])


def test_what_waits_of_a_group_can_be_withdrawn() -> None:
    batches = filled("a1", "a2", "a3", size=1, group="a")
    batches.add(message("b1", "b"), 1, 0.0)
    batches.take(0.0)
    assert [each.id for each in batches.withdraw("a")] == ["a2", "a3"]
    assert batches.withdraw("nobody") == ()
    assert len(batches) == 1
    assert [each.id for each in batches.drain()] == ["b1"]
    assert len(batches) == 0


def test_room_is_what_free_slots_could_begin_with() -> None:
    assert Batches(10, 0.0).room(5, 1000) == 50
    assert Batches(10, 0.0).room(0, 1000) == 0
    assert Batches(10, 0.0).room(5, 7) == 7
    assert filled("a", size=10, window=9.0).room(1, 1000) == 9
    assert filled("a", size=10, window=9.0).room(2, 1000) == 19
    assert filled(*"abc", size=3, window=9.0).room(1, 1000) == 0


def test_what_is_behind_a_busy_group_takes_no_room_until_there_is_too_much_of_it() -> None:
    batches = filled(*map(str, range(8)), size=1, group="a")
    batches.take(0.0)
    assert batches.room(2, 1000) == 2
    assert batches.room(2, 8) == 1
    assert batches.room(2, 7) == 0


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.integers(1, 60)), max_size=40), st.integers(1, 5))
def test_every_message_comes_out_once_and_groups_in_order(sent: list[tuple[str, int]], size: int) -> None:
    batches = Batches(size, 0.0, limit_bytes=ENVELOPE_BYTES + 100)
    for number, (group, weight) in enumerate(sent):
        batches.add(message(str(number), group), weight, 0.0)
    out: list[Received] = []
    while (batch := batches.take(0.0)) is not None:
        weight = sum(sent[int(each.id)][1] for each in batch.messages)
        assert len(batch.messages) <= size
        assert weight <= 100 or len(batch.messages) == 1
        assert {each.group for each in batch.messages} == {batch.group}
        out += batch.messages
        batches.done(batch.group)
    assert sorted(int(each.id) for each in out) == list(range(len(sent)))
    for group in ("", "a", "b"):
        ids = [int(each.id) for each in out if each.group == group]
        assert ids == sorted(ids)
