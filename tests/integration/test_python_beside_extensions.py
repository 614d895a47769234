"""Python functions whose layers bring extensions: they answer by the Runtime API, and nothing else is different."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from tests.integration.environment_kit import Kit, invocation, kit
from tests.integration.runtime_api_kit import script

LISTENER = """
api = extension("INVOKE", "SHUTDOWN")
while True:
    event = api.event()
    print("heard " + event["eventType"], flush=True)
    if event["eventType"] == "SHUTDOWN":
        break
"""


@pytest.fixture
def layers(tmp_path: Path) -> str:
    script(tmp_path / "layers/extensions/ear", LISTENER)
    (tmp_path / "layers/python").mkdir()
    (tmp_path / "layers/python/shared.py").write_text("value = 'of the layer'")
    return str(tmp_path / "layers")


@pytest.fixture(params=["namespace", "bare"])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit(request.param, tmp_path) as sandboxed:
        yield sandboxed


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit("bare", tmp_path) as sandboxed:
        yield sandboxed


def payload_of(outcome: Any) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.payload)


async def test_the_extension_hears_of_invocations_and_the_handler_gets_what_it_always_gets(
    made: Kit, layers: str
) -> None:
    source = """
        import os, shared
        def handler(event, context):
            print("ran")
            client = context.client_context.custom if context.client_context else None
            return [event, shared.value, context.aws_request_id, context.function_name, context.invoked_function_arn,
                    context.get_remaining_time_in_millis() > 0, os.environ.get("_X_AMZN_TRACE_ID"), client]
    """
    environment = await made.started(source, layers_directory=layers)
    first = await environment.invoke(
        invocation(b'{"a":1}', xray="Root=1", client_context='{"custom":{"k":"v"}}', traceparent="00-1-2-01")
    )
    event, shared, request_id, name, arn, left, xray, client = payload_of(first.outcome)
    assert (event, shared, request_id, name) == ({"a": 1}, "of the layer", "request-1", "f")
    assert (arn.endswith(":function:f"), left, xray, client) == (True, True, "Root=1", {"k": "v"})
    assert b"ran\n" in first.logs
    second = await environment.invoke(invocation(b"[]", "request-2"))
    assert payload_of(second.outcome)[0] == []
    assert b"heard INVOKE" in first.logs + second.logs
    await environment.stop(timedelta(seconds=10))


async def test_errors_are_those_of_the_handler(one: Kit, layers: str) -> None:
    source = """
        def handler(event, context):
            if event == "bytes":
                return bytes([0, 255])
            if event == "large":
                return "x" * (6 * 1024 * 1024 + 100)
            raise ValueError("no \u00e9 " + event)
    """
    environment = await one.started(source, layers_directory=layers)
    failed = (await environment.invoke(invocation(b'"way"'))).outcome
    assert isinstance(failed, FunctionError)
    told = json.loads(failed.payload)
    assert (told["errorType"], told["errorMessage"], told["requestId"]) == ("ValueError", "no é way", "request-1")
    assert 'File "/var/task/f.py"' in told["stackTrace"][0]
    assert (await environment.invoke(invocation(b'"bytes"'))).outcome == Succeeded(b"\0\xff")
    large = (await environment.invoke(invocation(b'"large"'))).outcome
    assert isinstance(large, FunctionError)
    assert "Response payload size exceeded maximum allowed payload size" in large.message


async def test_a_module_that_cannot_be_imported_is_told_as_everywhere(one: Kit, layers: str) -> None:
    environment = await one.started("import missing_module\n", layers_directory=layers)
    outcome = (await environment.invoke(invocation())).outcome
    assert isinstance(outcome, FunctionError)
    assert outcome.error_type == "Runtime.ImportModuleError"
    assert "No module named 'missing_module'" in outcome.message


async def test_a_function_that_leaves_is_told_and_hangs_nowhere(one: Kit, layers: str) -> None:
    environment = await one.started("import sys\ndef handler(e, c): sys.exit(3)\n", layers_directory=layers)
    async with asyncio.timeout(20):
        outcome = (await environment.invoke(invocation())).outcome
    assert isinstance(outcome, FunctionError)
    assert outcome.error_type == "Runtime.ExitError"


async def test_what_it_streams_arrives_in_pieces(one: Kit, layers: str) -> None:
    source = """
        def handler(event, context):
            yield b"one "
            yield "two"
            if event == "fail":
                raise ValueError("too late")
    """
    environment = await one.started(source, layers_directory=layers)
    answer = await environment.invoke(invocation(b"0"))
    assert answer.outcome == Succeeded(b"one two")
    failed = (await environment.invoke(invocation(b'"fail"'))).outcome
    assert isinstance(failed, FunctionError)
    assert "too late" in failed.message
