"""The Telemetry API and the older Logs API: subscriptions, and what arrives where they point."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fnrunner.model.invocation import Succeeded
from tests.integration.environment_kit import invocation, kit
from tests.integration.runtime_api_kit import ApiKit


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[ApiKit]:
    async with kit("full", tmp_path) as full:
        yield ApiKit(full, tmp_path / "opt")


@pytest.fixture(params=["namespace", "bare"])
async def each(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ApiKit]:
    """For what depends on the sandbox."""
    async with kit(request.param, tmp_path) as sandboxed:
        yield ApiKit(sandboxed, tmp_path / "opt")


SUBSCRIBER = """
import threading, http.server
arrived = open(FILE, "ab", buffering=0)

class Take(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        global REFUSING
        if REFUSING:
            REFUSING -= 1
            self.send_response(500)
        else:
            for event in json.loads(body):
                arrived.write(json.dumps(event).encode() + b"\\n")
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

if PROTOCOL == "HTTP":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Take)
    port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    destination = {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{port}/take"}
else:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    destination = {"protocol": "TCP", "port": port}
    def listen():
        while True:
            one, _ = listener.accept()
            with one:
                while data := one.recv(65536):
                    arrived.write(data)
    threading.Thread(target=listen, daemon=True).start()
api = extension("INVOKE", "SHUTDOWN")
body = {"types": TYPES, "destination": destination, "buffering": {"timeoutMs": 50}} | MORE
status, _, said = api("PUT", PATH, json.dumps(body), api.id)
assert (status, said) == (200, b'"OK"'), said
while api.event()["eventType"] != "SHUTDOWN":
    pass
time.sleep(0.3)
"""


def subscribe(
    made: ApiKit,
    *types: str,
    protocol: str = "HTTP",
    path: str = "/2022-07-01/telemetry",
    refusing: int = 0,
    **more: Any,
) -> Path:
    """An extension that writes every event that it gets as a line of the file, after ``refusing`` refusals."""
    file = made.opt / "arrived"
    values = {"FILE": str(file), "PROTOCOL": protocol, "TYPES": types, "PATH": path, "REFUSING": refusing, "MORE": more}
    made.extension("taker", "".join(f"{name} = {value!r}\n" for name, value in values.items()) + SUBSCRIBER)
    return file


def events(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def until(file: Path, kind: str, number: int = 1) -> list[dict[str, Any]]:
    """Everything, once so many events of this type have arrived."""
    for _ in range(500):
        if sum(event["type"] == kind for event in events(file)) >= number:
            return events(file)
        await asyncio.sleep(0.02)
    raise AssertionError(f"no {kind} in {events(file)}")


PRINTING = """
def handler(event, headers):
    print("one", flush=True)
    print(json.dumps({"two": 2}), flush=True)
    return json.dumps(event)
serve(handler)
"""


@pytest.mark.parametrize("protocol", ["HTTP", "TCP"])
async def test_a_subscriber_gets_the_platforms_events_and_the_functions_lines(made: ApiKit, protocol: str) -> None:
    file = subscribe(made, "platform", "function", protocol=protocol)
    environment = await made.started(PRINTING)
    assert (await environment.invoke(invocation(b'"abc"', xray="Root=1"))).outcome == Succeeded(b'"abc"')
    seen = await until(file, "platform.report")
    assert [event["type"] for event in seen] == [
        "platform.initStart",
        "platform.telemetrySubscription",
        "platform.extension",
        "platform.initRuntimeDone",
        "platform.initReport",
        "platform.start",
        "function",
        "function",
        "platform.runtimeDone",
        "platform.report",
    ]
    records = {event["type"]: event["record"] for event in seen}
    assert records["platform.initStart"]["functionName"] == "f"
    assert records["platform.initReport"]["status"] == "success"
    assert records["platform.telemetrySubscription"] == {
        "name": "taker",
        "state": "Subscribed",
        "types": ["platform", "function"],
    }
    assert records["platform.extension"] == {"name": "taker", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]}
    assert records["platform.start"]["requestId"] == "request-1"
    assert records["platform.start"]["tracing"] == {"type": "X-Amzn-Trace-Id", "value": "Root=1"}
    done = records["platform.runtimeDone"]
    assert (done["status"], done["metrics"]["producedBytes"]) == ("success", 5)
    assert done["spans"][0]["name"] == "responseLatency"
    metrics = records["platform.report"]["metrics"]
    assert metrics.keys() == {
        "durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB", "initDurationMs",
    }  # fmt: skip
    assert metrics["maxMemoryUsedMB"] > 0
    assert [event["record"] for event in seen if event["type"] == "function"] == ["one", '{"two": 2}']
    assert all(event["time"].endswith("Z") and len(event["time"]) == 24 for event in seen)


async def test_lines_of_json_are_objects_where_the_log_format_is_json(each: ApiKit) -> None:
    file = subscribe(each, "function")
    environment = await each.started(PRINTING, log_format="JSON")
    await environment.invoke(invocation())
    seen = await until(file, "function", 2)
    assert [event["record"] for event in seen] == ["one", {"two": 2}]


async def test_errors_are_told_with_their_type(made: ApiKit) -> None:
    file = subscribe(made, "platform")
    environment = await made.started("""
    api = Api()
    id, _, _ = api.next()
    api.error(id, '{"errorType": "A", "errorMessage": "b"}', {"Lambda-Runtime-Function-Error-Type": "Function.Mine"})
    api.next()
    sys.exit(1)
    """)
    await environment.invoke(invocation())
    seen = await until(file, "platform.report")
    done = next(event["record"] for event in seen if event["type"] == "platform.runtimeDone")
    assert (done["status"], done["errorType"]) == ("error", "Function.Mine")
    await environment.invoke(invocation(request_id="request-2"))
    last = [event["record"] for event in events(file) if event["type"] == "platform.report"][-1]
    assert (last["requestId"], last["status"], last["errorType"]) == ("request-2", "failure", "Runtime.ExitError")


async def test_the_logs_api_has_its_own_events(made: ApiKit) -> None:
    file = subscribe(made, "platform", path="/2020-08-15/logs", schemaVersion="2020-08-15")
    environment = await made.started()
    await environment.invoke(invocation())
    seen = await until(file, "platform.report")
    assert [event["type"] for event in seen] == [
        "platform.logsSubscription",
        "platform.extension",
        "platform.start",
        "platform.end",
        "platform.report",
    ]


async def test_what_is_still_buffered_is_delivered_at_the_end(made: ApiKit) -> None:
    file = subscribe(made, "function", buffering={"timeoutMs": 10_000})
    environment = await made.started(PRINTING)
    await environment.invoke(invocation())
    assert events(file) == []
    await environment.stop(timedelta(seconds=10))
    assert [event["record"] for event in events(file)] == ["one", '{"two": 2}']


async def test_many_events_come_in_full_batches_in_order(made: ApiKit) -> None:
    file = subscribe(made, "function", buffering={"maxItems": 25, "timeoutMs": 10_000})
    environment = await made.started("serve(lambda event, headers: [print(n, flush=True) for n in range(500)] and '1')")
    await environment.invoke(invocation())
    await environment.stop(timedelta(seconds=10))
    assert [event["record"] for event in events(file)] == [str(number) for number in range(500)]


async def test_a_subscriber_that_refuses_does_not_hold_up_anything(made: ApiKit) -> None:
    subscribe(made, "platform", "function", refusing=10_000)
    environment = await made.started(PRINTING)
    for number in range(20):
        outcome = (await environment.invoke(invocation(b"%d" % number))).outcome
        assert outcome == Succeeded(b"%d" % number)


async def test_what_was_refused_is_delivered_again(made: ApiKit) -> None:
    file = subscribe(made, "function", refusing=2)
    environment = await made.started(PRINTING)
    await environment.invoke(invocation())
    seen = await until(file, "function", 2)
    assert [event["record"] for event in seen] == ["one", '{"two": 2}']


async def test_what_is_refused_too_often_is_dropped_and_counted(made: ApiKit) -> None:
    file = subscribe(made, "platform", "function", refusing=4)
    environment = await made.started(PRINTING)
    await environment.invoke(invocation())
    told = (await until(file, "platform.logsDropped"))[-1]
    assert told["record"]["droppedRecords"] > 0
    assert told["record"]["droppedBytes"] > 100


async def test_faulty_subscriptions_are_refused_with_every_mistake(made: ApiKit) -> None:
    environment = await made.started("""
    api, told = Api(), []
    one = extension("INVOKE", name="inside")
    for body in ('{"types": [], "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain"}}', "no json", "[]"):
        status, _, said = api("PUT", "/2022-07-01/telemetry", body, one.id)
        told.append([status, json.loads(said)["errorType"], json.loads(said)["errorMessage"]])
    status, _, said = api("PUT", "/2022-07-01/telemetry", "{}", {})
    told.append([status, json.loads(said)["errorType"]])
    print(json.dumps(told), flush=True)
    sys.exit(1)
    """)
    logs = (await environment.invoke(invocation())).logs
    first, second, third, last = json.loads(logs.split(b"\n")[0])
    assert first == [400, "ValidationError", "types should not be empty; URI port is not provided"]
    assert second[:2] == [403, "InvalidRequestFormat"]
    assert third == [400, "ValidationError", "the body should be a JSON object"]
    assert last == [403, "Extension.MissingExtensionIdentifier"]


async def test_nobody_can_subscribe_after_the_initialisation(made: ApiKit) -> None:
    environment = await made.started("""
    import threading
    inside = extension("INVOKE", name="inside")
    def listen():
        while True:
            inside.event()
    threading.Thread(target=listen, daemon=True).start()
    body = '{"types": ["platform"], "destination": {"protocol": "TCP", "port": 1}}'
    other = Api()
    def handler(event, headers):
        status, _, said = other("PUT", "/2022-07-01/telemetry", body, inside.id)
        return json.dumps([status, json.loads(said)["errorType"]])
    serve(handler)
    """)
    outcome = (await environment.invoke(invocation())).outcome
    assert outcome == Succeeded(b'[403, "Telemetry.SubscriptionClosed"]')
