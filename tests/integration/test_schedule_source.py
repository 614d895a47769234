"""Schedules over real claims: each tick one event, whoever fires it, whatever dies."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sources.adapters.schedule import ScheduleSource, forget
from sources.claims import ClaimPace, StoredClaims
from sources.errors import CheckpointsUnavailable, Misconfigured, NotAccepted, Refused
from sources.schedule import CatchUp, SchedulePace, ScheduleWatch
from sources.source import Claim, Condition, Services
from tests.conformance.sources.file_database import FileDatabase
from tests.integration.taken import Taken, WallClock, eventually, settled

ROOT = Path(__file__).parents[2]
PROCESS = Path(__file__).with_name("schedule_process.py")
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
QUICK = SchedulePace(step=timedelta(milliseconds=5), closing=timedelta(seconds=5), retry_longest=timedelta(seconds=0.1))
CLAIMS = ClaimPace(
    renew=timedelta(milliseconds=50),
    look=timedelta(milliseconds=20),
    grace=timedelta(milliseconds=200),
    wanted=timedelta(milliseconds=200),
    asked=timedelta(seconds=3),
)
NIGHTLY = ScheduleWatch("nightly", "f", "rate(1 minute)", created=MIDNIGHT, pace=QUICK)


class FaultyClaims:
    """One process' claims; ``failing``: what is to be stored cannot be."""

    def __init__(self, claims: StoredClaims) -> None:
        self._claims = claims
        self.failing = False
        self.saves = 0

    async def acquire(self, name: str) -> Claim | None:
        claim = await self._claims.acquire(name)
        if claim is not None:
            save = claim.save

            async def saved(document: Any) -> None:
                self.saves += 1
                if self.failing:
                    raise CheckpointsUnavailable
                await save(document)

            claim.save = saved  # type: ignore[method-assign]
        return claim

    async def load(self, name: str) -> Any:
        return await self._claims.load(name)

    async def forget(self, prefix: str) -> None:
        await self._claims.forget(prefix)


class Host:
    """One process of several: its claims, and the sources that were made in it."""

    def __init__(self, database: FileDatabase, taken: Taken, clock: WallClock) -> None:
        self._stored = StoredClaims(database, database.checkpoint, pace=CLAIMS)
        self.claims = FaultyClaims(self._stored)
        unused: Any = None
        self.services = Services(
            taken, unused, unused, clock=clock, claims=self.claims, retry_first=timedelta(milliseconds=10)
        )
        self.sources: list[ScheduleSource] = []

    async def follow(self, watch: ScheduleWatch = NIGHTLY, **changes: Any) -> ScheduleSource:
        await self._stored.start()
        source = ScheduleSource(replace(watch, **changes), self.services)
        self.sources.append(source)
        await source.start()
        return source

    async def close(self) -> None:
        for source in self.sources:
            await source.close()
        await self._stored.close()


@pytest.fixture
async def taken() -> Taken:
    return Taken()


@pytest.fixture
def clock() -> WallClock:
    return WallClock(MIDNIGHT)


@pytest.fixture
async def another(tmp_path: Path, taken: Taken, clock: WallClock) -> AsyncIterator[Callable[[], Host]]:
    database = FileDatabase(tmp_path / "claims.sqlite")
    hosts: list[Host] = []

    def another() -> Host:
        hosts.append(Host(database, taken, clock))
        return hosts[-1]

    yield another
    for host in hosts:
        await host.close()
    database.close()


@pytest.fixture
def host(another: Callable[[], Host]) -> Host:
    return another()


def times(taken: Taken) -> list[str]:
    """The ticks that were accepted, as minutes and seconds after midnight."""
    return [json.loads(event.payload)["time"][14:19] for event in taken.accepted]


async def test_each_tick_is_one_event_when_its_time_has_come(host: Host, taken: Taken, clock: WallClock) -> None:
    source = await host.follow()
    await eventually(lambda: len(taken.accepted) == 1)
    await settled()
    assert times(taken) == ["00:00"]
    for count in (2, 3):
        clock.advance(MINUTE)
        await eventually(lambda: len(taken.accepted) == count)  # noqa: B023
    assert times(taken) == ["00:00", "01:00", "02:00"]
    assert source.health().condition is Condition.WATCHING
    assert source.health().counters["announced"] == 3


async def test_of_two_one_fires_and_the_other_takes_over(
    another: Callable[[], Host], taken: Taken, clock: WallClock
) -> None:
    sources = [await another().follow(), await another().follow()]
    await eventually(lambda: {s.health().condition for s in sources} == {Condition.WATCHING, Condition.WAITING})
    for count in range(2, 6):
        clock.advance(MINUTE)
        await eventually(lambda: len(taken.accepted) == count)  # noqa: B023
    working = next(s for s in sources if s.health().condition is Condition.WATCHING)
    await working.close()
    clock.advance(MINUTE)
    await eventually(lambda: len(taken.accepted) == 6)
    await settled()
    assert times(taken) == [f"0{n}:00" for n in range(6)]
    assert len(set(taken.ids())) == 6


async def test_what_is_not_accepted_is_offered_again_with_the_same_id(host: Host, taken: Taken) -> None:
    taken.fault = lambda event: NotAccepted("queue full") if len(taken.offered) < 4 else None
    source = await host.follow()
    await eventually(lambda: taken.accepted)
    assert len({event.event_id for event in taken.offered}) == 1
    assert source.health().counters["retried"] == 3
    await eventually(lambda: source.health().condition is Condition.WATCHING)


async def test_while_nothing_is_accepted_it_says_so(host: Host, taken: Taken) -> None:
    taken.fault = lambda event: NotAccepted("queue full")
    source = await host.follow()
    await eventually(lambda: source.health().condition is Condition.LAGGING)
    assert "queue full" in source.health().reasons[0]
    assert not source.health().ok


async def test_an_acceptor_that_breaks_loses_nothing(
    host: Host, taken: Taken, caplog: pytest.LogCaptureFixture
) -> None:
    taken.fault = lambda event: RuntimeError("a bug") if len(taken.offered) < 3 else None
    await host.follow()
    await eventually(lambda: times(taken) == ["00:00"])
    assert "a bug" in caplog.text


async def test_what_is_refused_is_counted_reported_and_passed_over(
    host: Host, taken: Taken, clock: WallClock, caplog: pytest.LogCaptureFixture
) -> None:
    taken.fault = lambda event: Refused("no such function") if len(taken.offered) == 1 else None
    source = await host.follow()
    await eventually(lambda: source.health().counters.get("refused") == 1)
    clock.advance(MINUTE)
    await eventually(lambda: times(taken) == ["01:00"])
    assert "no such function" in caplog.text
    assert len(taken.offered) == 2


async def test_nothing_more_fires_until_it_is_stored_what_has(host: Host, taken: Taken, clock: WallClock) -> None:
    source = await host.follow()
    await eventually(lambda: len(taken.accepted) == 1)
    host.claims.failing = True
    clock.advance(MINUTE)
    await eventually(lambda: source.health().condition is Condition.OUTAGE)
    clock.advance(MINUTE)
    await settled()
    assert times(taken) == ["00:00", "01:00"]
    host.claims.failing = False
    await eventually(lambda: times(taken) == ["00:00", "01:00", "02:00"])
    await eventually(lambda: source.health().condition is Condition.WATCHING)


async def test_what_could_not_be_stored_is_not_fired_again_by_who_knows_of_it(
    host: Host, taken: Taken, clock: WallClock
) -> None:
    source = await host.follow()
    await eventually(lambda: len(taken.accepted) == 1)
    host.claims.failing = True
    clock.advance(MINUTE)
    await eventually(lambda: source.health().condition is Condition.OUTAGE)
    await source.reconfigure(replace(NIGHTLY, qualifier="live"))
    await settled()
    host.claims.failing = False
    await eventually(lambda: source.health().condition is Condition.WATCHING)
    clock.advance(MINUTE)
    await eventually(lambda: len(taken.accepted) >= 3)
    assert times(taken) == ["00:00", "01:00", "02:00"]
    assert taken.accepted[2].qualifier == "live"


async def test_what_was_accepted_and_not_stored_is_repeated_with_the_same_id(
    another: Callable[[], Host], taken: Taken, clock: WallClock
) -> None:
    first = another()
    source = await first.follow()
    await eventually(lambda: len(taken.accepted) == 1)
    first.claims.failing = True
    clock.advance(MINUTE)
    await eventually(lambda: len(taken.accepted) == 2)
    await source.close()
    await first.close()
    await another().follow()
    await eventually(lambda: len(taken.accepted) == 3)
    await settled()
    assert times(taken) == ["00:00", "01:00", "01:00"]
    assert taken.ids()[1] == taken.ids()[2]


async def test_a_firing_that_has_begun_is_stored_when_it_is_closed(
    another: Callable[[], Host], taken: Taken, clock: WallClock
) -> None:
    source = await another().follow()
    await eventually(lambda: len(taken.accepted) == 1)
    taken.gate.clear()
    clock.advance(MINUTE)
    await eventually(lambda: len(taken.offered) == 2)
    closing = asyncio.create_task(source.close())
    await asyncio.sleep(0)
    taken.gate.set()
    await closing
    assert source.health().condition is Condition.CLOSED
    await another().follow()
    clock.advance(MINUTE)
    await eventually(lambda: len(taken.accepted) == 3)
    assert times(taken) == ["00:00", "01:00", "02:00"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (CatchUp.NONE, ["05:00"]),
        (CatchUp.LAST, ["04:00", "05:00"]),
        (CatchUp.ALL, ["02:00", "03:00", "04:00", "05:00"]),
    ],
)
async def test_after_a_downtime_the_policy_decides(
    another: Callable[[], Host], taken: Taken, clock: WallClock, policy: CatchUp, expected: list[str]
) -> None:
    watch = replace(NIGHTLY, catch_up=policy, pace=replace(QUICK, grace=timedelta(seconds=10)))
    source = await another().follow(watch)
    clock.advance(MINUTE)
    await eventually(lambda: len(taken.accepted) == 2)
    await source.close()
    clock.advance(3.5 * MINUTE)
    again = await another().follow(watch)
    await eventually(lambda: again.health().condition is Condition.WATCHING)
    await eventually(lambda: len(taken.accepted) == len(expected) + 1)
    clock.advance(0.5 * MINUTE)
    await eventually(lambda: len(taken.accepted) == len(expected) + 2)
    assert times(taken)[2:] == expected
    assert again.health().counters.get("skipped", 0) == 4 - len(expected)


async def test_a_clock_that_jumps_fires_nothing_twice_and_does_not_stop_it(
    host: Host, taken: Taken, clock: WallClock
) -> None:
    await host.follow()
    await eventually(lambda: len(taken.accepted) == 1)
    clock.advance(60 * MINUTE)
    await eventually(lambda: len(taken.accepted) == 2)
    clock.advance(-59.5 * MINUTE)
    await settled()
    for count in (3, 4):
        clock.advance(MINUTE)
        await eventually(lambda: len(taken.accepted) == count)  # noqa: B023
    assert len(set(taken.ids())) == 4
    assert [time[:2] for time in times(taken)] == ["00", "00", "01", "02"]  # the second is of one o'clock


async def test_at_fires_once_over_restarts_and_is_idle_then(
    another: Callable[[], Host], taken: Taken, clock: WallClock
) -> None:
    once = replace(NIGHTLY, expression="at(2026-01-01T00:05:00)")
    source = await another().follow(once)
    assert source.health().condition is Condition.WATCHING
    clock.advance(5 * MINUTE)
    await eventually(lambda: source.health().condition is Condition.IDLE)
    assert times(taken) == ["05:00"]
    await source.close()
    again = await another().follow(once)
    await eventually(lambda: again.health().condition is Condition.IDLE)
    await settled()
    assert len(taken.offered) == 1


async def test_while_it_is_disabled_nothing_fires_and_nothing_is_missed(
    host: Host, taken: Taken, clock: WallClock
) -> None:
    source = await host.follow(catch_up=CatchUp.ALL)
    await eventually(lambda: len(taken.accepted) == 1)
    await source.reconfigure(replace(NIGHTLY, catch_up=CatchUp.ALL, enabled=False))
    await eventually(lambda: source.health().condition is Condition.IDLE)
    clock.advance(5.5 * MINUTE)
    await settled()
    await source.reconfigure(replace(NIGHTLY, catch_up=CatchUp.ALL))
    await eventually(lambda: source.health().condition is Condition.WATCHING)
    await settled()
    clock.advance(0.5 * MINUTE)
    await eventually(lambda: len(taken.accepted) == 2)
    assert times(taken) == ["00:00", "06:00"]


async def test_another_expression_counts_from_when_it_is_given(host: Host, taken: Taken, clock: WallClock) -> None:
    source = await host.follow()
    await eventually(lambda: len(taken.accepted) == 1)
    clock.advance(0.5 * MINUTE)
    await source.reconfigure(
        replace(NIGHTLY, expression="cron(0/10 * * * ? *)", input='{"of": "mine"}', qualifier="live")
    )
    await settled()
    clock.advance(9.5 * MINUTE)
    await eventually(lambda: len(taken.accepted) == 2)
    assert (taken.accepted[1].payload, taken.accepted[1].qualifier) == (b'{"of": "mine"}', "live")


async def test_a_schedule_keeps_its_name(host: Host) -> None:
    source = await host.follow()
    with pytest.raises(Misconfigured, match="close it"):
        await source.reconfigure(replace(NIGHTLY, name="other"))


async def test_a_schedule_that_was_forgotten_begins_anew(host: Host, taken: Taken) -> None:
    source = await host.follow()
    await eventually(lambda: len(taken.accepted) == 1)
    await source.close()
    await forget("nightly", host.services)
    await host.follow()
    await eventually(lambda: len(taken.accepted) == 2)


async def test_forgetting_leaves_others_whose_names_begin_alike(host: Host, taken: Taken) -> None:
    source = await host.follow(name="nightly2")
    await eventually(lambda: len(taken.accepted) == 1)
    await source.close()
    await forget("nightly", host.services)
    again = await host.follow(name="nightly2")
    await eventually(lambda: again.health().condition is Condition.WATCHING)
    await settled()
    assert len(taken.offered) == 1


async def test_a_stored_position_that_is_damaged_is_reported_and_it_goes_on_from_now(
    host: Host, taken: Taken, clock: WallClock, caplog: pytest.LogCaptureFixture
) -> None:
    source = await host.follow()
    await eventually(lambda: len(taken.accepted) == 1)
    await source.close()
    await host._stored.put("schedule:nightly/", {"plan": NIGHTLY.plan, "tick": 5})
    again = await host.follow()
    await eventually(lambda: again.health().condition is Condition.WATCHING)
    clock.advance(MINUTE)
    with caplog.at_level(logging.ERROR):
        await eventually(lambda: times(taken) == ["00:00", "01:00"])
    assert "unreadable" in caplog.text


async def test_starting_and_closing_twice_is_harmless(host: Host, taken: Taken) -> None:
    source = await host.follow()
    await asyncio.gather(source.start(), source.start())
    await eventually(lambda: len(taken.accepted) == 1)
    await asyncio.gather(source.close(), source.close())
    await source.start()
    assert source.health().condition is Condition.CLOSED
    assert len(taken.offered) == 1


async def test_one_that_was_never_started_can_be_closed(host: Host) -> None:
    source = ScheduleSource(NIGHTLY, host.services)
    await source.close()
    await source.start()
    assert source.health().condition is Condition.CLOSED


async def test_a_flexible_window_fires_at_the_same_moment_whoever_fires(
    another: Callable[[], Host], taken: Taken, clock: WallClock
) -> None:
    flexible = replace(NIGHTLY, expression="rate(1 hour)", flexible_window=30 * MINUTE)
    due = flexible.timetable().due(MIDNIGHT)
    source = await another().follow(flexible)
    clock.now = due - timedelta(microseconds=1)
    await settled()
    await source.close()
    again = await another().follow(flexible)
    await eventually(lambda: again.health().condition is Condition.WATCHING)
    await settled()
    assert taken.offered == []
    clock.now = due
    await eventually(lambda: times(taken) == ["00:00"])


# -- processes that are killed ------------------------------------------------------------------------------------------


class Fleet:
    """Processes that follow one schedule whose minute takes a tenth of a second."""

    def __init__(self, directory: Path) -> None:
        self.ledger = directory / "ledger"
        self._database = directory / "claims.sqlite"
        self.since = float(int(time.time()))
        self._processes: dict[int, Process] = {}

    async def join(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROCESS), str(self._database), str(self.ledger), "rate(1 minute)", str(self.since), "600",
            stdout=PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"started\n"
        self._processes[process.pid] = process

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ledger.read_text().splitlines()] if self.ledger.exists() else []

    async def kill(self, pid: int) -> None:
        process = self._processes.pop(pid)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]

    async def close(self) -> None:
        for pid in list(self._processes):
            await self.kill(pid)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    await fleet.close()


async def test_processes_that_are_killed_leave_no_tick_out_and_repeat_none_under_another_id(fleet: Fleet) -> None:
    kills = 3
    await fleet.join()
    await fleet.join()
    for _ in range(kills):
        seen = len(fleet.lines())
        await eventually(lambda: len(fleet.lines()) > seen + 10)  # noqa: B023
        await fleet.kill(fleet.lines()[-1]["pid"])
        await fleet.join()
    seen = len(fleet.lines())
    await eventually(lambda: len(fleet.lines()) > seen + 10)
    await fleet.close()
    lines = fleet.lines()
    ticks = sorted({datetime.fromisoformat(line["time"]).timestamp() for line in lines})
    assert ticks == [fleet.since + 60 * n for n in range(len(ticks))]
    again = Counter(line["time"] for line in lines)
    assert sum(again.values()) - len(again) <= kills  # killed between accepting and storing
    assert len({line["id"] for line in lines}) == len(again)
    assert len({line["pid"] for line in lines}) > kills
