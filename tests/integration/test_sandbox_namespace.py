"""The namespace sandbox: the process that starts functions, and what a function finds in one that was forked."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from fnrunner.sandbox import process_tree
from fnrunner.worker.environment import Environment, EnvironmentState
from tests.integration.environment_kit import Kit, invocation, kit, processes_of


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit("namespace", tmp_path) as made:
        yield made


async def answer(environment: Environment, event: object = None) -> object:
    outcome = (await environment.invoke(invocation(json.dumps(event).encode()))).outcome
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.payload)


def spawners() -> list[int]:
    """Those of this process."""
    found = []
    for pid, entry in process_tree.table().items():
        if entry.parent == os.getpid() and b"spawner.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
            found.append(pid)
    return found


async def test_a_spawner_that_is_killed_takes_its_functions_along_and_is_replaced(made: Kit) -> None:
    source = "def handler(event, context): return 'hi'"
    first = await made.started(source)
    (spawner,) = spawners()
    os.kill(spawner, signal.SIGKILL)
    async with asyncio.timeout(10):
        while first.state is not EnvironmentState.GONE:
            await asyncio.sleep(0.01)
    assert processes_of(first) == []
    second = await made.started(source)
    assert await answer(second) == "hi"
    assert spawners() != [spawner]


async def test_many_start_at_once_and_one_that_nobody_waits_for_any_more_leaves_nothing(made: Kit) -> None:
    source = "def handler(event, context): return event"
    environments = [made.environment(source) for _ in range(24)]
    starting = [asyncio.create_task(environment.start()) for environment in environments]
    await asyncio.sleep(0.02)
    for task in starting[::3]:
        task.cancel()
    await asyncio.gather(*starting, return_exceptions=True)
    for number, environment in enumerate(environments):
        if environment.state is EnvironmentState.IDLE:
            assert await answer(environment, number) == number
    assert sum(environment.state is EnvironmentState.IDLE for environment in environments) >= 16
    for environment in environments:
        await environment.stop()
    # besides the stage: two that wait, the snapshot, and one that waits for being forked from it
    deadline = time.monotonic() + 10
    while len(list(made.root.iterdir())) > 5 and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert len(list(made.root.iterdir())) <= 5


async def test_a_program_of_ones_own_comes_before_one_that_was_loaded_beforehand(made: Kit) -> None:
    made.code.mkdir()
    for name in ("calendar", "resource", "platform"):
        (made.code / f"{name}.py").write_text(f"whose = 'mine: {name}'\n")
    (made.code / "secrets").mkdir()
    (made.code / "secrets" / "__init__.py").write_text("whose = 'mine: secrets'\n")
    (made.code / "json.py").write_text("whose = 'mine: json'\n")
    environment = await made.started("""
        import calendar, platform, resource, secrets, json
        def handler(event, context):
            return [calendar.whose, platform.whose, resource.whose, secrets.whose, hasattr(json, "whose")]
    """)
    # what the runtime itself has loaded before is too late to replace, as in an interpreter that was started
    assert await answer(environment) == ["mine: calendar", "mine: platform", "mine: resource", "mine: secrets", False]


async def test_a_forked_interpreter_is_like_one_that_was_started(made: Kit) -> None:
    source = """
        import multiprocessing, os, random, signal, ssl, sys, tempfile, threading, time, uuid
        def work(queue): queue.append(1)
        def handler(event, context):
            main = sys.modules["__main__"]
            thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
            return {
                "flags": [sys.flags.isolated, sys.flags.dont_write_bytecode, sys.flags.utf8_mode],
                "argv": sys.argv[0], "main": main.__file__, "cwd": os.getcwd(), "path": sys.path[0],
                "pipe": signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN,
                "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
                "child": signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL,
                "thread": threading.current_thread() is threading.main_thread(), "zone": time.tzname[0],
                "home": sorted(set(os.environ) & {"HOME", "_FNRUNNER_ENVIRONMENT"}), "gc": __import__("gc").isenabled(),
                "user": os.getuid(), "name": os.uname().nodename, "umask": os.umask(0o022), "stdin": sys.stdin.read(),
            }
    """
    found = await answer(await made.started(source))
    assert found == {
        "flags": [1, 1, 1],
        "argv": "/var/runtime/python_bootstrap.py",
        "main": "/var/runtime/python_bootstrap.py",
        "cwd": "/var/task",
        "path": "/var/task",
        "pipe": True,
        "interrupt": True,
        "child": True,
        "thread": True,
        "zone": "UTC",
        "home": [],
        "gc": True,
        "user": 993,
        "name": "localhost",
        "umask": 0o022,
        "stdin": "",
    }


async def test_no_two_environments_draw_the_same_numbers(made: Kit) -> None:
    source = """
        import os, random, secrets, uuid
        def handler(event, context): return [random.random(), secrets.token_hex(), str(uuid.uuid4()), os.urandom(8).hex()]
    """
    one, two = await made.started(source), await made.started(source)
    first, second = await answer(one), await answer(two)
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert not set(first) & set(second)


async def test_variables_that_a_program_reads_at_its_start_are_read(made: Kit) -> None:
    source = """
        import os
        def handler(event, context):
            begun_with = open("/proc/self/environ").read()
            return os.environ["LD_LIBRARY_PATH"], begun_with.count("LD_LIBRARY_PATH=/tmp/mine")
    """
    environment = await made.started(source, variables={"LD_LIBRARY_PATH": "/tmp/mine"})
    assert await answer(environment) == ["/tmp/mine", 1]


async def test_an_exit_in_a_thread_that_hangs_is_a_timeout_and_not_for_ever(made: Kit) -> None:
    source = """
        import sys, threading, time
        def handler(event, context):
            threading.Thread(target=time.sleep, args=(1000,)).start()
            sys.exit(3)
    """
    environment = await made.started(source, timeout=timedelta(seconds=2))
    outcome = (await environment.invoke(invocation())).outcome
    assert isinstance(outcome, FunctionError)
    await environment.stop()
    assert processes_of(environment) == []
