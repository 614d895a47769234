"""The state of a mapping: what a user asked for, against what the pollers have told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fnrunner.catalogue.mapping_state import PATIENCE, processing_result, state_of
from sources.mapping import EventSourceMapping

AT = datetime(2026, 1, 1, tzinfo=UTC)
STREAM = EventSourceMapping(
    "u", "f", source_arn="arn:aws:kinesis:us-east-1:000000000000:stream/s", last_modified=AT, revision=2
)
PAUSED = replace(STREAM, enabled=False)
GOING = replace(STREAM, deleting=True)


def told(revision: int, state: str = "Enabled", reason: str = "") -> dict[str, Any]:
    return {"revision": revision, "state": state, "reason": reason}


@pytest.mark.parametrize(
    ("mapping", "said", "state", "busy", "seen"),
    [
        (STREAM, None, "Creating", True, False),
        (STREAM, told(2), "Enabled", False, True),
        (STREAM, told(3), "Enabled", False, True),
        (STREAM, told(1), "Updating", True, True),
        (STREAM, told(1, "Disabled"), "Enabling", True, True),
        (PAUSED, None, "Creating", True, False),
        (PAUSED, told(1), "Disabling", True, True),
        (PAUSED, told(2, "Disabled"), "Disabled", False, True),
        (PAUSED, told(1, "Disabled"), "Updating", True, True),
        (GOING, None, "Deleting", True, False),
        (GOING, told(2), "Deleting", True, True),
    ],
)
def test_the_state_is_what_was_told_or_the_way_there(
    mapping: EventSourceMapping, said: dict[str, Any] | None, state: str, busy: bool, seen: bool
) -> None:
    found = state_of(mapping, said, AT)
    assert (found.state, found.busy, found.seen, found.stalled) == (state, busy, seen, False)
    assert found.reason == "User action"


@pytest.mark.parametrize("said", [None, told(1), told(1, "Disabled")])
def test_a_transition_that_nobody_takes_up_names_the_remedy_and_keeps_nobody_waiting(
    said: dict[str, Any] | None,
) -> None:
    at_the_limit = state_of(STREAM, said, AT + PATIENCE)
    late = state_of(STREAM, said, AT + PATIENCE + timedelta(seconds=1))
    assert (at_the_limit.busy, late.busy) == (True, False)
    assert at_the_limit.state == late.state
    assert "No sources process has taken this up for 16 s" in late.reason
    assert "`fnrunner sources`" in late.reason


def test_a_deletion_that_nobody_takes_up_says_so_and_stays_one() -> None:
    late = state_of(GOING, told(2), AT + timedelta(hours=1))
    assert (late.state, late.busy) == ("Deleting", True)
    assert "`fnrunner sources`" in late.reason


def test_what_pollers_say_is_wrong_is_the_reason() -> None:
    found = state_of(STREAM, told(2, "Disabled", "there is no stream s"), AT + timedelta(hours=1))
    assert (found.state, found.reason, found.stalled) == ("Disabled", "there is no stream s", False)


def test_queues_and_brokers_have_another_word_for_what_a_user_asked_for() -> None:
    queue = replace(STREAM, source_arn="arn:aws:sqs:us-east-1:000000000000:q")
    assert state_of(queue, told(2), AT).reason == "USER_INITIATED"


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([], "No records processed"),
        (["No records processed", None], "No records processed"),
        (["No records processed", "OK"], "OK"),
        (["OK", "PROBLEM: Function call failed", "OK"], "PROBLEM: Function call failed"),
    ],
)
def test_a_problem_of_one_shard_is_the_mapping_s(results: list[str | None], said: str) -> None:
    assert processing_result([{"result": result} for result in results]) == said
