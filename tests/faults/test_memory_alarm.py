"""A memory alarm of the broker under load: nothing is accepted that is not taken, what runs ends, everything resumes by itself.

``FNRUNNER_TEST_ALARM_S`` is how long the alarm lasts, 6 s by default.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.faults.gate import CODE, Gate
from tests.installation import Installation, eventually
from tests.rabbitmq_server import RabbitMQServer

pytestmark = pytest.mark.slow

ALARM_S = float(os.environ.get("FNRUNNER_TEST_ALARM_S", "6"))
NOTICED_S = 2.0
AT_ONCE_S = 1.0
"""Milliseconds on a machine that has nothing else to do."""


class Load:
    """Sends events one after the other until ``stop``, and counts the answers."""

    def __init__(self, installation: Installation) -> None:
        self.answers: Counter[int] = Counter()
        self.slowest_s = 0.0
        self.accepted: list[str] = []
        self._url = f"{installation.url}/2015-03-31/functions/f/invocations"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send_for_ever)

    @property
    def started(self) -> bool:
        return self._thread.ident is not None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(60)

    def _send_for_ever(self) -> None:
        with httpx.Client(timeout=60) as http:
            while not self._stopping.wait(0.02):
                answer, took_s = send(http, self._url)
                self.answers[answer.status_code] += 1
                self.slowest_s = max(self.slowest_s, took_s)
                if answer.status_code == 202:
                    self.accepted.append(answer.headers["x-amzn-requestid"])


def send(http: httpx.Client, url: str, event: object = None) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    content = json.dumps(event or {})
    answer = http.post(url, content=content, headers={"X-Amz-Invocation-Type": "Event"})
    return answer, time.monotonic() - began


def test_an_alarm_refuses_at_once_what_runs_ends_and_everything_resumes_by_itself(
    private_rabbitmq: RabbitMQServer, tmp_path: Path
) -> None:
    settings = {"FNRUNNER_WORKER_CAPACITY": "4"}
    with (
        Installation(tmp_path, private_rabbitmq.url, FNRUNNER_NETWORK="host", **settings) as installation,
        Gate() as gate,
    ):
        installation.start("api")
        installation.start("worker")
        installation.deploy("f", CODE, Timeout=120)
        assert eventually(lambda: installation.call("f", {})[0] == 200)
        running = [installation.send("f", gate.event) for _ in range(8)]
        gate.until_waiting(4)
        load = Load(installation)
        private_rabbitmq.raise_memory_alarm()
        try:
            began = time.monotonic()
            # nothing is published in this time: the processes find out by themselves
            time.sleep(NOTICED_S)
            answer, took_s = send(installation.http, "/2015-03-31/functions/f/invocations")
            assert (answer.status_code, took_s < AT_ONCE_S) == (503, True), took_s
            assert "The broker is blocked" in answer.json()["Message"]
            for name in ("api", "worker"):
                assert "broker-blocked" in installation.codes(name)
                assert installation.health(name)[0] == 503
                assert installation.health(name, "healthz")[0] == 200
            found = json.loads(installation.command("doctor", "--json", check=False).stdout)["findings"]
            assert "broker-blocked" in {finding["code"] for finding in found}
            load.start()
            # what was here before ends and is acknowledged while nothing can be published
            gate.open()
            eventually(lambda: installation.balance("f").get("succeeded") == 8, every_s=0.5)
            assert "broker-blocked" in installation.codes("worker")
            time.sleep(max(0.0, began + ALARM_S - time.monotonic()))
            assert set(load.answers) <= {503, 429}, load.answers
            assert load.answers[503] > 0
            assert load.slowest_s < AT_ONCE_S
        finally:
            private_rabbitmq.clear_memory_alarm()
            if load.started:
                eventually(lambda: load.answers[202] >= 5, within_s=60)
                load.stop()
        eventually(lambda: not installation.codes("api") and not installation.codes("worker"))
        expected = len(running) + len(load.accepted)
        balance = installation.settled("f", expected)
        assert (balance["succeeded"], balance["missing"]) == (expected, 0)
        for event_id in (*running, *load.accepted[:3]):
            assert [a["number"] for a in installation.story(event_id)["attempts"]] == [1]
