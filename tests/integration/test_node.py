"""Node.js functions on fnrunner's own runtime client: handlers, answers, errors, log lines, streams."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from fnrunner.runtimes.node import NodeRuntime
from fnrunner.sandbox.incoming import Chunk
from fnrunner.worker.environment import Environment, EnvironmentState
from tests.integration.environment_kit import invocation, kit
from tests.integration.runtime_api_kit import ApiKit

AVAILABLE = NodeRuntime().available()
pytestmark = pytest.mark.skipif(not AVAILABLE, reason="no Node.js of a supported version is on this host")
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[ApiKit]:
    async with kit("full", tmp_path) as full:
        yield ApiKit(full, tmp_path / "opt")


@pytest.fixture(params=["namespace", "bare"])
async def each(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ApiKit]:
    """For what depends on the sandbox."""
    async with kit(request.param, tmp_path) as sandboxed:
        yield ApiKit(sandboxed, tmp_path / "opt")


async def started(made: ApiKit, source: str, name: str = "f.mjs", **spec: Any) -> Environment:
    """On whichever version this host has; the code is one file."""
    file = made.kit.code / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    environment = made.environment(runtime=next(iter(AVAILABLE)), **spec)
    await environment.start()
    return environment


async def said(environment: Environment, payload: Any = None, **more: Any) -> Any:
    outcome = (await environment.invoke(invocation(json.dumps(payload).encode(), **more))).outcome
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.payload)


async def failure_of(environment: Environment, payload: Any = None) -> FunctionError:
    outcome = (await environment.invoke(invocation(json.dumps(payload).encode()))).outcome
    assert isinstance(outcome, FunctionError), outcome
    return outcome


async def test_a_context_has_what_lambda_gives(each: ApiKit) -> None:
    source = """export const handler = async (event, context) => ({
        ...context, left: context.getRemainingTimeInMillis(), trace: process.env._X_AMZN_TRACE_ID,
        parent: process.env.TRACEPARENT, env: process.env.AWS_EXECUTION_ENV, path: process.env.NODE_PATH, event })"""
    environment = await started(each, source)
    told = await said(environment, {"a": "é"}, client_context='{"custom": 1}', xray="Root=1", traceparent="00-1")
    assert 0 < told.pop("left") <= 20_000
    assert told.pop("logStreamName") == environment.log_stream
    assert told.pop("path").startswith(f"{each.opt}/nodejs/node")
    assert told == {
        "callbackWaitsForEmptyEventLoop": True,
        "functionVersion": "$LATEST",
        "functionName": "f",
        "memoryLimitInMB": "128",
        "logGroupName": "/aws/lambda/f",
        "clientContext": {"custom": 1},
        "invokedFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
        "awsRequestId": "request-1",
        "trace": "Root=1",
        "parent": "00-1",
        "env": f"AWS_Lambda_{next(iter(AVAILABLE))}",
        "event": {"a": "é"},
    }
    assert "trace" not in await said(environment)


FORMS = {
    "f.js": ("exports.handler = async () => 'cjs'", "f.handler"),
    "fc.cjs": ("exports.handler = async () => 'cjs'", "fc.handler"),
    "fm.mjs": ("export const handler = async () => 'esm'; await 1", "fm.handler"),
    "a/b/f.js": ("exports.handler = async () => 'deep'", "a/b/f.handler"),
    "g.js": ("exports.inner = {handler: async () => 'nested'}", "g.inner.handler"),
    "d/index.js": ("exports.handler = async () => 'folder'", "d/index.handler"),
    "e/index.js": ("exports.handler = async () => 'package'", "e.handler"),
    "node_modules/m/index.js": ("exports.handler = async () => 'module'", "m.handler"),
    "h.mjs": ("export default {handler: async () => 'default'}", "h.handler"),
}


async def test_handlers_are_found_in_every_kind_of_module(made: ApiKit) -> None:
    async def one(name: str) -> Any:
        source, handler = FORMS[name]
        return await said(await started(made, source, name, handler=handler))

    found = [await one(name) for name in FORMS]
    expected = ["cjs", "cjs", "esm", "deep", "nested", "folder", "package", "module", "default"]
    assert found[0] == "cjs"
    assert found[1:] == expected[1:]


INIT_FAILURES = [
    ("", "nowhere.handler", "Runtime.ImportModuleError", "Error: Cannot find module 'nowhere'"),
    ("export const other = 1", "f.handler", "Runtime.HandlerNotFound", "f.handler is undefined or not exported"),
    ("export const handler = 1", "f.handler", "Runtime.HandlerNotFound", "f.handler is not a function"),
    ("export const", "f.handler", "Runtime.UserCodeSyntaxError", "SyntaxError: "),
    ("import 'nothing-of-the-kind'", "f.handler", "Error", "Cannot find package 'nothing-of-the-kind'"),
    ("", "f", "Runtime.MalformedHandlerName", "Bad handler"),
    ("", "../f.handler", "Runtime.MalformedHandlerName", "'../f.handler' is not a valid handler name"),
    ("throw new RangeError('at import')", "f.handler", "RangeError", "at import"),
]


@pytest.mark.parametrize(("source", "handler", "kind", "message"), INIT_FAILURES)
async def test_a_handler_that_cannot_be_loaded_says_why(
    made: ApiKit, source: str, handler: str, kind: str, message: str
) -> None:
    environment = await started(made, source, handler=handler)
    answer = await environment.invoke(invocation())
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == kind
    assert answer.outcome.message.startswith(message)
    assert re.match(rf"{TIME}\tundefined\tERROR\tUncaught Exception \t{{", answer.logs.decode())


EVERY_WAY = """
let left = 0;
export const handler = (event, context, callback) => {
    switch (event) {
        case 'callback': return callback(null, 1);
        case 'late': return setTimeout(() => callback(null, 2), 20) && undefined;
        case 'succeed': return context.succeed(3);
        case 'done': return context.done(null, 4);
        case 'promise': return Promise.resolve(5);
        case 'undefined': return Promise.resolve();
        case 'never': return undefined;
        case 'waits': setTimeout(() => { left = 7 }, 50); return callback(null, 6);
        case 'left': return callback(null, left);
        case 'does not wait': context.callbackWaitsForEmptyEventLoop = false;
            setTimeout(() => {}, 100000).unref; return callback(null, 8);
        case 'callback error': return callback(new TypeError('by callback'));
        case 'callback text': return callback('only text');
        case 'fail': return context.fail(new RangeError('failed'));
        case 'throw': throw new Error('thrown');
        case 'reject': return Promise.reject(new Error('rejected'));
        case 'cycle': { const cycle = {}; cycle.cycle = cycle; return Promise.resolve(cycle); }
        case 'bytes': return Promise.resolve('x'.repeat(7000000));
    }
};
"""


async def test_every_way_to_answer_works(made: ApiKit) -> None:
    environment = await started(made, EVERY_WAY)
    answers = {}
    ways = ("callback", "late", "succeed", "done", "promise", "undefined", "never", "waits", "left")
    for way in ways:
        answers[way] = await said(environment, way)
    assert answers == dict(zip(ways, (1, 2, 3, 4, 5, None, None, 6, 7), strict=True))
    assert await said(environment, "does not wait") == 8


async def test_every_way_to_fail_is_told_and_the_environment_goes_on(made: ApiKit) -> None:
    environment = await started(made, EVERY_WAY)
    expected = {
        "callback error": ("TypeError", "by callback"),
        "callback text": ("string", "only text"),
        "fail": ("RangeError", "failed"),
        "throw": ("Error", "thrown"),
        "reject": ("Error", "rejected"),
        "cycle": ("Error", "Unable to stringify response body"),
    }
    for way, (kind, message) in expected.items():
        failure = await failure_of(environment, way)
        assert (failure.error_type, failure.message) == (kind, message)
        assert isinstance(json.loads(failure.payload)["trace"], list)
    assert (await failure_of(environment, "bytes")).error_type == "Function.ResponseSizeTooLarge"
    await environment.rest()
    assert environment.state is EnvironmentState.IDLE
    assert await said(environment, "callback") == 1


async def test_an_error_is_logged_as_lambda_logs_it(made: ApiKit) -> None:
    source = "export const handler = async () => { throw Object.assign(new TypeError('so'), {code: 'E1', more: [1]}) }"
    environment = await started(made, source)
    line = (await environment.invoke(invocation())).logs.decode()
    head, _, document = line.partition("Invoke Error \t")
    assert re.fullmatch(rf"{TIME}\trequest-1\tERROR\t", head)
    error = json.loads(document)
    assert error.pop("stack")[0] == "TypeError: so"
    assert error == {"errorType": "TypeError", "errorMessage": "so", "code": "E1", "more": [1]}


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("setTimeout(() => { throw new RangeError('nobody caught me') }, 1)", "RangeError", "nobody caught me"),
        ("Promise.reject(new Error('nobody waits'))", "Runtime.UnhandledPromiseRejection", "Error: nobody waits"),
    ],
)
async def test_what_nobody_caught_fails_the_invocation_and_ends_the_process(
    made: ApiKit, source: str, kind: str, message: str
) -> None:
    source = f"export const handler = () => new Promise(() => {{ {source}; setTimeout(() => {{}}, 9000) }})"
    environment = await started(made, source)
    answer = await environment.invoke(invocation())
    assert isinstance(answer.outcome, FunctionError)
    assert (answer.outcome.error_type, answer.outcome.message) == (kind, message)
    await environment.rest()
    assert environment.state is EnvironmentState.GONE


async def test_process_exit_is_an_exit_of_the_runtime(made: ApiKit) -> None:
    failure = await failure_of(await started(made, "export const handler = async () => process.exit(3)"))
    assert failure.message == "RequestId: request-1 Error: Runtime exited with error: exit status 3"


async def test_a_handler_that_never_answers_times_out(made: ApiKit) -> None:
    source = "export const handler = () => new Promise(() => setInterval(() => {}, 1000))"
    environment = await started(made, source, timeout=timedelta(seconds=0.5))
    assert (await failure_of(environment)).error_type == "Sandbox.Timedout"


LOGGING = """
console.log('at init');
export const handler = async () => {
    console.debug('d'); console.info('a %s', 'b', {c: 1}); console.warn('two\\nlines');
    console.error(new RangeError('bad')); console.trace('t'); console.log({k: [1]});
};
"""


async def test_console_lines_have_time_request_and_level(made: ApiKit) -> None:
    environment = await started(made, LOGGING)
    lines = (await environment.invoke(invocation())).logs.decode().splitlines(keepends=False)
    text = "\n".join(lines)
    parts = [line.split("\t") for line in text.replace("\r", "\n").split("\n") if re.match(TIME, line)]
    assert [part[1:3] for part in parts] == [
        ["undefined", "INFO"],
        ["request-1", "DEBUG"],
        ["request-1", "INFO"],
        ["request-1", "WARN"],
        ["request-1", "ERROR"],
        ["request-1", "TRACE"],
        ["request-1", "INFO"],
    ]
    assert [part[3] for part in parts][:4] == ["at init", "d", "a b { c: 1 }", "two"]


async def test_several_lines_of_one_message_stay_one_line(made: ApiKit) -> None:
    environment = await started(made, "export const handler = async () => console.log('a\\nb\\nc')")
    logs = (await environment.invoke(invocation())).logs
    assert logs.endswith(b"\ta\rb\rc\n")
    assert logs.count(b"\n") == 1


async def test_json_logs_have_lambdas_keys_and_levels_are_filtered(made: ApiKit) -> None:
    environment = await started(made, LOGGING, log_format="JSON", application_log_level="INFO")
    lines = [json.loads(line) for line in (await environment.invoke(invocation())).logs.splitlines()]
    assert [line["level"] for line in lines] == ["INFO", "INFO", "WARN", "ERROR", "INFO"]
    assert all(re.fullmatch(TIME, line["timestamp"]) for line in lines)
    assert "requestId" not in lines[0]
    assert (lines[1]["requestId"], lines[1]["message"]) == ("request-1", "a b { c: 1 }")
    said = lines[3]["message"]
    assert (said["errorType"], said["errorMessage"]) == ("RangeError", "bad")
    assert said["stackTrace"][0] == "RangeError: bad"
    assert lines[4]["message"] == {"k": [1]}


STREAMING = """
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
    switch (event) {
        case 'http':
            stream = awslambda.HttpResponseStream.from(stream, {statusCode: 201, headers: {a: 'b'}});
            stream.write('one'); stream.write(Buffer.from('two')); stream.end(); return;
        case 'type': stream.setContentType('text/html'); stream.write({json: 1}); return stream.end();
        case 'pipe': return pipeline(Readable.from(Array(50).fill('x'.repeat(10000))), stream);
        case 'early': throw new RangeError('before the first byte');
        case 'late': stream.write('some'); await new Promise((go) => setTimeout(go, 50)); throw new RangeError('late');
        case 'empty': return stream.end();
        case 'open': stream.write('left open'); return;
        case 'exit': stream.write('some'); await new Promise((go) => setTimeout(go, 50)); process.exit(1);
    }
});
"""


async def test_streams_carry_types_preludes_and_errors(made: ApiKit) -> None:
    environment = await started(made, STREAMING)

    async def streamed(way: str) -> tuple[Any, bytes, str]:
        chunks: list[Chunk] = []

        async def take(chunk: Chunk) -> None:
            chunks.append(chunk)

        asked = invocation(json.dumps(way).encode())
        outcome = (await environment.invoke(asked, on_chunk=take, gone=asyncio.Event())).outcome
        content_type = chunks[0].content_type if chunks else ""
        return outcome, b"".join(chunk.data for chunk in chunks), content_type

    prelude = b'{"statusCode":201,"headers":{"a":"b"}}' + bytes(8)
    http_type = "application/vnd.awslambda.http-integration-response"
    assert await streamed("http") == (Succeeded(b""), prelude + b"onetwo", http_type)
    assert await streamed("type") == (Succeeded(b""), b'{"json":1}', "text/html")
    assert await streamed("pipe") == (Succeeded(b""), b"x" * 500_000, "application/octet-stream")
    assert await streamed("empty") == (Succeeded(b""), b"", "application/octet-stream")
    assert await streamed("open") == (Succeeded(b""), b"left open", "application/octet-stream")
    outcome, data, _ = await streamed("early")
    assert (outcome.error_type, outcome.message, data) == ("RangeError", "before the first byte", b"")
    outcome, data, _ = await streamed("late")
    assert (outcome.error_type, outcome.message, data) == ("RangeError", "late", b"some")
    await environment.rest()
    assert environment.state is EnvironmentState.IDLE
    outcome, data, _ = await streamed("exit")
    assert (outcome.error_type, data) == ("Runtime.TruncatedResponse", b"some")


async def test_a_handler_that_streams_must_be_asynchronous(made: ApiKit) -> None:
    environment = await started(made, "export const handler = awslambda.streamifyResponse(() => 1)")
    assert (await failure_of(environment)).message == "Streaming does not support non-async handlers."


async def test_modules_of_layers_are_found(made: ApiKit) -> None:
    module = made.opt / "nodejs" / "node_modules" / "layered" / "index.js"
    module.parent.mkdir(parents=True)
    module.write_text("module.exports = 'from the layer'")
    environment = await started(made, "exports.handler = async () => require('layered')", "f.js")
    assert await said(environment) == "from the layer"


async def test_a_wrapper_gets_the_runtimes_command(made: ApiKit) -> None:
    made.kit.code.mkdir()
    wrapper = made.kit.code / "wrapper"
    wrapper.write_text('#!/bin/sh\nexport WRAPPED="$#"\nexec "$@"\n')
    wrapper.chmod(0o755)
    source = "export const handler = async () => process.env.WRAPPED"
    root = "/var/task"
    environment = await started(made, source, variables={"AWS_LAMBDA_EXEC_WRAPPER": f"{root}/wrapper"})
    assert await said(environment) == "3"


async def test_a_wrapper_that_is_not_there_is_named(made: ApiKit) -> None:
    environment = await started(made, "", variables={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/nothing"})
    failure = await failure_of(environment)
    assert failure.error_type == "Runtime.InvalidEntrypoint"
    assert failure.message == "Error: fork/exec /opt/nothing: no such file or directory"
