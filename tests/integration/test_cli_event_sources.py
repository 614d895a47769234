"""Commands about event source mappings, schedules and topics against the real API, catalogue, store and embedded broker.

The pollers are played by the test: it writes the documents that they write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.envelope import Envelope, encode
from broker.topology import Binding, Queue, Topology
from fnrunner.catalogue import positions
from fnrunner.delivery.archivist import file_letters
from fnrunner.delivery.letter import FiledLetter
from tests.api_server import CODE, HOME, ROLE, ApiServer

Command = Callable[..., tuple[int, str, str]]
STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/clicks"
MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    import httpx

    with ApiServer(tmp_path_factory.mktemp("api")) as found:
        from base64 import b64encode

        document = {
            "FunctionName": "f", "Role": ROLE, "Runtime": "python3.12", "Handler": "app.handler",
            "Code": {"ZipFile": b64encode(CODE).decode()},
        }  # fmt: skip
        assert httpx.post(f"{found.url}/2015-03-31/functions", json=document, timeout=60).status_code == 201
        yield found


def document(found: tuple[int, str, str]) -> Any:
    assert found[0] == 0, found
    return json.loads(found[1])


def tell(server: ApiServer, name: str, text: dict[str, Any]) -> None:
    server.run(positions.put(server.services.store, name, text, server.services.now()))


def follow(server: ApiServer, uuid: str, revision: int, state: str = "Enabled") -> None:
    tell(server, positions.state_name(uuid), {"revision": revision, "state": state, "reason": ""})


@pytest.fixture
def stream(cli: Command) -> str:
    assert cli("stream", "create", "clicks", "--partitions", "2")[0] == 0
    return "clicks"


@pytest.fixture
def mapping(cli: Command, server: ApiServer, stream: str) -> Iterator[str]:
    uuid = document(cli("mapping", "create", "f", "stream:clicks", "--json"))["UUID"]
    yield uuid
    for one in document(cli("mapping", "ls", "--json"))["EventSourceMappings"]:
        if one["State"] != "Deleting":
            revision = document(cli("mapping", "show", one["UUID"], "--json"))["revision"]
            follow(server, one["UUID"], revision)
            cli("mapping", "rm", one["UUID"], "--yes")
    from fnrunner.catalogue import triggers
    from sources.mapping import EventSourceMapping

    catalogue = server.services.catalogue
    for left in server.run(catalogue.list_triggers(EventSourceMapping)):
        server.run(catalogue.change(lambda c, u=left.uuid: triggers.remove(c, EventSourceMapping, u)))


def test_a_mapping_is_created_with_every_option_and_listed(cli: Command, mapping: str) -> None:
    assert cli("queue", "create", "jobs")[0] == 0
    made = document(
        cli(
            "mapping", "create", "f", "queue:jobs", "--batch-size", "20", "--window", "1", "--filter", '{"body": ["x"]}',
            "--filter", '{"body": ["y"]}', "--report-failures", "--max-concurrency", "4", "--disabled", "--json",
        )
    )  # fmt: skip
    assert made["EventSourceArn"] == HOME.queue("jobs")
    assert (made["BatchSize"], made["MaximumBatchingWindowInSeconds"]) == (20, 1)
    assert [one["Pattern"] for one in made["FilterCriteria"]["Filters"]] == ['{"body": ["x"]}', '{"body": ["y"]}']
    assert (made["FunctionResponseTypes"], made["ScalingConfig"]) == (
        ["ReportBatchItemFailures"],
        {"MaximumConcurrency": 4},
    )
    listed = cli("mapping", "ls", "--function", "f")[1]
    assert mapping in listed
    assert STREAM in listed
    assert made["UUID"] in listed
    table = document(
        cli(
            "mapping", "create", "f", "dynamodb:clicks", "--from", "end", "--retries", "2", "--max-age", "60", "--bisect",
            "--parallelization", "2", "--tumbling-window", "30", "--on-failure", "queue:jobs", "--json",
        )
    )  # fmt: skip
    assert (table["StartingPosition"], table["MaximumRetryAttempts"], table["MaximumRecordAgeInSeconds"]) == (
        "LATEST",
        2,
        60,
    )
    assert (table["BisectBatchOnFunctionError"], table["ParallelizationFactor"]) == (True, 2)
    assert table["DestinationConfig"] == {"OnFailure": {"Destination": HOME.queue("jobs")}}
    broker = document(cli("mapping", "create", "f", "mq:fnrunner/jobs", "--access", "VIRTUAL_HOST=/", "--json"))
    assert (broker["Queues"], broker["SourceAccessConfigurations"]) == (
        ["jobs"],
        [{"Type": "VIRTUAL_HOST", "URI": "/"}],
    )


def test_a_mapping_is_updated_paused_resumed_and_removed(cli: Command, server: ApiServer, mapping: str) -> None:
    status, _, err = cli("mapping", "pause", mapping)
    assert (status, "ResourceInUseException" in err) == (4, True)
    follow(server, mapping, 1)
    changed = document(
        cli("mapping", "update", mapping, "--batch-size", "7", "--no-bisect", "--on-failure", "", "--json")
    )
    assert (changed["BatchSize"], changed["State"]) == (7, "Updating")
    follow(server, mapping, 2)
    assert cli("mapping", "pause", mapping)[1] == f"{mapping}  Disabling\n"
    follow(server, mapping, 3, "Disabled")
    assert cli("mapping", "resume", mapping)[1] == f"{mapping}  Enabling\n"
    follow(server, mapping, 4)
    status, _, err = cli("mapping", "rm", mapping)
    assert (status, "Say --yes" in err) == (2, True)
    assert cli("mapping", "rm", mapping, "--yes")[1] == f"{mapping}  Deleting\n"


def test_a_mapping_s_page_shows_where_each_shard_is_and_what_was_lost(
    cli: Command, server: ApiServer, mapping: str
) -> None:
    assert "Nothing has been read yet." in cli("mapping", "show", mapping)[1]
    place = {
        "position": "41", "result": "PROBLEM: Function call failed", "result_at": "2026-01-01T00:00:00+00:00",
        "error": "ValueError: \x1b[31mbad", "blocks": {"0": {"since": "2026-01-01T00:00:00+00:00", "until": None}},
        "gaps": [{"from": "3", "to": "9", "remade": False, "at": "2026-01-01T00:00:00+00:00"}],
    }  # fmt: skip
    tell(server, f"{positions.shard_prefix(mapping)}shardId-000000000000", place)
    out = cli("mapping", "show", mapping)[1]
    for said in (
        "Shard shardId-000000000000", "settled   up to 41", "result    PROBLEM: Function call failed",
        "error     ValueError: \\x1b[31mbad", "blocked   since 2026-01-01T00:00:00+00:00, still",
        "lost      3 to 9, found at",
    ):  # fmt: skip
        assert said in out


@pytest.mark.parametrize(
    ("to", "wish"),
    [
        ("17", {"position": "17"}),
        ("start", {"at": "TRIM_HORIZON"}),
        ("end", {"at": "LATEST"}),
        ("2026-01-01T01:00:00+01:00", {"timestamp": "2026-01-01T00:00:00+00:00"}),
    ],
)
def test_a_stream_is_rewound_by_a_document_that_pollers_follow(
    cli: Command, server: ApiServer, mapping: str, to: str, wish: dict[str, str]
) -> None:
    from sources.shard_place import wish as understood

    done = document(cli("streams", "rewind", "clicks", "--to", to, "--yes", "--json"))["rewound"]
    assert [(one["uuid"], one["to"]) for one in done] == [(mapping, wish)]
    name = positions.rewind_name(mapping)
    stored = server.run(positions.load(server.services.store, name))[name]
    assert stored == {"id": done[0]["id"], "to": wish}
    assert understood(stored) is not None
    assert f"to {json.dumps(wish)}" in cli("mapping", "show", mapping)[1]


def test_what_cannot_be_rewound_is_refused_with_the_reason(cli: Command, mapping: str) -> None:
    status, _, err = cli("stream", "rewind", "clicks", "--to", "5")
    assert (status, "Say --yes" in err) == (2, True)
    status, _, err = cli("stream", "rewind", "other", "--to", "start", "--yes")
    assert (status, "No event source mapping reads a stream other" in err) == (1, True)
    status, _, err = cli("stream", "rewind", mapping, "--to", "soon", "--yes")
    assert (status, "neither start nor end nor a time" in err) == (2, True)
    cli("queue", "create", "jobs")
    queue = document(cli("mapping", "create", "f", "queue:jobs", "--json"))["UUID"]
    status, _, err = cli("stream", "rewind", queue, "--to", "start", "--yes")
    assert (status, "Only streams can be read again" in err) == (4, True)
    status, _, err = cli("stream", "rewind", MISSING, "--to", "start", "--yes")
    assert (status, f"There is no event source mapping {MISSING}" in err) == (4, True)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("create", "f", "clicks"), 2, "'clicks' is no event source"),
        (("create", "f", "mq:broker"), 2, "'mq:broker' is no event source"),
        (("create", "f", "kafka:host:9092"), 2, "is no event source"),
        (("create", "f", "stream:missing"), 4, "Stream not found: arn:aws:kinesis"),
        (("create", "missing", "stream:clicks"), 4, "Function does not exist"),
        (("create", "f", "stream:clicks", "--filter", "{"), 2, "--filter: this is not JSON"),
        (("create", "f", "stream:clicks", "--from", "noon"), 2, "--from: 'noon' is neither start nor end nor a time"),
        (
            ("create", "f", "queue:jobs", "--from", "end"),
            2,
            "--from: queue:jobs is a queue, which is read from its head",
        ),
        (
            ("create", "f", "stream:clicks", "--queue", "jobs"),
            2,
            "--queue: stream:clicks says itself what there is to read",
        ),
        (
            ("create", "f", "kafka:a:1/t", "--topic", "other"),
            2,
            "--topic: kafka:a:1/t says itself what there is to read",
        ),
        (("create", "f", "stream:clicks", "--on-failure", "jobs"), 2, "'jobs' is no destination"),
        (("show", MISSING), 4, f"There is no event source mapping {MISSING}"),
        (("pause", MISSING), 4, "The resource you requested does not exist."),
    ],
)
def test_wrong_words_about_mappings_have_a_fault_and_a_remedy(
    cli: Command, stream: str, arguments: tuple[str, ...], status: int, said: str
) -> None:
    found, _, err = cli("mapping", *arguments)
    assert (found, said in err) == (status, True), err
    assert len(err.splitlines()) >= 2


def test_a_schedule_is_made_shown_with_its_next_times_paused_and_removed(cli: Command) -> None:
    made = document(
        cli(
            "schedule", "create", "nightly", "f", "cron(30 2 * * ? *)", "--timezone", "Europe/Berlin", "--input", '{"a": 1}',
            "--window", "5", "--catch-up", "all", "--start", "2030-01-01T00:00:00Z", "--end", "2031-01-01T00:00:00Z", "--json",
        )
    )  # fmt: skip
    assert (made["timezone"], made["input"], made["flexible_window_s"], made["catch_up"]) == (
        "Europe/Berlin",
        '{"a": 1}',
        300,
        "all",
    )
    assert made["next"] == [f"2030-01-0{day}T01:30:00+00:00" for day in range(1, 6)]
    out = cli("schedule", "show", "nightly")[1]
    assert out.count("2030-01-0") == 6
    status, _, err = cli("schedule", "create", "nightly", "f", "rate(1 day)")
    assert (status, "exists already" in err) == (4, True)
    assert document(cli("schedule", "pause", "nightly", "--json"))["enabled"] is False
    assert "paused" in cli("schedule", "ls")[1]
    assert document(cli("schedule", "resume", "nightly", "--json"))["enabled"] is True
    assert document(cli("schedule", "rm", "nightly", "--yes", "--json")) == {"removed": "nightly"}
    assert "There are no schedules yet" in cli("schedule", "ls")[1]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("create", "s", "f", "cron(* * * * *)"), 4, "cron has 5 fields; it takes six"),
        (("create", "s", "f", "rate(5 minutes)", "--timezone", "Nowhere"), 4, "time zone 'Nowhere' is unknown"),
        (("create", "s", "f", "rate(5 minutes)", "--input", "{"), 2, "--input: this is not JSON"),
        (("create", "no name", "f", "rate(5 minutes)"), 4, "is no name of a schedule"),
        (("create", "s", "missing", "rate(5 minutes)"), 4, "Function not found"),
        (
            ("create", "s", "f", "rate(1 day)", "--start", "2031-01-01", "--end", "2030-01-01"),
            4,
            "ends before it starts",
        ),
        (("show", "missing"), 4, "There is no schedule missing"),
        (("pause", "missing"), 4, "There is no schedule missing"),
        (("rm", "missing", "--yes"), 4, "There is no schedule missing"),
    ],
)
def test_wrong_words_about_schedules_have_a_fault_and_a_remedy(
    cli: Command, arguments: tuple[str, ...], status: int, said: str
) -> None:
    found, _, err = cli("schedule", *arguments)
    assert (found, said in err) == (status, True), err
    assert document(cli("schedule", "ls", "--json")) == {"schedules": []}


def test_a_topic_is_made_published_to_heard_and_removed(cli: Command, server: ApiServer, tmp_path: Path) -> None:
    assert document(cli("topic", "create", "news", "--json"))["arn"] == "arn:aws:sns:us-east-1:000000000000:news"
    status, _, err = cli("topic", "publish", "news", "hello")
    assert (status, "Nobody hears the topic news" in err) == (0, True)
    heard = Topology(queues=(Queue("hearing"),), bindings=(Binding("news", "hearing", "#"),))
    server.run(server.services.broker.declare(heard))
    sent = document(cli("topic", "publish", "news", "hello", "--subject", "s", "--attribute", "store=north", "--json"))
    assert sent["heard"] is True
    delivery = server.run(server.services.broker.get("hearing"))
    assert (delivery.message.body, delivery.message.message_id) == (b"hello", sent["message_id"])
    assert dict(delivery.message.headers) == {"store": "north", "subject": "s"}
    server.run(delivery.ack())
    policy = tmp_path / "policy.json"
    policy.write_text('{"store": ["north"]}')
    made = document(cli("topic", "subscribe", "news", "f", "--filter-policy", f"@{policy}", "--json"))
    assert (made["function"], made["filter_policy"], made["filter_scope"]) == (
        "f",
        '{"store":["north"]}',
        "MessageAttributes",
    )
    again = document(cli("topic", "subscribe", "news", "f", "--filter-scope", "MessageBody", "--json"))
    assert (again["id"], again["filter_policy"]) == (made["id"], None)
    assert made["id"] in cli("topic", "ls")[1]
    assert document(cli("topic", "unsubscribe", made["id"], "--json")) == {"removed": made["id"]}
    cli("topic", "subscribe", "news", "f")
    assert document(cli("topic", "rm", "news", "--yes", "--json")) == {"removed": "news"}
    assert document(cli("topic", "ls", "--json")) == {"topics": []}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("publish", "missing", "hello"), 4, "There is no topic missing"),
        (("subscribe", "t", "missing"), 4, "Function not found"),
        (("subscribe", "t", "f", "--filter-policy", '{"a": "b"}'), 4, "Invalid parameter: FilterPolicy"),
        (("unsubscribe", MISSING), 4, f"There is no subscription {MISSING}"),
        (("rm", "missing", "--yes"), 4, "There is no topic missing"),
        (("create", "amq.topic"), 4, "choose a name that does not start like that"),
    ],
)
def test_wrong_words_about_topics_have_a_fault_and_a_remedy(
    cli: Command, arguments: tuple[str, ...], status: int, said: str
) -> None:
    found, _, err = cli("topic", *arguments)
    assert (found, said in err) == (status, True), err


def test_a_dead_letter_of_a_stream_tells_which_record_is_poison_and_how_it_differs(
    cli: Command, server: ApiServer
) -> None:
    event = "0b1c8a1e-0000-4000-8000-00000000000a"
    report = {
        "records": [
            {
                "position": "17", "key": "sensor-4", "size_bytes": 42, "error_type": "ValueError",
                "error_message": "bad \x1b[31mreading", "attempts": 3,
                "first_difference": "$.t is a string where 9 of 9 neighbours have a number",
            }
        ],
        "neighbours": 9,
    }  # fmt: skip
    batch = {
        "mapping": MISSING, "source_arn": STREAM, "shard": "shardId-000000000000", "first": "17", "last": "17", "size": 1,
        "condition": "RetryAttemptsExhausted",
    }  # fmt: skip
    envelope = Envelope(
        id=event, function="f", payload=b"{}", accepted_at_ms=1, source="kinesis:clicks",
        extra={"batch": batch, "poison": json.dumps(report)},
    )  # fmt: skip
    letter = FiledLetter(event, 0, "f", "RetryAttemptsExhausted", "ValueError", "bad reading", 5, encode(envelope))
    server.run(server.services.store.write(lambda c: file_letters(server.services.store, c, [letter])))
    for command in (("dlq", "show", "f", event), ("why", event)):
        out = cli(*command)[1]
        for said in (
            "record 17 of shardId-000000000000", "RetryAttemptsExhausted: every attempt failed", f"mapping   {MISSING}",
            "guilty    record 17, key sensor-4, 42 B", "ValueError: bad \\x1b[31mreading", "invoked 3 times with it",
            "$.t is a string where 9 of 9 neighbours have a number",
        ):  # fmt: skip
            assert said in out, (command, out)
    assert f"fnrunner mapping show {MISSING}" in cli("why", event)[1]
    assert document(cli("dlq", "show", "f", event, "--json"))["poison"] == report
