"""What goes wrong around fnrunner, and what it gets: a clear error, and nothing lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from broker import names
from broker.message import Message
from broker.rabbitmq import RabbitMQBroker
from tests.installation import Installation, eventually
from tests.rabbitmq_server import RabbitMQServer, free_port

CODE = """
    import os
    def handler(event, context):
        return {"x": os.environ["_X_AMZN_TRACE_ID"], "w": os.environ["TRACEPARENT"]}
"""


@pytest.fixture
def on_rabbitmq(private_rabbitmq: RabbitMQServer) -> Iterator[tuple[Installation, RabbitMQServer]]:
    """An API and a worker on a RabbitMQ of their own."""
    with TemporaryDirectory() as directory, Installation(Path(directory), private_rabbitmq.url) as installation:
        for role in ("api", "worker"):
            installation.start(role)
        yield installation, private_rabbitmq


def put_on(server: RabbitMQServer, queue: str, body: bytes) -> None:
    async def publish() -> None:
        broker = RabbitMQBroker(server.url, delays=[timedelta(seconds=1)])
        await broker.start()
        await broker.publish(Message(body, content_type="text/plain"), routing_key=queue)
        await broker.close()

    asyncio.run(publish())


def test_foreign_messages_on_a_functions_queue_are_dead_letters_with_the_reason(
    on_rabbitmq: tuple[Installation, RabbitMQServer],
) -> None:
    installation, server = on_rabbitmq
    installation.deploy("f", CODE)
    assert eventually(lambda: installation.call("f", {})[0] == 200)
    for body in (b"", b"hello", b'{"json": 1}', b"\x93\x01\x02\x03", b"\x81\xa1v\x01"):
        put_on(server, names.events("f"), body)
    letters = eventually(lambda: len(found := installation.dead_letters("f")) == 5 and found)
    assert {letter["reason"] for letter in letters} == {"Undecodable"}
    assert all(letter["error_message"] for letter in letters)
    # the function goes on
    assert installation.call("f", {})[0] == 200
    # one whose body is JSON can be sent again as an event
    shown = {letter["event_id"] for letter in letters}
    answer = installation.http.post("/fnrunner/v1/functions/f/dead-letters/redrive", json={"ids": sorted(shown)}).json()
    assert len(answer["redriven"]) == 1 if isinstance(answer["redriven"], list) else answer["redriven"] == 1


def test_a_memory_alarm_refuses_events_at_once_and_everything_resumes(
    on_rabbitmq: tuple[Installation, RabbitMQServer],
) -> None:
    installation, server = on_rabbitmq
    installation.deploy("f", CODE)
    assert eventually(lambda: installation.call("f", {})[0] == 200)
    server.raise_memory_alarm()
    try:

        def refused() -> httpx.Response:
            path = "/2015-03-31/functions/f/invocations"
            return installation.http.post(path, content=b"{}", headers={"X-Amz-Invocation-Type": "Event"}, timeout=60)

        # RabbitMQ tells of its alarm when somebody publishes: the first one waits, the others hear at once
        assert refused().status_code == 503
        began = time.monotonic()
        answer = refused()
        assert (answer.status_code, time.monotonic() - began < 2) == (503, True)
        assert "The broker is blocked" in answer.json()["Message"]
        problem = installation.http.get("/readyz").json()["problems"][0]
        assert problem["part"] == "broker"
    finally:
        server.clear_memory_alarm()
    eventually(lambda: installation.http.get("/readyz").status_code == 200, within_s=30)
    event_id = installation.send("f", {})
    # the one that waited may have been taken when the alarm was over: then it ran, and is counted
    assert installation.settled("f", 1)["missing"] == 0
    assert installation.story(event_id)["attempts"][-1]["outcome"] == "succeeded"


def test_two_dev_on_one_data_directory_are_refused_by_name(dev: Installation) -> None:
    second = dev.start("dev", "second", wait=False, FNRUNNER_PORT=str(free_port()))
    assert second.wait(timeout=60) != 0
    said = dev.log("second")
    assert str(dev.processes["dev"].pid) in said
    assert "--data-dir" in said
    assert "Traceback" not in said
    assert dev.http.get("/readyz").status_code == 200


def test_a_port_that_is_in_use_is_said_with_the_remedy(dev: Installation) -> None:
    other = dev.start("dev", "other", wait=False, FNRUNNER_DATA_DIR=str(dev.directory / "other"))
    assert other.wait(timeout=60) != 0
    assert f"127.0.0.1:{dev.port}" in dev.log("other")
    assert "--port" in dev.log("other")


def test_a_worker_waits_for_a_broker_that_is_down_and_says_so(tmp_path: Path, private_rabbitmq: RabbitMQServer) -> None:
    private_rabbitmq.stop()
    with Installation(tmp_path, private_rabbitmq.url, FNRUNNER_CONNECT_TIMEOUT_S="2") as installation:
        worker = installation.start("worker", wait=False)
        eventually(lambda: "waiting: " in installation.log("worker"))
        assert worker.poll() is None
        assert "guest:guest" not in installation.log("worker")
        private_rabbitmq.start()
        eventually(lambda: "works for" in installation.log("worker"))


def test_a_wrong_password_ends_the_start_with_the_remedy(tmp_path: Path, private_rabbitmq: RabbitMQServer) -> None:
    url = private_rabbitmq.url.replace("guest:guest", "guest:wrong-secret")
    assert url != private_rabbitmq.url
    with Installation(tmp_path, url) as installation:
        worker = installation.start("worker", wait=False)
        assert worker.wait(timeout=60) != 0
        said = installation.log("worker")
        assert "FNRUNNER_BROKER_URL" in said or "broker URL" in said
        assert "wrong-secret" not in said


def test_a_function_is_told_its_trace_and_a_dead_exporter_costs_nothing(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with Installation(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=nobody) as installation:
        installation.start("dev")
        installation.deploy("f", CODE)
        answer = installation.http.post(
            "/2015-03-31/functions/f/invocations",
            content=b"{}",
            headers={"X-Amzn-Trace-Id": "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1"},
        )
        seen = json.loads(answer.content)
        assert "1-0af76519-16cd43dd8448eb211c80319c" in seen["x"]
        assert seen["w"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
        for _ in range(50):
            installation.send("f", {})
        assert installation.settled("f", 50)["succeeded"] == 50


def test_a_payload_that_is_too_large_or_no_json_is_refused_and_nothing_is_accepted(
    dev: Installation, name: str
) -> None:
    dev.deploy(name, CODE)

    def answer(content: bytes) -> tuple[int, str]:
        path = f"/2015-03-31/functions/{name}/invocations"
        got = dev.http.post(path, content=content, headers={"X-Amz-Invocation-Type": "Event"})
        return got.status_code, got.headers["x-amzn-errortype"]

    assert answer(b'"' + b"x" * (1024 * 1024) + b'"') == (413, "RequestEntityTooLargeException")
    assert answer(b"{") == (400, "InvalidRequestContentException")
    assert answer(b"[" * 500_000 + b"]" * 500_000) == (400, "InvalidRequestContentException")
    assert dev.call("nobody", {})[0] == 404
    assert dev.balance(name).get("accepted", 0) == 0
