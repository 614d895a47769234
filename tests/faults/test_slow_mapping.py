"""A slow function on one mapping delays no other mapping."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.installation import Installation, eventually

pytestmark = pytest.mark.slow

SLOW_S = float(os.environ.get("FNRUNNER_TEST_SLOW_S", "6"))

FUNCTION = """
    import os, time

    def handler(event, context):
        for record in event["Records"]:
            pause = float(record["body"])
            time.sleep(pause)
            late = time.time() * 1000 - int(record["attributes"]["SentTimestamp"])
            with open(os.path.join(os.environ["EFFECTS"], context.function_name), "a") as log:
                log.write(f"{late} {time.time()}\\n")
"""


def lines(effects: Path, name: str) -> list[tuple[float, float]]:
    """How late each message of the function was, in milliseconds, and when it ended."""
    path = effects / name
    return [tuple(map(float, line.split())) for line in path.read_text().splitlines()] if path.exists() else []  # type: ignore[misc]


def send(installation: Installation, queue: str, body: str, count: int) -> None:
    for _ in range(count):
        installation.http.post(
            f"/fnrunner/v1/queues/{queue}/messages", json={"messages": [{"body": body}]}
        ).raise_for_status()
        time.sleep(0.01)


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not below /tmp: functions have a /tmp of their own and would not see where they write.
    with TemporaryDirectory(dir="/var/tmp") as found:
        yield Path(found)


def test_one_slow_mapping_delays_no_other(rabbitmq_url: str, directory: Path) -> None:
    effects = directory / "effects"
    effects.mkdir()
    with Installation(directory, rabbitmq_url) as installation:
        for role in ("api", "worker", "sources"):
            installation.start(role)
        client = installation.client()
        for name in ("quick", "slow"):
            installation.http.put(f"/fnrunner/v1/queues/{name}", json={"visibility_timeout_s": 120}).raise_for_status()
            installation.deploy(name, FUNCTION, Timeout=60, Environment={"Variables": {"EFFECTS": str(effects)}})
            arn = f"arn:aws:sqs:us-east-1:000000000000:{name}"
            uuid = client.create_event_source_mapping(FunctionName=name, EventSourceArn=arn, BatchSize=1)["UUID"]
            eventually(lambda uuid=uuid: client.get_event_source_mapping(UUID=uuid)["State"] == "Enabled")
        for count in (200, 400):  # the first ones start environments
            send(installation, "quick", "0", 200)
            eventually(lambda count=count: len(lines(effects, "quick")) == count)
        before = [late for late, _ in lines(effects, "quick")][200:]
        send(installation, "slow", str(SLOW_S), 10)
        send(installation, "quick", "0", 200)
        eventually(lambda: len(lines(effects, "quick")) == 600)
        during = [late for late, _ in lines(effects, "quick")][400:]
        eventually(lambda: len(lines(effects, "slow")) == 10, within_s=180)
        first_slow_end = min(at for _, at in lines(effects, "slow"))
        overtook = sum(at < first_slow_end for _, at in lines(effects, "quick")[400:])
        print(f"\np99 of the quick mapping: {p99(before):.0f} ms before, {p99(during):.0f} ms beside the slow one")
        assert overtook > 100, "messages of the quick mapping waited for the slow function"
