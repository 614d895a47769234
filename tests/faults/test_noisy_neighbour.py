"""One function misuses its host: its neighbour is answered as before, is never refused, and never fails.

Prints the neighbour's latencies before and during each misuse (``pytest -s``). ``FNRUNNER_TEST_NOISE_S`` is how long each
one lasts, 1 s by default, with one worker and no cap; when it is set, all are tried capped too, and with two workers.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.faults.neighbour import MISUSES, Measured, QuietCaller, calling, percentile
from tests.installation import Installation, environments_of, eventually

pytestmark = pytest.mark.slow

LONG = "FNRUNNER_TEST_NOISE_S" in os.environ
NOISE_S = float(os.environ.get("FNRUNNER_TEST_NOISE_S", "1"))
JUDGED = 0.99 if LONG else 0.9
"""Of the few calls of a second, the slowest hundredth is a single one."""
CALLS_A_SECOND = 50.0
EVENTS_A_SECOND = 10.0
NOISY_CALLERS = 6
CAP = 4
QUIET = """
    def handler(event, context):
        return "quiet"
"""


def name_of(misuse: str) -> str:
    return misuse.replace(" ", "-")


@contextmanager
def neighbours(url: str, directory: Path, *, workers: int, capped: bool) -> Iterator[Installation]:
    """The quiet function, warm, beside every noisy one, cold."""
    with Installation(directory, url) as installation:
        installation.start("api")
        for number in range(workers):
            installation.start("worker", f"worker-{number}", wait=False)
        installation.deploy("quiet", QUIET)
        for name, misuse in MISUSES.items():
            installation.deploy(name_of(name), misuse.code, MemorySize=misuse.memory_mb, Timeout=misuse.timeout_s)
            if capped:
                installation.client().put_function_concurrency(
                    FunctionName=name_of(name), ReservedConcurrentExecutions=CAP
                )
        eventually(lambda: installation.call("quiet", {})[2] == "quiet")
        measure(installation, 0.5)
        yield installation


def measure(installation: Installation, seconds: float) -> Measured:
    """The quiet function is called and sent events at a steady rate."""
    found = Measured()
    sent: list[tuple[str, float]] = []

    def send() -> None:
        first = time.monotonic()
        for number in range(int(seconds * EVENTS_A_SECOND)):
            time.sleep(max(0.0, first + number / EVENTS_A_SECOND - time.monotonic()))
            at = time.time()
            sent.append((installation.send("quiet", {}), at))

    sender = threading.Thread(target=send)
    sender.start()
    found.called_ms, found.refused = QuietCaller(installation.url, "quiet", rate=CALLS_A_SECOND).call(seconds)
    sender.join()
    for event_id, at in sent:
        story = eventually(partial(_ended, installation, event_id))
        found.queued_ms.append(story["attempts"][-1]["ended_ms"] - at * 1000)
        found.refused += [a["outcome"] for a in story["attempts"] if a["outcome"] != "succeeded"]
    return found


def _ended(installation: Installation, event_id: str) -> dict[str, object] | None:
    story = installation.story(event_id)
    return story if story["state"] != "in flight" else None


def starved(quiet: list[Measured], during: Measured, slack_ms: float) -> bool:
    """Starvation is seconds; what else the tests' machine is busy with is not meant."""

    def worse(ways: list[list[float]], now: list[float]) -> bool:
        return percentile(now, JUDGED) > 10 * max(percentile(way, JUDGED) for way in ways) + slack_ms

    called = worse([one.called_ms for one in quiet], during.called_ms)
    return called or worse([one.queued_ms for one in quiet], during.queued_ms)


def disturbed(installation: Installation, name: str) -> Measured:
    misuse = MISUSES[name]
    with calling(installation.url, name_of(name), threads=NOISY_CALLERS, sent_bytes=misuse.sent_bytes):
        # its first environments start: the noise begins
        time.sleep(0.5)
        return measure(installation, NOISE_S)


@pytest.mark.parametrize(
    ("workers", "cap"),
    [(1, "uncapped")] + ([(1, "capped"), (2, "uncapped"), (2, "capped")] if LONG else []),
)
def test_a_function_that_misuses_its_host_does_not_disturb_its_neighbour(
    rabbitmq_url: str, tmp_path: Path, workers: int, cap: str
) -> None:
    during: dict[str, Measured] = {}
    with neighbours(rabbitmq_url, tmp_path, workers=workers, capped=cap == "capped") as installation:
        before = measure(installation, NOISE_S)
        print(f"\n{workers} worker(s), the noisy function {cap}\n{'before':<16} {before}")
        for name in MISUSES:
            during[name] = disturbed(installation, name)
            print(f"{name:<16} {during[name]}")
        after = measure(installation, NOISE_S)
        print(f"{'after':<16} {after}")
    assert {name: found.refused for name, found in during.items() if found.refused} == {}
    assert [
        f"{name}: {found}" for name, found in during.items() if starved([before, after], found, MISUSES[name].slack_ms)
    ] == []


def test_a_function_that_fills_the_worker_leaves_its_neighbour_room(rabbitmq_url: str, tmp_path: Path) -> None:
    capacity = 8
    with Installation(
        tmp_path, rabbitmq_url, FNRUNNER_WORKER_CAPACITY=f"{capacity}", FNRUNNER_DRAIN_TIMEOUT_S="0"
    ) as installation:
        installation.start("api")
        worker = installation.start("worker")
        installation.deploy("long", "import time\ndef handler(event, context): time.sleep(600)", Timeout=900)
        installation.deploy("quiet", QUIET)
        for _ in range(2 * capacity):
            installation.send("long", {})
        eventually(lambda: len(environments_of(worker)) >= capacity)
        assert installation.call("quiet", {}) == (200, "", "quiet")
        found = measure(installation, 1)
        assert found.refused == []
        assert percentile(found.queued_ms, 0.99) < 10_000
