"""`fnrunner replay` and `invoke --debug` against the real API and store, in real environments of this host."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.envelope import Attempt, Envelope, encode
from fnrunner.cli import debug
from fnrunner.cli.main import run
from fnrunner.delivery.archivist import file_letters
from fnrunner.delivery.letter import FiledLetter
from fnrunner.delivery.record import AcceptedEvent, AttemptRecord, insert_all
from fnrunner.runtimes.python import PythonRuntime
from tests.api_server import ApiServer
from tests.installation import RUNTIME
from tests.leftover import environments_of

EVENT = "0b1c8a1e-0000-4000-8000-000000000001"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:hello"
AT_MS = 1_700_000_000_000
Command = Callable[..., tuple[int, str, str]]

SOURCE = """\
import os

def handler(event, context):
    print("got", event)
    if event.get("sleep"):
        import time
        time.sleep(event["sleep"])
    if "n" in event:
        10 / event["n"]
    return {
        "id": context.aws_request_id, "arn": context.invoked_function_arn, "secret": os.environ.get("SECRET"),
        "memory": context.memory_limit_in_mb, "client": context.client_context and context.client_context.custom,
        "left": context.get_remaining_time_in_millis(), "state": os.environ.get("_FNRUNNER_LOCAL"),
    }
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path / "data") as found:
        yield found


@pytest.fixture
def cli(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Command]:
    """Run a command line in this process: its exit status, output and errors. Nothing may be left of what it ran."""
    monkeypatch.setenv("FNRUNNER_ENDPOINT_URL", server.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()

    def call(*arguments: str) -> tuple[int, str, str]:
        status = run(arguments)
        out, err = capsys.readouterr()
        return status, out, err

    yield call
    assert list((tmp_path / "scratch").iterdir()) == []
    assert environments_of(os.getpid()) == []


@pytest.fixture
def folder(cli: Command, tmp_path: Path) -> Path:
    """The source of the function ``hello``, which is deployed."""
    folder = tmp_path / "hello"
    folder.mkdir()
    (folder / "app.py").write_text(SOURCE)
    words = ("--runtime", RUNTIME, "--timeout", "1", "--memory", "192", "--env", "SECRET=s")
    assert cli("deploy", str(folder), *words)[0] == 0
    return folder


def digest_of(server: ApiServer, qualifier: str = "$LATEST") -> str:
    function = server.services.catalogue.resolve("hello", qualifier)
    assert function is not None
    return function.code.digest


def record(
    server: ApiServer, payload: bytes = b'{"n": 0}', *, error: str = "ZeroDivisionError", digest: str = "", **more: Any
) -> None:
    """An event that failed three times and is a dead letter."""
    message = "division by zero"
    envelope = Envelope(id=EVENT, function="hello", payload=payload, accepted_at_ms=AT_MS, invoked_arn=ARN, **more)
    letter = FiledLetter(
        event_id=EVENT, redrives=0, function="hello", reason="RetriesExhausted", error_type=error,
        error_message=message, at_ms=AT_MS + 9_000, envelope=encode(envelope), digest=digest,
    )  # fmt: skip
    server.run(server.services.store.write(lambda c: file_letters(server.services.store, c, [letter])))
    note(server, AcceptedEvent(EVENT, "hello", AT_MS))
    if digest:
        note(server, attempt(error=error, message=message, digest=digest))


def attempt(outcome: str = "failed", *, error: str = "", message: str = "", **more: Any) -> AttemptRecord:
    return AttemptRecord(
        EVENT, "hello", 3, AT_MS + 100, AT_MS + 120, outcome, error_type=error, error_message=message, duration_ms=20.0,
        **more,
    )  # fmt: skip


def note(server: ApiServer, *records: Any) -> None:
    server.run(server.services.store.write(lambda connection: insert_all(connection, records)))


def document(found: tuple[int, str, str], status: int = 0) -> Any:
    assert found[0] == status, found
    return json.loads(found[1])


def test_a_dead_letter_fails_here_as_it_did_there_and_stays(cli: Command, server: ApiServer, folder: Path) -> None:
    record(server, digest=digest_of(server))
    before = server.run(server.services.history.story(EVENT))
    status, out, _ = cli("replay", EVENT)
    assert status == 1
    assert "  code      version $LATEST as it ran" in out
    assert "    | got {'n': 0}\n" in out
    assert '    File "/var/task/app.py", line 9, in handler\n' in out
    assert "Recorded  ZeroDivisionError: division by zero after 20 ms: the same failure\n" in out
    assert out.endswith(f"\nOnce a fix is deployed: fnrunner dlq redrive hello {EVENT}\n")
    assert server.run(server.services.history.story(EVENT)) == before


def test_the_event_keeps_its_identity_and_the_function_its_configuration(
    cli: Command, server: ApiServer, folder: Path
) -> None:
    record(
        server,
        b"{}",
        client_context='{"custom": {"who": "me"}}',
        trace={"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"},
    )
    found = document(cli("replay", EVENT, "--json"))
    answer = found["payload"]
    assert 0 < answer.pop("left") <= 1000
    assert answer == {
        "id": EVENT, "arn": ARN, "secret": "s", "memory": "192", "client": {"who": "me"}, "state": None,
    }  # fmt: skip
    assert (found["comparison"], found["code"]["kind"], found["log"]) == ("succeeded", "current", "got {}\n")


def test_the_same_timeout_ends_it(cli: Command, server: ApiServer, folder: Path) -> None:
    record(server, b'{"sleep": 30}', error="Sandbox.Timedout")
    found = document(cli("replay", EVENT, "--json"), status=1)
    assert (found["error_type"], found["comparison"]) == ("Sandbox.Timedout", "other message")
    assert found["error_message"].endswith("Task timed out after 1.00 seconds")


def test_another_payload_and_edited_code_are_run_when_asked_for(cli: Command, server: ApiServer, folder: Path) -> None:
    record(server)
    assert document(cli("replay", EVENT, "--event", '{"n": 2}', "--json"))["payload"]["id"] == EVENT
    (folder / "app.py").write_text(SOURCE.replace('event["n"]', '(event["n"] or 1)'))
    found = document(cli("replay", EVENT, "--code", str(folder), "--json"))
    assert (found["comparison"], found["code"]["path"]) == ("succeeded", str(folder.resolve()))
    assert document(cli("replay", EVENT, "--json"), status=1)["comparison"] == "same", "nothing was deployed"


def test_an_edited_payload_is_taken_unless_the_original_is_asked_for(
    cli: Command, server: ApiServer, folder: Path
) -> None:
    record(server)
    assert cli("dlq", "edit", "hello", EVENT, "--body", '{"n": 5}')[0] == 0
    assert cli("replay", EVENT)[0] == 0
    assert "edited since it failed" in cli("replay", EVENT)[1]
    assert cli("replay", EVENT, "--original")[0] == 1


def test_the_code_that_failed_is_run_after_another_was_deployed(cli: Command, server: ApiServer, folder: Path) -> None:
    record(server, digest=digest_of(server))
    (folder / "app.py").write_text("def handler(event, context): return 'new'\n")
    assert cli("deploy", str(folder))[0] == 0
    assert document(cli("replay", EVENT, "--json"), status=1)["comparison"] == "same"
    assert document(cli("replay", EVENT, "--qualifier", "$LATEST", "--json"))["payload"] == "new"


def test_code_that_is_not_kept_any_more_is_said_with_the_remedy(cli: Command, server: ApiServer, folder: Path) -> None:
    record(server, digest="ab" * 32)
    status, _, err = cli("replay", EVENT)
    assert status == 4
    assert err.splitlines() == [
        "fnrunner: The code that ran (abababababab) is not kept any more: hello was deployed again since",
        "--qualifier '$LATEST' runs the code it has now, --code DIR code of yours.",
    ]


def test_the_version_that_ran_is_run(cli: Command, server: ApiServer, folder: Path) -> None:
    assert cli("functions", "publish", "hello")[0] == 0
    record(server, digest=digest_of(server, "1"))
    note(
        server,
        attempt(error="ZeroDivisionError", message="division by zero", digest=digest_of(server), version="1"),
    )
    (folder / "app.py").write_text("def handler(event, context): return 'new'\n")
    assert cli("deploy", str(folder))[0] == 0
    assert document(cli("replay", EVENT, "--json"), status=1)["version"] == "1"
    assert cli("functions", "rm", "hello:1", "--yes")[0] == 0
    status, _, err = cli("replay", EVENT)
    assert (status, err.splitlines()[0]) == (4, "fnrunner: hello has no version or alias 1 any more")
    assert "--qualifier '$LATEST'" in err


def test_a_function_that_was_deleted_cannot_be_run(cli: Command, server: ApiServer, folder: Path) -> None:
    record(server)
    assert cli("functions", "rm", "hello", "--yes")[0] == 0
    status, _, err = cli("replay", EVENT)
    assert (status, err.splitlines()[0]) == (
        4,
        "fnrunner: There is no function hello (any more), and so nothing to run",
    )


def test_the_recording_has_its_documented_keys(server: ApiServer, cli: Command) -> None:
    record(server, digest="ab" * 32, trace={"traceparent": "00-1-2-01"}, qualifier="live")
    found = httpx.get(f"{server.url}/fnrunner/v1/events/{EVENT}/recording").json()
    path = found.pop("code")
    assert path.startswith(f"/fnrunner/v1/code/{'ab' * 32}?expires=")
    assert httpx.get(f"{server.url}{path}").status_code == 404
    assert found == {
        "event_id": EVENT, "function": "hello", "state": "held", "qualifier": "live", "version": "$LATEST",
        "invoked_arn": ARN, "source": "api", "accepted_at_ms": AT_MS, "client_context": "", "xray": "",
        "traceparent": "00-1-2-01", "tracestate": "", "payload": '{"n": 0}', "edited": False, "digest": "ab" * 32,
        "failure": {
            "error_type": "ZeroDivisionError", "error_message": "division by zero", "at_ms": AT_MS + 120,
            "duration_ms": 20.0, "reason": "RetriesExhausted",
        },
        "batch": None, "poison": None,
    }  # fmt: skip


def test_an_unknown_id_is_said(cli: Command) -> None:
    status, out, err = cli("replay", "nobody")
    assert (status, out, err.splitlines()[0]) == (4, "", "fnrunner: Nothing is known of nobody")


def test_an_event_that_succeeded_has_no_payload_but_can_be_given_one(
    cli: Command, server: ApiServer, folder: Path
) -> None:
    note(server, AcceptedEvent(EVENT, "hello", AT_MS), attempt("succeeded", digest=digest_of(server)))
    status, _, err = cli("replay", EVENT)
    assert status == 4
    assert f"The payload of {EVENT} is not kept: it succeeded. Dead letters keep payloads" in err
    found = document(cli("replay", EVENT, "--event", "{}", "--json"))
    assert (found["payload"]["arn"], found["comparison"], found["redrive"]) == (ARN, "nothing recorded", None)


@pytest.mark.parametrize(
    ("attempts", "because"),
    [
        ((attempt("failed", kind="request"),), "its caller waited for the answer"),
        ((), "it is in flight, and with the broker until it has succeeded or is a dead letter"),
    ],
)
def test_why_there_is_no_payload_is_said(
    cli: Command, server: ApiServer, attempts: tuple[AttemptRecord, ...], because: str
) -> None:
    note(server, *(attempts or (AcceptedEvent(EVENT, "hello", AT_MS),)))
    status, _, err = cli("replay", EVENT)
    assert status == 4
    assert f"is not kept: {because}." in err
    assert err.splitlines()[-1] == "Give the payload with --event JSON, @FILE or -."


def test_a_purged_letter_has_no_payload(cli: Command, server: ApiServer, folder: Path) -> None:
    record(server)
    assert cli("dlq", "purge", "hello", EVENT, "--yes")[0] == 0
    status, _, err = cli("replay", EVENT)
    assert status == 4
    assert "is not kept: its dead letter was purged" in err


def test_a_payload_that_is_no_json_is_said_before_anything_runs(cli: Command, server: ApiServer, folder: Path) -> None:
    record(server, b"\xff\x00")
    status, out, err = cli("replay", EVENT)
    assert (status, out) == (1, "")
    assert f"fnrunner dlq edit hello {EVENT}" in err


def test_records_of_a_stream_that_were_given_up_are_replayed(cli: Command, server: ApiServer, folder: Path) -> None:
    batch = {"mapping": "u", "source_arn": "arn:aws:kinesis:r:a:stream/s", "shard": "0", "first": "1", "last": "2"}
    payload = json.dumps({"n": 0, "Records": [{"kinesis": {"sequenceNumber": "1"}}]}).encode()
    attempts = (Attempt(1, AT_MS, "ZeroDivisionError", "division by zero"),)
    record(server, payload, source="kinesis:s", extra={"batch": batch}, attempts=attempts)
    found = document(cli("replay", EVENT, "--json"), status=1)
    assert (found["comparison"], found["recorded"]["duration_ms"]) == ("same", None)
    assert "Records" in found["log"]


def test_a_runtime_that_is_not_on_this_machine_is_said(cli: Command, server: ApiServer, folder: Path) -> None:
    record(server)
    missing = next(f"python3.{n}" for n in range(14, 8, -1) if f"python3.{n}" not in PythonRuntime().available())
    assert cli("deploy", str(folder), "--runtime", missing)[0] == 0
    status, _, err = cli("replay", EVENT)
    assert status == 1
    assert err.startswith(f"fnrunner: {missing} is not on this host. Install it")


def test_a_failing_initialisation_is_a_function_error(cli: Command, server: ApiServer, folder: Path) -> None:
    record(server)
    (folder / "app.py").write_text("import nothing_like_this\ndef handler(event, context): pass\n")
    found = document(cli("replay", EVENT, "--code", str(folder), "--json"), status=1)
    assert (found["error_type"], found["comparison"]) == ("Runtime.ImportModuleError", "other error")


def test_a_code_folder_that_is_not_there_is_wrong_usage(cli: Command, server: ApiServer, folder: Path) -> None:
    record(server)
    status, _, err = cli("replay", EVENT, "--code", str(folder / "nowhere"))
    assert (status, err.splitlines()[1]) == (2, "Name the folder with the function's source.")


def test_a_repeatable_run_answers_the_same_again(cli: Command, server: ApiServer, folder: Path) -> None:
    source = "import time, uuid\ndef handler(event, context): return [time.time(), str(uuid.uuid4())]\n"
    (folder / "app.py").write_text(source)
    record(server)
    words = ("replay", EVENT, "--code", str(folder), "--json", "--repeatable")
    first, second = document(cli(*words)), document(cli(*words))
    assert first["payload"] == second["payload"]
    assert 0 <= first["payload"][0] - AT_MS / 1000 < 1
    other = document(cli(*words, str(first["seed"] + 1)))
    assert other["payload"][0] == first["payload"][0]
    assert other["payload"][1] != first["payload"][1]


def test_a_port_that_is_taken_is_said(cli: Command, server: ApiServer, folder: Path) -> None:
    pytest.importorskip("debugpy")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, err = cli("invoke", "hello", "--debug", "--debug-port", str(port))
    assert (status, err.splitlines()[0]) == (
        1,
        f"fnrunner: The debugger cannot listen on 127.0.0.1:{port}: Address already in use",
    )


def test_a_debugger_that_cannot_start_is_said(
    cli: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("raise OSError('no adapter here')\n")
    monkeypatch.setattr(debug, "package_of", lambda name: str(tmp_path / "broken"))
    status, _, err = cli("invoke", "hello", "--debug", "--debug-port", "0")
    assert status == 1
    assert "OSError: no adapter here" in err
