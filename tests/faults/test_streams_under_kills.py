"""Streams keep their order while the processes that poll and run are killed in turn; only the guilty records are skipped.

``FNRUNNER_TEST_RECORDS`` sets how many records, ``FNRUNNER_TEST_RECORD_AGE_S`` makes poison records expire by their age
instead of by their number of attempts; the defaults keep the suite quick.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.installation import Installation, eventually

pytestmark = pytest.mark.slow

RECORDS = int(os.environ.get("FNRUNNER_TEST_RECORDS", "1200"))
AGE_S = int(os.environ.get("FNRUNNER_TEST_RECORD_AGE_S", "0"))
PARTITIONS, KILL_EVERY_S = 4, 3.0
AROUND_S = 8.0
"""How long after a kill a repetition is still the kill's: the dead owner's claims are taken over, its work done again."""

FUNCTION = """
    import base64, json, os, time

    HOME = os.environ["EFFECTS"]

    def marks(name, most):
        for number in range(most):
            try:
                os.close(os.open(f"{HOME}/{name}.{number}", os.O_CREAT | os.O_EXCL))
                return number
            except FileExistsError:
                continue
        return most

    def handler(event, context):
        lines, failures = [], []
        for record in event["Records"]:
            shard, _, sequence = record["eventID"].partition(":")
            data = json.loads(base64.b64decode(record["kinesis"]["data"]))
            if data["kind"] == "poison" or data["kind"] == "flaky" and marks(f"flaky-{shard}-{sequence}", 2) < 2:
                failures.append({"itemIdentifier": sequence})
                break
            lines.append(f"{shard} {sequence} {data['n']} {time.time()}\\n")
        log = os.open(f"{HOME}/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.write(log, "".join(lines).encode())
        os.fsync(log)
        os.close(log)
        return {"batchItemFailures": failures}
"""


def kinds(count: int) -> list[str]:
    """One in a hundred is flaky, three are poison, the rest is well."""
    poison = {count // 5, count // 2, count * 4 // 5}
    return ["poison" if n in poison else "flaky" if n % 100 == 50 else "well" for n in range(count)]


def put(installation: Installation, records: list[dict[str, Any]]) -> None:
    """In forty portions over twenty seconds, so that processes are killed while records come."""
    portion = max(1, len(records) // 40)
    for start in range(0, len(records), portion):
        answer = installation.http.post(
            "/fnrunner/v1/streams/readings/records", json={"records": records[start : start + portion]}
        )
        assert answer.status_code == 200, answer.text
        time.sleep(0.5)


class Killer(threading.Thread):
    """Kills the processes in turn and starts each again. ``when`` are the times."""

    def __init__(self, installation: Installation, names: list[tuple[str, str]]) -> None:
        super().__init__()
        self.when: list[float] = []
        self.over = threading.Event()
        self._installation, self._names = installation, cycle(names)

    def run(self) -> None:
        while not self.over.wait(KILL_EVERY_S):
            role, name = next(self._names)
            self._installation.kill(name)
            self.when.append(time.time())
            self._installation.start(role, name, wait=False)


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not below /tmp: functions have a /tmp of their own and would not see where they write.
    with TemporaryDirectory(dir="/var/tmp") as found:
        yield Path(found)


def test_every_partition_is_processed_in_order_without_a_gap(rabbitmq_url: str, directory: Path) -> None:
    effects = directory / "effects"
    effects.mkdir()
    with Installation(directory, rabbitmq_url, FNRUNNER_BACKOFF_FIRST_S="0.2") as installation:
        installation.start("api")
        installation.http.put("/fnrunner/v1/streams/readings", json={"partitions": PARTITIONS}).raise_for_status()
        installation.http.put("/fnrunner/v1/queues/skipped").raise_for_status()
        installation.deploy("f", FUNCTION, Timeout=30, Environment={"Variables": {"EFFECTS": str(effects)}})
        names = [(role, f"{role}-{n}") for n in range(3) for role in ("sources", "worker")]
        for role, name in names:
            installation.start(role, name)
        patience = {"MaximumRecordAgeInSeconds": AGE_S} if AGE_S else {"MaximumRetryAttempts": 3}
        installation.client().create_event_source_mapping(
            FunctionName="f",
            EventSourceArn="arn:aws:kinesis:us-east-1:000000000000:stream/readings",
            StartingPosition="TRIM_HORIZON",
            BatchSize=100,
            BisectBatchOnFunctionError=True,
            FunctionResponseTypes=["ReportBatchItemFailures"],
            DestinationConfig={"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:000000000000:skipped"}},
            **patience,
        )
        data = [{"n": n, "kind": kind} for n, kind in enumerate(kinds(RECORDS))]
        killer = Killer(installation, names)
        started = time.time()
        killer.start()
        try:
            put(installation, [{"key": f"k{one['n'] % 97}", "data": one} for one in data])
            wanted = sum(one["kind"] != "poison" for one in data)
            eventually(lambda: len(seen(effects)) == wanted, within_s=900, every_s=1)
        finally:
            killer.over.set()
            killer.join()
        took = time.time() - started
        skipped = eventually(lambda: len(found := received(installation)) >= 3 and found, within_s=120)
        check(effects / "log", data, killer.when)
        eventually(lambda: len(installation.dead_letters("f")) == 3)
        assert sorted(guilty(installation, skipped)) == sorted(one["n"] for one in data if one["kind"] == "poison")
        print(f"\n{RECORDS} records in {took:.0f} s, {len(killer.when)} kills, {repeated(effects / 'log')} repetitions")


def seen(effects: Path) -> set[int]:
    log = effects / "log"
    return {int(line.split()[2]) for line in log.read_text().splitlines()} if log.exists() else set()


def repeated(log: Path) -> int:
    numbers = [line.split()[2] for line in log.read_text().splitlines()]
    return len(numbers) - len(set(numbers))


def received(installation: Installation) -> dict[str, dict[str, Any]]:
    """The records in the destination's queue so far, by their positions."""
    answer = installation.http.post("/fnrunner/v1/queues/skipped/receive", json={"max": 100, "ack": False})
    records = [json.loads(message["body"]) for message in answer.json()["messages"]]
    return {
        f"{one['KinesisBatchInfo']['shardId']}:{one['KinesisBatchInfo']['startSequenceNumber']}": one for one in records
    }


def guilty(installation: Installation, skipped: dict[str, dict[str, Any]]) -> list[int]:
    """Which records were skipped: those of the dead letters, each of which the destination knows by its position."""
    numbers = []
    for letter in installation.dead_letters("f"):
        shown = installation.admin(f"functions/f/dead-letters/{letter['event_id']}")
        (record,) = json.loads(shown["payload"])["Records"]
        told = skipped[record["eventID"]]
        assert told["KinesisBatchInfo"]["endSequenceNumber"] == told["KinesisBatchInfo"]["startSequenceNumber"]
        assert told["requestContext"]["condition"] == ("RecordAgeExceeded" if AGE_S else "RetryAttemptsExhausted")
        (reported,) = told["report"]["records"]
        assert str(reported["position"]) == record["kinesis"]["sequenceNumber"]
        assert reported["size_bytes"] == len(base64.b64decode(record["kinesis"]["data"]))
        numbers.append(json.loads(base64.b64decode(record["kinesis"]["data"]))["n"])
    return numbers


def check(log: Path, data: list[dict[str, Any]], kills: list[float]) -> None:
    """In each partition the numbers rise without a gap; what stands in the log twice was repeated after a kill."""
    highest: dict[str, int] = defaultdict(lambda: -1)
    lines: dict[str, list[int]] = defaultdict(list)
    for line in log.read_text().splitlines():
        shard, sequence, _, at = line.split()
        if int(sequence) > highest[shard]:
            lines[shard].append(int(sequence))
            highest[shard] = int(sequence)
            continue
        assert sequence in map(str, lines[shard]), (
            f"{shard} {sequence} came after {highest[shard]} and had been left out"
        )
        assert any(0 <= float(at) - kill <= AROUND_S for kill in kills), (
            f"{shard} {sequence} was repeated without a cause"
        )
    assert len(lines) == PARTITIONS
    poison = sum(one["kind"] == "poison" for one in data)
    gaps = sum(highest[shard] + 1 - len(lines[shard]) for shard in lines)
    assert gaps == poison, f"{gaps} sequence numbers are missing, {poison} of them poison"
