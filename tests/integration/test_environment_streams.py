"""What a handler streams, in a real sandbox: pieces, back-pressure, and every way a stream can end."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from fnrunner.model import limits
from fnrunner.model.invocation import Answer, FunctionError, Succeeded
from fnrunner.sandbox import connection
from fnrunner.sandbox.incoming import Chunk, ChunkRefused
from fnrunner.worker.environment import Environment, EnvironmentState
from tests.integration.environment_kit import Kit, invocation, kit, processes_of


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit("full", tmp_path) as made:
        yield made


@dataclass
class Caller:
    """Takes chunks, all at once or one for each ``let``; ``gone`` when it wants no more."""

    held: bool = False
    chunks: list[Chunk] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    first: asyncio.Event = field(default_factory=asyncio.Event)
    let: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        self.first.set()
        if self.held:
            await self.let.wait()

    @property
    def data(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)

    async def ask(self, environment: Environment, event: object = None) -> Answer:
        asked = invocation(json.dumps(event).encode())
        return await environment.invoke(asked, on_chunk=self.take, gone=self.gone)


async def streamed(environment: Environment, event: object = None) -> tuple[Answer, Caller]:
    caller = Caller()
    return await caller.ask(environment, event), caller


GENERATOR = """
def handler(event, context):
    yield "one"
    print("between")
    yield b"two"
"""


async def test_a_generator_is_streamed_and_the_environment_is_used_again(made: Kit) -> None:
    environment = await made.started(GENERATOR)
    for _ in range(2):
        answer, caller = await streamed(environment)
        assert (answer.outcome, caller.data) == (Succeeded(b""), b"onetwo")
        assert caller.chunks[0].content_type == "application/octet-stream"
        assert answer.logs == b"between\n"
    assert environment.state is EnvironmentState.IDLE


async def test_who_wants_it_whole_gets_the_same_bytes_whole(made: Kit) -> None:
    environment = await made.started(GENERATOR)
    answer = await environment.invoke(invocation())
    assert answer.outcome == Succeeded(b"onetwo")


async def test_a_plain_answer_is_no_stream_also_for_who_would_take_one(made: Kit) -> None:
    environment = await made.started("def handler(event, context): return [1, {'a': 2}]")
    answer, caller = await streamed(environment)
    assert (answer.outcome, caller.chunks) == (Succeeded(b'[1, {"a": 2}]'), [])


@pytest.mark.parametrize("runtime", ["python3.9", "python3.11", "python3.13"])
async def test_every_kind_of_streaming_handler_works_in_every_version(made: Kit, runtime: str) -> None:
    from fnrunner.runtimes.python import PythonRuntime

    if runtime not in PythonRuntime().available():
        pytest.skip(f"{runtime} is not on this host")
    source = """
    import asyncio, io
    import awslambda

    async def agenerator(event, context):
        for text in ("a", "b"):
            await asyncio.sleep(0)
            yield text

    def iterator(event, context):
        return io.BytesIO(b"a\\nb\\n")

    @awslambda.streamify_response
    def writer(event, response_stream, context):
        response_stream.set_content_type("text/html")
        response_stream.write("a")
        response_stream.end("b")

    @awslambda.streamify_response
    async def awriter(event, response_stream, context):
        await asyncio.sleep(0)
        response_stream.write("ab")

    @awslambda.streamify_response
    def http(event, response_stream, context):
        out = awslambda.HttpResponseStream.from_(response_stream, {"statusCode": 201})
        out.write("ab")
    """
    prelude = b'{"statusCode": 201}' + bytes(8)
    for handler, data, content_type in (
        ("agenerator", b"ab", "application/octet-stream"),
        ("iterator", b"a\nb\n", "application/octet-stream"),
        ("writer", b"ab", "text/html"),
        ("awriter", b"ab", "application/octet-stream"),
        ("http", prelude + b"ab", "application/vnd.awslambda.http-integration-response"),
    ):
        environment = await made.started(source, runtime=runtime, handler=f"f.{handler}")
        answer, caller = await streamed(environment)
        assert answer.outcome == Succeeded(b""), handler
        assert (caller.data, caller.chunks[0].content_type) == (data, content_type), handler
        await environment.stop()


async def test_fifty_megabytes_arrive_in_order_and_unchanged(made: Kit) -> None:
    environment = await made.started(
        """
        import hashlib
        def handler(event, context):
            block = b"start"
            for _ in range(1600):
                block = hashlib.sha512(block).digest() * 512
                yield block
        """
    )
    expected, block = hashlib.sha256(), b"start"
    for _ in range(1600):
        block = hashlib.sha512(block).digest() * 512
        expected.update(block)
    answer, caller = await streamed(environment)
    assert answer.outcome == Succeeded(b"")
    assert len(caller.data) == 1600 * 32768
    assert hashlib.sha256(caller.data).digest() == expected.digest()
    assert max(len(chunk.data) for chunk in caller.chunks) <= limits.STREAMED_CHUNK_BYTES


async def test_who_does_not_take_holds_the_function_back_and_its_log_still_flows(made: Kit) -> None:
    environment = await made.started(
        """
        def handler(event, context):
            for number in range(1000):
                print(number)
                yield bytes(10_000)
        """
    )
    caller, log = Caller(held=True), bytearray()
    asked = environment.invoke(invocation(), on_chunk=caller.take, gone=caller.gone, on_log=log.extend)
    running = asyncio.create_task(asked)
    await caller.first.wait()
    before = -1
    while before != (before := log.count(b"\n")) or not before:
        await asyncio.sleep(0.5)  # the log comes every 200 ms while the function goes on
    sent_ahead = before * 10_000
    assert sent_ahead < 1_500_000, "socket, buffer and frame are all that may be filled"
    assert not running.done()
    caller.let.set()
    assert (await running).outcome == Succeeded(b"")
    assert len(caller.data) == 10_000_000


async def test_the_timeout_runs_while_the_function_is_held_back(made: Kit) -> None:
    environment = await made.started(
        "def handler(event, context):\n    while True: yield bytes(10_000)", timeout=timedelta(seconds=1)
    )
    caller = Caller(held=True)
    answer = await caller.ask(environment)
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Sandbox.Timedout"
    assert 900 < answer.report.duration_ms < 5000
    assert environment.state is EnvironmentState.GONE
    assert processes_of(environment) == []


async def test_the_timeout_runs_while_the_end_of_a_finished_stream_waits(made: Kit) -> None:
    environment = await made.started("def handler(event, context): yield 'x'", timeout=timedelta(seconds=1))
    answer = await Caller(held=True).ask(environment)
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Sandbox.Timedout"


async def test_a_timeout_in_mid_stream_comes_after_what_was_sent(made: Kit) -> None:
    environment = await made.started(
        "import time\ndef handler(event, context):\n    yield 'half'\n    time.sleep(60)", timeout=timedelta(seconds=1)
    )
    answer, caller = await streamed(environment)
    assert isinstance(answer.outcome, FunctionError)
    assert (answer.outcome.error_type, caller.data) == ("Sandbox.Timedout", b"half")


async def test_an_error_in_mid_stream_is_lambdas_json_and_the_environment_goes_on(made: Kit) -> None:
    environment = await made.started(
        """
        def handler(event, context):
            yield "half"
            raise ValueError("no")
        """
    )
    answer, caller = await streamed(environment)
    assert isinstance(answer.outcome, FunctionError)
    assert caller.data == b"half"
    assert json.loads(answer.outcome.payload) == {
        "errorMessage": "no",
        "errorType": "ValueError",
        "requestId": "request-1",
        "stackTrace": ['  File "/var/task/f.py", line 4, in handler\n    raise ValueError("no")\n'],
    }
    assert b"[ERROR] ValueError: no" in answer.logs
    assert environment.state is EnvironmentState.IDLE
    whole = await environment.invoke(invocation())
    assert isinstance(whole.outcome, FunctionError)
    assert whole.outcome.error_type == "ValueError"


async def test_an_error_before_the_first_piece_has_no_chunk(made: Kit) -> None:
    environment = await made.started("def handler(event, context):\n    raise ValueError('no')\n    yield")
    answer, caller = await streamed(environment)
    assert isinstance(answer.outcome, FunctionError)
    assert (answer.outcome.error_type, caller.chunks) == ("ValueError", [])


async def test_an_enormous_error_in_mid_stream_is_cut(made: Kit) -> None:
    environment = await made.started(
        "def handler(event, context):\n    yield 'half'\n    raise ValueError('x' * 7_000_000)"
    )
    answer, _ = await streamed(environment)
    assert isinstance(answer.outcome, FunctionError)
    assert (answer.outcome.error_type, answer.outcome.message) == ("ValueError", "x" * 1024)
    assert environment.state is EnvironmentState.IDLE


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("os._exit(3)", "exit status 3"),
        ("os.kill(os.getpid(), 9)", "signal: killed"),
        ("raise SystemExit(1)", "exit status 1"),
    ],
)
async def test_an_exit_in_mid_stream_is_a_truncated_response_after_what_was_sent(
    made: Kit, end: str, reason: str
) -> None:
    environment = await made.started(f"import os\ndef handler(event, context):\n    yield 'x' * 100_000\n    {end}")
    answer, caller = await streamed(environment)
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Runtime.TruncatedResponse"
    assert answer.outcome.message == f"RequestId: request-1 Error: Runtime exited with error: {reason}"
    assert len(caller.data) == 100_000
    assert b"Runtime.TruncatedResponse" in answer.logs


async def test_an_answer_that_is_too_large_to_be_whole_is_refused_and_the_environment_goes_on(made: Kit) -> None:
    environment = await made.started("def handler(event, context):\n    for _ in range(event): yield bytes(1_000_000)")
    answer = await environment.invoke(invocation(b"7"))
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Function.ResponseSizeTooLarge"
    answer = await environment.invoke(invocation(b"6"))
    assert answer.outcome == Succeeded(bytes(6_000_000))


ENDLESS = """
import time
def handler(event, context):
    try:
        while True:
            yield "x"
            time.sleep(0.01)
    except GeneratorExit:
        print("closed")
        raise
"""


async def test_a_generator_is_closed_when_the_client_goes_and_the_environment_goes_on(made: Kit) -> None:
    environment = await made.started(ENDLESS)
    caller = Caller()
    running = asyncio.create_task(caller.ask(environment))
    await caller.first.wait()
    caller.gone.set()
    answer = await running
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Runtime.ClientDisconnected"
    assert answer.outcome.message == (
        "RequestId: request-1 Error: The client disconnected before the response was complete"
    )
    assert answer.logs.startswith(b"closed\n")
    assert environment.state is EnvironmentState.IDLE
    again = Caller()
    running = asyncio.create_task(again.ask(environment))
    await again.first.wait()
    again.gone.set()
    await running


async def test_a_function_that_is_held_back_ends_too_when_the_client_goes(made: Kit) -> None:
    environment = await made.started(
        """
        import awslambda
        @awslambda.streamify_response
        def handler(event, response_stream, context):
            try:
                while True:
                    response_stream.write(bytes(100_000))
            except BrokenPipeError as error:
                print(error)
        """
    )
    caller = Caller(held=True)
    running = asyncio.create_task(caller.ask(environment))
    await caller.first.wait()
    caller.gone.set()
    answer = await running
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Runtime.ClientDisconnected"
    assert b"The client has disconnected" in answer.logs
    assert environment.state is EnvironmentState.IDLE


async def test_a_refused_chunk_ends_the_stream_and_says_why(made: Kit) -> None:
    environment = await made.started(ENDLESS)

    async def refuse(_: Chunk) -> None:
        raise ChunkRefused("The response could not be delivered: cut")

    answer = await environment.invoke(invocation(), on_chunk=refuse)
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.message.endswith("The response could not be delivered: cut")
    assert environment.state is EnvironmentState.IDLE


SLEEPS = "yield 'x'\n    time.sleep(600)"
IGNORES = "while True:\n        try: yield 'x'\n        except GeneratorExit: pass"
NEVER_STREAMS = "time.sleep(600)"


@pytest.mark.parametrize("body", [SLEEPS, IGNORES, NEVER_STREAMS], ids=["sleeps", "ignores", "never streams"])
async def test_a_handler_that_does_not_react_is_killed(made: Kit, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    monkeypatch.setattr(connection, "CANCEL_GRACE", timedelta(seconds=0.3))
    environment = await made.started(f"import time\ndef handler(event, context):\n    print('runs')\n    {body}")
    caller, runs = Caller(), asyncio.Event()
    asked = environment.invoke(invocation(), on_chunk=caller.take, gone=caller.gone, on_log=lambda text: runs.set())
    running = asyncio.create_task(asked)
    await runs.wait()
    caller.gone.set()
    answer = await running
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Runtime.ClientDisconnected"
    assert answer.outcome.environment_lost
    assert environment.state is EnvironmentState.GONE
    assert processes_of(environment) == []


async def test_a_client_that_has_gone_before_the_start_runs_nothing(made: Kit) -> None:
    environment = await made.started("def handler(event, context): print('ran')")
    caller = Caller()
    caller.gone.set()
    answer = await caller.ask(environment)
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Runtime.ClientDisconnected"
    assert b"ran" not in answer.logs
    assert environment.state is EnvironmentState.IDLE


@pytest.mark.parametrize(
    "frame", [(9, b"chunk without a start"), (8, b"x" * 300), (4, b"1")], ids=["chunk", "type", "result"]
)
async def test_frames_that_make_no_sense_end_the_environment(made: Kit, frame: tuple[int, bytes]) -> None:
    kind, payload = frame
    environment = await made.started(
        f"""
        import os, struct, time
        def handler(event, context):
            if {kind} == 4:
                yield "begun"
            for fd in range(3, 64):
                try:
                    os.write(fd, struct.pack(">BIII", {kind}, 1, 0, {len(payload)}) + {payload!r})
                except OSError:
                    pass
            time.sleep(600)
            yield "never"
        """
    )
    answer, _ = await streamed(environment)
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type in ("Runtime.ExitError", "Runtime.TruncatedResponse")
    assert environment.state is EnvironmentState.GONE


async def test_a_forked_child_writes_nothing(made: Kit) -> None:
    environment = await made.started(
        """
        import os
        def handler(event, context):
            yield "parent"
            child = os.fork()
            yield f"{bool(child)}"
            os.waitpid(child, 0)
        """
    )
    answer, caller = await streamed(environment)
    assert (answer.outcome, caller.data) == (Succeeded(b""), b"parentTrue")
