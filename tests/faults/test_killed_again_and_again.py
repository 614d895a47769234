"""Workers and brokers are killed while events run: every accepted event is accounted for, and nothing is left running.

``FNRUNNER_TEST_EVENTS`` sets how many events; the default keeps the suite quick.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.installation import Installation, eventually
from tests.rabbitmq_server import RabbitMQServer

EVENTS = int(os.environ.get("FNRUNNER_TEST_EVENTS", "600"))
KILL_EVERY_S = 2.0
CODE = """
    import os
    def handler(event, context):
        with open(event["marks"], "a") as marks:
            marks.write(str(event["n"]) + "\\n")
"""

pytestmark = pytest.mark.slow


class Sender:
    """Sends events until each was accepted; what was refused or unanswered is sent again under a new id."""

    def __init__(self, installation: Installation, marks: Path) -> None:
        self._url = f"{installation.url}/2015-03-31/functions/f/invocations"
        self._marks = marks
        self.accepted = 0
        self._lock = threading.Lock()

    def send(self, numbers: range) -> None:
        with ThreadPoolExecutor(8) as pool, httpx.Client(timeout=60) as client:
            list(pool.map(lambda n: self._one(client, n), numbers))

    def _one(self, client: httpx.Client, n: int) -> None:
        payload = json.dumps({"n": n, "marks": str(self._marks)})
        while True:
            try:
                answer = client.post(self._url, content=payload, headers={"X-Amz-Invocation-Type": "Event"})
                if answer.status_code == 202:
                    with self._lock:
                        self.accepted += 1
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.5)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """A file that functions can append to: it lies in a bucket's directory, which they see."""
    (tmp_path / "bucket").mkdir()
    return tmp_path / "bucket" / ".marks"


def check(installation: Installation, sender: Sender, marks: Path, count: int) -> None:
    balance = installation.settled("f", count, within_s=600)
    print(f"\n{balance}")
    assert balance["missing"] == 0
    assert balance["accepted"] >= sender.accepted == count
    assert balance["accepted"] == balance["succeeded"] + balance["dead_lettered"] + balance["expired"]
    assert balance["dead_lettered"] == 0, installation.dead_letters("f")[:3]
    ran = [int(line) for line in marks.read_text().split()]
    assert set(ran) == set(range(count))
    print(f"{len(ran) - count} of {count} events ran more than once")


def processes_of(installation: Installation) -> list[int]:
    """Everything that runs in this installation's directory, or with it in its environment or command line."""
    wanted = str(installation.directory).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                known = (
                    (entry / "environ").read_bytes(),
                    (entry / "cmdline").read_bytes(),
                    os.readlink(entry / "cwd").encode(),
                )
                if any(wanted in part for part in known):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_three_workers_one_killed_every_two_seconds_and_the_broker_once(
    private_rabbitmq: RabbitMQServer, tmp_path: Path, marks: Path
) -> None:
    with Installation(tmp_path, private_rabbitmq.url, FNRUNNER_BUCKETS=f"marks={marks.parent}") as installation:
        installation.start("api")
        installation.start("sources")
        for n in range(3):
            installation.start("worker", f"worker-{n}")
        installation.deploy("f", CODE, Timeout=20)
        sender = Sender(installation, marks)
        stop, kills = threading.Event(), 0

        def nemesis() -> None:
            nonlocal kills
            dice = random.Random(7)
            while not stop.wait(KILL_EVERY_S):
                name = f"worker-{dice.randrange(3)}"
                installation.kill(name)
                installation.start("worker", name, wait=False)
                kills += 1
                if kills == 3:
                    private_rabbitmq.kill()
                    private_rabbitmq.start()

        killer = threading.Thread(target=nemesis)
        killer.start()
        try:
            sender.send(range(EVENTS))
            eventually(lambda: kills >= 5)
        finally:
            stop.set()
            killer.join()
        print(f"\n{kills} workers were killed, the broker once")
        check(installation, sender, marks, EVENTS)
    eventually(lambda: not processes_of(installation), within_s=30)


def test_the_embedded_broker_and_its_one_process_killed_ten_times(tmp_path: Path, marks: Path) -> None:
    with Installation(tmp_path, FNRUNNER_BUCKETS=f"marks={marks.parent}") as installation:
        installation.start("dev")
        installation.deploy("f", CODE, Timeout=20)
        sender = Sender(installation, marks)
        sending = threading.Thread(target=sender.send, args=(range(EVENTS),))
        sending.start()
        for _ in range(10):
            time.sleep(0.7)
            installation.kill("dev", signal.SIGKILL)
            installation.start("dev")
        sending.join()
        check(installation, sender, marks, EVENTS)
    eventually(lambda: not processes_of(installation), within_s=30)
