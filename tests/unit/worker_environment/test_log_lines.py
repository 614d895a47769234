"""START, END, REPORT and their JSON forms, letter by letter."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from broker import reply
from broker.reply import Reply, ReplyKind
from fnrunner.model.invocation import Answer, FunctionError, Report, Succeeded
from fnrunner.worker import environment, failure, log_lines
from tests.unit.worker_environment.spec import SPEC

COLD = Report(duration_ms=79.666, billed_ms=232, memory_mb=128, max_memory_mb=73, init_ms=152.01)
WARM = replace(COLD, init_ms=None, billed_ms=80)
BASE = "REPORT RequestId: 1\tDuration: 79.67 ms\tBilled Duration: 80 ms\tMemory Size: 128 MB\tMax Memory Used: 73 MB\t"
TIMEOUT = failure.timed_out("1", timedelta(seconds=1))
EXIT = failure.exited("1", "Runtime exited with error: exit status 1")
RAISED = FunctionError("ValueError", "no", b"{}")
MOMENT = datetime(2024, 3, 13, 18, 56, 24, 46_000, tzinfo=UTC)


@pytest.mark.parametrize("module", [log_lines, failure, environment])
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


def test_a_cold_report_shows_the_initialisation() -> None:
    assert log_lines.report("1", COLD) == BASE.replace("80 ms", "232 ms") + "Init Duration: 152.01 ms\t\n"


@pytest.mark.parametrize(
    ("outcome", "appended"),
    [
        (Succeeded(b"1"), ""),
        (RAISED, ""),
        (TIMEOUT, "Status: timeout\t"),
        (EXIT, "Status: error\tError Type: Runtime.ExitError\t"),
    ],
)
def test_only_a_lost_environment_is_appended_to_the_report(outcome: Succeeded | FunctionError, appended: str) -> None:
    assert log_lines.report("1", WARM, outcome) == BASE + appended + "\n"


def test_an_initialisation_that_ended_badly_is_reported() -> None:
    assert log_lines.init_report(9999.808, "timeout") == (
        "INIT_REPORT Init Duration: 9999.81 ms\tPhase: init\tStatus: timeout\n"
    )


def test_json_lines_are_telemetry_records() -> None:
    lines = [
        log_lines.start_json(MOMENT, "1", "$LATEST"),
        log_lines.report_json(MOMENT, "1", COLD, TIMEOUT),
        log_lines.init_report_json(MOMENT, 1.5, "timeout"),
    ]
    start, report, init_report = [json.loads(line) for line in lines]
    assert start == {
        "time": "2024-03-13T18:56:24.046Z",
        "type": "platform.start",
        "record": {"requestId": "1", "version": "$LATEST"},
    }
    assert (report["record"]["status"], report["record"]["errorType"]) == ("timeout", "Sandbox.Timedout")
    assert report["record"]["metrics"]["initDurationMs"] == 152.01
    assert init_report["record"]["metrics"] == {"durationMs": 1.5}


def test_the_whole_log_runs_from_start_to_report_and_ends_lines() -> None:
    answer = Answer(Succeeded(b"1"), WARM, b"no newline")
    assert log_lines.whole("1", "7", answer, SPEC).decode() == (
        "START RequestId: 1 Version: 7\nno newline\nEND RequestId: 1\n" + BASE + "\n"
    )


def test_the_whole_log_is_json_where_the_function_wants_json() -> None:
    answer = Answer(Succeeded(b"1"), WARM, b'{"a":1}\n')
    spec = replace(SPEC, log_format="JSON")
    start, user, report = log_lines.whole("1", "7", answer, spec, MOMENT).splitlines()
    assert json.loads(start)["time"] == "2024-03-13T18:56:23.966Z"
    assert user == b'{"a":1}'
    assert json.loads(report)["type"] == "platform.report"


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"[" * 100_000, b"\xff", b'{"errorType":"A"}'])
def test_error_json_that_is_none_is_unknown(payload: bytes) -> None:
    outcome = failure.raised(payload)
    assert (outcome.error_type, outcome.payload) == ("Function.Unknown", payload)


def test_an_error_whose_texts_cannot_be_sent_on_is_shown_as_far_as_they_can() -> None:
    payload = b'{"errorType":"' + b"E" * 300 + b'\\ud800","errorMessage":"half \\ud800 and \\u0000"}'
    outcome = failure.raised(payload)
    assert (outcome.error_type, outcome.message, outcome.payload) == ("E" * 255, "half ? and \ufffd", payload)
    reply.decode(
        reply.encode(Reply(outcome.payload, ReplyKind.ERROR, code=outcome.error_type, message=outcome.message))
    )


def test_what_a_caller_gets_of_a_cold_start_begins_with_start() -> None:
    answer = Answer(Succeeded(b"1"), replace(COLD, init_ms=12.5, runtime_version="python:3.13.v2"), logs=b"hello\n")
    assert log_lines.whole("1", "7", answer, SPEC).decode().splitlines()[:2] == [
        "START RequestId: 1 Version: 7",
        "hello",
    ]
    first, *_ = log_lines.whole("1", "7", answer, replace(SPEC, log_format="JSON"), MOMENT).splitlines()
    assert json.loads(first)["type"] == "platform.start"
