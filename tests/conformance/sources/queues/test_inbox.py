"""The contract of :mod:`sources.inbox`, for every adapter there is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial

import pytest

from sources.errors import SourceMissing
from sources.inbox import Inbox, InboxAdapter, Received
from sources.registry import adapters
from tests.conformance.sources.queues.play import body_of, eventually, messages_of
from tests.conformance.sources.queues.rig import RIGS, Rig

Make = Callable[..., Awaitable[Inbox]]
PLENTY = timedelta(seconds=20)
MOMENT = timedelta(milliseconds=100)


async def take(inbox: Inbox, count: int, limit: int = 10) -> list[Received]:
    """So many messages, however many receives that takes."""
    found: list[Received] = []
    async with asyncio.timeout(PLENTY.total_seconds()):
        while len(found) < count:
            found += await inbox.receive(min(limit, count - len(found)), PLENTY)
    return found


def bodies(messages: Sequence[Received]) -> list[str]:
    return [message.data.decode() for message in messages]


async def nothing(inbox: Inbox) -> None:
    assert await inbox.receive(10, MOMENT) == []


async def missing(inbox: Inbox) -> bool:
    try:
        await inbox.receive(10, MOMENT)
    except SourceMissing as error:
        assert "Create it" in str(error)
        return True
    return False


def test_every_adapter_has_a_rig_in_this_suite() -> None:
    assert set(RIGS) == set(adapters(InboxAdapter))


async def test_what_was_sent_is_received_once_with_its_body(rig: Rig, make: Make) -> None:
    await rig.start()
    await rig.send("one", headers={"colour": "red"})
    inbox = await make()
    (message,) = await take(inbox, 1)
    assert (bodies([message]), message.receive_count, body_of(message.event)) == (["one"], 1, "one")
    assert "red" in str(message.event) or "[114, 101, 100]" in str(message.event)
    await nothing(inbox)


async def test_an_empty_queue_says_so_when_the_wait_is_over(rig: Rig, make: Make) -> None:
    await rig.start()
    inbox = await make()
    async with asyncio.timeout(10):
        await nothing(inbox)
        assert await inbox.receive(0, PLENTY) == []


async def test_what_comes_while_it_waits_is_received_at_once(rig: Rig, make: Make) -> None:
    await rig.start()
    inbox = await make()
    waiting = asyncio.create_task(inbox.receive(10, PLENTY))
    await asyncio.sleep(0.1)
    await rig.send("late")
    async with asyncio.timeout(10):
        assert bodies(await waiting) == ["late"]


async def test_no_more_are_received_than_are_asked_for(rig: Rig, make: Make) -> None:
    await rig.start()
    await rig.send(*map(str, range(25)))
    inbox = await make()
    first = await inbox.receive(3, PLENTY)
    assert 1 <= len(first) <= 3
    rest = await take(inbox, 25 - len(first), limit=7)
    assert sorted(map(int, bodies([*first, *rest]))) == list(range(25))


async def test_what_is_deleted_never_comes_again(rig: Rig, make: Make) -> None:
    await rig.start()
    await rig.send("a", "b")
    inbox = await make()
    await inbox.delete(await take(inbox, 2))
    await inbox.close()
    assert await rig.depth() == 0
    await nothing(await make())


async def test_what_failed_comes_again_after_the_visibility_timeout_and_is_counted(rig: Rig, make: Make) -> None:
    await rig.start()
    await rig.send("bad")
    inbox = await make()
    loop = asyncio.get_running_loop()
    for count in (1, 2, 3):
        (message,) = await take(inbox, 1)
        assert message.receive_count == count
        start = loop.time()
        assert inbox.visibility == rig.visibility
        await inbox.release([message], failed=True, reason="ValueError: no")
    (message,) = await take(inbox, 1)
    assert loop.time() - start >= rig.visibility.total_seconds() * 0.6
    assert (message.id != "", bodies([message])) == (True, ["bad"])


async def test_what_was_not_tried_comes_again_at_once(rig: Rig, make: Make) -> None:
    await rig.start()
    await rig.send("again")
    inbox = await make()
    (message,) = await take(inbox, 1)
    await inbox.release([message], failed=False)
    (back,) = await take(inbox, 1)
    assert (back.id, bodies([back])) == (message.id, ["again"])
    if rig.uncounted:
        assert back.receive_count == 1


async def test_an_id_is_the_same_however_often_a_message_comes(rig: Rig, make: Make) -> None:
    await rig.start()
    await rig.send("x")
    inbox = await make()
    (first,) = await take(inbox, 1)
    await inbox.release([first], failed=True)
    (second,) = await take(inbox, 1)
    assert first.id == second.id


async def test_a_message_in_hand_is_nobody_elses(rig: Rig, make: Make) -> None:
    await rig.start()
    await rig.send("mine")
    inbox = await make()
    await take(inbox, 1)
    other = await make()
    # longer than the visibility timeout: it is kept invisible while it is in hand
    assert await other.receive(10, rig.visibility * 2.5 + MOMENT) == []


async def test_closing_gives_back_what_is_not_settled(rig: Rig, make: Make) -> None:
    await rig.start()
    await rig.send("a", "b", "c")
    first = await make()
    found = await take(first, 3)
    await first.delete(found[:1])
    await first.close()
    await first.close()
    second = await take(await make(), 2)
    assert sorted(bodies(second)) == sorted(bodies(found[1:]))


async def test_a_receive_that_is_cancelled_loses_nothing(rig: Rig, make: Make) -> None:
    await rig.start()
    inbox = await make()
    waiting = asyncio.create_task(inbox.receive(10, timedelta(seconds=2)))
    await asyncio.sleep(0.1)
    await rig.send("kept")
    waiting.cancel()
    await asyncio.wait({waiting})
    if not waiting.cancelled():
        assert bodies(waiting.result()) == ["kept"]
        return
    assert bodies(await take(inbox, 1)) == ["kept"]


async def test_settling_twice_does_nothing(rig: Rig, make: Make) -> None:
    await rig.start()
    await rig.send("a")
    inbox = await make()
    found = await take(inbox, 1)
    await inbox.release(found, failed=False)
    await inbox.release(found, failed=False)
    again = await take(inbox, 1)
    await inbox.delete(again)
    await inbox.delete(again)
    await nothing(inbox)


async def test_the_payload_has_every_message_of_a_batch(rig: Rig, make: Make) -> None:
    await rig.start()
    await rig.send("a", "é", "c")
    inbox = await make()
    found = await take(inbox, 3)
    assert sorted(body_of(each) for each in messages_of(inbox.payload(found))) == ["a", "c", "é"]


async def test_a_queue_that_is_not_there_is_missing_until_it_is_made(rig: Rig, make: Make) -> None:
    await rig.start()
    await rig.send("old")
    inbox = await make()
    assert bodies(await take(inbox, 1)) == ["old"]
    await rig.remove()

    await eventually(partial(missing, inbox), "the queue was deleted, which nobody noticed")
    await rig.create()
    await rig.send("new")

    async def back() -> bool:
        try:
            return bodies(await inbox.receive(10, MOMENT)) == ["new"]
        except SourceMissing:
            return False

    await eventually(back, "the queue was made again, which nobody noticed")


async def test_a_queue_made_again_before_anybody_looked_is_consumed_again(rig: Rig, make: Make, world: str) -> None:
    if world.endswith("rabbitmq"):
        pytest.skip("RabbitMQ 3 does not tell the consumer of a quorum queue: five minutes")
    await rig.start()
    inbox = await make()
    await nothing(inbox)
    await rig.remove()
    await rig.create()
    await rig.send("new")
    found: list[str] = []

    async def back() -> bool:
        try:
            found.extend(bodies(await inbox.receive(10, timedelta(seconds=10))))
        except SourceMissing:
            return False
        return found == ["new"]

    await eventually(back)


async def test_a_queue_made_again_still_leads_back_what_failed(rig: Rig, make: Make) -> None:
    await rig.start()
    inbox = await make()
    await nothing(inbox)
    await rig.remove()
    await eventually(partial(missing, inbox))
    await rig.create()
    await rig.send("bad")
    (message,) = await take(inbox, 1)
    await inbox.release([message], failed=True)
    (message,) = await take(inbox, 1)
    assert message.receive_count == 2


async def test_a_group_keeps_its_order_when_its_first_message_fails(rig: Rig, make: Make) -> None:
    if not rig.groups:
        pytest.skip("no message groups")
    await rig.start(fifo=True)
    await rig.send("a1", "a2", "a3", group="a")
    inbox = await make()
    found = await take(inbox, 3)
    assert [message.group for message in found] == ["a", "a", "a"]
    await inbox.release(found[:1], failed=True)
    await inbox.release(found[1:], failed=False)
    await rig.send("a4", group="a")
    order: list[str] = []
    while len(order) < 4:
        (message,) = await take(inbox, 1)
        order.append(message.data.decode())
        await inbox.delete([message])
    assert order == ["a1", "a2", "a3", "a4"]


async def test_other_groups_go_on_while_one_rests(rig: Rig, make: Make) -> None:
    if not rig.groups:
        pytest.skip("no message groups")
    await rig.start(fifo=True)
    await rig.send("a1", group="a")
    inbox = await make()
    await inbox.release(await take(inbox, 1), failed=True)
    await rig.send("a2", group="a")
    await rig.send("b1", group="b")
    assert bodies(await take(inbox, 1)) == ["b1"]
    assert bodies(await take(inbox, 1)) == ["a1"]


async def test_after_the_most_receives_a_message_goes_to_the_dead_letter_queue(rig: Rig, make: Make) -> None:
    if not rig.buries:
        pytest.skip("no dead-letter queues")
    await rig.start(most=2)
    await rig.send("bad")
    inbox = await make()
    for _ in range(2):
        await inbox.release(await take(inbox, 1), failed=True)
    dead: list[str] = []

    async def buried() -> bool:
        assert bodies(await inbox.receive(10, MOMENT)) == []
        dead.extend(await rig.dead())
        return dead == ["bad"]

    await eventually(buried)
    assert await rig.depth() == 0
