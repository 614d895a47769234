"""A worker loses its broker again and again under load: it consumes again within seconds, and nothing is lost."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.faults.proxy import Proxy
from tests.installation import Installation, eventually
from tests.rabbitmq_server import RabbitMQServer

pytestmark = pytest.mark.slow

CODE = """
    import time
    def handler(event, context):
        with open(event["marks"], "a") as marks:
            marks.write("x\\n")
"""
WITHIN_S = 5.0


def lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


class Load:
    """Sends events until stopped, through an API whose own connection is not touched."""

    def __init__(self, installation: Installation, marks: Path) -> None:
        self.accepted = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, args=(installation, str(marks)))
        self._thread.start()

    def _send(self, installation: Installation, marks: str) -> None:
        while not self._stop.wait(0.02):
            try:
                installation.send("f", {"marks": marks})
                self.accepted += 1
            except (AssertionError, httpx.HTTPError):
                time.sleep(0.2)  # the broker is away: it was refused, and is not counted

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.accepted


def resumes(marks: Path, since: float) -> float:
    """Seconds from ``since`` until something runs again."""
    before = lines(marks)
    eventually(lambda: lines(marks) > before, within_s=30, every_s=0.05)
    return time.monotonic() - since


def test_a_connection_that_is_cut_twenty_times_is_back_within_seconds_each_time(
    private_rabbitmq: RabbitMQServer, tmp_path: Path
) -> None:
    (tmp_path / "bucket").mkdir()
    marks = tmp_path / "bucket" / ".marks"
    proxy = Proxy(private_rabbitmq.port)
    through = private_rabbitmq.url.replace(str(private_rabbitmq.port), str(proxy.port))
    with Installation(tmp_path, private_rabbitmq.url, FNRUNNER_BUCKETS=f"marks={marks.parent}") as installation:
        installation.start("api")
        installation.start("sources")
        installation.start("worker", FNRUNNER_BROKER_URL=through)
        installation.deploy("f", CODE, Timeout=10)
        load = Load(installation, marks)
        eventually(lambda: lines(marks) > 10)
        gaps = []
        for _ in range(20):
            assert proxy.cut() > 0
            cut_at = time.monotonic()
            # what was running goes on without a connection: only what runs after it is back counts
            eventually(lambda: proxy.connections >= 2, within_s=30, every_s=0.02)
            gaps.append(resumes(marks, cut_at))
        accepted = load.stop()
        print(f"\nconsuming again after {[round(gap, 2) for gap in gaps]} s")
        assert max(gaps) < WITHIN_S
        balance = installation.settled("f", accepted, within_s=120)
        assert balance["missing"] == balance["dead_lettered"] == 0
        assert lines(marks) >= accepted
        print(f"{accepted} accepted, {lines(marks)} runs")
    proxy.close()


@pytest.mark.skipif(
    not os.environ.get("FNRUNNER_TEST_BROKER_KILLS"), reason="set FNRUNNER_TEST_BROKER_KILLS to a number"
)
def test_a_broker_that_is_killed_again_and_again_finds_its_worker_back_within_seconds(
    private_rabbitmq: RabbitMQServer, tmp_path: Path
) -> None:
    (tmp_path / "bucket").mkdir()
    marks = tmp_path / "bucket" / ".marks"
    with Installation(tmp_path, private_rabbitmq.url, FNRUNNER_BUCKETS=f"marks={marks.parent}") as installation:
        for role in ("api", "sources", "worker"):
            installation.start(role)
        installation.deploy("f", CODE, Timeout=10)
        load = Load(installation, marks)
        eventually(lambda: lines(marks) > 10)
        gaps = []
        for _ in range(int(os.environ["FNRUNNER_TEST_BROKER_KILLS"])):
            private_rabbitmq.kill()
            private_rabbitmq.start()
            gaps.append(resumes(marks, time.monotonic()))
        accepted = load.stop()
        print(f"\nconsuming again after {[round(gap, 2) for gap in gaps]} s")
        assert max(gaps) < WITHIN_S
        balance = installation.settled("f", accepted, within_s=180)
        print(balance, f"{accepted} accepted, {lines(marks)} runs")
        assert balance["missing"] == balance["dead_lettered"] == 0
