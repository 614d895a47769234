"""Every way in which a function can fail, hang, die, flood or cheat: answered, cleaned up, nothing left."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded, SystemFault
from fnrunner.worker.environment import Environment, EnvironmentState
from tests.integration.environment_kit import Kit, invocation, kit, processes_of


@pytest.fixture(params=["namespace", "full", "bare"])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[Kit]:
    """For what does not depend on the sandbox."""
    async with kit("full", tmp_path) as made:
        yield made


async def failure_of(environment: Environment, payload: bytes = b"{}") -> FunctionError:
    outcome = (await environment.invoke(invocation(payload))).outcome
    assert isinstance(outcome, FunctionError), outcome
    return outcome


INIT_FAILURES = [
    ("import nothing_of_the_kind", "f.handler", "Runtime.ImportModuleError",
     "Unable to import module 'f': No module named 'nothing_of_the_kind'"),
    ("", "missing.handler", "Runtime.ImportModuleError", "Unable to import module 'missing': No module named 'missing'"),
    ("x = 1", "f.handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'f'"),
    ("", "f", "Runtime.MalformedHandlerName", "Bad handler 'f': not enough values to unpack (expected 2, got 1)"),
    ("def (", "f.handler", "Runtime.UserCodeSyntaxError", "Syntax error in module 'f': invalid syntax (f.py, line 1)"),
    ("raise ValueError('at import')", "f.handler", "ValueError", "at import"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "handler", "kind", "message"), INIT_FAILURES, ids=[f[2] for f in INIT_FAILURES])
async def test_a_failed_initialisation_is_answered_by_the_first_invocation(
    full: Kit, source: str, handler: str, kind: str, message: str
) -> None:
    environment = await full.started(source, handler=handler)
    assert processes_of(environment) == []
    answer = await environment.invoke(invocation())
    assert isinstance(answer.outcome, FunctionError)
    assert (answer.outcome.error_type, answer.outcome.message) == (kind, message)
    assert answer.outcome.environment_lost
    assert json.loads(answer.outcome.payload)["requestId"] == ""
    assert answer.logs.decode().startswith(f"[ERROR] {kind}: {message}\nTraceback")
    assert answer.report.init_ms is not None
    assert environment.state is EnvironmentState.GONE
    assert isinstance((await environment.invoke(invocation())).outcome, SystemFault)


async def test_syntax_errors_show_where(made: Kit) -> None:
    failure = await failure_of(await made.started("x = 1\ndef ("))
    assert json.loads(failure.payload)["stackTrace"] == ['  File "/var/task/f.py" Line 2\n    def (']


EXITS = {
    "sys.exit()": "Runtime exited without providing a reason",
    "sys.exit(3)": "Runtime exited with error: exit status 3",
    "os._exit(0)": "Runtime exited without providing a reason",
    "os._exit(1)": "Runtime exited with error: exit status 1",
    "ctypes.string_at(0)": "Runtime exited with error: signal: segmentation fault",
    "os.abort()": "Runtime exited with error: signal: aborted",
    "os.kill(os.getpid(), 9)": "Runtime exited with error: signal: killed",
}


@pytest.mark.parametrize("statement", EXITS)
async def test_a_runtime_that_exits_is_an_exit_error(full: Kit, statement: str) -> None:
    environment = await full.started(
        f"import ctypes, os, sys\ndef handler(event, context):\n    print('last words')\n    {statement}"
    )
    answer = await environment.invoke(invocation())
    reason = EXITS[statement]
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.payload.decode() == (
        f'{{"errorType":"Runtime.ExitError","errorMessage":"RequestId: request-1 Error: {reason}"}}'
    )
    assert answer.outcome.environment_lost
    assert answer.logs.decode().startswith("last words\n")
    assert answer.logs.decode().endswith(f"RequestId: request-1 Error: {reason}\nRuntime.ExitError\n")
    assert environment.state is EnvironmentState.GONE


async def test_an_exit_during_initialisation_is_an_exit_error(made: Kit) -> None:
    environment = await made.started("import os; os._exit(7)")
    assert (await failure_of(environment)).message == (
        "RequestId: request-1 Error: Runtime exited with error: exit status 7"
    )


async def test_a_hang_that_ignores_sigterm_times_out_and_is_killed_with_its_children(made: Kit) -> None:
    environment = await made.started(
        """
        import os, signal, time
        def handler(event, context):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    signal.signal(signal.SIGHUP, signal.SIG_IGN)
                while True:
                    time.sleep(1)
            print("waiting")
            while True:
                pass
        """,
        timeout=timedelta(seconds=1),
    )
    began = time.monotonic()
    answer = await environment.invoke(invocation())
    assert 0.9 < time.monotonic() - began < 8
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.payload == (
        b'{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: request-1 Error: Task timed out after 1.00 seconds"}'
    )
    waiting, line, blank, *more = answer.logs.decode().split("\n")
    assert (waiting, blank, more) == ("waiting", "", [""])
    assert line.endswith("Z request-1 Task timed out after 1.00 seconds")
    assert answer.report.duration_ms >= 1000
    assert environment.state is EnvironmentState.GONE
    assert processes_of(environment) == []


async def test_a_detached_child_does_not_delay_the_answer_and_dies_with_the_environment(made: Kit) -> None:
    environment = await made.started(
        """
        import os, time
        def handler(event, context):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(1000)
                os._exit(0)
            os.wait()
            return "answered"
        """
    )
    alone = len(processes_of(environment))
    assert (await environment.invoke(invocation())).outcome == Succeeded(b'"answered"')
    assert len(processes_of(environment)) == alone + 1
    await environment.stop()
    assert processes_of(environment) == []


async def test_a_forked_child_that_returns_does_not_answer(made: Kit) -> None:
    environment = await made.started(
        """
        import os
        def handler(event, context):
            if os.fork() == 0:
                return "child"
            os.wait()
            return "parent"
        """
    )
    for _ in range(3):
        assert (await environment.invoke(invocation())).outcome == Succeeded(b'"parent"')


@pytest.mark.parametrize("eater", ["handler", "child"])
async def test_memory_over_the_limit_is_not_had(made: Kit, eater: str) -> None:
    environment = await made.started(
        """
        import os, time
        def eat():
            kept = []
            while True:
                kept.append(bytearray(4 << 20))
        def handler(event, context):
            if event == "child":
                pid = os.fork()
                if pid:
                    return os.waitpid(pid, 0)[1] != 0
            eat()
        """
    )
    answer = await environment.invoke(invocation(json.dumps(eater).encode()))
    if isinstance(answer.outcome, FunctionError) and answer.outcome.error_type == "Runtime.ExitError":
        assert answer.outcome.message == "RequestId: request-1 Error: Runtime exited with error: signal: killed"
    elif eater == "handler":
        assert isinstance(answer.outcome, FunctionError)
        assert answer.outcome.error_type == "MemoryError"  # the limit of the process, where there is no cgroup
    else:
        assert answer.outcome == Succeeded(b"true")
    await environment.stop()
    if made.sandbox.describe().cgroup_version:
        assert environment.out_of_memory
    assert answer.report.max_memory_mb > 64


async def test_a_flood_without_newline_is_drained_and_bounded(full: Kit) -> None:
    environment = await full.started(
        """
        import os
        def handler(event, context):
            os.write(1, b"first")
            block = b"x" * (1 << 20)
            for _ in range(200):
                os.write(1, block)
            os.write(1, b"last")
            return "done"
        """
    )
    shown = bytearray()
    answer = await environment.invoke(invocation(), on_log=shown.extend)
    assert answer.outcome == Succeeded(b'"done"')
    assert answer.logs.startswith(b"firstxxx")
    assert answer.logs.endswith(b"xxxlast")
    assert len(answer.logs) == 1 << 20
    assert answer.logs_dropped_bytes == (200 << 20) + 9 - (1 << 20)
    assert len(shown) < 20 << 20


async def test_binary_logs_are_kept_as_they_are(full: Kit) -> None:
    environment = await full.started("import os\ndef handler(event, context): os.write(2, bytes(range(256)))")
    assert (await environment.invoke(invocation())).logs == bytes(range(256))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("{1, 2}", "Unable to marshal response: Object of type set is not JSON serializable"),
        ("{(1, 2): 3}", "Unable to marshal response: keys must be str, int, float, bool or None, not tuple"),
        ("float('nan')", "Unable to marshal response: Out of range float values are not JSON compliant"),
    ],
)
async def test_a_result_that_is_no_json_is_a_marshal_error(full: Kit, expression: str, message: str) -> None:
    environment = await full.started(f"def handler(event, context): return {expression}")
    failure = await failure_of(environment)
    assert (failure.error_type, failure.message) == ("Runtime.MarshalError", message)
    assert json.loads(failure.payload)["stackTrace"] == []


async def test_an_event_that_is_no_json_is_an_unmarshal_error(full: Kit) -> None:
    environment = await full.started("def handler(event, context): pass")
    assert (await failure_of(environment, b"{")).error_type == "Runtime.UnmarshalError"


async def test_texts_that_are_no_unicode_are_answered_and_logged(full: Kit) -> None:
    environment = await full.started("def handler(event, context): raise ValueError('\\ud800')")
    failure = await failure_of(environment)
    # UTF-8 has no form for it, and neither has an envelope: the payload keeps it escaped
    assert failure.message == "?"
    assert b"\\ud800" in failure.payload
    assert (await environment.invoke(invocation())).logs.startswith(b"[ERROR] ValueError: \\ud800\n")


async def test_a_function_may_close_its_streams(full: Kit) -> None:
    environment = await full.started(
        """
        import os, sys
        def handler(event, context):
            sys.stdout.close()
            sys.stderr = None
            for fd in (1, 2):
                try:
                    os.close(fd)
                except OSError:
                    pass
            raise ValueError("still answered")
        """
    )
    for _ in range(2):
        assert (await failure_of(environment)).error_type == "ValueError"


async def test_deep_recursion_is_an_ordinary_error(full: Kit) -> None:
    environment = await full.started("def handler(event, context): return handler(event, context)")
    assert (await failure_of(environment)).error_type == "RecursionError"
    assert environment.state is EnvironmentState.IDLE


async def test_an_exception_without_text_is_answered(full: Kit) -> None:
    environment = await full.started(
        """
        class Bad(Exception):
            def __str__(self): raise RuntimeError("no text")
        def handler(event, context): raise Bad
        """
    )
    assert (await failure_of(environment)).message == "<unprintable Bad: RuntimeError>"


async def test_threads_that_keep_running_do_no_harm(made: Kit) -> None:
    environment = await made.started(
        """
        import threading, time
        def spin():
            while True:
                time.sleep(0.001)
        def handler(event, context):
            for _ in range(20):
                threading.Thread(target=spin).start()
            return threading.active_count()
        """
    )
    assert (await environment.invoke(invocation())).outcome == Succeeded(b"21")
    assert (await environment.invoke(invocation())).outcome == Succeeded(b"41")


CHEATS = {
    "closes the control socket": "os.close(fd)",
    "writes garbage": "os.write(fd, b'hello, I am not a frame')",
    "answers too early": "os.write(fd, struct.pack('>BIII', 4, 99, 0, 0))",
    "announces a gigabyte": "os.write(fd, struct.pack('>BIII', 4, 1, 0, 1 << 30))",
}


@pytest.mark.parametrize("cheat", CHEATS)
async def test_who_tampers_with_the_control_socket_is_killed(full: Kit, cheat: str) -> None:
    environment = await full.started(
        f"""
        import os, stat, struct, time
        def handler(event, context):
            for fd in range(3, 1024):
                try:
                    if stat.S_ISSOCK(os.fstat(fd).st_mode):
                        break
                except OSError:
                    pass
            {CHEATS[cheat]}
            time.sleep(1000)
        """
    )
    failure = await failure_of(environment)
    assert failure.message == "RequestId: request-1 Error: Runtime exited with error: signal: killed"
    assert environment.state is EnvironmentState.GONE


async def test_a_process_that_dies_while_idle_ends_the_environment(made: Kit) -> None:
    environment = await made.started(
        """
        import os, threading
        def handler(event, context):
            threading.Timer(0.05, os._exit, (0,)).start()
            return "answered"
        """
    )
    assert isinstance((await environment.invoke(invocation())).outcome, Succeeded)
    async with asyncio.timeout(10):
        while environment.state is not EnvironmentState.GONE:
            await asyncio.sleep(0.01)
    assert isinstance((await environment.invoke(invocation())).outcome, SystemFault)


async def test_stopping_ends_what_runs(made: Kit) -> None:
    environment = await made.started("import time\ndef handler(event, context): time.sleep(1000)")
    running = asyncio.create_task(environment.invoke(invocation()))
    await asyncio.sleep(0)
    await asyncio.gather(environment.stop(), environment.stop())
    assert isinstance((await running).outcome, SystemFault)


async def test_cancelling_an_invocation_ends_its_environment(full: Kit) -> None:
    environment = await full.started("import time\ndef handler(event, context): time.sleep(1000)")
    running = asyncio.create_task(environment.invoke(invocation()))
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert environment.state is EnvironmentState.GONE


async def test_an_initialisation_that_takes_too_long_is_repeated_by_the_first_invocation(full: Kit) -> None:
    environment = full.environment(
        """
        import os, time
        if "SLOW" in open("/var/task/mode" if os.path.isdir("/var/task") else "mode").read():
            time.sleep(1000)
        def handler(event, context):
            return "late"
        """,
        init_timeout=timedelta(seconds=1),
    )
    (full.code / "mode").write_text("SLOW")
    await environment.start()
    assert environment.state is EnvironmentState.IDLE
    (full.code / "mode").write_text("FAST")
    answer = await environment.invoke(invocation())
    assert answer.outcome == Succeeded(b'"late"')
    assert answer.report.init_ms is None
    assert b"Phase: init\tStatus: timeout\n" in answer.logs
    assert environment.state is EnvironmentState.IDLE


async def test_an_initialisation_that_never_ends_times_out_as_the_function_does(full: Kit) -> None:
    environment = full.environment(
        "import time; time.sleep(1000)", init_timeout=timedelta(milliseconds=500), timeout=timedelta(seconds=1)
    )
    await environment.start()
    failure = await failure_of(environment)
    assert failure.message == "RequestId: request-1 Error: Task timed out after 1.00 seconds"
