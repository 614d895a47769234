"""The administration API over HTTP, with the real store and the embedded broker."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select

from broker import names
from broker.envelope import Attempt, Envelope, encode
from broker.topology import function_queues
from fnrunner.catalogue.queues import attributes_of
from fnrunner.delivery.ledger import Ledger
from fnrunner.delivery.record import AcceptedEvent, AttemptRecord, LogChunk
from fnrunner.store import schema
from tests.api_server import CODE, ROLE, ApiServer

V1 = "/fnrunner/v1"
NOW_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def client(server: ApiServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url + V1, timeout=60) as running:
        yield running


def create(server: ApiServer, name: str, **more: Any) -> None:
    document = {
        "FunctionName": name, "Role": ROLE, "Runtime": "python3.12", "Handler": "app.handler",
        "Code": {"ZipFile": base64.b64encode(CODE).decode()}, **more,
    }  # fmt: skip
    assert httpx.post(f"{server.url}/2015-03-31/functions", json=document, timeout=60).status_code == 201


def write(server: ApiServer, *records: Any) -> None:
    async def work() -> None:
        ledger = Ledger(server.services.store)
        await ledger.start()
        for record in records:
            if isinstance(record, LogChunk):
                ledger.note_log(record)
            elif isinstance(record, AcceptedEvent):
                await ledger.accepted(record)
            else:
                await ledger.attempted(record)
        await ledger.close()

    server.run(work())


def file_letter(server: ApiServer, function: str, event_id: str, payload: bytes = b'{"a": 1}') -> None:
    envelope = Envelope(
        id=event_id, function=function, payload=payload, accepted_at_ms=NOW_MS, source="api",
        attempts=(Attempt(1, NOW_MS + 5, "ValueError", "no"),),
    )  # fmt: skip
    row = {
        "event_id": event_id, "redrives": 0, "function": function, "reason": "RetriesExhausted", "error_type": "ValueError",
        "error_message": "no", "at_ms": NOW_MS + 10, "state": "held", "envelope": encode(envelope), "digest": "",
        "traceparent": "",
    }  # fmt: skip
    server.run(server.services.store.write(lambda c: c.execute(insert(schema.dead_letter).values(row)) and None))


def error_of(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert error["message"]
    assert error["request_id"] == answer.headers["x-amzn-requestid"]
    return answer.status_code, error["code"]


DEFAULT_ATTRIBUTES = {
    "visibility_timeout_s": 30, "max_receive_count": None, "dead_letter_queue": "", "fifo": False
}  # fmt: skip


def test_a_queue_holds_what_is_sent_until_it_is_received(client: httpx.Client) -> None:
    assert client.put("/queues/orders", json={}).json() == {
        "name": "orders", "arn": "arn:aws:sqs:us-east-1:000000000000:orders", "attributes": DEFAULT_ATTRIBUTES
    }  # fmt: skip
    assert client.put("/queues/orders", json={}).status_code == 200
    sent = client.post(
        "/queues/orders/messages",
        json={
            "messages": [
                {"body": "é", "message_id": "m1", "headers": {"k": "v"}, "content_type": "text/plain"},
                {"body_base64": base64.b64encode(b"\xff\x00").decode()},
            ]
        },
    )
    assert sent.json()["message_ids"][0] == "m1"
    [listed] = [queue for queue in client.get("/queues").json()["queues"] if queue["name"] == "orders"]
    assert (listed["ready"], listed["consumers"]) == (2, 0)
    looked = client.post("/queues/orders/receive", json={"max": 10, "ack": False}).json()["messages"]
    assert [message.get("body") for message in looked] == ["é", None]
    received = client.post("/queues/orders/receive", json={"max": 10}).json()["messages"]
    first = next(message for message in received if message["message_id"] == "m1")
    assert (first["body"], first["headers"]["k"], first["content_type"], first["redelivered"]) == (
        "é", "v", "text/plain", True
    )  # fmt: skip
    second = next(message for message in received if message["message_id"] != "m1")
    assert base64.b64decode(second["body_base64"]) == b"\xff\x00"
    assert client.post("/queues/orders/receive", json={"max": 10}).json() == {"messages": []}
    assert client.get("/queues/orders").json()["ready"] == 0


@pytest.mark.parametrize("name", ["fnrunner.v1.events.f", "amq.direct", "a b", "x" * 201])
def test_names_that_are_not_the_users_are_refused(client: httpx.Client, name: str) -> None:
    for method, path in (("PUT", ""), ("POST", "/messages"), ("POST", "/receive")):
        answer = client.request(method, f"/queues/{name}{path}", json={"messages": [{"body": "x"}]})
        assert error_of(answer) == (400, "InvalidParameterValueException")


def test_a_queue_keeps_the_attributes_it_was_given(client: httpx.Client, server: ApiServer) -> None:
    client.put("/queues/kept", json={}).raise_for_status()
    client.put("/queues/kept-dead", json={}).raise_for_status()
    given = {"visibility_timeout_s": 90, "max_receive_count": 3, "dead_letter_queue": "kept-dead"}
    assert client.put("/queues/kept", json=given).json()["attributes"] == {**DEFAULT_ATTRIBUTES, **given}
    assert client.put("/queues/kept", json={"fifo": True}).json()["attributes"] == {**given, "fifo": True}
    assert client.put("/queues/kept", json={}).json()["attributes"] == {**given, "fifo": True}
    assert client.get("/queues/kept").json()["attributes"] == {**given, "fifo": True}
    [listed] = [queue for queue in client.get("/queues").json()["queues"] if queue["name"] == "kept"]
    assert listed["attributes"] == {**given, "fifo": True}
    stored = server.run(attributes_of(server.services.store, "kept"))
    assert (stored.visibility_timeout.total_seconds(), stored.max_receive_count, stored.fifo) == (90, 3, True)
    cleared = {"max_receive_count": None, "dead_letter_queue": ""}
    assert client.put("/queues/kept", json=cleared).json()["attributes"]["dead_letter_queue"] == ""


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"visibility_timeout_s": 43_201}, "0 to 43200"),
        ({"visibility_timeout_s": "30"}, "whole number"),
        ({"max_receive_count": 3}, "belong together"),
        ({"max_receive_count": 3, "dead_letter_queue": "nowhere"}, "fnrunner queue create nowhere"),
        ({"max_receive_count": 3, "dead_letter_queue": "faulty"}, "its own dead-letter queue"),
        ({"max_receive_count": 3, "dead_letter_queue": "fnrunner.v1.dead.f"}, "fnrunner's own"),
        ({"colour": "red"}, "no attribute colour"),
    ],
)
def test_attributes_that_cannot_be_make_no_queue(client: httpx.Client, document: Any, fault: str) -> None:
    answer = client.put("/queues/faulty", json=document)
    assert error_of(answer) == (400, "InvalidParameterValueException")
    assert fault in answer.json()["error"]["message"]
    assert client.get("/queues/faulty").status_code == 404


def test_a_queue_is_not_made_of_a_streams_name(client: httpx.Client) -> None:
    client.put("/streams/taken", json={}).raise_for_status()
    answer = client.put("/queues/taken", json={})
    assert error_of(answer)[0] == 400
    assert "exists already as a stream" in answer.json()["error"]["message"]


def test_purging_drops_what_waits(client: httpx.Client) -> None:
    client.put("/queues/full", json={}).raise_for_status()
    client.post("/queues/full/messages", json={"messages": [{"body": "a"}, {"body": "b"}]}).raise_for_status()
    assert client.post("/queues/full/purge", json={}).json() == {"name": "full", "purged": 2}
    assert client.get("/queues/full").json()["ready"] == 0
    assert error_of(client.post("/queues/fnrunner.v1.events.f/purge", json={}))[0] == 400
    assert error_of(client.post("/queues/nowhere/purge", json={}))[0] == 404


def test_a_queue_that_is_not_there_says_how_to_make_it(client: httpx.Client) -> None:
    for answer in (
        client.get("/queues/missing"),
        client.post("/queues/missing/messages", json={"messages": [{"body": "x"}]}),
        client.post("/queues/missing/receive", json={}),
    ):
        assert error_of(answer) == (404, "ResourceNotFoundException")


@pytest.mark.parametrize(
    "document",
    [
        {}, {"messages": []}, {"messages": [{}]}, {"messages": [{"body": "a", "body_base64": "YQ=="}]},
        {"messages": [{"body": 1}]}, {"messages": [{"body": "a", "headers": {"k": 1}}]}, {"messages": [{"body_base64": "?"}]},
        {"messages": [{"body": "a", "more": 1}]}, {"messages": "a"}, {"messages": [{"body": "a"}], "more": 1},
    ],
)  # fmt: skip
def test_a_malformed_message_sends_nothing(client: httpx.Client, document: dict[str, Any]) -> None:
    client.put("/queues/strict", json={})
    answer = client.post("/queues/strict/messages", json=document)
    assert error_of(answer) == (400, "InvalidRequestContentException")
    assert client.get("/queues/strict").json()["ready"] == 0


def test_a_stream_with_partitions_keeps_the_records_of_a_key_together(client: httpx.Client, server: ApiServer) -> None:
    made = client.put("/streams/clicks", json={"partitions": 3}).json()
    assert made["partitions"] == ["clicks-0", "clicks-1", "clicks-2"]
    assert client.put("/streams/clicks", json={"partitions": 3}).status_code == 200
    assert error_of(client.put("/streams/clicks", json={"partitions": 2})) == (409, "ResourceConflictException")
    records = [{"key": f"k{number % 5}", "data": {"n": number}} for number in range(50)]
    stored = client.post("/streams/clicks/records", json={"records": records}).json()
    assert (stored["stored"], sum(stored["by_partition"].values())) == (50, 50)
    seen: dict[str, list[int]] = {}
    homes: dict[str, set[str]] = {}
    for partition in made["partitions"]:
        for message in read_stream(server, partition, stored["by_partition"][partition]):
            key = message.headers["partition-key"]
            homes.setdefault(key, set()).add(partition)
            seen.setdefault(key, []).append(json.loads(message.body)["n"])
    assert all(len(home) == 1 for home in homes.values())
    assert seen == {f"k{key}": list(range(key, 50, 5)) for key in range(5)}


def read_stream(server: ApiServer, queue: str, count: int) -> list[Any]:
    import asyncio

    async def work() -> list[Any]:
        got: list[Any] = []
        enough = asyncio.Event()

        def take(delivery: Any) -> None:
            got.append(delivery)
            if len(got) >= count:
                enough.set()

        if not count:
            return []
        subscription = await server.services.broker.subscribe(queue, take, prefetch=100, offset="first")
        async with asyncio.timeout(30):
            await enough.wait()
        await subscription.cancel()
        for delivery in got:
            await delivery.ack()
        return [delivery.message for delivery in got]

    found: list[Any] = server.run(work())
    return found


def test_a_stream_of_one_partition_has_its_own_name_and_takes_json_lines(client: httpx.Client) -> None:
    assert client.put("/streams/plain", json={}).json()["partitions"] == ["plain"]
    lines = b'{"key": "a", "data": "text"}\n\n{"data": [1, 2]}\n'
    assert client.post("/streams/plain/records", content=lines).json() == {"stored": 2, "by_partition": {"plain": 2}}
    assert {stream["name"] for stream in client.get("/streams").json()["streams"]} >= {"plain"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"records": {}}', b'{"data": 1, "more": 2}', b'{"key": 1, "data": 2}', b"[1]", b'{"data": 1}\n{'],
)
def test_malformed_records_are_refused_before_any_is_stored(client: httpx.Client, body: bytes) -> None:
    client.put("/streams/strict-stream", json={})
    assert error_of(client.post("/streams/strict-stream/records", content=body)) == (
        400,
        "InvalidRequestContentException",
    )


def test_records_need_a_stream(client: httpx.Client) -> None:
    answer = client.post("/streams/missing/records", json={"records": [{"data": 1}]})
    assert error_of(answer) == (404, "ResourceNotFoundException")


def test_dead_letters_are_listed_shown_edited_redriven_and_purged(client: httpx.Client, server: ApiServer) -> None:
    create(server, "letters")
    server.run(server.services.broker.declare(function_queues("letters")))
    for number in range(4):
        file_letter(server, "letters", f"e{number}")
    path = "/functions/letters/dead-letters"
    first = client.get(path, params={"limit": 3}).json()
    assert [letter["event_id"] for letter in first["dead_letters"]] == ["e0", "e1", "e2"]
    rest = client.get(path, params={"limit": 3, "cursor": first["cursor"]}).json()
    assert [letter["event_id"] for letter in rest["dead_letters"]] == ["e3"]
    assert "cursor" not in rest
    shown = client.get(f"{path}/e0").json()
    assert (shown["payload"], shown["edited"], shown["attempts"][0]["error_type"]) == ('{"a": 1}', False, "ValueError")
    edited = client.put(f"{path}/e0", content=b'{"a": 2}').json()
    assert (edited["payload"], edited["original"], edited["edited"]) == ('{"a": 2}', '{"a": 1}', True)
    assert error_of(client.put(f"{path}/e0", content=b"{")) == (400, "InvalidRequestContentException")
    done = client.post(f"{path}/redrive", json={"ids": ["e0", "none"]}).json()
    assert (done["redriven"], [one["event_id"] for one in done["refused"]]) == (["e0"], ["none"])
    delivery = server.run(server.services.broker.get(names.events("letters")))
    assert delivery.message.message_id == "e0"
    server.run(delivery.ack())
    assert client.post(f"{path}/purge", json={"ids": ["e1"]}).json() == {"purged": 1}
    assert error_of(client.put(f"{path}/e1", content=b"{}")) == (409, "ResourceConflictException")
    assert client.post(f"{path}/redrive", json={"all": True}).json() == {
        "redriven": ["e2", "e3"],
        "refused": [],
        "pending": [],
    }
    states = {one["event_id"]: one["state"] for one in client.get(path, params={"state": "all"}).json()["dead_letters"]}
    assert states == {"e0": "redriven", "e1": "purged", "e2": "redriven", "e3": "redriven"}


@pytest.mark.parametrize(
    "document", [{}, {"all": False}, {"ids": []}, {"ids": ["a"], "all": True}, {"ids": [1]}, {"all": 1}]
)
@pytest.mark.parametrize("action", ["redrive", "purge"])
def test_nobody_purges_or_redrives_by_leaving_something_out(
    client: httpx.Client, server: ApiServer, document: dict[str, Any], action: str
) -> None:
    answer = client.post(f"/functions/letters/dead-letters/{action}", json=document)
    assert error_of(answer) == (400, "InvalidRequestContentException")


def test_a_dead_letter_that_is_not_there_is_404(client: httpx.Client) -> None:
    assert error_of(client.get("/functions/nobody/dead-letters/e9")) == (404, "ResourceNotFoundException")
    answer = client.get("/functions/nobody/dead-letters", params={"state": "lost"})
    assert error_of(answer) == (400, "InvalidParameterValueException")


def attempt(event_id: str, started_ms: int, **more: Any) -> AttemptRecord:
    return AttemptRecord(
        event_id=event_id, function=more.pop("function", "talker"), number=1, started_ms=started_ms,
        ended_ms=started_ms + 10, outcome=more.pop("outcome", "succeeded"), duration_ms=9.5, billed_ms=10, memory_mb=128,
        max_memory_mb=40, log_stream="s", **more,
    )  # fmt: skip


def test_a_log_reads_as_on_lambda_and_the_cursor_neither_misses_nor_repeats(
    client: httpx.Client, server: ApiServer
) -> None:
    path = "/functions/talker/logs"
    for number in range(3):
        write(server, LogChunk("talker", f"r{number}", "s", NOW_MS + 100 * number + 5, f"hello {number}\n"))
        write(server, attempt(f"r{number}", NOW_MS + 100 * number))
    write(server, attempt("r9", NOW_MS + 900, outcome="throttled"))
    whole = client.get(path).json()
    texts = [line["text"] for line in whole["lines"]]
    assert texts[:3] == [
        "START RequestId: r0 Version: $LATEST\n",
        "hello 0\n",
        "END RequestId: r0\nREPORT RequestId: r0\tDuration: 9.50 ms\tBilled Duration: 10 ms\tMemory Size: 128 MB\t"
        "Max Memory Used: 40 MB\t\n",
    ]
    assert len(texts) == 9
    assert client.get(path, params={"cursor": whole["cursor"]}).json() == {"lines": [], "cursor": whole["cursor"]}
    paged, cursor = [], ""
    while page := client.get(path, params={"cursor": cursor, "limit": 1}).json():
        if not page["lines"]:
            break
        paged += [line["text"] for line in page["lines"]]
        cursor = page["cursor"]
    assert sorted(paged) == sorted(texts)
    only = client.get(path, params={"request_id": "r1", "filter": "HELLO"}).json()["lines"]
    assert [(line["request_id"], line["text"]) for line in only] == [("r1", "hello 1\n")]
    late = client.get(path, params={"since_ms": NOW_MS + 200}).json()["lines"]
    assert {line["request_id"] for line in late} == {"r2"}


@pytest.mark.parametrize(
    ("level", "outcome", "types"),
    [
        ("INFO", "succeeded", ["platform.initStart", "platform.start", "platform.report"]),
        ("WARN", "succeeded", []),
        ("WARN", "failed", ["platform.report"]),
    ],
)
def test_a_log_in_json_has_the_platforms_lines_in_json_down_to_their_level(
    client: httpx.Client, server: ApiServer, level: str, outcome: str, types: list[str]
) -> None:
    name = f"teller-in-json-{level}-{outcome}"
    create(server, name, LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": level})
    cold = attempt("r", NOW_MS, function=name, outcome=outcome, init_ms=5.0, runtime_version="python:3.13.v2")
    write(server, LogChunk(name, "r", "s", NOW_MS + 5, "{}\n"), cold)
    whole = "".join(line["text"] for line in client.get(f"/functions/{name}/logs").json()["lines"])
    told = [json.loads(line) for line in whole.splitlines()]
    assert [line["type"] for line in told if line] == types
    assert told.count({}) == 1
    for line in told:
        if line and line["type"] == "platform.initStart":
            assert line["record"]["runtimeVersion"] == "python:3.13.v2"
            assert line["record"]["functionName"] == name


def test_following_a_log_waits_until_something_is_written(client: httpx.Client, server: ApiServer) -> None:
    path = "/functions/slow-talker/logs"
    cursor = client.get(path).json()["cursor"]
    answers: list[Any] = []

    def follow() -> None:
        answers.append(httpx.get(f"{server.url}{V1}{path}", params={"cursor": cursor, "wait_s": 20}, timeout=60).json())

    follower = threading.Thread(target=follow)
    began = time.monotonic()
    follower.start()
    write(server, LogChunk("slow-talker", "r", "s", NOW_MS, "at last\n"))
    follower.join(60)
    assert time.monotonic() - began < 15
    assert [line["text"] for line in answers[0]["lines"]] == ["at last\n"]
    began = time.monotonic()
    empty = client.get(path, params={"cursor": answers[0]["cursor"], "wait_s": 1}).json()
    assert empty["lines"] == []
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("cursor", ["x", "1", "1.", ".1", "1.2.3", "-1.2", "²." * 3, "9" * 30 + ".1"])
def test_a_cursor_that_no_page_gave_is_refused(client: httpx.Client, cursor: str) -> None:
    answer = client.get("/functions/talker/logs", params={"cursor": cursor})
    assert error_of(answer) == (400, "InvalidParameterValueException")


def test_the_story_of_an_event_is_told(client: httpx.Client, server: ApiServer) -> None:
    write(
        server, AcceptedEvent("tale", "teller", NOW_MS), LogChunk("teller", "tale", "s", NOW_MS + 1, "once\n"),
        attempt("tale", NOW_MS, function="teller"),
    )  # fmt: skip
    story = client.get("/events/tale").json()
    assert (story["function"], story["state"]) == ("teller", "succeeded")
    assert story["accepted"]["at_ms"] == NOW_MS
    assert [one["outcome"] for one in story["attempts"]] == ["succeeded"]
    assert [chunk["text"] for chunk in story["logs"]] == ["once\n"]
    assert error_of(client.get("/events/unheard-of")) == (404, "ResourceNotFoundException")


def test_the_audit_balances_and_says_when_it_does_not(client: httpx.Client, server: ApiServer) -> None:
    write(server, AcceptedEvent("kept", "books", NOW_MS), attempt("kept", NOW_MS, function="books"))
    good = client.get("/audit", params={"function": "books"}).json()
    assert (good["balanced"], good["functions"][0]["accepted"], good["functions"][0]["succeeded"]) == (True, 1, 1)
    write(server, AcceptedEvent("lost", "leaky", NOW_MS))
    bad = client.get("/audit", params={"function": "leaky"}).json()
    assert (bad["balanced"], bad["functions"][0]["missing_ids"]) == (False, ["lost"])


def test_buckets_and_notifications_are_put_and_listed(client: httpx.Client, server: ApiServer) -> None:
    create(server, "thumbs")
    assert client.put("/buckets/photos", json={"directory": "/srv/photos"}).json() == {
        "name": "photos", "arn": "arn:aws:s3:::photos", "directory": "/srv/photos"
    }  # fmt: skip
    assert [bucket["name"] for bucket in client.get("/buckets").json()["buckets"]] == ["photos"]
    path = "/functions/thumbs/notifications"
    wanted = [{"id": "n", "bucket": "photos", "events": ["s3:ObjectCreated:Put"], "suffix": ".jpg"}]
    saved = client.put(path, json={"notifications": wanted}).json()["notifications"]
    assert saved == client.get(path).json()["notifications"]
    assert saved == [
        {"id": "n", "bucket": "photos", "function": "thumbs", "qualifier": "", "events": ["s3:ObjectCreated:Put"],
         "prefix": "", "suffix": ".jpg"}
    ]  # fmt: skip
    missing = client.put(path, json={"notifications": [{"id": "n", "bucket": "nowhere"}]})
    assert error_of(missing)[0] == 404
    assert client.get(path).json()["notifications"] == saved
    assert client.put(path, json={"notifications": []}).json() == {"notifications": []}
    assert error_of(client.put("/buckets/photos", json={"directory": "photos"})) == (
        400,
        "InvalidParameterValueException",
    )
    assert error_of(client.get("/functions/nobody/notifications")) == (404, "ResourceNotFoundException")


def test_a_bucket_is_removed_unless_it_invokes_functions(
    client: httpx.Client, server: ApiServer, tmp_path: Path
) -> None:
    def listed() -> list[str]:
        return [bucket["name"] for bucket in client.get("/buckets").json()["buckets"]]

    (tmp_path / "file").write_text("stays")
    client.put("/buckets/removed", json={"directory": str(tmp_path)})
    for name in ("resize", "labels"):
        create(server, name)
        client.put(f"/functions/{name}/notifications", json={"notifications": [{"bucket": "removed"}]})
    refused = client.delete("/buckets/removed")
    assert error_of(refused) == (409, "BucketInUse")
    assert refused.json()["error"]["message"] == "The bucket removed invokes labels, resize"
    assert refused.json()["error"]["remedy"]
    for name in ("resize", "labels"):
        assert "removed" in listed()
        client.put(f"/functions/{name}/notifications", json={"notifications": []})
    removed = client.delete("/buckets/removed")
    assert (removed.status_code, removed.content) == (204, b"")
    assert "removed" not in listed()
    assert (tmp_path / "file").read_text() == "stays"
    assert error_of(client.delete("/buckets/removed")) == (404, "NoSuchBucket")


def test_the_status_names_every_part(client: httpx.Client, server: ApiServer) -> None:
    row = {
        "id": "w1", "host": "h", "pid": 1, "process_start": "1", "boot_id": "b", "zone": "", "capacity": 16,
        "started_ms": NOW_MS, "heartbeat_ms": int(time.time() * 1000), "in_flight": "[]",
    }  # fmt: skip
    silent = {**row, "id": "w2", "heartbeat_ms": NOW_MS}
    server.run(server.services.store.write(lambda c: c.execute(insert(schema.worker), [row, silent]) and None))
    status = client.get("/status").json()
    assert (status["version"], status["region"], status["health"]["roles"]) == ("9.9.9", "us-east-1", ["api"])
    assert (status["broker"]["kind"], status["broker"]["state"]) == ("embedded", "connected")
    assert (status["store"]["kind"], status["store"]["fault"]) == ("sqlite", "")
    assert {worker["id"]: worker["state"] for worker in status["workers"]} == {"w1": "alive", "w2": "silent"}


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", "/audit", 405), ("GET", "", 404)]
)
def test_what_is_not_there_answers_in_the_same_shape(client: httpx.Client, method: str, path: str, status: int) -> None:
    assert error_of(client.request(method, path))[0] == status


def test_created_queues_are_remembered_once(client: httpx.Client, server: ApiServer) -> None:
    for _ in range(2):
        client.put("/queues/once", json={})
    table = schema.broker_queue
    rows = server.run(
        server.services.store.read(lambda c: c.execute(select(table).where(table.c.name == "once")).all())
    )
    assert [(row.name, row.kind) for row in rows] == [("once", "quorum")]
