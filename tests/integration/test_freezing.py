"""Nothing of a function runs between its invocations, and all of it goes on with the next one."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fnrunner.model.invocation import PROVISIONED, FunctionError, Succeeded
from fnrunner.sandbox.cgroups import Cgroup
from fnrunner.sandbox.freezer import Freezer
from fnrunner.worker.environment import Environment, EnvironmentState
from tests.integration.environment_kit import Kit, invocation, kit, processes_of

SOON = timedelta(milliseconds=50)
COUNTER = """
import os, subprocess, sys, threading, time
shared = os.environ["COUNTS"]
count = 0
def run():
    global count
    while True:
        count += 1
        time.sleep(0.001)
threading.Thread(target=run, daemon=True).start()
child = subprocess.Popen([sys.executable, "-c", '''
import os, sys, time
count = 0
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
while True:
    count += 1
    os.pwrite(file, b"%9d" % count, 0)
    time.sleep(0.001)
''', shared])
while not os.path.exists(shared) or not os.path.getsize(shared):
    time.sleep(0.005)
def handler(event, context):
    time.sleep((event or {}).get("sleep", 0))
    return [count, time.time()]
"""


@pytest.fixture(params=["namespace", "full", "bare"])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def usual(tmp_path: Path) -> AsyncIterator[Kit]:
    """For what does not depend on the sandbox."""
    async with kit("namespace", tmp_path) as made:
        yield made


async def frozen(environment: Environment) -> None:
    """Wait until it is."""
    async with asyncio.timeout(20):
        while not environment._frozen:
            await asyncio.sleep(0.005)


async def said(environment: Environment, **event: Any) -> Any:
    outcome = (await environment.invoke(invocation(json.dumps(event).encode()))).outcome
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.payload)


async def counting(made: Kit, tmp_path: Path, **spec: Any) -> tuple[Environment, Path]:
    counts = made.root.parent / "counts" / "child"
    counts.parent.mkdir()
    environment = await made.started(
        COUNTER,
        freeze_after=SOON,
        variables={"COUNTS": str(counts)},
        directories=(str(counts.parent),),
        timeout=timedelta(seconds=20),
        **spec,
    )
    return environment, counts


def stands_still(counts: Path) -> bool:
    before = counts.read_text()
    time.sleep(0.1)
    return counts.read_text() == before


async def test_threads_and_children_stand_still_while_idle_and_go_on_with_the_next_invocation(
    made: Kit, tmp_path: Path
) -> None:
    environment, counts = await counting(made, tmp_path)
    (first, _) = await said(environment, sleep=0.2)
    await frozen(environment)
    assert await asyncio.to_thread(stands_still, counts)
    seen, began = counts.read_text(), time.time()
    await asyncio.sleep(0.3)
    (second, now) = await said(environment)
    # the thread did not count the third of a second: at most what it did before it was frozen, and since
    assert first <= second < first + 250
    assert now >= began + 0.3, "its clock went on"
    (third, _) = await said(environment, sleep=0.2)
    assert third > second + 20
    assert counts.read_text() != seen


async def test_it_is_not_frozen_while_invocations_follow_one_another(usual: Kit, tmp_path: Path) -> None:
    environment = await usual.started("def handler(event, context): return 1", freeze_after=timedelta(seconds=0.2))
    began = time.monotonic()
    while time.monotonic() < began + 0.6:
        await said(environment)
        assert not environment._frozen
    await frozen(environment)


async def test_a_provisioned_one_is_frozen_before_its_first_invocation(usual: Kit, tmp_path: Path) -> None:
    environment, counts = await counting(usual, tmp_path, initialization_type=PROVISIONED)
    await frozen(environment)
    assert await asyncio.to_thread(stands_still, counts)
    assert (await said(environment))[0] > 0


async def test_the_time_it_was_frozen_is_none_of_the_timeout(usual: Kit) -> None:
    environment = await usual.started(
        "import time\ndef handler(event, context):\n    time.sleep(event['sleep'])\n    return 1",
        freeze_after=SOON,
        timeout=timedelta(seconds=1),
    )
    assert await said(environment, sleep=0) == 1
    await frozen(environment)
    await asyncio.sleep(1.2)
    assert await said(environment, sleep=0.3) == 1
    await frozen(environment)
    answer = await environment.invoke(invocation(b'{"sleep": 30}'))
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Sandbox.Timedout"
    assert 1000 <= answer.report.duration_ms < 3000


async def test_a_frozen_one_is_stopped_in_order(made: Kit, tmp_path: Path) -> None:
    told = made.root.parent / "told" / "it"
    told.parent.mkdir()
    environment = await made.started(
        f"""
        import pathlib, signal, sys
        def leave(*_):
            pathlib.Path({str(told)!r}).write_text("SIGTERM")
            sys.exit(0)
        signal.signal(signal.SIGTERM, leave)
        def handler(event, context): return 1
        """,
        freeze_after=SOON,
        directories=(str(told.parent),),
    )
    assert await said(environment) == 1
    await frozen(environment)
    await environment.stop(timedelta(seconds=10))
    assert told.read_text() == "SIGTERM"
    assert processes_of(environment) == []


async def test_a_frozen_one_is_killed_at_once(made: Kit, tmp_path: Path) -> None:
    environment, _ = await counting(made, tmp_path)
    await said(environment)
    await frozen(environment)
    began = time.monotonic()
    await environment.stop()
    assert environment.state is EnvironmentState.GONE
    assert time.monotonic() < began + 5
    assert processes_of(environment) == []


async def test_a_frozen_one_that_is_killed_from_outside_is_noticed(usual: Kit) -> None:
    environment = await usual.started("def handler(event, context): return 1", freeze_after=SOON)
    await said(environment)
    await frozen(environment)
    connection = environment._connection
    assert connection is not None
    process = connection._process
    assert process is not None
    os.kill(process.pid, 9)
    async with asyncio.timeout(20):
        while environment.state is not EnvironmentState.GONE:
            await asyncio.sleep(0.01)


async def test_a_copy_of_a_snapshot_is_frozen_like_any_other(tmp_path: Path) -> None:
    source = """
        import os, threading, time
        count = 0
        def run():
            global count
            while True:
                count += 1
                time.sleep(0.001)
        started = False
        def handler(event, context):
            global started
            if not started:
                started = threading.Thread(target=run, daemon=True).start() or True
            time.sleep(event.get("sleep", 0))
            return [count, os.getpid()]
        """
    async with kit("namespace", tmp_path) as made:
        async with asyncio.timeout(60):
            while True:
                environment = await made.started(source, freeze_after=SOON)
                report = (await environment.invoke(invocation(b"{}"))).report
                if json.loads(report.imports)["copied"]:
                    break
                await asyncio.sleep(0.2)
        (first, _) = await said(environment, sleep=0.1)
        await frozen(environment)
        await asyncio.sleep(0.5)
        (second, _) = await said(environment)
        assert first <= second < first + 300
        (third, _) = await said(environment, sleep=0.2)
        assert third > second + 20


def test_version_2_freezes_the_group(tmp_path: Path) -> None:
    (tmp_path / "cgroup.freeze").write_text("0")
    freezer = Freezer(Cgroup(2, (tmp_path,)), roots=lambda: {os.getpid()})
    freezer.freeze()
    assert (tmp_path / "cgroup.freeze").read_text() == "1"
    freezer.thaw()
    assert (tmp_path / "cgroup.freeze").read_text() == "0"
