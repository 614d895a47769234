"""A name that was mistyped, a directory that is not there, a queue that was there already: each is said, with what to type."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fnrunner.api.services import Health
from fnrunner.delivery.record import AcceptedEvent, AttemptRecord, insert_all
from fnrunner.invoke.errors import Throttled
from fnrunner.model.invocation import ThrottleReason
from tests.api_server import ApiServer

Command = Callable[..., tuple[int, str, str]]
EVENT = "0b1c8a1e-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("slips")) as found:
        yield found


@pytest.fixture
def hello(cli: Command, tmp_path: Path) -> str:
    (tmp_path / "hello.py").write_text("def handler(event, context): return event\n")
    assert cli("deploy", str(tmp_path / "hello.py"))[0] == 0
    return "hello"


def document(found: tuple[int, str, str]) -> Any:
    assert found[0] == 0, found
    return json.loads(found[1])


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("queue", "send", "nosuch", "x"), "`fnrunner queue ls` lists the queues"),
        (("queue", "show", "nosuch"), "`fnrunner queue ls` lists the queues"),
        (("stream", "put", "nosuch", "x"), "`fnrunner stream ls` lists the streams"),
        (("topic", "publish", "nosuch", "x"), "`fnrunner topic ls` lists the topics"),
        (("bucket", "rm", "nosuch"), "`fnrunner bucket ls` lists the buckets"),
        (("dlq", "show", "hello", EVENT), "`fnrunner dlq ls hello` lists the dead letters"),
        (("functions", "unalias", "hello", "nosuch"), "`fnrunner functions aliases hello` lists the aliases"),
        (("invoke", "hello", "-e", "{}", "--qualifier", "nosuch"), "`fnrunner functions aliases hello` and"),
        (("functions", "show", "nosuch"), "`fnrunner functions ls` lists the functions"),
        (("layer", "show", "nosuch:1"), "`fnrunner layer ls` lists the layers"),
        (("mapping", "show", EVENT), "`fnrunner mapping ls` lists the event source mappings"),
        (("url", "show", "hello"), "`fnrunner url ls` lists the function URLs"),
        (("schedule", "rm", "nosuch", "--yes"), "`fnrunner schedule ls` lists the schedules"),
    ],
)
def test_what_is_missing_is_looked_up_where_its_kind_is_listed(
    cli: Command, hello: str, arguments: tuple[str, ...], remedy: str
) -> None:
    status, _, err = cli(*arguments)
    assert (status, remedy in err) == (4, True), err


def test_a_mapping_of_a_missing_source_says_how_to_make_it(cli: Command, hello: str) -> None:
    assert "`fnrunner queue create nosuch` makes it." in cli("mapping", "create", hello, "queue:nosuch")[2]
    assert "`fnrunner stream create nosuch` makes it." in cli("mapping", "create", hello, "stream:nosuch")[2]
    assert "`fnrunner stream create t` makes it." in cli("mapping", "create", hello, "dynamodb:t")[2]


def test_a_second_url_says_how_the_first_is_shown(cli: Command, hello: str) -> None:
    cli("url", "create", hello)
    assert "`fnrunner url show hello` shows it" in cli("url", "create", hello)[2]
    status, _, err = cli("url", "rm", hello)
    assert (status, "Say --yes" in err) == (2, True)
    assert cli("url", "rm", hello, "--yes")[0] == 0


def test_a_function_of_which_nothing_may_run_is_not_told_to_wait(
    cli: Command, server: ApiServer, hello: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = Throttled(ThrottleReason.RESERVED)
    monkeypatch.setattr(server.front, "error", error)
    assert "try again in" in cli("invoke", hello)[2]
    assert "Nothing of hello runs from now on" in cli("concurrency", "put", hello, "0")[1]
    status, _, err = cli("invoke", hello)
    assert (status, "try again" in err) == (4, False)
    assert "`fnrunner concurrency rm hello` lifts that" in err
    assert "`fnrunner concurrency rm hello` lifts that" in cli("invoke", hello, "--stream")[2]
    cli("concurrency", "rm", hello)


@pytest.mark.parametrize("command", [("audit", "helo"), ("dlq", "ls", "helo"), ("cold", "helo")])
def test_a_function_that_nobody_has_heard_of_is_refused_with_those_there_are(
    cli: Command, hello: str, command: tuple[str, ...]
) -> None:
    status, out, err = cli(*command)
    assert (status, out) == (4, "")
    assert "There is no function helo" in err
    assert "Did you mean hello?" in err


@pytest.mark.parametrize("book", ["accepted", "attempt"])
def test_a_function_that_was_deleted_keeps_its_history(cli: Command, server: ApiServer, book: str) -> None:
    record: AcceptedEvent | AttemptRecord = (
        AcceptedEvent(EVENT, f"gone-{book}", 1_000, source="api", size_bytes=8)
        if book == "accepted"
        else AttemptRecord(
            EVENT, f"gone-{book}", 1, 2_000, 2_500, "succeeded", memory_mb=128, log_stream="s", worker="w"
        )
    )
    server.run(server.services.store.write(lambda connection: insert_all(connection, [record])))
    assert cli("audit", f"gone-{book}")[0] in (0, 1)
    assert document(cli("dlq", "ls", f"gone-{book}", "--json")) == {"dead_letters": []}
    assert document(cli("cold", f"gone-{book}:1", "--json"))["function"] == f"gone-{book}"


def test_a_bucket_of_a_missing_directory_is_refused_unless_it_is_to_be_made(
    cli: Command, server: ApiServer, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    assert cli("bucket", "put", "elsewhere", str(missing))[0] == 0  # the sources are not in this process

    async def health() -> Health:
        return Health(True, True, ("api", "sources"))

    before = server.services.health
    object.__setattr__(server.services, "health", health)
    try:
        _check_bucket(cli, missing)
    finally:
        object.__setattr__(server.services, "health", before)


def _check_bucket(cli: Command, missing: Path) -> None:
    status, _, err = cli("bucket", "put", "photos", str(missing))
    assert (status, f"There is no directory {missing}" in err, "--create" in err) == (4, True, True)
    assert "photos" not in cli("bucket", "ls")[1]
    assert cli("bucket", "put", "photos", str(missing), "--create")[0] == 0
    assert cli("bucket", "put", "photos", str(missing.parent))[0] == 0


def test_a_topic_that_is_made_by_subscribing_is_said_to_be(cli: Command, hello: str) -> None:
    cli("topic", "create", "readings")
    status, out, err = cli("topic", "subscribe", "reading", hello)
    assert (status, len(out.split())) == (0, 1)
    assert err == (
        "There was no topic reading: it was made. Did you mean readings? `fnrunner topic rm reading` takes the new one "
        "away.\n"
    )
    assert cli("topic", "subscribe", "reading", hello)[2] == ""
    assert cli("topic", "subscribe", "readings", hello)[2] == ""
    assert cli("topic", "publish", "reading", "x")[0] == 0


def test_a_queue_that_was_there_says_what_has_changed(cli: Command) -> None:
    assert cli("queue", "create", "jobs")[2] == ""
    assert cli("queue", "create", "jobs")[2] == ""
    assert cli("queue", "create", "jobs", "--visibility-timeout", "45")[2] == (
        "The queue jobs was there, and has changed: visibility timeout s from 30 to 45\n"
    )


def test_a_queue_is_removed_after_what_speaks_against_it_was_said(cli: Command, hello: str) -> None:
    cli("queue", "create", "dead")
    cli("queue", "create", "work", "--dead-letter-queue", "dead", "--max-receive-count", "3")
    cli("queue", "send", "work", "a", "b")
    mapping = document(cli("mapping", "create", hello, "queue:work", "--json"))["UUID"]
    status, _, err = cli("queue", "rm", "work")
    assert (status, "2 messages wait in it" in err, f"hello reads it by the event source mapping {mapping}" in err) == (
        2, True, True,
    ), err  # fmt: skip
    assert "it is the dead-letter queue of work" in cli("queue", "rm", "dead")[2]
    assert document(cli("queue", "show", "work", "--json"))["ready"] == 2
    assert document(cli("queue", "rm", "work", "--yes", "--json")) == {"removed": "work"}
    status, _, err = cli("queue", "rm", "work", "--yes")
    assert (status, "`fnrunner queue ls`" in err) == (4, True)
    cli("mapping", "rm", mapping, "--yes")


def test_a_stream_is_removed_after_what_speaks_against_it_was_said(cli: Command, hello: str) -> None:
    cli("stream", "create", "clicks", "--partitions", "2")
    cli("stream", "put", "clicks", "x")
    mapping = document(cli("mapping", "create", hello, "stream:clicks", "--json"))["UUID"]
    status, _, err = cli("stream", "rm", "clicks")
    assert (status, "1 record is in it" in err, f"hello reads it by the event source mapping {mapping}" in err) == (
        2, True, True,
    ), err  # fmt: skip
    assert document(cli("stream", "rm", "clicks", "--yes", "--json")) == {"removed": "clicks"}
    assert document(cli("stream", "ls", "--json")) == {"streams": []}
    assert "There is no stream clicks" in cli("stream", "rm", "clicks", "--yes")[2]
    cli("mapping", "rm", mapping, "--yes")


def test_the_version_is_an_option_too(cli: Command) -> None:
    assert cli("--version") == cli("version")
    assert cli("--version")[0] == 0


def test_a_version_of_code_that_was_saved_and_not_deployed_wants_consent(
    cli: Command, server: ApiServer, hello: str
) -> None:
    object.__setattr__(server.services, "saved", lambda function: function.name == hello)
    try:
        status, out, err = cli("functions", "publish", hello)
        assert (status, out) == (2, "")
        assert "hello runs code that was saved for `fnrunner dev` and never deployed" in err
        assert "`fnrunner deploy PATH`" in err
        assert cli("functions", "publish", hello, "--yes")[0] == 0
    finally:
        object.__setattr__(server.services, "saved", lambda function: False)
    assert cli("functions", "publish", hello)[0] == 0
