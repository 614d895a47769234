"""What :mod:`sources.queue_poller` promises, over every adapter there is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from sources import queue_session
from sources.errors import CheckpointsUnavailable, Misconfigured
from sources.invocation import Answered, Crashed, Deferred, Failed, Result, TooLarge
from sources.queue_poller import QueuePoller
from sources.source import Condition
from tests.conformance.sources.queues.play import Claims, Letterbox, Stage, body_of, count_of, eventually
from tests.conformance.sources.queues.rig import Rig

Poll = Callable[..., Awaitable[QueuePoller]]


@pytest.fixture(params=("queue-embedded", "queue-rabbitmq", "rmq-rabbitmq"))
def world(request: pytest.FixtureRequest) -> str:
    """What differs for a poller; what every adapter promises it is in the suite of inboxes."""
    return str(request.param)


def counters(poller: QueuePoller) -> dict[str, int]:
    return dict(poller.health().counters)


def _has_run(stage: Stage, body: str) -> bool:
    return body in stage.bodies


async def emptied(rig: Rig, poller: QueuePoller, count: int) -> None:
    """Everything was deleted, and is not in the queue either."""

    async def done() -> bool:
        return counters(poller)["deleted"] >= count

    await eventually(done, str(poller.health()))
    await poller.close()
    assert await rig.depth() == 0


async def test_every_message_is_handled_once_and_deleted(rig: Rig, stage: Stage, poll: Poll) -> None:
    await rig.start()
    sent = [f"m{index}" for index in range(40)]
    await rig.send(*sent)
    poller = await poll(batch_size=7)
    await stage.until(lambda: set(stage.bodies) == set(sent))
    await emptied(rig, poller, 40)
    assert max(len(batch) for batch in stage.batches) <= 7
    if rig.repeats:
        return
    assert sorted(stage.bodies) == sorted(sent)
    assert counters(poller) == {
        "received": 40, "filtered": 0, "deleted": 40, "released": 0, "invocations": len(stage.batches), "failed": 0,
        "throttled": 0, "expired": 0, "given_up": 0,
    }  # fmt: skip


async def test_what_is_sent_while_it_polls_is_handled_too(rig: Rig, stage: Stage, poll: Poll) -> None:
    await rig.start()
    poller = await poll()
    for index in range(5):
        await rig.send(f"m{index}")
        await stage.until(partial(_has_run, stage, f"m{index}"))
    assert poller.health().condition is Condition.WATCHING


@pytest.mark.parametrize("result", [Failed("ValueError", "no"), Crashed("the worker died")], ids=["failed", "crashed"])
async def test_a_batch_that_failed_is_handled_again(rig: Rig, stage: Stage, poll: Poll, result: Result) -> None:
    await rig.start()
    await rig.send("m")

    def script(messages: list[dict[str, Any]]) -> Result:
        return result if len(stage.batches) < 3 else Answered(b"")

    stage.script = script
    poller = await poll()
    await emptied(rig, poller, 1)
    assert stage.bodies == ["m", "m", "m"]
    assert counters(poller)["failed"] == 2


async def test_only_what_a_report_names_comes_again(rig: Rig, stage: Stage, poll: Poll) -> None:
    if not rig.adapter.partial:
        pytest.skip("no partial batch responses")
    await rig.start()
    await rig.send("good", "bad", "fine")

    def script(messages: list[dict[str, Any]]) -> Result:
        named = [m["messageId"] for m in messages if body_of(m) == "bad" and count_of(m) == 1]
        items = ",".join(f'{{"itemIdentifier":"{each}"}}' for each in named)
        return Answered(f'{{"batchItemFailures":[{items}]}}'.encode())

    stage.script = script
    poller = await poll(report_failures=True)
    await emptied(rig, poller, 3)
    assert stage.times() == {"good": 1, "bad": 2, "fine": 1}


async def test_a_report_that_cannot_be_read_fails_the_whole_batch(rig: Rig, stage: Stage, poll: Poll) -> None:
    if not rig.adapter.partial:
        pytest.skip("no partial batch responses")
    await rig.start()
    await rig.send("m")
    malformed = b'{"batchItemFailures":[{"itemIdentifier":"somebody else"}]}'
    stage.script = lambda messages: Answered(malformed if count_of(messages[0]) == 1 else b"{}")
    poller = await poll(report_failures=True)
    await emptied(rig, poller, 1)
    assert stage.bodies == ["m", "m"]


async def test_what_no_filter_wants_is_deleted_and_not_invoked_with(rig: Rig, stage: Stage, poll: Poll) -> None:
    await rig.start()
    await rig.send('{"keep": 1}', '{"keep": 2}', '{"keep": 1, "x": "y"}')
    poller = await poll(filters=(f'{{"{rig.adapter.data_key}": {{"keep": [1]}}}}',))

    async def done() -> bool:
        return counters(poller)["deleted"] + counters(poller)["filtered"] == 3

    await eventually(done)
    await poller.close()
    assert await rig.depth() == 0
    assert sorted(stage.bodies) == ['{"keep": 1, "x": "y"}', '{"keep": 1}']
    assert counters(poller)["filtered"] == 1


async def test_a_batching_window_fills_a_batch(rig: Rig, stage: Stage, poll: Poll) -> None:
    await rig.start()
    poller = await poll(batching_window=timedelta(seconds=60), batch_size=3)
    for body in ("a", "b", "c"):
        await rig.send(body)
    await stage.until(lambda: len(stage.batches) == 1)
    assert sorted(stage.batches[0]) == ["a", "b", "c"]
    await emptied(rig, poller, 3)


async def test_a_batching_window_that_is_over_closes_a_batch(rig: Rig, stage: Stage, poll: Poll) -> None:
    await rig.start()
    await rig.send("a", "b")
    poller = await poll(batching_window=timedelta(milliseconds=500), batch_size=100)
    await emptied(rig, poller, 2)
    assert [sorted(batch) for batch in stage.batches] == [["a", "b"]]


async def test_no_more_batches_run_at_once_than_the_maximum(rig: Rig, stage: Stage, poll: Poll) -> None:
    await rig.start()
    await rig.send(*map(str, range(30)))
    gate = asyncio.Event()

    async def script(messages: list[dict[str, Any]]) -> Result:
        await gate.wait()
        return Answered(b"")

    stage.script = script
    most = min(2, rig.adapter.highest_concurrency)
    poller = await poll(batch_size=1, maximum_concurrency=2)
    await stage.until(lambda: stage.running == most)
    await asyncio.sleep(0.8)
    assert stage.running == most
    assert await rig.depth() == 30 - most  # the rest is not in hand
    gate.set()
    await emptied(rig, poller, 30)
    assert stage.most == most


async def test_nothing_is_taken_in_hand_that_cannot_start_soon(rig: Rig, stage: Stage, poll: Poll) -> None:
    await rig.start()
    await rig.send("slow")
    gate = asyncio.Event()

    async def script(messages: list[dict[str, Any]]) -> Result:
        await gate.wait()
        return Answered(b"")

    stage.script = script
    poller = await poll(batch_size=10, maximum_concurrency=1)
    await stage.until(lambda: stage.running == 1)
    await asyncio.sleep(queue_session.SURPLUS_S + 0.3)
    await rig.send(*map(str, range(20)))
    await asyncio.sleep(0.1)
    assert await rig.depth() == 20
    gate.set()
    await emptied(rig, poller, 21)


async def test_a_throttled_batch_waits_and_is_not_counted(rig: Rig, stage: Stage, poll: Poll) -> None:
    await rig.start()
    await rig.send("m")
    busy = Deferred("its reserved concurrency is used up", throttled=True)
    stage.script = lambda messages: busy if len(stage.batches) < 4 else Answered(b"")
    poller = await poll()
    await emptied(rig, poller, 1)
    assert counters(poller)["throttled"] == 3
    assert counters(poller)["invocations"] == 1
    if rig.uncounted:
        assert count_of(stage.calls[-1][0]) == 1


async def test_a_batch_that_found_no_room_for_long_goes_back_uncounted(rig: Rig, stage: Stage, poll: Poll) -> None:
    if rig.adapter.retries_in_place:
        pytest.skip("holds for ten minutes")
    await rig.start(most=1)
    await rig.send("m")
    full = Deferred("no worker has capacity")
    stage.script = lambda messages: full
    poller = await poll()

    async def released() -> bool:
        return counters(poller)["released"] >= 1

    await eventually(released)
    assert "no worker has capacity" in poller.health().reasons[0]
    if rig.uncounted:
        stage.script = lambda messages: Answered(b"")
        await emptied(rig, poller, 1)
        assert count_of(stage.calls[-1][0]) == 1
        assert await rig.dead() == []


async def test_what_is_too_large_is_split(rig: Rig, stage: Stage, poll: Poll) -> None:
    await rig.start()
    await rig.send(*map(str, range(6)))
    stage.script = lambda messages: TooLarge(7_000_000) if len(messages) > 2 else Answered(b"")
    poller = await poll(batching_window=timedelta(milliseconds=700), batch_size=6)
    await emptied(rig, poller, 6)
    assert all(len(batch) <= 2 for batch in stage.batches if len(batch) != 6 and len(batch) != 3)


async def test_a_single_message_that_is_too_large_is_no_ones_loss(
    rig: Rig, stage: Stage, poll: Poll, letters: Letterbox
) -> None:
    await rig.start(most=1)
    await rig.send("huge")
    stage.script = lambda messages: TooLarge(7_000_000)
    poller = await poll()
    if rig.buries:
        found: list[str] = []

        async def buried() -> bool:
            found.extend(await rig.dead())
            return found == ["huge"]

        await eventually(buried)
    else:
        await emptied(rig, poller, 1)
        (letter,) = letters.given_up
        assert (letter.condition, letter.payload, letter.size) == ("InvokePayloadTooLarge", b"huge", 1)
        assert counters(poller)["given_up"] == 1


async def test_groups_are_handled_in_order_one_batch_at_a_time(rig: Rig, stage: Stage, poll: Poll) -> None:
    if not rig.groups:
        pytest.skip("no message groups")
    await rig.start(fifo=True)
    chance = random.Random(7)
    # moto mixes up a group that is released while another call is looking for messages
    unlucky = 0.0 if rig.repeats else 0.2
    for index in range(5):
        for group in "abc":
            await rig.send(f"{group}{index}", group=group)
    done: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    running: set[str] = set()

    async def script(messages: list[dict[str, Any]]) -> Result:
        (group,) = {body_of(message)[0] for message in messages}
        assert group not in running, "two batches of one group at once"
        running.add(group)
        await asyncio.sleep(chance.uniform(0, 0.01))
        running.discard(group)
        if chance.random() < unlucky:
            return Failed("ValueError", "unlucky")
        done[group] += [int(body_of(message)[1:]) for message in messages]
        return Answered(b"")

    stage.script = script
    poller = await poll(batch_size=3)
    await emptied(rig, poller, 15)
    assert done == {group: list(range(5)) for group in "abc"}


async def test_a_poisoned_group_is_buried_and_its_followers_go_on(rig: Rig, stage: Stage, poll: Poll) -> None:
    if not rig.groups:
        pytest.skip("no message groups")
    await rig.start(fifo=True, most=2)
    await rig.send("bad", "a1", "a2", group="a")
    await rig.send("b1", group="b")
    stage.script = lambda messages: Failed("E", "") if body_of(messages[0]) == "bad" else Answered(b"")
    poller = await poll(batch_size=1)
    await emptied(rig, poller, 3)
    assert stage.times() == {"bad": 2, "a1": 1, "a2": 1, "b1": 1}
    assert [body for body in stage.bodies if body[0] == "a"] == ["a1", "a2"]
    assert await rig.dead() == ["bad"]


async def test_closing_finishes_what_runs(rig: Rig, stage: Stage, poll: Poll) -> None:
    await rig.start()
    await rig.send("m")
    gate = asyncio.Event()

    async def script(messages: list[dict[str, Any]]) -> Result:
        await gate.wait()
        return Answered(b"")

    stage.script = script
    poller = await poll()
    await stage.until(lambda: stage.running == 1)
    closing = asyncio.create_task(poller.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    gate.set()
    await closing
    await poller.close()
    assert counters(poller)["deleted"] == 1
    assert await rig.depth() == 0
    assert poller.health().condition is Condition.CLOSED


async def test_closing_gives_back_what_does_not_end_in_time(
    rig: Rig, stage: Stage, poll: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_session, "DRAIN", timedelta(milliseconds=200))
    await rig.start()
    await rig.send("slow")

    async def script(messages: list[dict[str, Any]]) -> Result:
        await asyncio.Event().wait()
        raise AssertionError

    stage.script = script
    poller = await poll()
    await stage.until(lambda: stage.running == 1)
    async with asyncio.timeout(20):
        await poller.close()
    stage.script = lambda messages: Answered(b"")
    await emptied(rig, await poll(), 1)
    assert stage.bodies == ["slow", "slow"]


async def test_one_of_two_pollers_works_and_the_other_takes_over(
    rig: Rig, stage: Stage, poll: Poll, claims: Claims
) -> None:
    await rig.start()
    first = await poll()
    await rig.send("a")
    await stage.until(lambda: stage.bodies == ["a"])
    second = await poll()

    async def waiting() -> bool:
        return second.health().condition is Condition.WAITING

    await eventually(waiting)
    await first.close()
    await rig.send("b")
    await stage.until(lambda: stage.bodies == ["a", "b"])
    assert counters(second)["invocations"] == 1


async def test_who_loses_the_claim_settles_nothing_any_more(rig: Rig, stage: Stage, poll: Poll, claims: Claims) -> None:
    await rig.start()
    await rig.send("m")
    gate = asyncio.Event()

    async def script(messages: list[dict[str, Any]]) -> Result:
        if len(stage.batches) == 1:
            await gate.wait()
        return Answered(b"")

    stage.script = script
    poller = await poll()
    await stage.until(lambda: stage.running == 1)
    claims.take_away("esm:u:queue")
    await stage.until(lambda: stage.bodies == ["m", "m"])
    await emptied(rig, poller, 1)
    assert counters(poller)["deleted"] == 1


async def test_a_claim_that_is_wanted_elsewhere_is_given_up(rig: Rig, stage: Stage, poll: Poll, claims: Claims) -> None:
    await rig.start()
    await rig.send("a")
    poller = await poll()
    await stage.until(lambda: stage.bodies == ["a"])
    claim = claims.owners["esm:u:queue"]
    claim.wanted_elsewhere = True

    async def given_up() -> bool:
        return not claim.held

    await eventually(given_up)
    await rig.send("b")
    await stage.until(lambda: stage.bodies == ["a", "b"])
    await emptied(rig, poller, 2)


async def test_a_disabled_mapping_rests_until_it_is_enabled(rig: Rig, stage: Stage, poll: Poll, claims: Claims) -> None:
    await rig.start()
    await rig.send("m")
    poller = await poll(enabled=False)

    async def idle() -> bool:
        return poller.health().condition is Condition.IDLE

    await eventually(idle)
    assert not claims.owners
    await poller.reconfigure(rig.mapping(revision=2))
    await stage.until(lambda: stage.bodies == ["m"])
    await poller.reconfigure(rig.mapping(enabled=False, revision=3))
    await eventually(idle)
    assert not claims.owners


async def test_a_changed_mapping_is_followed(rig: Rig, stage: Stage, poll: Poll) -> None:
    await rig.start()
    poller = await poll(batch_size=1)
    await poller.reconfigure(rig.mapping(batch_size=3, batching_window=timedelta(seconds=30), revision=2))
    await rig.send("a", "b", "c")
    await emptied(rig, poller, 3)
    assert len(stage.batches) == 1


async def test_another_source_is_refused(rig: Rig, poll: Poll) -> None:
    await rig.start()
    poller = await poll()
    with pytest.raises(Misconfigured, match="create a new one"):
        await poller.reconfigure(replace(rig.mapping(), uuid="other"))


async def test_a_source_that_is_missing_is_told_and_goes_on_when_it_is_there(
    rig: Rig, stage: Stage, poll: Poll
) -> None:
    await rig.start()
    await rig.remove()
    poller = await poll()

    async def out() -> bool:
        return poller.health().condition is Condition.OUTAGE

    await eventually(out)
    assert "Create it" in poller.health().reasons[0]
    await rig.create()
    await rig.send("m")
    await stage.until(lambda: "m" in stage.bodies)

    async def well() -> bool:
        return poller.health().ok

    await eventually(well)


async def test_claims_that_are_away_are_told(rig: Rig, stage: Stage, poll: Poll, claims: Claims) -> None:
    await rig.start()
    claims.error = CheckpointsUnavailable()
    poller = await poll()

    async def out() -> bool:
        return poller.health().condition is Condition.OUTAGE

    await eventually(out)
    claims.error = None
    await rig.send("m")
    await stage.until(lambda: stage.bodies == ["m"])


async def test_the_last_result_is_kept_for_those_who_show_it(
    rig: Rig, stage: Stage, poll: Poll, claims: Claims
) -> None:
    await rig.start()
    await rig.send("m")
    stage.script = lambda messages: Failed("E", "") if len(stage.batches) == 1 else Answered(b"")
    poller = await poll()
    await emptied(rig, poller, 1)
    if rig.adapter.retries_in_place:
        assert (claims.documents["esm:u:queue"], claims.saves) == ({"result": "OK"}, 2)
    else:
        assert claims.saves == 0


async def test_a_starting_and_a_closing_twice_is_harmless(rig: Rig, stage: Stage, poll: Poll) -> None:
    await rig.start()
    poller = await poll()
    await poller.start()
    await rig.send("m")
    await emptied(rig, poller, 1)
    await poller.close()
    await poller.start()
    assert poller.health().condition is Condition.CLOSED
    assert stage.bodies == ["m"]
