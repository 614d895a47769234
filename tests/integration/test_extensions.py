"""Extensions, external and internal: registered, told of invocations and of the end, and what their failures mean."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from fnrunner.worker.environment import Environment, EnvironmentState
from tests.integration.environment_kit import ARN, invocation, kit, processes_of
from tests.integration.runtime_api_kit import ECHO, ApiKit


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[ApiKit]:
    async with kit("full", tmp_path) as full:
        yield ApiKit(full, tmp_path / "opt")


@pytest.fixture(params=["namespace", "bare"])
async def each(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ApiKit]:
    """For what depends on the sandbox."""
    async with kit(request.param, tmp_path) as sandboxed:
        yield ApiKit(sandboxed, tmp_path / "opt")


def noting(opt: Path) -> str:
    """Source: ``note(value)`` adds a line of JSON to a file that the test can read."""
    return f"def note(value, to={str(opt / 'notes')!r}):\n    open(to, 'a').write(json.dumps(value) + '\\n')\n"


def notes(made: ApiKit) -> list[Any]:
    file = made.opt / "notes"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def failure_of(environment: Environment) -> FunctionError:
    outcome = (await environment.invoke(invocation())).outcome
    assert isinstance(outcome, FunctionError), outcome
    return outcome


LISTENER = """
api = extension("INVOKE", "SHUTDOWN")
while True:
    event = api.event()
    note(event)
    if event["eventType"] == "SHUTDOWN":
        break
"""


async def test_an_external_extension_is_told_of_each_invocation_and_of_the_end(each: ApiKit) -> None:
    each.extension("ear", noting(each.opt) + LISTENER)
    environment = await each.started()
    assert (await environment.invoke(invocation(b"1", xray="Root=1"))).outcome == Succeeded(b"1")
    answer = await environment.invoke(invocation(b"2", "request-2"))
    assert answer.outcome == Succeeded(b"2")
    await environment.stop(timedelta(seconds=10))
    first, second, last = notes(each)
    assert int(first.pop("deadlineMs")) > 0
    assert first == {
        "eventType": "INVOKE",
        "requestId": "request-1",
        "invokedFunctionArn": ARN,
        "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1"},
    }
    assert second["requestId"] == "request-2"
    assert (last["eventType"], last["shutdownReason"]) == ("SHUTDOWN", "SPINDOWN")


async def test_an_extension_is_told_of_a_timeout_and_has_time_for_it(made: ApiKit) -> None:
    made.extension("ear", noting(made.opt) + LISTENER + "time.sleep(0.5)\nnote('flushed')\n")
    environment = await made.started("serve(lambda event, h: time.sleep(600))", timeout=timedelta(seconds=1))
    assert (await failure_of(environment)).error_type == "Sandbox.Timedout"
    invoked, told, flushed = notes(made)
    assert invoked["eventType"] == "INVOKE"
    assert (told["eventType"], told["shutdownReason"], flushed) == ("SHUTDOWN", "TIMEOUT", "flushed")
    assert processes_of(environment) == []


async def test_the_log_says_that_the_extension_is_ready(made: ApiKit) -> None:
    made.extension("ear", noting(made.opt) + LISTENER)
    environment = await made.started()
    answer = await environment.invoke(invocation(b"1"))
    assert answer.logs == b"EXTENSION\tName: ear\tState: Ready\tEvents: [INVOKE, SHUTDOWN]\n"


async def test_the_functions_own_variables_are_hidden_from_extensions(made: ApiKit) -> None:
    made.extension("ear", noting(made.opt) + "note(dict(os.environ))" + LISTENER)
    environment = await made.started(variables={"MINE": "1", "AWS_XRAY_DAEMON_ADDRESS": "x"})
    seen = notes(made)[0]
    assert (seen["MINE"], seen["AWS_LAMBDA_FUNCTION_NAME"]) == ("1", "f")
    hidden = {
        "_HANDLER",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_XRAY_DAEMON_ADDRESS",
    }
    assert not hidden & seen.keys()
    assert seen["AWS_LAMBDA_RUNTIME_API"].startswith("127.0.0.1:")
    assert environment.state is EnvironmentState.IDLE


async def test_the_answer_is_given_at_once_and_the_next_invocation_waits_for_the_extension(made: ApiKit) -> None:
    go = made.opt / "go"
    made.extension(
        "slow",
        noting(made.opt)
        + f"""
api = extension("INVOKE")
while True:
    event = api.event()
    while not os.path.exists({str(go)!r}):
        time.sleep(0.01)
    note("done " + event["requestId"])
""",
    )
    environment = await made.started(noting(made.opt) + "serve(lambda event, h: note('ran') or json.dumps(event))")
    assert (await asyncio.wait_for(environment.invoke(invocation(b"1")), 10)).outcome == Succeeded(b"1")
    assert notes(made) == ["ran"]
    following = asyncio.create_task(environment.invoke(invocation(b"2", "request-2")))
    await asyncio.sleep(0.3)
    assert (following.done(), notes(made)) == (False, ["ran"])
    go.touch()
    assert (await following).outcome == Succeeded(b"2")
    assert notes(made)[1] == "done request-1"


async def test_the_time_of_an_extension_is_not_that_of_the_next_invocation(made: ApiKit) -> None:
    made.extension(
        "slow", "api = extension('INVOKE')\nwhile event := api.event(): time.sleep(1.2 * (event['requestId'] == 'one'))"
    )
    environment = await made.started(
        "serve(lambda event, headers: time.sleep(event) or json.dumps(event))", timeout=timedelta(seconds=1.6)
    )
    assert (await environment.invoke(invocation(b"0", "one"))).outcome == Succeeded(b"0")
    assert (environment.resting, environment.state) == (True, EnvironmentState.BUSY)
    answer = await environment.invoke(invocation(b"0.9", "two"))
    assert answer.outcome == Succeeded(b"0.9"), "together they take longer than the timeout"
    assert answer.report.duration_ms < 1500


async def test_an_extension_that_hangs_ends_its_environment_with_the_timeout_of_its_invocation(made: ApiKit) -> None:
    made.extension("stuck", "api = extension('INVOKE')\napi.event()\ntime.sleep(600)")
    made.extension("ear", noting(made.opt) + LISTENER)
    environment = await made.started(timeout=timedelta(seconds=1))
    began = time.monotonic()
    asked = replace(invocation(b"1"), deadline_ms=int((time.time() + 1) * 1000))
    assert (await environment.invoke(asked)).outcome == Succeeded(b"1")
    assert time.monotonic() - began < 0.9
    await environment.rest()
    assert (environment.state, notes(made)[-1]["shutdownReason"]) == (EnvironmentState.GONE, "TIMEOUT")
    assert processes_of(environment) == []


async def test_an_extension_that_never_registers_holds_up_the_initialisation(made: ApiKit) -> None:
    made.extension("stuck", "time.sleep(600)")
    environment = await made.started(
        noting(made.opt) + "note('runtime')\n" + ECHO, init_timeout=timedelta(seconds=0.7), timeout=timedelta(seconds=1)
    )
    assert (await failure_of(environment)).error_type == "Sandbox.Timedout"
    assert notes(made) == []


CRASHES = {
    "sys.exit(0)": "exit code 0",
    "sys.exit(4)": "exit status 4",
    "os.kill(os.getpid(), 9)": "signal: killed",
}


@pytest.mark.parametrize("way", CRASHES)
async def test_an_extension_that_crashes_while_it_initialises_fails_the_initialisation(made: ApiKit, way: str) -> None:
    made.extension("weak", f"extension('INVOKE')\n{way}")
    failure = await failure_of(await made.started())
    assert (failure.error_type, failure.message) == ("Extension.Crash", f"Error: {CRASHES[way]}")


async def test_an_extension_that_crashes_during_an_invocation_fails_it(made: ApiKit) -> None:
    made.extension("weak", "api = extension('INVOKE')\napi.event()\nsys.exit(5)")
    made.extension("ear", noting(made.opt) + LISTENER)
    environment = await made.started("serve(lambda event, headers: time.sleep(9) or '1')")
    answer = await environment.invoke(invocation())
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Extension.Crash"
    assert answer.outcome.message == "RequestId: request-1 Error: exit status 5"
    assert answer.logs.endswith(b"RequestId: request-1 Error: exit status 5\nExtension.Crash\n")
    assert environment.state is EnvironmentState.GONE
    assert processes_of(environment) == []


async def test_when_the_runtime_ends_the_extensions_are_told_that_it_was_a_failure(made: ApiKit) -> None:
    made.extension("ear", noting(made.opt) + LISTENER)
    environment = await made.started("Api().next(); sys.exit(1)")
    failure = await failure_of(environment)
    assert (failure.error_type, failure.message[-13:]) == ("Runtime.ExitError", "exit status 1")
    assert notes(made)[-1]["shutdownReason"] == "FAILURE"


async def test_an_extension_that_does_not_end_is_ended(made: ApiKit) -> None:
    made.extension("deaf", "api = extension('INVOKE', 'SHUTDOWN')\nwhile api.event(): pass")
    environment = await made.started("api = Api(); id, _, _ = api.next(); api.respond(id, '1'); api.next()")
    await environment.invoke(invocation())
    await environment.stop(timedelta(seconds=10))
    assert processes_of(environment) == []


@pytest.mark.parametrize(
    ("way", "kind", "message"),
    [
        ("init", "Extension.Mine", "so"),
        ("exit", "Extension.Mine", "so"),
    ],
)
async def test_an_extension_may_give_up_in_its_own_words(made: ApiKit, way: str, kind: str, message: str) -> None:
    wait = "api.event()\n" if way == "exit" else ""
    made.extension(
        "weak",
        f"api = extension('INVOKE')\n{wait}"
        f"api('POST', '/2020-01-01/extension/{way}/error', '{{\"errorMessage\": \"{message}\"}}', "
        f"api.id | {{'Lambda-Extension-Function-Error-Type': '{kind}'}})\ntime.sleep(9)",
    )
    environment = await made.started("serve(lambda event, headers: time.sleep(9) or '1')")
    failure = await failure_of(environment)
    assert failure.error_type == kind
    assert failure.message.endswith(f"Error: {message}")


@pytest.mark.parametrize(
    ("mode", "text", "kind", "message"),
    [
        (0o644, "#!/bin/sh\n", "Extension.LaunchError", "permission denied"),
        (0o755, "not a program", "Extension.LaunchError", "exec format error"),
    ],
)
async def test_an_extension_that_cannot_be_started_is_named(
    made: ApiKit, mode: int, text: str, kind: str, message: str
) -> None:
    made.extension("bad", "")
    (made.opt / "extensions" / "bad").write_text(text)
    (made.opt / "extensions" / "bad").chmod(mode)
    failure = await failure_of(await made.started())
    assert (failure.error_type, failure.message) == (kind, f"Error: fork/exec /opt/extensions/bad: {message}")


async def test_there_are_no_more_than_ten(made: ApiKit) -> None:
    for number in range(11):
        made.extension(f"e{number}", LISTENER)
    assert (await failure_of(await made.started())).error_type == "Extension.TooManyExtensions"


REFUSALS = r"""
api, told = Api(), []
def note(path, body="{}", method="POST", **headers):
    headers = {"Lambda-Extension-" + name.replace("_", "-"): value for name, value in headers.items()}
    status, _, body = api(method, "/2020-01-01/extension/" + path, body, headers)
    told.append([status, json.loads(body).get("errorType")])
one = extension("INVOKE", name="inside")
own = one.id["Lambda-Extension-Identifier"]
strange = "00000000-0000-4000-8000-000000000000"
note("register")
note("register", "no json", Name="x")
note("register", '{"events": "INVOKE"}', Name="x")
note("register", '{"events": ["NOTHING"]}', Name="x")
note("register", '{"events": ["SHUTDOWN"]}', Name="x")
note("register", '{"events": []}', Name="inside")
note("event/next", method="GET")
note("event/next", method="GET", Identifier="x")
note("event/next", method="GET", Identifier=strange)
note("init/error", Identifier=own)
for number in range(9):
    note("register", Name=f"more{number}")
note("register", Name="eleventh")
"""


async def test_what_an_extension_may_not_ask_is_refused_with_its_type(made: ApiKit) -> None:
    environment = await made.started(f"{REFUSALS}id = None\nprint(json.dumps(told), flush=True)\nsys.exit(0)")
    logs = (await environment.invoke(invocation())).logs
    assert json.loads(logs.split(b"\n")[0]) == [
        [403, "Extension.InvalidExtensionName"],
        [403, "InvalidRequestFormat"],
        [403, "InvalidRequestFormat"],
        [403, "Extension.InvalidEventType"],
        [403, "Extension.InvalidEventType"],
        [403, "Extension.InvalidExtensionState"],
        [403, "Extension.MissingExtensionIdentifier"],
        [403, "Extension.InvalidExtensionIdentifier"],
        [403, "Extension.UnknownExtensionIdentifier"],
        [403, "Extension.MissingHeader"],
        *[[200, None]] * 9,
        [403, "Extension.TooManyExtensions"],
    ]


INTERNAL = """
import threading
inside = extension("INVOKE", name="inside")
seen = []
def listen():
    while True:
        seen.append(inside.event()["requestId"])
threading.Thread(target=listen, daemon=True).start()
late = Api()
def handler(event, headers):
    if event == "late":
        status, _, body = late("POST", "/2020-01-01/extension/register", '{"events": []}', {"Lambda-Extension-Name": "late"})
        return json.dumps([status, json.loads(body)["errorType"]])
    return json.dumps(seen)
serve(handler)
"""


async def test_an_internal_extension_lives_in_the_runtime_and_registers_while_it_initialises(made: ApiKit) -> None:
    environment = await made.started(INTERNAL)
    answer = await environment.invoke(invocation(b"1"))
    assert b"EXTENSION\tName: inside\tState: Ready\tEvents: [INVOKE]\n" in answer.logs
    outcome = (await environment.invoke(invocation(b"1", "request-2"))).outcome
    assert isinstance(outcome, Succeeded)
    assert json.loads(outcome.payload)[0] == "request-1"
    late = (await environment.invoke(invocation(b'"late"'))).outcome
    assert late == Succeeded(b'[403, "Extension.RegistrationClosed"]')


async def test_registering_tells_of_the_function(made: ApiKit) -> None:
    made.extension(
        "ear",
        noting(made.opt)
        + """
api = Api()
_, headers, body = api("POST", "/2020-01-01/extension/register", '{"events": []}',
                       {"Lambda-Extension-Name": "ear", "Lambda-Extension-Accept-Feature": "accountId"})
note(json.loads(body))
api("GET", "/2020-01-01/extension/event/next", headers={"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]})
""",
    )
    environment = await made.started()
    assert notes(made) == [
        {"functionName": "f", "functionVersion": "$LATEST", "handler": "f.handler", "accountId": "000000000000"}
    ]
    assert (await environment.invoke(invocation(b"1"))).outcome == Succeeded(b"1")


async def test_lines_of_the_runtime_and_of_extensions_do_not_mix(made: ApiKit) -> None:
    made.extension(
        "loud",
        "api = extension('INVOKE')\nimport threading\n"
        "threading.Thread(target=api.event, daemon=True).start()\n"
        "while True:\n    os.write(1, b'ee'); time.sleep(0.001); os.write(1, b'ee\\n')",
    )
    environment = await made.started(
        "def handler(event, headers):\n    for _ in range(100):\n        os.write(1, b'rr'); time.sleep(0.001)\n"
        "        os.write(1, b'rr\\n')\n    os.write(1, b'last')\n    return '1'\nserve(handler)"
    )
    answer = await environment.invoke(invocation())
    lines = answer.logs.split(b"\n")
    assert {line for line in lines if not line.startswith(b"EXTENSION")} <= {b"rrrr", b"eeee", b"last", b"ee", b""}
    assert lines.count(b"rrrr") == 100
    assert b"last" in lines
