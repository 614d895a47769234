"""`fnrunner why` tells on one page what happened, what comes next and what to type."""

from __future__ import annotations

from typing import Any

from fnrunner.cli.story import MAX_LOG_LINES, log_of, page, suggestions

ID = "0b1c"


def attempt(number: int, started_ms: int, outcome: str = "failed", **more: Any) -> dict[str, Any]:
    failed = outcome == "failed"
    return {
        "event_id": ID, "function": "thumb", "number": number, "started_ms": started_ms, "ended_ms": started_ms + 100,
        "outcome": outcome, "kind": "event", "version": "$LATEST", "error_type": "ValueError" if failed else "",
        "error_message": "bad photo" if failed else "", "retry_in_ms": None, "duration_ms": 100.0, "billed_ms": 100,
        "memory_mb": 128, "max_memory_mb": 40, "init_ms": None, "cold_reason": "", "log_stream": "s1", "digest": "",
        "worker": "w1", "traceparent": "", **more,
    }  # fmt: skip


def story(state: str, attempts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    accepted = {
        "event_id": ID,
        "function": "thumb",
        "at_ms": 0,
        "qualifier": "",
        "source": "s3:photos",
        "size_bytes": 649,
    }
    return {
        "event_id": ID, "function": "thumb", "state": state, "trace_id": "ab" * 16, "accepted": accepted,
        "attempts": attempts, "dead_letters": [], "logs": [], **more,
    }  # fmt: skip


def letter(state: str = "held") -> dict[str, Any]:
    return {"event_id": ID, "at_ms": 200_000, "reason": "RetriesExhausted", "state": state}


def chunk(at_ms: int, text: str, stream: str = "s1") -> dict[str, Any]:
    return {"function": "thumb", "event_id": ID, "log_stream": stream, "at_ms": at_ms, "text": text}


def text_of(told: dict[str, Any]) -> list[str]:
    return [line for line, _ in page(told)]


def test_a_dead_letter_has_its_attempts_logs_and_what_to_do_about_it() -> None:
    told = story(
        "held",
        [
            attempt(1, 1_000, retry_in_ms=60_000, init_ms=250.0, cold_reason="first"),
            attempt(2, 61_100),
        ],
        dead_letters=[letter()],
        logs=[chunk(1_050, "one\ntwo\n"), chunk(61_150, "three\n")],
    )
    assert text_of(told) == [
        "Event 0b1c of thumb",
        "  dead letter: it was given up and waits for you after 2 attempts: ValueError: bad photo",
        "",
        "Accepted   1970-01-01 00:00:00.000Z from s3:photos, 649 B",
        "",
        "Attempt 1  1970-01-01 00:00:01.000Z  failed after 100 ms",
        "  error    ValueError: bad photo",
        "  ran on   worker w1, version $LATEST, a new environment (first)",
        "  used     40 of 128 MB, billed 100 ms, init 250 ms",
        "  log",
        "    | one",
        "    | two",
        "  then     retry in 1 min, due 1970-01-01 00:01:01.100Z",
        "",
        "Attempt 2  1970-01-01 00:01:01.100Z  failed after 100 ms",
        "  error    ValueError: bad photo",
        "  ran on   worker w1, version $LATEST, a warm environment",
        "  used     40 of 128 MB, billed 100 ms",
        "  log",
        "    | three",
        "",
        "Dead       1970-01-01 00:03:20.000Z, RetriesExhausted: it waits",
        f"Trace      {'ab' * 16}",
        "",
        "What to type next",
        "  fnrunner dlq show thumb 0b1c           the payload",
        "  fnrunner replay 0b1c                   run it again on this machine; --debug: under a debugger",
        "  fnrunner dlq edit thumb 0b1c           correct the payload",
        "  fnrunner dlq redrive thumb 0b1c        run it again, after you deployed a fix",
        "  fnrunner logs thumb --request-id 0b1c  its whole log",
    ]


def test_a_waiting_retry_says_which_attempt_comes_and_when() -> None:
    lines = text_of(story("in flight", [attempt(1, 1_000, retry_in_ms=60_000)]))
    assert "Next       attempt 2, due 1970-01-01 00:01:01.100Z" in lines
    assert "  fnrunner why 0b1c             look again" in lines


def test_a_throttle_charges_no_attempt_and_the_same_number_comes_again() -> None:
    lines = text_of(story("in flight", [attempt(1, 1_000, "throttled", retry_in_ms=1_000, log_stream="", memory_mb=0)]))
    assert lines[1] == "  in flight, not finished"
    assert "Next       attempt 1, due 1970-01-01 00:00:02.100Z" in lines
    assert "  ran on   worker w1, version $LATEST" in lines


def test_an_event_nobody_has_run_yet_waits() -> None:
    assert "Next       it waits for a worker, or runs now" in text_of(story("in flight", []))


def test_a_success_is_finished() -> None:
    lines = text_of(story("succeeded", [attempt(1, 1_000, "succeeded")]))
    assert lines[1] == "  succeeded after 1 attempt"
    assert "Next       nothing: it is finished" in lines


def test_a_request_that_failed_has_a_caller_who_knows() -> None:
    lines = text_of(story("failed", [attempt(1, 1_000, kind="request")], accepted=None))
    assert lines[1] == "  failed after 1 attempt: ValueError: bad photo"
    assert lines[3].startswith("Requested  by a caller that waited")


def test_an_acceptance_that_was_not_recorded_is_said_so() -> None:
    assert "Accepted   at a time that was not recorded" in text_of(story("in flight", [], accepted=None))


def test_a_redriven_letter_stays_on_the_page() -> None:
    told = story("succeeded", [attempt(1, 1_000), attempt(1, 9_000, "succeeded")], dead_letters=[letter("redriven")])
    assert "Dead       1970-01-01 00:03:20.000Z, RetriesExhausted: it was redriven" in text_of(told)


def test_an_attempts_log_is_that_of_its_environment_and_time() -> None:
    first, second, elsewhere = attempt(1, 1_000), attempt(2, 2_000), attempt(3, 3_000, log_stream="s2")
    logs = [chunk(1_000, "a\n"), chunk(1_999, "b\n"), chunk(2_000, "c\n"), chunk(3_100, "d\n", "s2")]
    told = story("held", [first, second, elsewhere], logs=logs)
    assert [log_of(one, told) for one in (first, second, elsewhere)] == [["a", "b"], ["c"], ["d"]]


def test_a_long_log_shows_its_end_and_says_so() -> None:
    told = story("failed", [attempt(1, 0)], logs=[chunk(1, "".join(f"line {i}\n" for i in range(100)))])
    lines = text_of(told)
    assert "  log (the last 20 of 100 lines)" in lines
    assert sum(line.startswith("    | ") for line in lines) == MAX_LOG_LINES
    assert "    | line 99" in lines


def test_what_a_function_wrote_cannot_steer_the_terminal() -> None:
    evil = "\x1b]0;title\x07\r"
    told = story("failed", [attempt(1, 0, error_message=f"bad {evil}")], logs=[chunk(1, f"{evil}\n")])
    assert not [line for line in text_of(told) if any(ord(char) < 32 for char in line)]


def test_every_state_suggests_something() -> None:
    for state in ("succeeded", "held", "redriving", "purged", "in flight", "failed", "expired", "died", "throttled"):
        assert suggestions(story(state, []))


def test_the_log_of_a_record_is_looked_for_under_the_ids_of_the_invocations_that_had_it() -> None:
    batch = {"mapping": "m", "first": "5", "last": "5"}
    told = story("held", [], dead_letters=[letter()], batch=batch, poison={"records": [{"request_ids": ["r1", "r2"]}]})
    assert "fnrunner logs thumb --request-id r2" in dict(suggestions(told))
    unknown = story("held", [], dead_letters=[letter()], batch=batch, poison=None)
    assert "fnrunner logs thumb --since 1d" in dict(suggestions(unknown))
    redriven = story("succeeded", [attempt(1, 1_000, "succeeded")], batch=batch, poison=None)
    assert f"fnrunner logs thumb --request-id {ID}" in dict(suggestions(redriven))
