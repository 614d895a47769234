"""A worker notices by itself that what it consumes does not come, and consumes it anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import pytest

from broker import names
from broker.broker import QueueDepth, State, Status
from broker.errors import Unavailable
from fnrunner.model.problem import Code
from fnrunner.worker import watch
from fnrunner.worker.intake import Holding
from fnrunner.worker.watch import RENEW_AGAIN, Watch

READY = QueueDepth(5, None, 1)
EMPTY = QueueDepth(0, None, 1)


class Worker:
    """A broker and an intake in one: ``depth`` of a queue, what was ``received``, and what was ``renewed``."""

    def __init__(self, *functions: str) -> None:
        self.depth = dict.fromkeys(functions, EMPTY)
        self.received = dict.fromkeys(functions, 0)
        self.held = dict.fromkeys(functions, 0)
        self.asked: list[list[str]] = []
        self.renewed: list[str] = []
        self.refuses = False
        self.stranded: dict[str, int] = {}
        self.excused: list[str] = []
        self.accounts: list[dict[str, int]] = []
        self.status = Status(State.CONNECTED)
        self.now = 100.0

    async def depths(self, queues: Iterable[str]) -> dict[str, QueueDepth]:
        self.asked.append(list(queues))
        return {queue: self.depth[queue] for queue in self.asked[-1] if queue in self.depth}

    def holdings(self) -> dict[str, Holding]:
        return {name: Holding(name, 4, self.held[name], count) for name, count in self.received.items()}

    async def renew(self, name: str) -> None:
        self.renewed.append(name)
        if self.refuses:
            raise Unavailable("it is away")

    async def find(self, ready: Mapping[str, int]) -> dict[str, int]:
        self.accounts.append(dict(ready))
        return {name: self.stranded[name] for name in ready if name in self.stranded and name not in self.excused}

    def excuse(self, function: str) -> None:
        self.excused.append(function)

    def watched(self, most: int = 50) -> Watch:
        return Watch(self, self, self, monotonic=lambda: self.now, most=most)


def codes(watched: Watch) -> list[tuple[Code | None, bool]]:
    return [(problem.code, problem.disabling) for problem in watched.problems()]


async def test_messages_that_do_not_come_are_reported_and_consumed_anew_at_the_second_look() -> None:
    worker = Worker("f", "g")
    worker.depth["f"] = READY
    watched = worker.watched()
    await watched.look()
    assert (codes(watched), worker.renewed) == ([], [])
    await watched.look()
    assert (codes(watched), worker.renewed) == ([(Code.NOT_CONSUMING, True)], ["f"])
    assert "f: 5 that wait in it do not come" in watched.problems()[0].message
    worker.received["f"] += 1
    await watched.look()
    assert codes(watched) == []


async def test_what_comes_between_two_looks_clears_the_suspicion_however_much_is_ready() -> None:
    worker = Worker("f")
    worker.depth["f"] = READY
    watched = worker.watched()
    for _ in range(5):
        await watched.look()
        worker.received["f"] += 1
    assert (codes(watched), worker.renewed) == ([], [])


async def test_a_worker_without_room_expects_nothing() -> None:
    worker = Worker("f")
    worker.depth["f"], worker.held["f"] = READY, 4
    watched = worker.watched()
    for _ in range(3):
        await watched.look()
    assert codes(watched) == []


@pytest.mark.parametrize("depth", [QueueDepth(0, None, 0), None], ids=["without a consumer", "missing"])
async def test_a_queue_without_a_consumer_or_that_is_missing_is_consumed_anew(depth: QueueDepth | None) -> None:
    worker = Worker("f")
    if depth is None:
        del worker.depth["f"]
    else:
        worker.depth["f"] = depth
    watched = worker.watched()
    await watched.look()
    await watched.look()
    assert worker.renewed == ["f"]
    worker.depth["f"] = EMPTY
    await watched.look()
    assert codes(watched) == []


async def test_what_does_not_help_is_tried_again_after_a_while_and_stays_reported() -> None:
    worker = Worker("f")
    worker.depth["f"], worker.refuses = READY, True
    watched = worker.watched()
    for _ in range(4):
        await watched.look()
    assert worker.renewed == ["f"]
    worker.now += RENEW_AGAIN.total_seconds()
    await watched.look()
    assert worker.renewed == ["f", "f"]
    assert codes(watched) == [(Code.NOT_CONSUMING, True)]


async def test_queues_take_turns_and_suspects_are_asked_every_time() -> None:
    worker = Worker(*"abcde")
    worker.depth["a"] = READY
    watched = worker.watched(most=2)
    for _ in range(4):
        await watched.look()
    assert worker.asked == [["a", "b"], ["a", "c", "d"], ["a", "e", "b"], ["a", "c", "d"]]


async def test_nothing_is_said_of_queues_while_the_connection_is_lost() -> None:
    worker = Worker("f")
    worker.depth["f"] = READY
    watched = worker.watched()
    await watched.look()
    await watched.look()
    worker.status = Status(State.DISCONNECTED, "away")
    await watched.look()
    assert codes(watched) == []
    worker.status = Status(State.BLOCKED, "low on memory")
    await watched.look()
    await watched.look()
    assert codes(watched) == [(Code.NOT_CONSUMING, True)]


async def test_a_function_that_is_consumed_no_more_is_forgotten() -> None:
    worker = Worker("f", "g")
    worker.depth["f"] = READY
    watched = worker.watched()
    await watched.look()
    await watched.look()
    del worker.received["f"]
    await watched.look()
    assert codes(watched) == []


async def test_a_broker_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "ASK_PATIENCE", watch.ASK_PATIENCE * 0.002)
    worker = Worker("f")

    async def never(queues: Iterable[str]) -> dict[str, QueueDepth]:
        await asyncio.Event().wait()
        return {}

    answers, worker.depths = worker.depths, never  # type: ignore[method-assign]
    watched = worker.watched()
    await watched.look()
    assert codes(watched) == []
    await watched.look()
    assert codes(watched) == [(Code.NOT_CONSUMING, True)]
    worker.depths = answers  # type: ignore[method-assign]
    await watched.look()
    assert codes(watched) == []


async def test_events_in_nobodys_hands_have_it_consumed_anew_once() -> None:
    queue = names.events("f")
    worker = Worker(queue)
    worker.holdings = lambda: {queue: Holding("f", 4, 0, worker.received[queue])}  # type: ignore[method-assign]
    worker.stranded["f"] = 3
    watched = worker.watched()
    await watched.look()
    assert worker.accounts == [{}], "nothing is known yet of what comes"
    await watched.look()
    assert codes(watched) == []
    await watched.look()
    assert codes(watched) == [(Code.NOT_CONSUMING, True)]
    assert "3 that were accepted are in nobody's hands" in watched.problems()[0].message
    assert (worker.renewed, worker.excused) == (["f"], ["f"])
    for _ in range(5):
        await watched.look()
        worker.now += 60
    assert (codes(watched), worker.renewed) == ([], ["f"])


async def test_of_functions_whose_events_come_the_store_is_not_asked() -> None:
    queue = names.events("f")
    worker = Worker(queue)
    worker.holdings = lambda: {queue: Holding("f", 4, 0, worker.received[queue])}  # type: ignore[method-assign]
    watched = worker.watched()
    for _ in range(4):
        await watched.look()
        worker.received[queue] += 1
    assert worker.accounts == [{}] * 4
