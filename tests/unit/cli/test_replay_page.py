"""`fnrunner replay` says what is run, what came of it, how that compares with the record, and what to type."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fnrunner.cli.replay_page import Code, Replayed, Setting, closing, compare, document, heading
from fnrunner.model.invocation import Answer, FunctionError, Report, Succeeded

ID = "0b1c"
CONFIGURATION = {
    "FunctionName": "thumb", "Version": "3", "Runtime": "python3.12", "Handler": "app.handler", "MemorySize": 128,
    "Timeout": 3,
}  # fmt: skip
FAILURE = {
    "error_type": "ValueError", "error_message": "bad photo", "reason": "RetriesExhausted", "at_ms": 1,
    "duration_ms": 12.0,
}  # fmt: skip
RECORDED = Code("recorded", "ab" * 32)


def recording(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": ID, "function": "thumb", "state": "held", "source": "s3:photos", "accepted_at_ms": 1_000,
        "edited": False, "failure": FAILURE,
    } | changes  # fmt: skip


def failed(kind: str = "ValueError", message: str = "bad photo", trace: object = ()) -> Replayed:
    payload = json.dumps({"errorType": kind, "errorMessage": message, "stackTrace": trace}).encode()
    return Replayed.of(
        Answer(FunctionError(kind, message, payload), Report(8.0, 8, 128, 20)), FunctionError(kind, message, payload)
    )


def succeeded(payload: bytes = b'{"a": 1}') -> Replayed:
    outcome = Succeeded(payload)
    return Replayed.of(Answer(outcome, Report(8.0, 8, 128, 20, init_ms=90.0), b"hello\n"), outcome)


def closing_of(replayed: Replayed, **changes: Any) -> list[str]:
    return [text for text, _ in closing(recording(**changes), RECORDED, Setting(b"{}"), replayed)]


def test_the_same_failure_has_its_trace_and_ends_with_the_redrive() -> None:
    trace = ['  File "/var/task/app.py", line 2, in handler\n    raise ValueError\n']
    assert closing_of(failed(trace=trace)) == [
        "",
        "Failed after 8 ms, 20 MB: ValueError: bad photo",
        '    File "/var/task/app.py", line 2, in handler',
        "      raise ValueError",
        "Recorded  ValueError: bad photo after 12 ms: the same failure",
        "",
        "Nothing was settled: no attempt is written down, and a dead letter stays as it was.",
        "Once a fix is deployed: fnrunner dlq redrive thumb 0b1c",
    ]


def test_a_success_shows_its_response_and_what_was_recorded() -> None:
    lines = closing_of(succeeded())
    assert lines[1:4] == [
        "Succeeded after 8 ms (initialised in 90 ms), 20 MB",
        '  response  {"a": 1}',
        "Recorded  ValueError: bad photo after 12 ms: it succeeds here",
    ]


@pytest.mark.parametrize(
    ("replayed", "verdict"),
    [
        (failed(), "same"),
        (failed(message="worse photo"), "other message"),
        (failed("KeyError", "'x'"), "other error"),
        (succeeded(), "succeeded"),
    ],
)
def test_the_outcome_is_compared_with_the_recorded_failure(replayed: Replayed, verdict: str) -> None:
    assert compare(FAILURE, replayed) == verdict


def test_a_recorded_message_that_was_cut_is_the_same_as_the_whole_one() -> None:
    cut = {**FAILURE, "error_message": "x" * 1024}
    assert compare(cut, failed(message="x" * 5000)) == "same"
    assert compare(cut, failed(message="x" * 1023)) == "other message"


def test_without_a_failure_nothing_is_compared() -> None:
    assert compare(None, succeeded()) == "nothing recorded"
    assert "Recorded  no failure" in closing_of(succeeded(), failure=None)


def test_without_a_dead_letter_there_is_nothing_to_redrive() -> None:
    lines = closing_of(failed(), state="succeeded")
    assert lines[-1] == "There is no dead letter to redrive: `fnrunner why 0b1c` tells what became of it."


@pytest.mark.parametrize(
    ("code", "setting", "replayed", "before"),
    [
        (RECORDED, Setting(b""), failed(), "Once a fix is deployed"),
        (RECORDED, Setting(b""), succeeded(), "To run it there"),
        (Code("local", "", "/src"), Setting(b"", given=True), succeeded(), "Deploy this code, then"),
        (
            RECORDED,
            Setting(b"", given=True),
            succeeded(),
            "It has another payload, until `fnrunner dlq edit` corrects that",
        ),
    ],
)
def test_the_last_line_is_the_redrive_behind_what_is_to_be_done_first(
    code: Code, setting: Setting, replayed: Replayed, before: str
) -> None:
    *_, (last, _) = closing(recording(), code, setting, replayed)
    assert last == f"{before}: fnrunner dlq redrive thumb 0b1c"


def test_the_heading_says_what_is_run() -> None:
    lines = list(heading(recording(), CONFIGURATION, RECORDED, Setting(b"{}")))
    assert lines == [
        "Event 0b1c of thumb, run again on this machine",
        "  code      version 3 as it ran (abababababab)",
        "  payload   2 B from s3:photos, accepted 1970-01-01 00:00:01.000Z",
        "  limits    python3.12, app.handler, 128 MB, timeout 3 s",
        "  log",
    ]


def test_the_heading_says_what_is_different_from_the_record() -> None:
    local = Code("local", "", "/home/me/thumb")
    lines = list(heading(recording(edited=True), CONFIGURATION, local, Setting(b"{}", debug=True, seed=7)))
    assert lines[1] == "  code      /home/me/thumb, with the configuration of version 3"
    assert lines[2].endswith("; edited since it failed (--original takes what failed)")
    assert lines[3].endswith("with a debugger no timeout is applied, and the remaining time counts from 24 h")
    assert lines[4] == "  clock     starts at 1970-01-01 00:00:01.000Z; --repeatable 7 runs the same again"
    given = list(heading(recording(edited=True), CONFIGURATION, local, Setting(b"{}", given=True)))
    assert given[2] == "  payload   2 B, from --event"


def test_what_a_function_said_cannot_steer_the_terminal() -> None:
    shown = "\n".join(closing_of(failed(message="\x1b[2J", trace=["\x1b[31m"])) + closing_of(succeeded(b"\x1b]0;")))
    assert "\x1b" not in shown


def test_the_json_document_has_its_documented_keys() -> None:
    found = document(recording(), CONFIGURATION, RECORDED, Setting(b"{}", seed=7), failed(trace=["a\nb\n"]))
    assert (found["outcome"], found["error_type"], found["stack_trace"]) == ("failed", "ValueError", ["a", "b"])
    assert (found["comparison"], found["recorded"], found["seed"]) == ("same", FAILURE, 7)
    assert found["redrive"] == "fnrunner dlq redrive thumb 0b1c"
    told = document(recording(state="purged"), CONFIGURATION, RECORDED, Setting(b"{}"), succeeded(b"\xff"))
    assert (told["payload"], told["log"], told["error_type"], told["redrive"]) == ("\ufffd", "hello\n", None, None)


def test_an_error_json_of_the_functions_own_making_has_no_trace() -> None:
    assert failed(trace="none").stack_trace == []
    assert Replayed(b"[1]", "E", "m", 0, None, 0, "").stack_trace == []
