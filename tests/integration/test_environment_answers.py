"""What a handler answers, sees and writes, in every sandbox."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from fnrunner.worker.environment import EnvironmentState
from tests.integration.environment_kit import ARN, Kit, invocation, kit


@pytest.fixture(params=["namespace", "full", "bare"])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[Kit]:
    """For what does not depend on the sandbox."""
    async with kit("full", tmp_path) as made:
        yield made


async def test_an_event_is_answered_and_the_environment_is_used_again(made: Kit) -> None:
    environment = await made.started(
        """
        calls = 0
        def handler(event, context):
            global calls
            calls += 1
            return {"event": event, "calls": calls}
        """
    )
    first = await environment.invoke(invocation(b'{"a":1}'))
    second = await environment.invoke(invocation(b'"x"'))
    assert first.outcome == Succeeded(b'{"event": {"a": 1}, "calls": 1}')
    assert second.outcome == Succeeded(b'{"event": "x", "calls": 2}')
    assert environment.state is EnvironmentState.IDLE
    assert environment.invocations == 2


async def test_the_first_report_is_cold_and_the_second_is_warm(made: Kit) -> None:
    environment = await made.started("def handler(event, context): return None")
    first, second = [(await environment.invoke(invocation())).report for _ in range(2)]
    assert first.init_ms is not None
    assert first.init_ms > 1
    assert first.billed_ms >= first.init_ms
    assert first.cold_reason == "first"
    assert second.init_ms is None
    assert second.cold_reason == ""
    assert 0 < second.max_memory_mb <= 128
    assert second.log_stream == environment.log_stream
    assert f"[$LATEST]{environment.environment_id}" in second.log_stream


async def test_the_context_has_what_lambda_gives(full: Kit) -> None:
    environment = await full.started(
        """
        import os
        def handler(event, context):
            names = ("aws_request_id function_name function_version invoked_function_arn memory_limit_in_mb "
                     "log_group_name log_stream_name tenant_id").split()
            got = {name: getattr(context, name) for name in names}
            got["remaining"] = context.get_remaining_time_in_millis()
            got["custom"] = context.client_context.custom
            got["app"] = context.client_context.client.app_title
            got["identity"] = context.identity.cognito_identity_id
            got["env"] = [os.environ.get(n) for n in ("_X_AMZN_TRACE_ID", "TRACEPARENT", "TRACESTATE")]
            return got
        """
    )
    client = '{"custom":{"k":"v"},"client":{"app_title":"t"}}'
    answer = await environment.invoke(invocation(client_context=client, xray="Root=1-2", traceparent="00-1"))
    assert isinstance(answer.outcome, Succeeded)
    got = json.loads(answer.outcome.payload)
    assert 0 < got.pop("remaining") <= 20_000
    assert got == {
        "aws_request_id": "request-1",
        "function_name": "f",
        "function_version": "$LATEST",
        "invoked_function_arn": ARN,
        "memory_limit_in_mb": "128",
        "log_group_name": "/aws/lambda/f",
        "log_stream_name": environment.log_stream,
        "tenant_id": None,
        "custom": {"k": "v"},
        "app": "t",
        "identity": None,
        "env": ["Root=1-2", "00-1", None],
    }


async def test_trace_variables_do_not_outlive_their_invocation(full: Kit) -> None:
    environment = await full.started(
        "import os\ndef handler(event, context): return [os.environ.get('_X_AMZN_TRACE_ID'), context.client_context]"
    )
    await environment.invoke(invocation(xray="Root=1"))
    assert (await environment.invoke(invocation())).outcome == Succeeded(b"[null, null]")


async def test_the_environment_holds_the_platforms_and_the_users_variables_and_nothing_else(
    made: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_SECRET", "x")
    environment = await made.started(
        "import os\ndef handler(event, context): return dict(os.environ)",
        variables={"MINE": "ü", "TZ": "Europe/Berlin", "AWS_REGION": "never"},
    )
    answer = await environment.invoke(invocation())
    assert isinstance(answer.outcome, Succeeded)
    variables = json.loads(answer.outcome.payload)
    assert variables["MINE"] == "ü"
    assert variables["TZ"] == "Europe/Berlin"
    assert variables["AWS_REGION"] == "us-east-1"
    assert variables["_HANDLER"] == "f.handler"
    assert "WORKER_SECRET" not in variables


async def test_an_exception_is_answered_as_lambda_does(made: Kit) -> None:
    environment = await made.started(
        """
        def handler(event, context):
            return inner()
        def inner():
            raise ValueError("no ü")
        """
    )
    answer = await environment.invoke(invocation())
    assert isinstance(answer.outcome, FunctionError)
    assert (answer.outcome.error_type, answer.outcome.message) == ("ValueError", "no ü")
    assert not answer.outcome.environment_lost
    body = json.loads(answer.outcome.payload)
    assert list(body) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert body["requestId"] == "request-1"
    assert body["stackTrace"] == [
        '  File "/var/task/f.py", line 3, in handler\n    return inner()\n',
        '  File "/var/task/f.py", line 5, in inner\n    raise ValueError("no ü")\n',
    ]
    log = answer.logs.decode()
    assert log.startswith("[ERROR] ValueError: no ü\nTraceback (most recent call last):\n")
    assert '\u00a0\u00a0File "/var/task/f.py", line 3, in handler\n\u00a0\u00a0\u00a0\u00a0return inner()\n' in log
    assert (await environment.invoke(invocation())).outcome.__class__ is FunctionError


async def test_bytes_are_answered_raw_and_decimals_as_numbers(full: Kit) -> None:
    environment = await full.started(
        """
        from decimal import Decimal
        def handler(event, context):
            return b"\\x00raw" if event["raw"] else [Decimal("1.10"), Decimal(3), "ü"]
        """
    )
    assert (await environment.invoke(invocation(b'{"raw":true}'))).outcome == Succeeded(b"\x00raw")
    assert (await environment.invoke(invocation(b'{"raw":false}'))).outcome == Succeeded(b'[1.10, 3, "\\u00fc"]')


async def test_everything_written_before_the_answer_is_in_its_log(made: Kit) -> None:
    environment = await made.started(
        """
        import logging, os, sys, subprocess
        print("at init")
        def handler(event, context):
            print("out", end="")
            print(" err", file=sys.stderr)
            os.write(1, b"raw\\n")
            logging.warning("warned %s", event)
            logging.info("not shown")
            context.log("logged\\n")
            subprocess.run(["/bin/echo", "child"])
        """
    )
    log = (await environment.invoke(invocation(b"7"))).logs.decode().splitlines()
    assert log[:3] == ["at init", "out err", "raw"]
    assert log[4:] == ["logged", "child"]
    level, stamp, request_id, message = log[3].split("\t")
    assert (level, request_id, message) == ("[WARNING]", "request-1", "warned 7")
    assert len(stamp) == len("2024-03-13T18:56:24.046Z")
    assert (await environment.invoke(invocation(b"8"))).logs.startswith(b"out err")


async def test_json_logs_have_lambdas_keys(made: Kit) -> None:
    environment = await made.started(
        """
        import logging
        def handler(event, context):
            logging.getLogger("mine").info("hello", extra={"n": 1})
            try:
                1 / 0
            except ZeroDivisionError:
                logging.exception("oh")
            raise KeyError("k")
        """,
        log_format="JSON",
        application_log_level="INFO",
    )
    log = [json.loads(line) for line in (await environment.invoke(invocation())).logs.splitlines()]
    hello, oh, failed = log
    assert list(hello) == ["timestamp", "level", "message", "logger", "requestId", "n"]
    assert (hello["level"], hello["message"], hello["logger"], hello["requestId"]) == (
        "INFO",
        "hello",
        "mine",
        "request-1",
    )
    assert oh["errorType"] == "ZeroDivisionError"
    assert "/var/task/f.py" in oh["stackTrace"][0]
    assert failed["level"] == "ERROR"
    assert failed["errorType"] == "KeyError"


async def test_output_between_invocations_belongs_to_the_next(full: Kit) -> None:
    environment = await full.started(
        """
        import threading
        def handler(event, context):
            print(event)
            if event == 1:
                threading.Timer(0.05, print, ("between",)).start()
        """
    )
    assert (await environment.invoke(invocation(b"1"))).logs == b"1\n"
    async with asyncio.timeout(10):
        while b"between\n" not in environment._log.peek():
            await asyncio.sleep(0.01)
    assert (await environment.invoke(invocation(b"2"))).logs == b"between\n2\n"


async def test_logs_are_shown_while_the_function_runs(full: Kit) -> None:
    environment = await full.started(
        """
        import time
        def handler(event, context):
            print("early", flush=True)
            time.sleep(0.6)
            print("late")
        """
    )
    seen: list[tuple[float, bytes]] = []
    answer = await environment.invoke(invocation(), on_log=lambda text: seen.append((time.monotonic(), text)))
    assert b"".join(text for _, text in seen) == answer.logs == b"early\nlate\n"
    assert seen[0][1] == b"early\n"
    assert seen[-1][0] - seen[0][0] > 0.2


async def test_six_megabytes_go_in_and_come_out(full: Kit) -> None:
    environment = await full.started("def handler(event, context): return event", memory_mb=512)
    payload = b'"' + b"x" * (6 * 1024 * 1024 - 2) + b'"'
    assert (await environment.invoke(invocation(payload))).outcome == Succeeded(payload)


async def test_a_response_over_the_limit_is_an_error_and_the_environment_stays(full: Kit) -> None:
    environment = await full.started("def handler(event, context): return 'x' * event", memory_mb=512)
    answer = await environment.invoke(invocation(str(6 * 1024 * 1024 + 99).encode()))
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.payload == (
        b'{"errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes).",'
        b'"errorType":"Function.ResponseSizeTooLarge"}'
    )
    largest = await environment.invoke(invocation(str(6 * 1024 * 1024 + 98).encode()))
    assert isinstance(largest.outcome, Succeeded)
    assert len(largest.outcome.payload) == 6 * 1024 * 1024 + 100


@pytest.mark.parametrize("runtime", ["python3.9", "python3.12", "python3.13"])
async def test_other_versions_of_python_run_too(full: Kit, runtime: str) -> None:
    from fnrunner.runtimes.python import PythonRuntime

    if runtime not in PythonRuntime().available():
        pytest.skip(f"{runtime} is not installed")
    environment = await full.started(
        "import sys\ndef handler(event, context): return ['ü', '%d.%d' % sys.version_info[:2]]", runtime=runtime
    )
    text = "ü" if runtime >= "python3.12" and runtime != "python3.9" else "\\u00fc"
    assert (await environment.invoke(invocation())).outcome == Succeeded(f'["{text}", "{runtime[6:]}"]'.encode())
    assert environment.runtime_version.startswith(f"python:{runtime[6:]}.v")


async def test_fnrunner_cannot_be_imported_and_the_code_directory_can(made: Kit) -> None:
    made.code.mkdir()
    (made.code / "pkg").mkdir()
    (made.code / "pkg" / "mod.py").write_text(
        "import f\ndef fn(event, context):\n try:\n  import fnrunner\n except ImportError:\n  return f.WORD\n"
    )
    environment = await made.started("WORD = 'mine'", handler="pkg/mod.fn")
    assert (await environment.invoke(invocation())).outcome == Succeeded(b'"mine"')


async def test_stop_lets_the_function_react_to_sigterm(full: Kit) -> None:
    environment = await full.started(
        """
        import signal, sys
        def handler(event, context):
            signal.signal(signal.SIGTERM, lambda *_: (print("bye", flush=True), sys.exit(0)))
        """
    )
    await environment.invoke(invocation())
    began = time.monotonic()
    await environment.stop(timedelta(seconds=10))
    assert time.monotonic() - began < 9
    assert environment.state is EnvironmentState.GONE
