"""The contract of :mod:`sources.source`, for every adapter there is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from sources.errors import Misconfigured, NotAccepted, Refused
from sources.registry import adapters
from sources.source import Adapter, Condition, Source, SourceEvent
from tests.conformance.sources.faulty_checkpoints import FaultyCheckpoints
from tests.conformance.sources.inbox import Inbox, eventually, seen
from tests.conformance.sources.rig import Rig, rig_of

Make = Callable[[], Source]


def keys(inbox: Inbox) -> list[str]:
    return [seen(event)[1] for event in inbox.accepted]


def _more(events: list[SourceEvent], than: int) -> bool:
    return len(events) > than


def test_every_adapter_has_a_rig_in_this_suite(adapter: str) -> None:
    assert isinstance(adapters(Adapter)[adapter], Adapter)
    assert rig_of(adapter)


async def test_what_happens_after_the_start_is_offered_once(make: Make, rig: Rig, inbox: Inbox) -> None:
    source = make()
    await source.start()
    rig.happen("a")
    rig.happen("b")
    await inbox.until(lambda: len(inbox.accepted) >= 2)
    await source.close()
    assert sorted(keys(inbox)) == ["a", "b"]
    assert source.health().counters["announced"] == 2


async def test_what_happened_before_the_start_is_offered_too(make: Make, rig: Rig, inbox: Inbox) -> None:
    rig.happen("early")
    await make().start()
    await inbox.until(lambda: keys(inbox) == ["early"])


async def test_starting_and_closing_twice_is_harmless(make: Make, rig: Rig, inbox: Inbox) -> None:
    source = make()
    await asyncio.gather(source.start(), source.start())
    await source.start()
    rig.happen("a")
    await inbox.until(lambda: len(inbox.accepted) >= 1)
    await asyncio.gather(source.close(), source.close())
    await source.close()
    assert keys(inbox) == ["a"]
    assert source.health().condition is Condition.CLOSED


async def test_a_source_that_was_never_started_can_be_closed(make: Make) -> None:
    source = make()
    await source.close()
    await source.start()
    assert source.health().condition is Condition.CLOSED


async def test_a_restart_repeats_nothing_and_misses_nothing(make: Make, rig: Rig, inbox: Inbox) -> None:
    first = make()
    await first.start()
    rig.happen("old")
    await inbox.until(lambda: keys(inbox) == ["old"])
    await first.close()
    rig.happen("meanwhile")
    second = make()
    await second.start()
    await inbox.until(lambda: "meanwhile" in keys(inbox))
    await second.close()
    assert keys(inbox) == ["old", "meanwhile"]


async def test_what_is_not_accepted_is_offered_again_with_the_same_id(make: Make, rig: Rig, inbox: Inbox) -> None:
    inbox.fault = lambda event: NotAccepted() if len(inbox.offered) < 4 else None
    await make().start()
    rig.happen("a")
    await inbox.until(lambda: len(inbox.accepted) == 1)
    assert len({event.event_id for event in inbox.offered}) == 1
    assert len(inbox.offered) == 4


async def test_an_acceptor_that_breaks_loses_nothing(
    make: Make, rig: Rig, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    inbox.fault = lambda event: RuntimeError("a bug") if len(inbox.offered) < 3 else None
    await make().start()
    rig.happen("a")
    await inbox.until(lambda: keys(inbox) == ["a"])
    assert "a bug" in caplog.text


async def test_what_is_refused_is_counted_reported_and_passed_over(
    make: Make, rig: Rig, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    inbox.fault = lambda event: Refused("no such function") if seen(event)[1] == "bad" else None
    source = make()
    await source.start()
    rig.happen("bad")
    await eventually(lambda: source.health().counters.get("refused") == 1)
    rig.happen("good")
    await inbox.until(lambda: keys(inbox) == ["good"])
    await source.close()
    assert "no such function" in caplog.text
    rig.happen("fence")
    second = make()
    await second.start()
    await inbox.until(lambda: "fence" in keys(inbox))
    await second.close()
    assert Counter(seen(event)[1] for event in inbox.offered)["bad"] == 1


async def test_what_was_accepted_and_not_recorded_is_repeated_with_the_same_id(
    make: Make, rig: Rig, inbox: Inbox, checkpoints: FaultyCheckpoints
) -> None:
    first = make()
    await first.start()
    inbox.gate.clear()
    rig.happen("a")
    await inbox.until(lambda: len(inbox.offered) == 1)
    checkpoints.failing = True
    inbox.gate.set()
    await inbox.until(lambda: len(inbox.accepted) == 1)
    await eventually(lambda: checkpoints.refused > 0)
    await first.close()
    assert checkpoints.recorded == []
    checkpoints.failing = False
    await make().start()
    await inbox.until(lambda: len(inbox.accepted) == 2)
    assert len(set(inbox.ids())) == 1


async def test_what_was_accepted_when_it_is_closed_is_recorded(
    make: Make, rig: Rig, inbox: Inbox, checkpoints: FaultyCheckpoints
) -> None:
    source = make()
    await source.start()
    inbox.gate.clear()
    rig.happen("a")
    await inbox.until(lambda: len(inbox.offered) == 1)
    closing = asyncio.create_task(source.close())
    await asyncio.sleep(0)
    inbox.gate.set()
    await closing
    assert checkpoints.recorded == ["a"]


async def test_events_about_the_same_thing_are_offered_one_after_the_other(make: Make, rig: Rig, inbox: Inbox) -> None:
    await make().start()
    for _ in range(3):
        inbox.gate.clear()
        offers, accepts = len(inbox.offered), len(inbox.accepted)
        rig.happen("a")
        await inbox.until(partial(_more, inbox.offered, offers))
        rig.happen("a")
        rig.happen("b")
        await inbox.until(partial(_more, inbox.offered, offers + 1))
        inbox.gate.set()
        await inbox.until(partial(_more, inbox.accepted, accepts + 2))
    assert inbox.together == 1
    assert len(set(inbox.ids())) == len(inbox.ids())


async def test_a_lost_world_is_an_outage_that_ends_when_it_comes_back(make: Make, rig: Rig, inbox: Inbox) -> None:
    rig.lose()
    source = make()
    await source.start()
    health = source.health()
    assert health.condition is Condition.OUTAGE
    assert health.reasons
    rig.restore()
    rig.happen("a")
    await inbox.until(lambda: keys(inbox) == ["a"])
    await eventually(lambda: source.health().condition is Condition.WATCHING)


async def test_of_two_sources_one_works_and_the_other_takes_over(make: Make, rig: Rig, inbox: Inbox) -> None:
    first, second = make(), make()
    await first.start()
    await second.start()
    assert first.name == second.name
    assert first.health().condition is Condition.WATCHING
    assert second.health().condition is Condition.WAITING
    rig.happen("a")
    await inbox.until(lambda: keys(inbox) == ["a"])
    await first.close()
    rig.happen("b")
    await inbox.until(lambda: keys(inbox) == ["a", "b"])
    await eventually(lambda: second.health().condition is Condition.WATCHING)


async def test_a_source_that_nobody_wants_is_idle_until_somebody_does(make: Make, rig: Rig, inbox: Inbox) -> None:
    source = make()
    await source.start()
    wanted = rig.configuration()
    await source.reconfigure(rig.unwanted())
    await eventually(lambda: source.health().condition is Condition.IDLE)
    rig.happen("a")
    await source.reconfigure(wanted)
    await inbox.until(lambda: keys(inbox) == ["a"])


async def test_a_source_keeps_its_name(make: Make, rig: Rig) -> None:
    source = make()
    with pytest.raises(Misconfigured):
        await source.reconfigure(rig.foreign())


async def test_a_checkpoint_store_that_is_away_at_the_start_is_an_outage_that_ends(
    make: Make, rig: Rig, inbox: Inbox, checkpoints: FaultyCheckpoints
) -> None:
    checkpoints.failing = True
    source = make()
    await source.start()
    assert source.health().condition is Condition.OUTAGE
    rig.happen("a")
    checkpoints.failing = False
    await inbox.until(lambda: keys(inbox) == ["a"])
