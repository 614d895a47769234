"""Response streaming from outside, on both brokers: what a client sees, what a client that goes or stalls does to others."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Installation, environments_of, eventually

SOURCE = """
import hashlib, os, time

def handler(event, context):
    return globals()[event["do"]](event)

def blocks(event):
    block = b"start"
    for _ in range(event["count"]):
        block = hashlib.sha512(block).digest() * 512
        yield block

def first_then_wait(event):
    yield "first"
    time.sleep(1.5)
    yield "last"

def plain(event):
    return {"plain": True}

def raises(event):
    yield "half"
    raise ValueError("no")

def exits(event):
    yield "half"
    time.sleep(0.2)
    os._exit(3)

def silent(event):
    print("it runs")
    time.sleep(600)

def hangs(event):
    yield "half"
    time.sleep(600)

def endless(event):
    try:
        while True:
            yield bytes(event.get("size", 1))
            time.sleep(event.get("pause", 0.01))
    except GeneratorExit:
        print("the generator was closed")
        raise
"""
COUNT = 1600  # of 32 KB: 50 MB


def expected_digest() -> bytes:
    whole, block = hashlib.sha256(), b"start"
    for _ in range(COUNT):
        block = hashlib.sha512(block).digest() * 512
        whole.update(block)
    return whole.digest()


def start_all(directory: Path, broker_url: str) -> Installation:
    installation = Installation(directory, broker_url)
    for role in ("dev",) if broker_url == "embedded:" else ("api", "worker"):
        installation.start(role)
    installation.deploy("f", SOURCE, Timeout=60)
    return installation


@pytest.fixture(scope="module", params=["embedded", "rabbitmq"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation on each broker for all the tests here."""
    url = "embedded:" if request.param == "embedded" else request.getfixturevalue("rabbitmq").make_vhost()
    with start_all(tmp_path_factory.mktemp("installation"), url) as installation:
        yield installation


class Opened:
    """A stream by boto3: ``data`` and ``end`` after ``read``."""

    def __init__(self, installation: Installation, **event: Any) -> None:
        self._client = installation.client()
        answer = self._client.invoke_with_response_stream(
            FunctionName=event.pop("function", "f"), Payload=json.dumps(event), LogType="Tail"
        )
        self.request_id = answer["ResponseMetadata"]["RequestId"]
        self.version = answer["ExecutedVersion"]
        self._stream = answer["EventStream"]
        self._events = iter(self._stream)
        self.data = bytearray()
        self.end: dict[str, Any] = {}

    def next(self) -> bytes:
        chunk: bytes = next(self._events)["PayloadChunk"]["Payload"]
        return chunk

    def read(self) -> Opened:
        for event in self._events:
            if "PayloadChunk" in event:
                self.data += event["PayloadChunk"]["Payload"]
            else:
                assert not self.end
                self.end = event["InvokeComplete"]
        self.close()
        return self

    def close(self) -> None:
        self._stream.close()
        self._client.close()


def attempt_of(installation: Installation, request_id: str) -> dict[str, Any]:
    found: dict[str, Any] = eventually(
        lambda: next(iter(installation.http.get(f"/fnrunner/v1/events/{request_id}").json().get("attempts", [])), None),
        within_s=20,
    )
    return found


def test_fifty_megabytes_arrive_in_order_and_unchanged(running: Installation) -> None:
    opened = Opened(running, do="blocks", count=COUNT).read()
    assert len(opened.data) == COUNT * 32768
    assert hashlib.sha256(opened.data).digest() == expected_digest()
    assert opened.end.get("ErrorCode") is None
    assert opened.version == "$LATEST"
    attempt = attempt_of(running, opened.request_id)
    assert (attempt["outcome"], attempt["kind"], attempt["number"]) == ("succeeded", "request", 1)


def test_the_first_piece_is_here_long_before_the_last(running: Installation) -> None:
    opened = Opened(running, do="first_then_wait")
    assert opened.next() == b"first"
    began = time.monotonic()
    opened.read()
    assert opened.data == b"last"
    assert time.monotonic() - began > 1.0


def test_a_plain_answer_is_one_chunk(running: Installation) -> None:
    opened = Opened(running, do="plain")
    assert opened.next() == b'{"plain": true}'
    assert opened.read().data == b""
    assert "ErrorCode" not in opened.end


def test_a_streaming_handler_answers_a_plain_invoke_whole(running: Installation) -> None:
    with closing(running.client()) as client:
        answer = client.invoke(FunctionName="f", Payload=json.dumps({"do": "blocks", "count": 100}))
        assert "FunctionError" not in answer
        assert len(answer["Payload"].read()) == 100 * 32768
        answer = client.invoke(FunctionName="f", Payload=json.dumps({"do": "blocks", "count": 200}))
        assert answer["FunctionError"] == "Unhandled"
        assert json.loads(answer["Payload"].read())["errorType"] == "Function.ResponseSizeTooLarge"


@pytest.mark.parametrize(
    ("do", "code", "error_type", "message"),
    [
        ("raises", "Unhandled", "ValueError", "no"),
        ("exits", "Runtime.TruncatedResponse", "Runtime.TruncatedResponse", "exit status 3"),
        ("hangs", "Sandbox.Timedout", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
    ],
)
def test_a_failure_in_mid_stream_is_told_by_the_last_event(
    running: Installation, do: str, code: str, error_type: str, message: str
) -> None:
    name = f"fails-{do}"
    running.deploy(name, SOURCE, Timeout=1)
    opened = Opened(running, function=name, do=do).read()
    assert opened.data == b"half"
    assert opened.end["ErrorCode"] == code
    details = json.loads(opened.end["ErrorDetails"])
    assert details["errorType"] == error_type
    assert message in details["errorMessage"]
    assert opened.end["LogResult"]
    attempt = attempt_of(running, opened.request_id)
    assert (attempt["outcome"], attempt["error_type"]) == ("failed", error_type)


def test_an_unknown_function_is_an_http_error(running: Installation) -> None:
    client = running.client()
    with closing(client), pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke_with_response_stream(FunctionName="nobody", Payload=b"{}")


def test_a_client_that_goes_closes_the_generator_and_frees_the_slot(running: Installation) -> None:
    running.deploy("single", SOURCE, Timeout=60)
    with closing(running.client()) as client:
        client.put_function_concurrency(FunctionName="single", ReservedConcurrentExecutions=1)
    eventually(lambda: running.call("single", {"do": "plain"})[0] == 200)  # the worker has heard of the cap
    opened = Opened(running, function="single", do="endless")
    opened.next()
    eventually(lambda: running.call("single", {"do": "plain"})[0] == 429)
    opened.close()
    eventually(lambda: running.call("single", {"do": "plain"}) == (200, "", {"plain": True}), within_s=20)
    attempt = attempt_of(running, opened.request_id)
    assert (attempt["outcome"], attempt["error_type"]) == ("failed", "Runtime.ClientDisconnected")
    story = running.story(opened.request_id)
    text = "".join(line["text"] for line in story["logs"])
    assert "the generator was closed" in text
    assert "The client disconnected before the response was complete" in text


def stalled(installation: Installation, event: object, function: str = "f") -> socket.socket:
    """A client that has sent its request and reads nothing."""
    connection = socket.create_connection(("127.0.0.1", installation.port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    body = json.dumps(event).encode()
    connection.sendall(
        b"POST /2021-11-15/functions/%s/response-streaming-invocations HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (function.encode(), len(body), body)
    )
    return connection


def test_a_client_that_goes_before_the_first_piece_ends_the_function_too(running: Installation) -> None:
    running.deploy("silent", SOURCE, Timeout=60)

    def log() -> str:
        return "".join(line["text"] for line in running.admin("functions/silent/logs")["lines"])

    with closing(stalled(running, {"do": "silent"}, "silent")):
        eventually(lambda: "it runs" in log())
    eventually(lambda: "Runtime.ClientDisconnected" in log(), within_s=30)
    assert running.call("silent", {"do": "plain"}) == (200, "", {"plain": True})


def memory_mb(installation: Installation) -> dict[str, float]:
    """Resident memory of each process of ours, without the environments."""
    found = {}
    for name, process in installation.processes.items():
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        found[name] = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
    return found


def test_a_reader_that_stalls_holds_back_only_its_own_function_and_costs_little_memory(running: Installation) -> None:
    running.deploy("other", "def handler(event, context): return event")
    running.call("other", 1)
    Opened(running, do="blocks", count=300).read()
    before = memory_mb(running)
    connections = [stalled(running, {"do": "endless", "size": 1_000_000, "pause": 0}) for _ in range(3)]
    try:
        durations = []
        for number in range(200):
            began = time.monotonic()
            assert running.call("other", number) == (200, "", number)
            durations.append(time.monotonic() - began)
        assert sorted(durations)[100] < 0.1, "another function is not held back"
        assert Opened(running, do="first_then_wait").read().data == b"firstlast"
        after = memory_mb(running)
        # 16 pieces of 128 KB for each, and what sockets and allocators keep
        assert all(after[name] - before[name] < 30 for name in after), (before, after)
    finally:
        for connection in connections:
            connection.close()


def test_memory_stays_flat_while_much_more_than_it_passes_through(running: Installation) -> None:
    Opened(running, do="blocks", count=300).read()
    before = memory_mb(running)
    total = 0
    with running.http.stream(
        "POST",
        "/2021-11-15/functions/f/response-streaming-invocations",
        content=json.dumps({"do": "blocks", "count": 6400}),
    ) as answer:
        for piece in answer.iter_raw():
            total += len(piece)
    assert total > 6400 * 32768
    after = memory_mb(running)
    assert all(after[name] - before[name] < 20 for name in after), (before, after)


def test_the_command_line_prints_pieces_and_fails_with_the_function(running: Installation) -> None:
    done = running.command("invoke", "f", "--stream", "--event", '{"do": "first_then_wait"}')
    assert done.stdout == "firstlast"
    done = running.command("invoke", "f", "--stream", "--tail", "--event", '{"do": "raises"}', check=False)
    assert (done.returncode, done.stdout) == (1, "half")
    assert "[ERROR] ValueError: no" in done.stderr


def test_a_stream_of_a_worker_that_is_killed_ends_with_an_error(rabbitmq_url: str, tmp_path: Path) -> None:
    with Installation(tmp_path, rabbitmq_url) as installation:
        installation.start("api")
        for name in ("one", "two"):
            installation.start("worker", name)
        installation.deploy("f", SOURCE, Timeout=60)
        opened = Opened(installation, do="endless")
        opened.next()
        (busy,) = [name for name in ("one", "two") if environments_of(installation.processes[name])]
        installation.kill(busy)
        opened.read()
        assert opened.end["ErrorCode"] == "Sandbox.Failure"


def test_a_function_ends_when_the_process_that_asked_for_its_stream_is_killed(
    rabbitmq_url: str, tmp_path: Path
) -> None:
    with Installation(tmp_path, rabbitmq_url) as installation:
        for role in ("api", "worker"):
            installation.start(role)
        installation.deploy("f", SOURCE, Timeout=60)
        opened = Opened(installation, do="endless")
        opened.next()
        installation.kill("api")
        opened.close()
        installation.start("api", "another")
        attempt = attempt_of(installation, opened.request_id)
        assert attempt["error_type"] == "Runtime.ClientDisconnected"
