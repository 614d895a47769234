"""Strange clients of the Runtime API, and errors that call themselves by the platform's names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from fnrunner.worker.environment import Environment, EnvironmentState
from tests.integration.environment_kit import invocation, kit
from tests.integration.runtime_api_kit import ApiKit

PLATFORMS = ("Runtime.ExitError", "Runtime.TruncatedResponse", "Extension.Crash", "Sandbox.Timedout")


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[ApiKit]:
    async with kit("full", tmp_path) as full:
        yield ApiKit(full, tmp_path / "opt")


async def errors_by_name(environment: Environment) -> None:
    """Each of the platform's names, as the function's own: it is passed on, and the environment goes on."""
    for name in PLATFORMS:
        outcome = (await environment.invoke(invocation(json.dumps(name).encode()))).outcome
        assert isinstance(outcome, FunctionError), outcome
        assert (outcome.error_type, outcome.message, outcome.environment_lost) == (name, "so", False)
    await environment.rest()
    assert environment.state is EnvironmentState.IDLE


WHOLE = """
api = Api()
while True:
    id, _, event = api.next()
    said = json.dumps({"errorType": json.loads(event), "errorMessage": "so"})
    api.error(id, said, {"Lambda-Runtime-Function-Error-Type": json.loads(event)})
"""
STREAMED = r"""
import base64
api = Api()
while True:
    id, _, event = api.next()
    said = base64.b64encode(json.dumps({"errorType": json.loads(event), "errorMessage": "so"}).encode()).decode()
    got = raw(f"POST {BASE}/invocation/{id}/response HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
              "Lambda-Runtime-Function-Response-Mode: streaming\r\n\r\n4\r\nsome\r\n0\r\n"
              f"Lambda-Runtime-Function-Error-Type: {json.loads(event)}\r\n"
              f"Lambda-Runtime-Function-Error-Body: {said}\r\n\r\n".encode())
    assert b" 202 " in got, got
"""


@pytest.mark.parametrize("source", [WHOLE, STREAMED], ids=["whole", "streamed"])
async def test_what_an_error_calls_itself_does_not_end_the_environment(made: ApiKit, source: str) -> None:
    await errors_by_name(await made.started(source))


async def test_what_an_error_of_python_calls_itself_does_not_end_the_environment(made: ApiKit) -> None:
    environment = await made.kit.started(
        """
        def handler(event, context):
            raise type(event, (Exception,), {})("so")
        """
    )
    await errors_by_name(environment)


HALF_CLOSED = r"""
def ask(data):
    with socket.create_connection((HOST, int(PORT))) as one:
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: one.recv(65536), b""))
while True:
    head, _, event = ask(f"GET {BASE}/invocation/next HTTP/1.1\r\n\r\n".encode()).partition(b"\r\n\r\n")
    id = head.lower().partition(b"request-id: ")[2].partition(b"\r\n")[0].decode()
    answer = f"POST {BASE}/invocation/{id}/response HTTP/1.1\r\nContent-Length: {len(event)}\r\n\r\n"
    assert b" 202 " in ask(answer.encode() + event)
"""
LEAVING = r"""
gone = socket.create_connection((HOST, int(PORT)))
gone.sendall(f"GET {BASE}/invocation/next HTTP/1.1\r\n\r\n".encode())
gone.shutdown(socket.SHUT_WR)
time.sleep(0.2)
gone.close()
serve(lambda event, headers: json.dumps(event))
"""


@pytest.mark.parametrize("source", [HALF_CLOSED, LEAVING], ids=["stays", "leaves"])
async def test_a_client_that_has_said_all_it_will_is_answered_while_it_is_there(made: ApiKit, source: str) -> None:
    environment = await made.started(source)
    assert (await environment.invoke(invocation(b"1"))).outcome == Succeeded(b"1")
    assert (await environment.invoke(invocation(b"[2]", "request-2"))).outcome == Succeeded(b"[2]")
