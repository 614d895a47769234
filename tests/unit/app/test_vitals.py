"""When a process is ready, when it is alive, and when it gives up."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.broker import State, Status
from fnrunner.api.health import document
from fnrunner.app import vitals as module
from fnrunner.app.parts import Parts
from fnrunner.app.presence import Pulse
from fnrunner.app.vitals import Vitals
from fnrunner.model.problem import Code, Problem

LAGS = Problem("source", "it is behind", "", Code.LAGGING)
SILENT = Problem("worker", "nothing comes", "restart", Code.NOT_CONSUMING, disabling=True)


class World:
    """Parts whose troubles a test sets, and a clock that it moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *roles: str) -> None:
        self.now = 1000.0
        self.gave_up: list[str] = []
        self.problems: list[Problem] = []
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        self.broker = SimpleNamespace(status=Status(State.CONNECTED))
        self.ledger = SimpleNamespace(health=SimpleNamespace(problem=""))
        self.watcher = SimpleNamespace(problem="")
        settings = SimpleNamespace(give_up=timedelta(seconds=300), zone="", worker_capacity=4)
        parts = SimpleNamespace(
            settings=settings, store=None, name="p", broker=self.broker, ledger=self.ledger, watcher=self.watcher
        )
        self.vitals = Vitals(cast(Parts, parts), roles, self.gave_up.append)
        self.vitals.checks.append(lambda: self.problems)

    async def health(self) -> dict[str, Any]:
        self.vitals._presence._pulse = Pulse(self.now)  # the store is well
        return document(await self.vitals.health())

    async def after(self, seconds: float) -> dict[str, Any]:
        """Time goes by, with a look at each heartbeat."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 2)
            found = await self.health()
            self.vitals._look()
        return found


async def test_every_problem_has_its_code_and_makes_the_process_not_ready_but_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, "api")
    assert (await world.health())["status"] == "ok"
    world.broker.status = Status(State.BLOCKED, "low on memory")
    world.ledger.health.problem, world.watcher.problem = "disk full", "it cannot be read"
    found = await world.health()
    assert (found["status"], found["alive"], found["ready"]) == ("degraded", True, False)
    assert [p["code"] for p in found["problems"]] == ["broker-blocked", "store-unavailable", "catalogue-stale"]
    assert all(p["message"] and p["remedy"] for p in found["problems"])
    world.broker.status = Status(State.DISCONNECTED, "it was lost")
    assert (await world.health())["problems"][0]["code"] == "broker-disconnected"


async def test_being_late_is_reported_and_takes_nobody_out_of_service(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "worker")
    world.problems = [LAGS]
    found = await world.health()
    assert (found["status"], found["alive"], found["ready"]) == ("degraded", True, True)
    assert [p["code"] for p in found["problems"]] == ["lagging"]
    world.problems = [LAGS, SILENT]
    assert not (await world.health())["ready"]


@pytest.mark.parametrize("what", ["broker", "store", "catalogue", "consuming"])
@pytest.mark.parametrize("role", ["worker", "sources"])
async def test_a_process_that_cannot_work_gives_up_after_its_patience_and_is_not_alive_then(
    monkeypatch: pytest.MonkeyPatch, what: str, role: str
) -> None:
    world = World(monkeypatch, role)
    match what:
        case "broker":
            world.broker.status = Status(State.DISCONNECTED, "the login is refused")
        case "store":
            world.ledger.health.problem = "no route"
        case "catalogue":
            world.watcher.problem = "it cannot be read"
        case _:
            world.problems = [SILENT]
    assert (await world.after(300))["alive"]
    assert world.gave_up == []
    await world.after(4)
    assert len(world.gave_up) == 1
    assert "unable to work for 300 s" in world.gave_up[0]
    found = await world.after(4)
    assert (found["status"], found["alive"]) == ("failing", False)
    assert Code.GIVING_UP in {p["code"] for p in found["problems"]}
    assert len(world.gave_up) == 1


@pytest.mark.parametrize("roles", [("api",), ("api", "worker", "sources")])
async def test_an_api_and_everything_in_one_process_never_give_up(
    monkeypatch: pytest.MonkeyPatch, roles: tuple[str, ...]
) -> None:
    world = World(monkeypatch, *roles)
    world.problems = [SILENT]
    assert (await world.after(400))["alive"]
    assert world.gave_up == []


async def test_what_recovers_lags_or_only_blocks_publishers_is_nothing_to_give_up_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, "worker")
    world.problems = [LAGS]
    world.broker.status = Status(State.BLOCKED, "low on memory")
    await world.after(400)
    world.problems = [SILENT]
    await world.after(299)
    world.problems = []
    await world.after(2)
    world.problems = [SILENT]
    await world.after(299)
    assert world.gave_up == []


async def test_a_process_that_drains_says_so_and_does_not_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "worker")
    world.vitals.activity = lambda: {"running": {"f": 1}, "events": {}}
    world.problems = [SILENT]
    await world.vitals.drain()
    found = await world.after(400)
    assert {p["code"] for p in found["problems"]} == {"connected-but-not-consuming", "draining"}
    assert (found["alive"], world.gave_up) == (True, [])
    told = world.vitals._document()
    assert (told["draining"], told["running"]) == (True, {"f": 1})
    assert [p["code"] for p in told["problems"]] == ["connected-but-not-consuming"]
