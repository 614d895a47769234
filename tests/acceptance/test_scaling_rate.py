"""A function gets new environments only as fast as its scaling rate allows; what must wait holds nobody back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.installation import Installation

RATE = 2
SOURCE = """
    import os, time, uuid
    IDENTITY = uuid.uuid4().hex

    def handler(event, context):
        time.sleep(event.get("sleep_s", 0))
        if event.get("dies"):
            os._exit(1)
        return IDENTITY
"""


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    """One process with room for eight environments, whose functions may start two in ten seconds."""
    settings = {"FNRUNNER_SCALING_RATE": f"{RATE}", "FNRUNNER_WORKER_CAPACITY": "8", "FNRUNNER_SYNC_WAIT_S": "8"}
    with TemporaryDirectory() as directory, Installation(Path(directory), **settings) as found:
        found.start("dev")
        yield found


def test_calls_beyond_the_rate_wait_for_an_environment_and_other_functions_do_not(installation: Installation) -> None:
    for name in ("many", "other"):
        installation.deploy(name, SOURCE, Timeout=30)
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(installation.call, "many", {"sleep_s": 0.5}) for _ in range(6)]
        time.sleep(0.1)
        status, error, _ = installation.call("other", {})
        assert (status, error) == (200, "")
        answers = [one.result() for one in waiting]
    assert [(status, error) for status, error, _ in answers] == [(200, "")] * 6
    assert len({identity for _, _, identity in answers}) == RATE


def test_without_an_environment_in_time_a_call_is_throttled_and_an_event_waits_uncharged(
    installation: Installation,
) -> None:
    installation.deploy("dying", SOURCE, Timeout=30)
    begun = time.monotonic()
    for _ in range(RATE):
        assert installation.call("dying", {"dies": True})[1] == "Unhandled"
    event = installation.send("dying", {})
    answer = installation.http.post("/2015-03-31/functions/dying/invocations", content=json.dumps({}))
    assert time.monotonic() - begun < 10, "too slow to tell: the rate may allow the next one already"
    assert (answer.status_code, answer.json()["Reason"]) == (429, "ConcurrentInvocationLimitExceeded")
    installation.settled("dying", 1)
    attempts = installation.story(event)["attempts"]
    assert [one["outcome"] for one in attempts if one["outcome"] != "throttled"] == ["succeeded"]
