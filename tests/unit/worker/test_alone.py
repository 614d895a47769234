import asyncio

import pytest

from fnrunner.worker.alone import AloneGate, NotAlone


async def test_many_pass_together() -> None:
    gate = AloneGate()
    everybody_is_inside = asyncio.Barrier(3)

    async def visit() -> None:
        async with gate.pass_through(alone=False):
            await everybody_is_inside.wait()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(visit())


async def test_one_who_wants_to_be_alone_waits_for_the_others_and_holds_back_those_who_come_after() -> None:
    gate = AloneGate()
    inside: set[str] = set()
    seen: list[tuple[str, frozenset[str]]] = []
    first_may_leave, suspect_may_leave = asyncio.Event(), asyncio.Event()

    async def visit(name: str, alone: bool, leave: asyncio.Event) -> None:
        async with gate.pass_through(alone=alone):
            inside.add(name)
            seen.append((name, frozenset(inside)))
            await leave.wait()
            inside.remove(name)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(visit("first", False, first_may_leave))
        await asyncio.sleep(0)
        group.create_task(visit("suspect", True, suspect_may_leave))
        await asyncio.sleep(0)
        group.create_task(visit("later", False, suspect_may_leave))
        for _ in range(5):
            await asyncio.sleep(0)
        assert [name for name, _ in seen] == ["first"]
        first_may_leave.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert [name for name, _ in seen] == ["first", "suspect"]
        suspect_may_leave.set()
    assert seen[1] == ("suspect", frozenset({"suspect"}))
    assert [name for name, _ in seen] == ["first", "suspect", "later"]


async def test_two_suspects_run_one_after_the_other() -> None:
    gate = AloneGate()
    running = most = 0

    async def visit() -> None:
        nonlocal running, most
        async with gate.pass_through(alone=True):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(visit())
    assert most == 1


async def test_a_cancelled_visitor_leaves_the_gate_open() -> None:
    gate = AloneGate()
    holding = asyncio.Event()

    async def hold() -> None:
        async with gate.pass_through(alone=True):
            holding.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await holding.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(5), gate.pass_through(alone=False):
        pass


async def test_who_cannot_be_alone_in_time_gives_up_and_lets_the_others_pass() -> None:
    gate = AloneGate(patience_s=0.01)
    async with gate.pass_through(alone=False):
        with pytest.raises(NotAlone):
            async with gate.pass_through(alone=True):
                pass
        assert not gate.closed
        async with asyncio.timeout(5), gate.pass_through(alone=False):
            pass
