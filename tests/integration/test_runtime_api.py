"""The Runtime API as a runtime of one's own sees it, and what a worker makes of every way to use it wrongly."""

from __future__ import annotations

import asyncio
import json
import socket
import textwrap
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from fnrunner.sandbox.destination import NetworkWish
from fnrunner.sandbox.incoming import Chunk, ChunkRefused
from fnrunner.worker.environment import Environment, EnvironmentState
from tests.integration.environment_kit import ARN, invocation, kit, processes_of
from tests.integration.runtime_api_kit import ApiKit, script

LIMIT = 6 * 1024 * 1024 + 100


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[ApiKit]:
    async with kit("full", tmp_path) as full:
        yield ApiKit(full, tmp_path / "opt")


@pytest.fixture(params=["namespace", "bare"])
async def each(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ApiKit]:
    async with kit(request.param, tmp_path) as sandboxed:
        yield ApiKit(sandboxed, tmp_path / "opt")


async def said(environment: Environment, payload: Any = None, request_id: str = "request-1") -> Any:
    """What the function answered, read as JSON."""
    outcome = (await environment.invoke(invocation(json.dumps(payload).encode(), request_id))).outcome
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.payload)


async def failure_of(environment: Environment, request_id: str = "request-1") -> FunctionError:
    outcome = (await environment.invoke(invocation(b"{}", request_id))).outcome
    assert isinstance(outcome, FunctionError), outcome
    return outcome


async def test_an_invocation_comes_with_all_its_headers_and_its_bytes(each: ApiKit) -> None:
    environment = await each.started("serve(lambda event, headers: json.dumps([event, dict(headers)]))")
    outcome = (
        await environment.invoke(
            invocation(
                b'{"a": "\xc3\xa9"}', "id-7", client_context='{"custom":\n{"k": "\u00e9"}}', xray="Root=1;Sampled=1"
            )
        )
    ).outcome
    assert isinstance(outcome, Succeeded)
    event, headers = json.loads(outcome.payload)
    assert event == {"a": "é"}
    assert int(headers.pop("Lambda-Runtime-Deadline-Ms")) > 0
    context = headers.pop("Lambda-Runtime-Client-Context").encode("latin-1").decode()
    assert json.loads(context) == {"custom": {"k": "é"}}
    assert headers == {
        "Lambda-Runtime-Aws-Request-Id": "id-7",
        "Lambda-Runtime-Invoked-Function-Arn": ARN,
        "Lambda-Runtime-Trace-Id": "Root=1;Sampled=1",
        "Content-Type": "application/json",
        "Content-Length": "11",
    }
    await environment.rest()
    assert environment.state is EnvironmentState.IDLE


async def test_the_environment_is_that_of_a_runtime_of_ones_own(made: ApiKit) -> None:
    environment = await made.started("serve(lambda event, headers: json.dumps([dict(os.environ), os.getcwd()]))")
    variables, directory = await said(environment)
    assert "AWS_EXECUTION_ENV" not in variables
    assert variables["AWS_LAMBDA_RUNTIME_API"].startswith("127.0.0.1:")
    assert (variables["_HANDLER"], variables["AWS_LAMBDA_FUNCTION_NAME"]) == ("f.handler", "f")
    assert directory == variables["LAMBDA_TASK_ROOT"]
    assert environment.runtime_version == "provided.al2023"


WRONG_USES = """
    api, told = Api(), []
    def note(answer):
        told.append([answer[0], json.loads(answer[2] or b"{}").get("errorType") if answer[2][:1] == b"{" else None])
    while True:
        id, headers, body = api.next()
        again = api.next()
        note((200 if again[0] == id and again[2] == body else 500, {}, b""))
        note(api.respond("unknown", "1"))
        note(api.error("unknown", "{}"))
        note(api.init_error("{}"))
        note(api.respond(id, "1", {"Lambda-Runtime-Function-Response-Mode": "sideways"}))
        note(api("GET", "/nowhere"))
        note(api("POST", BASE + "/invocation/next"))
        note(api("DELETE", BASE + f"/invocation/{id}/response"))
        answer = api.respond(id, json.dumps(told))
        assert answer[0] == 202 and json.loads(answer[2]) == {"status": "OK"}, answer
        told = []
        note(api.respond(id, "2"))
        note(api.error(id, "{}"))
"""


async def test_what_may_not_be_asked_gets_its_status_and_harms_nothing(made: ApiKit) -> None:
    environment = await made.started(WRONG_USES)
    refused = [
        [200, None],
        [400, "InvalidRequestID"],
        [400, "InvalidRequestID"],
        [403, "InvalidStateTransition"],
        [400, "InvalidFunctionResponseMode"],
        [404, None],
        [405, None],
        [405, None],
    ]
    assert await said(environment) == refused
    twice = [[403, "InvalidStateTransition"], [403, "InvalidStateTransition"]]
    assert await said(environment, request_id="request-2") == twice + refused


async def test_the_error_of_a_function_is_passed_on_as_it_is(made: ApiKit) -> None:
    environment = await made.started("""
    api = Api()
    for error in (b'{"errorType": "Mine", "errorMessage": "so", "stackTrace": ["x"]}', b"no JSON", b""):
        id, _, _ = api.next()
        status, _, body = api.error(id, error, {"Lambda-Runtime-Function-Error-Type": "Function.Mine"})
        assert (status, json.loads(body)) == (202, {"status": "OK"})
    api.next()
    """)
    failure = await failure_of(environment)
    assert (failure.error_type, failure.message) == ("Mine", "so")
    assert failure.payload == b'{"errorType": "Mine", "errorMessage": "so", "stackTrace": ["x"]}'
    assert not failure.environment_lost
    assert (await failure_of(environment)).error_type == "Function.Unknown"
    assert (await failure_of(environment)).error_type == "Function.Mine"


async def test_an_answer_may_be_as_large_as_the_limit_and_not_a_byte_larger(made: ApiKit) -> None:
    environment = await made.started("""
    api, last = Api(), None
    while True:
        id, _, body = api.next()
        size, way = json.loads(body)
        if way == "last":
            api.respond(id, json.dumps(last))
        elif way == "plain":
            last = api.respond(id, b"a" * size)
        elif way == "chunked":
            last = api("POST", f"{BASE}/invocation/{id}/response", iter([b"a" * size]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})
        elif way == "polite":
            head = (f"POST {BASE}/invocation/{id}/response HTTP/1.1\\r\\n"
                    f"Content-Length: {size}\\r\\nExpect: 100-continue\\r\\n\\r\\n")
            last = [int(raw(head.encode())[9:12]), {}, b"{}"]
        last = [last[0], last[2].decode()] if len(last) == 3 else last
    """)

    async def answered(size: int, way: str) -> Any:
        answer = await environment.invoke(invocation(json.dumps([size, way]).encode()))
        assert answer.logs == b""
        return answer.outcome

    for way in ("plain", "chunked"):
        assert await answered(LIMIT, way) == Succeeded(b"a" * LIMIT)
        failure = await answered(LIMIT + 1, way)
        assert failure.error_type == "Function.ResponseSizeTooLarge"
        assert not failure.environment_lost
        status, body = json.loads((await answered(0, "last")).payload)
        assert (status, json.loads(body)["errorType"]) == (413, "RequestEntityTooLarge")
        assert json.loads(body)["errorMessage"] == "Exceeded maximum allowed payload size (6291556 bytes)."
    assert (await answered(LIMIT + 1, "polite")).error_type == "Function.ResponseSizeTooLarge"
    assert json.loads((await answered(0, "last")).payload)[0] == 413
    assert len((await answered(LIMIT, "plain")).payload) == LIMIT


async def test_http_is_served_in_every_form_a_client_may_choose(made: ApiKit) -> None:
    environment = await made.started("""
    api = Api()
    def answer(id, more, body):
        return f"POST {BASE}/invocation/{id}/response HTTP/1.1\\r\\n{more}\\r\\n\\r\\n".encode() + body
    forms = [
        lambda id: answer(id, "Content-Length: 2\\r\\nExpect: 100-continue", b"10"),
        lambda id: answer(id, "Transfer-Encoding: chunked", b"1;ext=1\\r\\n1\\r\\n1\\r\\n1\\r\\n0\\r\\nTrailer: x\\r\\n\\r\\n"),
        lambda id: f"POST {BASE}/invocation/{id}/response?q=1 HTTP/1.0\\nContent-Length: 2\\n\\n12".encode(),
        lambda id: b"GET /nothing HTTP/1.1\\r\\n\\r\\n" + answer(id, "content-length:2\\r\\nUser-Agent: x", b"13"),
    ]
    for form in forms:
        id, _, _ = api.next()
        got = raw(form(id))
        sys.stderr.write(repr(got.split(b"\\r\\n")[0]) + "\\n")
        assert b" 202 " in got, got
    api.next()
    """)
    assert [await said(environment) for _ in range(4)] == [10, 11, 12, 13]


async def test_malformed_requests_get_400_and_harm_nothing(made: ApiKit) -> None:
    environment = await made.started("""
    bad = [b"\\0\\1\\2\\r\\n\\r\\n", b"GET\\r\\n\\r\\n", b"GET / HTTP/3\\r\\n\\r\\n",
           b"GET / HTTP/1.1\\r\\nno colon\\r\\n\\r\\n",
           b"POST / HTTP/1.1\\r\\nContent-Length: -1\\r\\n\\r\\n",
           b"POST / HTTP/1.1\\r\\nContent-Length: 1\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n",
           b"POST / HTTP/1.1\\r\\nTransfer-Encoding: gzip\\r\\n\\r\\n",
           b"POST /2018-06-01/runtime/init/error HTTP/1.1\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nxyz\\r\\n"]
    def handler(event, headers):
        if event == "half":
            with socket.create_connection((HOST, int(PORT))) as one:
                one.sendall(b"POST /2018-06-01/runtime/invocation/1/response HTTP/1.1\\r\\nContent-Length: 9\\r\\n\\r\\n1")
            return "1"
        return json.dumps([raw(data)[9:12].decode() for data in bad])
    serve(handler)
    """)
    assert await said(environment) == ["400", "400", "400", "400", "400", "400", "501", "403"]
    assert await said(environment, "half") == 1
    assert await said(environment, "half") == 1


async def test_no_process_from_outside_can_take_events_or_answer_them(tmp_path: Path) -> None:
    # in a network of its own, nobody would get as far as that
    async with kit("namespace", tmp_path, NetworkWish("host")) as isolated:
        made = ApiKit(isolated, tmp_path / "opt")
        environment = await made.started(
            "serve(lambda event, headers: json.dumps(os.environ['AWS_LAMBDA_RUNTIME_API']))"
        )
        host, _, port = (await said(environment)).partition(":")

        def asked() -> bytes:
            with socket.create_connection((host, int(port)), timeout=5) as stranger:
                stranger.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n")
                try:
                    return stranger.recv(100)
                except ConnectionError:
                    return b""

        assert await asyncio.to_thread(asked) == b""
        assert await said(environment) == f"{host}:{port}"


async def test_what_was_written_before_an_answer_is_in_its_log_whole_and_in_order(made: ApiKit) -> None:
    environment = await made.started("""
    def handler(event, headers):
        for number in range(2000):
            (sys.stdout if number % 2 else sys.stderr).write(f"{number}\\n")
            (sys.stdout if number % 2 else sys.stderr).flush()
        return "1"
    serve(handler)
    """)
    for _ in range(2):
        answer = await environment.invoke(invocation())
        assert answer.logs.split() == [b"%d" % number for number in range(2000)]


async def test_an_answer_never_overtakes_the_lines_before_it(made: ApiKit) -> None:
    # while the server sleeps, its socket becomes readable first, then the pipe of the log
    environment = await made.started("""
    api = Api()
    while True:
        id, _, _ = api.next()
        with socket.create_connection((HOST, int(PORT))) as one:
            one.sendall(f"POST {BASE}/invocation/{id}/response HTTP/1.1\\r\\nContent-Length: 3\\r\\n\\r\\n".encode())
            time.sleep(0.05)
            os.kill(os.getppid(), 19)
            one.sendall(b"12")
            os.write(1, b"line of " + id.encode() + b"\\n")
            one.sendall(b"3")
            os.kill(os.getppid(), 18)
            one.recv(4096)
    """)
    for number in range(5):
        answer = await environment.invoke(invocation(request_id=f"id-{number}"))
        assert answer.logs == b"line of id-%d\n" % number


class Caller:
    """Takes a streamed answer."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.came = asyncio.Event()
        self.gone = asyncio.Event()

    async def take(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        self.came.set()

    @property
    def data(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)


STREAM = """
    import base64
    def stream(id, *pieces, error=None, end=True, kind="text/x"):
        one = socket.create_connection((HOST, int(PORT)))
        one.sendall(f"POST {BASE}/invocation/{id}/response HTTP/1.1\\r\\nContent-Type: {kind}\\r\\n"
                    "Lambda-Runtime-Function-Response-Mode: streaming\\r\\nTransfer-Encoding: chunked\\r\\n"
                    "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\\r\\n\\r\\n".encode())
        for piece in pieces:
            one.sendall(b"%x\\r\\n" % len(piece) + piece + b"\\r\\n")
        if not end:
            return one
        trailers = b"" if error is None else (b"Lambda-Runtime-Function-Error-Type: Function.Mine\\r\\n"
            b"Lambda-Runtime-Function-Error-Body: " + base64.b64encode(error) + b"\\r\\n")
        one.sendall(b"0\\r\\n" + trailers + b"\\r\\n")
        assert b" 202 " in one.recv(4096)
    api = Api()
"""


async def test_a_streamed_answer_arrives_piece_by_piece(made: ApiKit) -> None:
    environment = await made.started(
        STREAM
        + """
    while True:
        id, _, body = api.next()
        if body == b'"slow"':
            one = stream(id, b"first", end=False)
            while not os.path.exists("/tmp/go"):
                time.sleep(0.01)
            one.sendall(b"4\\r\\nlast\\r\\n0\\r\\n\\r\\n")
        elif body == b'"empty"':
            stream(id, kind="")
        else:
            stream(id, *[b"a" * 100_000] * 20)
    """.replace("/tmp/go", str(made.opt / "go"))
    )
    caller = Caller()
    running = asyncio.create_task(environment.invoke(invocation(b'"slow"'), on_chunk=caller.take, gone=caller.gone))
    await asyncio.wait_for(caller.came.wait(), 10)
    assert (caller.data, caller.chunks[0].content_type, running.done()) == (b"first", "text/x", False)
    (made.opt / "go").touch()
    assert (await running).outcome == Succeeded(b"")
    assert caller.data == b"firstlast"
    caller = Caller()
    await environment.invoke(invocation(b'"empty"'), on_chunk=caller.take, gone=caller.gone)
    assert [chunk.content_type for chunk in caller.chunks] == ["application/octet-stream"]
    assert (await environment.invoke(invocation())).outcome == Succeeded(b"a" * 2_000_000)


async def test_an_error_in_mid_stream_comes_with_the_trailers(made: ApiKit) -> None:
    environment = await made.started(
        STREAM
        + """
    for error in (b'{"errorType":"Mine","errorMessage":"late"}', b""):
        id, _, _ = api.next()
        stream(id, b"some", error=error)
    api.next()
    """
    )
    caller = Caller()
    outcome = (await environment.invoke(invocation(), on_chunk=caller.take, gone=caller.gone)).outcome
    assert isinstance(outcome, FunctionError)
    assert (caller.data, outcome.error_type, outcome.message) == (b"some", "Mine", "late")
    assert (await failure_of(environment)).error_type == "Function.Mine"
    await environment.rest()
    assert environment.state is EnvironmentState.IDLE


@pytest.mark.parametrize("buffered", [False, True])
async def test_a_response_that_breaks_off_is_truncated_and_the_environment_is_lost(
    made: ApiKit, buffered: bool
) -> None:
    head = "POST {BASE}/invocation/{id}/response HTTP/1.1\\r\\nContent-Length: 100\\r\\n\\r\\nhalf"
    broken = f'one = socket.create_connection((HOST, int(PORT))); one.sendall(f"{head}".encode())'
    way = broken if buffered else 'one = stream(id, b"some", end=False)'
    environment = await made.started(
        f"{STREAM}\n    id, _, _ = api.next()\n    {way}\n    one.close()\n    api.next()\n    time.sleep(9)"
    )
    answer = await environment.invoke(invocation())
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Runtime.TruncatedResponse"
    assert answer.outcome.message.startswith("RequestId: request-1 Error: ")
    assert answer.logs.endswith(b"\nRuntime.TruncatedResponse\n")
    assert environment.state is EnvironmentState.GONE


async def test_a_runtime_that_ends_in_mid_stream_truncated_its_response(made: ApiKit) -> None:
    environment = await made.started(STREAM + "    id, _, _ = api.next()\n    stream(id, b'x', end=False); os._exit(3)")
    failure = await failure_of(environment)
    assert failure.error_type == "Runtime.TruncatedResponse"
    assert failure.message == "RequestId: request-1 Error: Runtime exited with error: exit status 3"


async def test_an_answer_given_just_before_the_end_counts(made: ApiKit) -> None:
    # it arrives on a new connection while the server sleeps, so that the end of the process is seen at the same time
    source = """
    id, _, _ = Api().next()
    os.kill(os.getppid(), 19)
    one = socket.create_connection((HOST, int(PORT)))
    one.sendall(f"POST {BASE}/invocation/{id}/response HTTP/1.1\\r\\nContent-Length: 1\\r\\n\\r\\n7".encode())
    if os.fork() == 0:
        time.sleep(0.1)
        os.kill(PARENT, 18)
    os._exit(1)
    """
    environment = await made.started("PARENT = os.getppid()\n" + textwrap.dedent(source))
    assert await said(environment) == 7


async def test_a_slow_reader_holds_the_runtime_back(made: ApiKit) -> None:
    environment = await made.started(
        STREAM
        + """
    id, _, _ = api.next()
    one = stream(id, end=False)
    for number in range(400):
        one.sendall(b"8000\\r\\n" + b"a" * 32768 + b"\\r\\n")
        with open(DONE, "w") as file:
            file.write(str(number))
    one.sendall(b"0\\r\\n\\r\\n")
    api.next()
    """.replace("DONE", repr(str(made.opt / "done")))
    )
    release, received = asyncio.Event(), 0

    async def take(chunk: Chunk) -> None:
        nonlocal received
        received += len(chunk.data)
        await release.wait()

    running = asyncio.create_task(environment.invoke(invocation(), on_chunk=take, gone=asyncio.Event()))
    sent = -1
    for _ in range(100):  # until it gets no further
        await asyncio.sleep(0.1)
        text = (made.opt / "done").read_text() if (made.opt / "done").exists() else ""
        if text and int(text) == sent:
            break
        sent = int(text or -1)
    assert 0 < sent < 390
    release.set()
    assert (await running).outcome == Succeeded(b"")
    assert received == 400 * 32768


async def test_when_nobody_wants_the_stream_the_runtime_is_not_blocked(made: ApiKit) -> None:
    environment = await made.started(
        STREAM
        + """
    while True:
        id, _, _ = api.next()
        stream(id, *[b"a" * 1_000_000] * 20)
    """
    )

    async def refuse(chunk: Chunk) -> None:
        raise ChunkRefused("enough")

    outcome = (await environment.invoke(invocation(), on_chunk=refuse, gone=asyncio.Event())).outcome
    assert isinstance(outcome, FunctionError)
    assert (outcome.error_type, outcome.environment_lost) == ("Runtime.ClientDisconnected", False)
    caller = Caller()
    await environment.invoke(invocation(), on_chunk=caller.take, gone=caller.gone)
    assert len(caller.data) == 20_000_000


EXITS = {
    "sys.exit(0)": "Runtime exited without providing a reason",
    "sys.exit(3)": "Runtime exited with error: exit status 3",
    "os.kill(os.getpid(), 9)": "Runtime exited with error: signal: killed",
    "os.kill(os.getpid(), 11)": "Runtime exited with error: signal: segmentation fault",
}


@pytest.mark.parametrize("way", EXITS)
async def test_a_runtime_that_ends_before_its_answer_says_how(each: ApiKit, way: str) -> None:
    environment = await each.started(f"Api().next(); print('bye', flush=True); {way}")
    answer = await environment.invoke(invocation())
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Runtime.ExitError"
    assert answer.outcome.message == f"RequestId: request-1 Error: {EXITS[way]}"
    assert answer.logs.startswith(b"bye\n")
    assert answer.logs.endswith(b"\nRuntime.ExitError\n")
    assert environment.state is EnvironmentState.GONE


async def test_a_runtime_that_ends_while_it_initialises_fails_the_first_invocation(made: ApiKit) -> None:
    environment = await made.started("print('early', flush=True); sys.exit(7)")
    answer = await environment.invoke(invocation())
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.message == "RequestId: request-1 Error: Runtime exited with error: exit status 7"
    assert answer.logs.startswith(b"early\n")


async def test_an_error_of_the_initialisation_is_answered_as_it_was_told(made: ApiKit) -> None:
    environment = await made.started("""
    api = Api()
    answers = [api.init_error('{"errorType": "Runtime.NoSuchHandler", "errorMessage": "none"}'), api.init_error("{}")]
    print([answer[0] for answer in answers], flush=True)
    time.sleep(60)
    """)
    answer = await environment.invoke(invocation())
    assert isinstance(answer.outcome, FunctionError)
    assert (answer.outcome.error_type, answer.outcome.message) == ("Runtime.NoSuchHandler", "none")
    assert answer.outcome.environment_lost


@pytest.mark.parametrize("source", ["time.sleep(60)", "raw(b'GET / HTTP/1.1\\r\\n\\r\\n'); time.sleep(60)"])
async def test_a_runtime_that_never_asks_for_an_invocation_times_out(made: ApiKit, source: str) -> None:
    environment = await made.started(source, init_timeout=timedelta(seconds=0.5), timeout=timedelta(seconds=1))
    answer = await environment.invoke(invocation())
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Sandbox.Timedout"
    assert b"INIT_REPORT" in answer.logs
    assert processes_of(environment) == []


async def test_a_runtime_that_asks_for_nothing_more_is_ended_with_the_timeout_and_charges_no_other_invocation(
    made: ApiKit,
) -> None:
    environment = await made.started(
        "api = Api(); id, _, _ = api.next(); api.respond(id, '1'); time.sleep(60)", timeout=timedelta(seconds=0.7)
    )
    assert await said(environment) == 1
    assert environment.resting
    await environment.rest()
    assert environment.state is EnvironmentState.GONE
    assert processes_of(environment) == []


async def test_an_answer_after_the_timeout_goes_nowhere_and_nothing_is_left(made: ApiKit) -> None:
    environment = await made.started(
        "serve(lambda event, headers: time.sleep(30) or '1')", timeout=timedelta(seconds=0.3)
    )
    assert (await failure_of(environment)).error_type == "Sandbox.Timedout"
    assert environment.state is EnvironmentState.GONE
    assert processes_of(environment) == []


async def test_a_runtime_that_ends_between_invocations_ends_the_environment(made: ApiKit) -> None:
    environment = await made.started("api = Api(); id, _, _ = api.next(); api.respond(id, '1'); sys.exit(0)")
    assert await said(environment) == 1
    await environment.rest()
    assert environment.state is EnvironmentState.GONE


async def test_a_runtime_that_ends_while_it_waits_ends_the_environment(made: ApiKit) -> None:
    environment = await made.started(
        "import threading\napi = Api(); id, _, _ = api.next(); api.respond(id, '1')\n"
        "threading.Timer(0.3, lambda: os._exit(0)).start(); api.next()"
    )
    assert await said(environment) == 1
    await environment.rest()
    await environment.rest()
    assert environment.state is EnvironmentState.IDLE
    for _ in range(200):
        if environment.state is EnvironmentState.GONE:
            return
        await asyncio.sleep(0.02)
    pytest.fail("it is still there")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
        ("directory", "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
        ("not executable", "fork/exec /var/task/bootstrap: permission denied"),
        ("no interpreter", "fork/exec /var/task/bootstrap: no such file or directory"),
        ("no program", "fork/exec /var/task/bootstrap: exec format error"),
    ],
)
async def test_a_bootstrap_that_cannot_be_started_is_named(each: ApiKit, fault: str, message: str) -> None:
    each.kit.code.mkdir()
    bootstrap = each.kit.code / "bootstrap"
    if fault == "directory":
        bootstrap.mkdir()
    elif fault != "missing":
        bootstrap.write_text("#!/nowhere/at/all\n" if fault == "no interpreter" else "just text")
        bootstrap.chmod(0o644 if fault == "not executable" else 0o755)
    environment = await each.started(None)
    failure = await failure_of(environment)
    assert failure.error_type == "Runtime.InvalidEntrypoint"
    opt = message.replace("/opt/", f"{each.opt}/").replace("/var/task", "/var/task")
    assert failure.message in (f"Error: {message}", f"Error: {opt}")


async def test_the_bootstrap_of_a_layer_is_found_when_the_code_has_none(made: ApiKit) -> None:
    script(made.opt / "bootstrap", "serve(lambda event, headers: '\"layer\"')")
    assert await said(await made.started(None)) == "layer"


async def test_what_the_runtime_started_ends_with_the_environment(each: ApiKit) -> None:
    environment = await each.started(
        "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\nserve(lambda e, h: '1')"
    )
    assert await said(environment) == 1
    assert len(processes_of(environment)) >= 3
    await environment.stop()
    assert processes_of(environment) == []
