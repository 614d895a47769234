"""The page of `fnrunner cold`."""

from __future__ import annotations

from typing import Any

from fnrunner.cli.cold import described, page

IMPORTS = {"modules": 300, "imports": [["botocore", 80.0], ["boto3", 12.5]], "copied": False}


def start(reason: str, init_ms: float | None = 10.0, imports: Any = None) -> dict[str, Any]:
    return {
        "at_ms": 1_700_000_000_000, "version": "$LATEST", "reason": reason, "init_ms": init_ms, "imports": imports,
        "event_id": "e1", "log_stream": "s",
    }  # fmt: skip


def text(**found: Any) -> str:
    return "\n".join(page({"function": "f", "runs": 0, "cold": 0, "reasons": {}, "starts": [], **found}, "1d"))


def test_a_function_that_has_not_run_says_so() -> None:
    assert text() == "f has not run in the last 1d."


def test_it_says_how_often_why_and_how_long() -> None:
    starts = [start("first", 100.0), start("scaled", 20.0), start("scaled", 30.0)]
    shown = text(runs=300, cold=3, reasons={"scaled": 2, "first": 1}, starts=starts)
    assert "f: 3 of 300 runs in the last 1d began in a new environment (1.0%)" in shown
    assert "       2  scaled    all that were there were busy" in shown
    assert "half within 30 ms, 99% within 100 ms, the longest 100 ms" in shown


def test_it_shows_what_the_newest_imported() -> None:
    starts = [start("first", imports=IMPORTS), start("crashed")]
    shown = text(runs=2, cold=2, reasons={"first": 1, "crashed": 1}, starts=starts)
    assert "What the newest imported, at each start" in shown
    assert "botocore                      80 ms  ####################" in shown
    assert "boto3                       12.5 ms  ###" in shown


def test_names_that_a_function_chose_do_not_reach_the_terminal_as_they_are() -> None:
    imports = {"modules": 1, "imports": [["\x1b[31mred", 1.0]], "copied": True}
    assert "\x1b" not in text(runs=1, cold=1, reasons={"first": 1}, starts=[start("first", imports=imports)])
    assert "\x1b" not in described(imports)


def test_runs_without_a_cold_start_are_one_line() -> None:
    assert text(runs=5) == "f: 0 of 5 runs in the last 1d began in a new environment (0.0%)"
