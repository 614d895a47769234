"""Every command against the real API, catalogue, store and embedded broker; functions are played by a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.envelope import Envelope, encode
from fnrunner.cli.main import run
from fnrunner.delivery.archivist import file_letters
from fnrunner.delivery.letter import FiledLetter
from fnrunner.delivery.record import AcceptedEvent, AttemptRecord, LogChunk, insert_all
from fnrunner.invoke.errors import Throttled
from fnrunner.model.function import Notification
from fnrunner.model.invocation import ThrottleReason
from tests.api_server import ApiServer, Result, Streamed

EVENT = "0b1c8a1e-0000-4000-8000-000000000001"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path / "data") as found:
        yield found


@pytest.fixture
def deployed(cli: Command, tmp_path: Path) -> str:
    folder = tmp_path / "hello"
    folder.mkdir()
    (folder / "app.py").write_text("def handler(event, context): return event\n")
    assert cli("deploy", str(folder))[0] == 0
    return "hello"


def document(found: tuple[int, str, str]) -> Any:
    assert found[0] == 0, found
    return json.loads(found[1])


def file_letter(server: ApiServer, event_id: str = EVENT, payload: bytes = b'{"n": 1}') -> None:
    """A held dead letter, as the archivist files it."""
    envelope = Envelope(id=event_id, function="hello", payload=payload, accepted_at_ms=1_000)
    letter = FiledLetter(
        event_id=event_id, redrives=0, function="hello", reason="RetriesExhausted", error_type="ValueError",
        error_message="bad", at_ms=9_000, envelope=encode(envelope), digest="", traceparent="",
    )  # fmt: skip
    store = server.services.store
    server.run(store.write(lambda connection: file_letters(store, connection, [letter])))


def note(server: ApiServer, *records: Any) -> None:
    server.run(server.services.store.write(lambda connection: insert_all(connection, records)))


def test_invoke_prints_the_answer_and_json_has_its_documented_keys(
    cli: Command, server: ApiServer, deployed: str
) -> None:
    assert cli("invoke", deployed, "--event", '{"a": 1}') == (0, '{"a": 1}\n', "")
    server.front.result = lambda payload: Result(b'"x"', log_tail=b"START\n")
    found = document(cli("invoke", deployed, "--tail", "--json"))
    assert found == {
        "status_code": 200, "request_id": found["request_id"], "executed_version": "$LATEST", "function_error": None,
        "payload": "x", "log": "START\n",
    }  # fmt: skip


def test_a_function_error_is_exit_status_1(cli: Command, server: ApiServer, deployed: str) -> None:
    server.front.result = lambda _: Result(b'{"errorType": "ValueError"}', "Unhandled")
    status, out, err = cli("invoke", deployed)
    assert (status, out) == (1, '{"errorType": "ValueError"}\n')
    assert "fnrunner why" in err


def test_an_event_comes_from_a_file_and_is_accepted(
    cli: Command, server: ApiServer, deployed: str, tmp_path: Path
) -> None:
    (tmp_path / "event.json").write_text('{"from": "file"}')
    status, out, err = cli("invoke", deployed, "--async", "--event", f"@{tmp_path / 'event.json'}")
    assert (status, out) == (0, "event-1\n")
    assert "fnrunner why event-1" in err
    assert server.front.asked[-1]["payload"] == b'{"from": "file"}'


def test_a_streamed_answer_is_printed_as_it_is(cli: Command, server: ApiServer, deployed: str) -> None:
    server.front.streamed = lambda _: Streamed(("é".encode()[:1], "é".encode()[1:], b"\n"), log_tail=b"START\n")
    assert cli("invoke", deployed, "--stream", "--tail") == (0, "é\n", "START\n")
    assert server.front.asked[-1]["kind"] == "stream"
    status, out, _ = cli("invoke", deployed, "--stream", "--json")
    *pieces, end = [json.loads(line) for line in out.splitlines()]
    assert (status, [piece["chunk"] for piece in pieces]) == (0, ["é", "\n"])
    assert (end["error_code"], end["executed_version"]) == (None, "$LATEST")


def test_a_stream_that_fails_is_exit_status_1_after_what_came_of_it(
    cli: Command, server: ApiServer, deployed: str
) -> None:
    details = b'{"errorType": "ValueError"}'
    server.front.streamed = lambda _: Streamed((b"half",), error_code="Unhandled", error_details=details)
    status, out, err = cli("invoke", deployed, "--stream")
    assert (status, out) == (1, "half")
    assert err.startswith('Unhandled: {"errorType": "ValueError"}\n')
    assert "fnrunner why" in err


def test_a_stream_cannot_be_asynchronous(cli: Command, deployed: str) -> None:
    status, _, err = cli("invoke", deployed, "--stream", "--async")
    assert status == 2
    assert err.startswith("fnrunner: --stream: an asynchronous event has no response to wait for\n")


def test_a_stream_that_is_refused_is_exit_status_4(cli: Command, server: ApiServer, deployed: str) -> None:
    server.front.error = Throttled(ThrottleReason.RESERVED)
    status, out, err = cli("invoke", deployed, "--stream")
    assert (status, out) == (4, "")
    assert err.startswith("fnrunner: TooManyRequestsException: Rate Exceeded.")


def test_a_refusal_is_exit_status_4_with_a_remedy(cli: Command, server: ApiServer, deployed: str) -> None:
    status, _, err = cli("invoke", "nobody")
    assert status == 4
    assert "ResourceNotFoundException: Function not found" in err.splitlines()[0]
    assert "fnrunner functions ls" in err.splitlines()[1]
    server.front.error = Throttled(ThrottleReason.RESERVED)
    status, _, err = cli("invoke", deployed)
    assert (status, err.splitlines()[0]) == (4, "fnrunner: TooManyRequestsException: Rate Exceeded.")


def test_a_server_that_is_not_there_is_exit_status_3(cli: Command) -> None:
    status, out, err = cli("functions", "ls", "--endpoint-url", "http://127.0.0.1:1")
    assert (status, out) == (3, "")
    assert err.splitlines()[0].startswith("fnrunner: The server at http://127.0.0.1:1 does not answer")
    assert "fnrunner dev" in err.splitlines()[1]


@pytest.mark.parametrize(
    "arguments",
    [("invoke",), ("nonsense",), ("invoke", "f", "--event", "{"), ("dlq", "redrive", "f"), ("stream", "put", "s"), ()],
)
def test_wrong_usage_is_exit_status_2(cli: Command, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments)[0] == 2


def test_versions_are_published_named_and_removed(cli: Command, deployed: str, tmp_path: Path) -> None:
    assert cli("functions", "aliases", "hello")[1].startswith(
        "There are no aliases yet. `fnrunner functions alias NAME"
    )
    assert cli("functions", "publish", "hello", "--description", "first")[1] == "hello has version 1.\n"
    assert document(cli("functions", "publish", "hello", "--json"))["Version"] == "1", "nothing has changed"
    (tmp_path / "hello" / "app.py").write_text("def handler(event, context): return 2\n")
    assert cli("deploy", str(tmp_path / "hello"))[0] == 0
    assert document(cli("functions", "publish", "hello", "--json"))["Version"] == "2"
    assert (
        cli("functions", "alias", "hello", "live", "1", "--description", "users")[1] == "live of hello is version 1.\n"
    )
    moved = cli("functions", "alias", "hello", "live", "2", "--also", "1=0.25")
    assert moved[1] == "live of hello is version 2 (75 %), version 1 (25 %).\n"
    [alias] = document(cli("functions", "aliases", "hello", "--json"))["Aliases"]
    assert (alias["Name"], alias["FunctionVersion"], alias["Description"]) == ("live", "2", "users")
    assert "live   version 2 (75 %), version 1 (25 %)  users" in cli("functions", "aliases", "hello")[1]
    assert [v["Version"] for v in document(cli("functions", "versions", "hello", "--json"))["Versions"]] == [
        "$LATEST", "1", "2",
    ]  # fmt: skip
    table = cli("functions", "versions", "hello")[1].splitlines()
    assert [line.split()[:2] for line in table[1:]] == [["$LATEST", "-"], ["1", "live"], ["2", "live"]]
    shown = cli("functions", "show", "hello:live")[1]
    assert "FunctionArn:             arn:aws:lambda:us-east-1:000000000000:function:hello:live" in shown
    assert "Versions:                1, 2" in shown
    assert "Alias:                   live: version 2 (75 %), version 1 (25 %)" in shown
    status, _, err = cli("functions", "rm", "hello:1", "--yes")
    assert (status, "the following aliases reference it: [live]" in err) == (4, True)
    assert document(cli("functions", "unalias", "hello", "live", "--json")) == {"removed": "live"}
    assert cli("functions", "unalias", "hello", "live")[0] == 4
    assert cli("functions", "rm", "hello:1", "--yes")[1] == "Removed hello:1.\n"
    assert document(cli("functions", "show", "hello", "--json"))["Versions"] == ["2"]


@pytest.mark.parametrize("also", ["2", "=0.5", "2=much", "2=1.5", "2=nan"])
def test_a_weight_that_is_none_is_wrong_usage(cli: Command, also: str) -> None:
    status, _, err = cli("functions", "alias", "f", "live", "1", "--also", also)
    assert (status, "It has the form VERSION=WEIGHT: 2=0.1" in err) == (2, True)


def test_a_qualifier_is_invoked(cli: Command, deployed: str, server: ApiServer) -> None:
    cli("functions", "publish", "hello")
    assert cli("invoke", "hello", "--qualifier", "1")[0] == 0
    assert server.front.asked[-1]["ref"].qualifier == "1"
    status, _, err = cli("invoke", "hello", "--qualifier", "prod")
    assert (status, "Function not found: arn:aws:lambda:us-east-1:000000000000:function:hello:prod" in err) == (4, True)


def test_functions_are_listed_shown_and_removed(cli: Command, deployed: str) -> None:
    assert [one["FunctionName"] for one in document(cli("functions", "ls", "--json"))["Functions"]] == ["hello"]
    assert "hello  python3" in cli("functions", "ls")[1]
    shown = document(cli("functions", "show", deployed, "--json"))
    assert (shown["EventInvokeConfig"], shown["Notifications"]) == (None, [])
    assert (shown["Versions"], shown["Aliases"]) == ([], [])
    assert "Handler:                 app.handler" in cli("functions", "show", deployed)[1]
    status, _, err = cli("functions", "rm", deployed)
    assert (status, "Say --yes" in err) == (2, True)
    assert document(cli("functions", "rm", deployed, "--yes", "--json")) == {"removed": "hello"}
    assert "no functions yet" in cli("functions", "ls")[1]


def test_why_tells_the_story_and_an_unknown_id_is_said_to_be_unknown(
    cli: Command, server: ApiServer, deployed: str
) -> None:
    note(
        server,
        AcceptedEvent(EVENT, deployed, 1_000, source="s3:photos", size_bytes=8),
        AttemptRecord(
            EVENT, deployed, 1, 2_000, 2_500, "failed", error_type="ValueError", error_message="bad", retry_in_ms=60_000,
            memory_mb=128, log_stream="s", worker="w1",
        ),
        LogChunk(deployed, EVENT, "s", 2_100, "about to fail\n"),
    )  # fmt: skip
    status, out, _ = cli("why", EVENT)
    assert status == 0
    assert "in flight, not finished after 1 attempt" in out
    assert "    | about to fail" in out
    assert "then     retry in 1 min, due 1970-01-01 00:01:02.500Z" in out
    told = document(cli("why", EVENT, "--json"))
    assert set(told) == {
        "event_id", "function", "state", "trace_id", "accepted", "attempts", "dead_letters", "logs", "batch", "poison"
    }  # fmt: skip
    status, _, err = cli("why", "nobody")
    assert (status, err.splitlines()[0]) == (4, "fnrunner: Nothing is known of nobody")


def test_logs_are_filtered_and_each_json_line_is_a_document(cli: Command, server: ApiServer, deployed: str) -> None:
    note(
        server,
        LogChunk(deployed, EVENT, "s", 2_000, "one\n"),
        LogChunk(deployed, "other", "s", 3_000, "two \x1b[31m\n"),
    )
    out = cli("logs", deployed, "--request-id", EVENT)[1]
    assert out == "1970-01-01 00:00:02.000Z 0b1c8a1e one\n"
    lines = [json.loads(line) for line in cli("logs", deployed, "--since", "36500d", "--json")[1].splitlines()]
    assert [(line["request_id"], line["text"]) for line in lines] == [(EVENT, "one\n"), ("other", "two \x1b[31m\n")]
    assert set(lines[0]) == {"at_ms", "request_id", "log_stream", "text"}
    assert cli("logs", deployed, "--since", "36500d", "--filter", "TWO")[1].endswith("two \\x1b[31m\n")
    assert "wrote nothing" in cli("logs", deployed)[2]
    status, _, err = cli("logs", "nobody")
    assert (status, "Function not found" in err) == (4, True)
    arn = "arn:aws:lambda:us-east-1:000000000000:function:hello"
    assert cli("logs", arn, "--request-id", EVENT)[1] == out


def test_dead_letters_are_listed_shown_corrected_and_purged(cli: Command, server: ApiServer, deployed: str) -> None:
    file_letter(server)
    assert [one["event_id"] for one in document(cli("dlq", "ls", deployed, "--json"))["dead_letters"]] == [EVENT]
    assert "ValueError: bad" in cli("dlq", "ls", deployed)[1]
    shown = cli("dlq", "show", deployed, EVENT)[1]
    assert "RetriesExhausted" in shown
    assert '"n": 1' in shown
    assert cli("dlq", "edit", deployed, EVENT, "--body", '{"n": 2}')[0] == 0
    found = document(cli("dlq", "show", deployed, EVENT, "--json"))
    assert (found["payload"], found["original"], found["edited"]) == ('{"n": 2}', '{"n": 1}', True)
    assert cli("dlq", "purge", deployed, "--all")[0] == 2
    assert document(cli("dlq", "purge", deployed, "--all", "--yes", "--json")) == {"purged": 1}
    assert "no dead letters" in cli("dlq", "ls", deployed)[1]
    assert document(cli("dlq", "ls", deployed, "--state", "purged", "--json"))["dead_letters"][0]["state"] == "purged"


def test_an_editor_corrects_a_payload(
    cli: Command, server: ApiServer, deployed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_letter(server)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "sed -i s/1/3/")
    assert cli("dlq", "edit", deployed, EVENT)[0] == 0
    assert json.loads(document(cli("dlq", "show", deployed, EVENT, "--json"))["payload"]) == {"n": 3}
    monkeypatch.setenv("EDITOR", "true")
    assert cli("dlq", "edit", deployed, EVENT)[0] == 1
    monkeypatch.setenv("EDITOR", "false")
    assert "the editor false failed" in cli("dlq", "edit", deployed, EVENT)[2].lower()
    monkeypatch.delenv("EDITOR")
    assert "Set EDITOR" in cli("dlq", "edit", deployed, EVENT)[2]


def test_redriving_names_what_went_and_what_did_not(cli: Command, server: ApiServer, deployed: str) -> None:
    from broker import names
    from broker.topology import Queue, Topology

    server.run(server.services.broker.declare(Topology(queues=(Queue(names.events(deployed)),))))
    file_letter(server)
    file_letter(server, "second")
    assert document(cli("dlq", "redrive", deployed, EVENT, "--json")) == {
        "redriven": [EVENT],
        "refused": [],
        "pending": [],
    }
    status, out, _ = cli("dlq", "redrive", deployed, EVENT, "second")
    assert status == 1
    assert out.splitlines()[-1] == "1 redriven, 1 not"
    assert cli("dlq", "redrive", deployed, "--all")[1] == "0 redriven\n"


def test_buckets_are_put_listed_and_removed(
    cli: Command, server: ApiServer, deployed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("bucket", "ls") == (0, "There are no buckets yet. `fnrunner bucket put NAME DIR` makes one.\n", "")
    made = {"name": "photos", "arn": "arn:aws:s3:::photos", "directory": str(tmp_path / "in")}
    monkeypatch.chdir(tmp_path)
    assert document(cli("bucket", "put", "photos", "in", "--json")) == made
    assert cli("bucket", "put", "photos") == (0, f"arn:aws:s3:::photos is {tmp_path / 'in'}\n", "")
    assert cli("bucket", "put", "texts")[1].startswith("arn:aws:s3:::texts is ")
    assert document(cli("bucket", "ls", "--json"))["buckets"][0] == made
    assert cli("bucket", "ls")[1].splitlines()[1].split() == ["photos", str(tmp_path / "in"), "arn:aws:s3:::photos"]
    catalogue = server.services.catalogue
    server.run(catalogue.put_notifications(deployed, [Notification("n", "photos", deployed)]))
    status, _, err = cli("bucket", "rm", "photos")
    assert (status, err.splitlines()[0]) == (4, f"fnrunner: BucketInUse: The bucket photos invokes {deployed}")
    server.run(catalogue.put_notifications(deployed, []))
    assert document(cli("bucket", "rm", "photos", "--json")) == {"removed": "photos"}
    assert cli("bucket", "rm", "texts") == (0, "Removed texts.\n", "")
    assert document(cli("bucket", "ls", "--json")) == {"buckets": []}
    assert cli("bucket", "rm", "texts")[0] == 4


def test_queues_are_created_filled_looked_at_and_emptied(cli: Command) -> None:
    arn = "arn:aws:sqs:us-east-1:000000000000:jobs"
    made = document(cli("queue", "create", "jobs", "--json"))
    assert (made["name"], made["arn"], made["attributes"]["visibility_timeout_s"]) == ("jobs", arn, 30)
    assert cli("queue", "create", "jobs") == (0, f"{arn}\n", "")
    assert len(document(cli("queue", "send", "jobs", "one", "two", "--header", "k=v", "--json"))["message_ids"]) == 2
    assert cli("queue", "send", "jobs", "three", "--message-id", "m3")[1] == "m3\n"
    assert document(cli("queue", "ls", "--json"))["queues"][0]["ready"] == 3
    assert cli("queue", "receive", "jobs", "--keep")[1] == "one\n"
    found = document(cli("queue", "receive", "jobs", "--max", "10", "--json"))["messages"]
    assert [message["body"] for message in found] == ["one", "two", "three"]
    assert (found[0]["headers"]["k"], found[2]["message_id"]) == ("v", "m3")
    assert cli("queue", "receive", "jobs") == (0, "", "The queue jobs is empty.\n")


def test_a_queue_is_made_with_attributes_shown_and_purged(cli: Command) -> None:
    cli("queue", "create", "orders-dead")
    given = ("--visibility-timeout", "90", "--max-receive-count", "3", "--dead-letter-queue", "orders-dead", "--fifo")
    attributes = document(cli("queue", "create", "orders", *given, "--json"))["attributes"]
    assert attributes == {
        "visibility_timeout_s": 90, "max_receive_count": 3, "dead_letter_queue": "orders-dead", "fifo": True
    }  # fmt: skip
    assert document(cli("queue", "show", "orders", "--json"))["attributes"] == attributes
    cli("queue", "send", "orders", "a", "b", "--group", "g")
    shown = cli("queue", "show", "orders")[1]
    assert "90 s" in shown
    assert "orders-dead after 3 receives" in shown
    [line] = [line for line in cli("queue", "ls")[1].splitlines() if line.startswith("orders ")]
    assert "orders-dead after 3 receives" in line
    status, _, err = cli("queue", "purge", "orders")
    assert (status, "Throw away 2 messages" in err) == (2, True)
    assert document(cli("queue", "purge", "orders", "--yes", "--json")) == {"name": "orders", "purged": 2}
    assert cli("queue", "purge", "orders", "-y")[1] == "0 thrown away\n"
    assert cli("queue", "create", "orders", "--max-receive-count", "2", "--dead-letter-queue", "nowhere")[0] == 4
    assert cli("queue", "show", "nowhere")[0] == 4


def test_messages_of_a_file_have_their_own_groups_and_headers(cli: Command, tmp_path: Path) -> None:
    cli("queue", "create", "lines")
    file = tmp_path / "orders.jsonl"
    file.write_text(
        '{"data": "one", "key": "g1"}\n\n{"data": {"n": 2}, "group": "g2", "headers": {"k": "own"}, "message_id": "m2"}\n'
    )
    ids = document(cli("queue", "send", "lines", "--jsonl", str(file), "--header", "k=v", "--json"))["message_ids"]
    assert (len(ids), ids[1]) == (2, "m2")
    found = document(cli("queue", "receive", "lines", "--max", "9", "--json"))["messages"]
    seen = [(each["body"], each["headers"]["message-group-id"], each["headers"]["k"]) for each in found]
    assert seen == [("one", "g1", "v"), ('{"n": 2}', "g2", "own")]


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"key": "g"}', '{"data": 1, "x": 2}', '{"data": 1, "key": 7}'])
def test_a_line_that_is_no_message_is_named(cli: Command, tmp_path: Path, line: str) -> None:
    cli("queue", "create", "strict")
    (tmp_path / "bad.jsonl").write_text(f'{{"data": "good"}}\n{line}\n')
    status, _, err = cli("queue", "send", "strict", "--jsonl", str(tmp_path / "bad.jsonl"))
    assert (status, "line 2" in err) == (2, True)
    assert cli("queue", "send", "strict")[0] == 2
    assert cli("queue", "send", "strict", "a", "--jsonl", "x")[0] == 2


def test_each_line_of_a_file_can_be_a_message(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"a\n\nb\n\xff\n")
    cli("queue", "create", "jobs")
    assert cli("queue", "send", "jobs", f"@{tmp_path / 'lines'}", "--lines")[0] == 0
    assert cli("queue", "receive", "jobs", "--max", "9")[1] == "a\nb\n/w==\n"


def test_records_go_to_the_partition_of_their_key(cli: Command, tmp_path: Path) -> None:
    made = document(cli("stream", "create", "clicks", "--partitions", "2", "--json"))
    assert made["partitions"] == ["clicks-0", "clicks-1"]
    (tmp_path / "records").write_text(
        "".join(json.dumps({"key": f"k{i % 9}", "data": {"i": i}}) + "\n" for i in range(2500))
    )
    found = document(cli("stream", "put", "clicks", "--jsonl", str(tmp_path / "records"), "--json"))
    assert found["stored"] == 2500
    assert sum(found["by_partition"].values()) == 2500
    assert min(found["by_partition"].values()) > 0
    assert cli("stream", "put", "clicks", "hi", "--key", "k")[1].startswith("1 stored")
    assert "clicks  2" in cli("stream", "ls")[1]


def test_a_bad_line_of_records_is_named(cli: Command, tmp_path: Path) -> None:
    cli("stream", "create", "clicks")
    (tmp_path / "records").write_text('{"data": 1}\n{"dat": 2}\n')
    status, _, err = cli("stream", "put", "clicks", "--jsonl", str(tmp_path / "records"))
    assert status == 2
    assert "line 2" in err


def test_the_audit_balances_and_a_missing_event_is_exit_status_1(
    cli: Command, server: ApiServer, deployed: str
) -> None:
    note(server, AcceptedEvent(EVENT, deployed, 1_000), AttemptRecord(EVENT, deployed, 1, 1, 2, "succeeded"))
    status, out, _ = cli("audit")
    assert status == 0
    assert "Every accepted event is accounted for." in out
    note(server, AcceptedEvent("lost", deployed, 1_000))
    status, out, _ = cli("audit", deployed, "--json")
    assert status == 1
    assert (json.loads(out)["balanced"], json.loads(out)["functions"][0]["missing_ids"]) == (False, ["lost"])
    assert "missing from hello: lost" in cli("audit", deployed)[1]


def test_doctor_looks_at_the_host_and_the_server(cli: Command) -> None:
    status, out, _ = cli("doctor", "--json")
    found = json.loads(out)
    parts = {finding["part"] for finding in found["findings"]}
    assert {"isolation", "inotify", "open files", "data directory", "broker", "store", "workers"} <= parts
    # Nothing runs functions in this test, which doctor finds.
    assert (status, found["ok"]) == (1, False)
    assert any(f["part"] == "workers" and "fnrunner worker" in f["remedy"] for f in found["findings"])


def test_doctor_without_a_server_has_a_gap_and_wrong_settings_are_a_fault(
    cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FNRUNNER_PORT", "none")
    status, out, _ = cli("doctor", "--endpoint-url", "http://127.0.0.1:1", "--json")
    verdicts = {finding["part"]: finding["verdict"] for finding in json.loads(out)["findings"]}
    assert (status, verdicts["server"], verdicts["settings"]) == (1, "gap", "fault")


def test_every_mistake_in_settings_is_shown_before_a_server_starts(
    cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FNRUNNER_NONSENSE", "1")
    status, _, err = cli("dev", "--port", "99999", "--bucket", "X=/tmp")
    assert status == 2
    assert [word for word in ("FNRUNNER_NONSENSE", "FNRUNNER_PORT", "FNRUNNER_BUCKETS") if word in err] == [
        "FNRUNNER_NONSENSE", "FNRUNNER_PORT", "FNRUNNER_BUCKETS",
    ]  # fmt: skip


def test_an_error_of_fnrunner_itself_says_how_to_see_more(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fnrunner.cli.client.Client.call", lambda *_, **__: 1 / 0)
    status, _, err = cli("functions", "ls")
    assert (status, err.splitlines()) == (
        1,
        ["fnrunner: ZeroDivisionError: division by zero", "This is a fault of fnrunner: see it with --traceback."],
    )
    with pytest.raises(ZeroDivisionError):
        run(["--traceback", "functions", "ls"])


def test_version_is_json_as_well(cli: Command) -> None:
    assert set(document(cli("version", "--json"))) == {"version", "python"}
