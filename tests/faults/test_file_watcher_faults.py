"""The file watcher dies, or what it depends on does: everything is announced at least once, with a cause for each repeat."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from sources.adapters.file import BucketWatch, FileWatcher
from sources.checkpoints import StoredCheckpoints
from sources.errors import NotAccepted
from sources.lease import StoredLease
from sources.notification_filter import Notification
from sources.source import Condition, Services
from tests.conformance.sources.faulty_checkpoints import FaultyCheckpoints
from tests.conformance.sources.file_database import FileDatabase
from tests.conformance.sources.inbox import Inbox, eventually, record, seen
from tests.conformance.sources.paces import QUICK

BOTH = Notification("both", "f", events=("s3:ObjectCreated:*", "s3:ObjectRemoved:*"))
ROOT = Path(__file__).parents[2]

WATCHER = """
import asyncio, json, os, sys
from datetime import timedelta
from pathlib import Path
from sources.adapters.file import BucketWatch, FileWatcher
from sources.checkpoints import StoredCheckpoints
from tests.conformance.sources.file_database import FileDatabase
from sources.lease import StoredLease
from sources.notification_filter import Notification
from sources.source import Services

class ToFile:
    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def accept(self, event):
        await asyncio.sleep(0.002)
        os.write(self.file, json.dumps([event.event_id, json.loads(event.payload)]).encode() + b"\\n")
        return event.event_id

async def main(bucket, store, out):
    database = FileDatabase(Path(store))
    services = Services(
        ToFile(out),
        StoredCheckpoints(database, database.seen, database.checkpoint),
        lambda name: StoredLease(database, database.checkpoint, name, ttl=timedelta(seconds=5)),
    )
    notification = Notification("both", "f", events=("s3:ObjectCreated:*", "s3:ObjectRemoved:*"))
    watcher = FileWatcher(BucketWatch("photos", bucket, (notification,)), services)
    await watcher.start()
    print(watcher.health().condition.value, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


class Process:
    """A watcher in a process of its own, whose accepted events are the lines of a file."""

    def __init__(self, directory: Path) -> None:
        self.bucket = directory / "bucket"
        self.bucket.mkdir(exist_ok=True)
        self._arguments = [str(self.bucket), str(directory / "store.sqlite"), str(directory / "accepted")]
        self._accepted = directory / "accepted"
        self._running: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WATCHER, *self._arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        self._running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().strip() in ("watching", "waiting")
        return process

    def kill(self, process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()

    def accepted(self) -> list[tuple[str, str, str]]:
        """Id, event name and key of each."""
        lines = self._accepted.read_text().splitlines() if self._accepted.exists() else []
        found = [json.loads(line) for line in lines]
        return [(i, e["Records"][0]["eventName"], e["Records"][0]["s3"]["object"]["key"]) for i, e in found]

    def has(self, keys: int) -> bool:
        return len({key for _, _, key in self.accepted()}) >= keys

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.terminate()
                process.wait()
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


async def test_a_watcher_that_is_killed_twice_while_files_are_dropped_announces_them_all(process: Process) -> None:
    names = [f"file-{number}" for number in range(600)]

    async def drop() -> None:
        for number, name in enumerate(names):
            (process.bucket / name).write_text(name)
            if number % 10 == 0:
                await asyncio.sleep(0.03)

    dropping = asyncio.create_task(drop())
    for enough in (100, 300):
        running = await asyncio.to_thread(process.start)
        await eventually(partial(process.has, enough), 60)
        process.kill(running)
    await dropping
    (process.bucket / process.accepted()[0][2]).unlink()
    await asyncio.to_thread(process.start)
    await eventually(lambda: {key for _, _, key in process.accepted()} == set(names), 60)
    await eventually(lambda: any(name == "ObjectRemoved:Delete" for _, name, _ in process.accepted()), 60)
    accepted = process.accepted()
    repeats = len(accepted) - len({i for i, _, _ in accepted})
    assert repeats <= 2 * 256, "only what was in flight when it was killed may be repeated"
    assert len({i for i, _, _ in accepted}) == len(names) + 1, "a repeat has the id of the first time"


async def test_another_process_takes_over_within_seconds_of_a_kill(process: Process) -> None:
    first = await asyncio.to_thread(process.start)
    second = await asyncio.to_thread(process.start)
    (process.bucket / "a").write_text("x")
    await eventually(lambda: len(process.accepted()) == 1)
    process.kill(first)
    (process.bucket / "b").write_text("x")
    await eventually(lambda: {key for _, _, key in process.accepted()} == {"a", "b"}, 15)
    assert second.poll() is None
    assert len({i for i, _, _ in process.accepted()}) == 2, "a repeat has the id of the first time"


@pytest.fixture
async def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[FileDatabase]:
    database = FileDatabase(tmp_path / "checkpoints.sqlite")
    yield database
    database.close()


@pytest.fixture
def checkpoints(database: FileDatabase) -> FaultyCheckpoints:
    return FaultyCheckpoints(StoredCheckpoints(database, database.seen, database.checkpoint))


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    (tmp_path / "bucket").mkdir()
    return tmp_path / "bucket"


@pytest.fixture
async def watcher(
    bucket: Path, inbox: Inbox, checkpoints: FaultyCheckpoints, database: FileDatabase
) -> AsyncIterator[FileWatcher]:
    """With room for few keys, so that most have to be found again."""
    services = Services(
        inbox, checkpoints, lambda name: StoredLease(database, database.checkpoint, name, ttl=timedelta(seconds=4))
    )
    notifications = (BOTH, Notification("broken", "g", prefix="broken"))
    pace = replace(QUICK, pending=100, retry_longest=timedelta(milliseconds=500))
    watcher = FileWatcher(BucketWatch("photos", str(bucket), notifications, pace=pace), services)
    await watcher.start()
    yield watcher
    await watcher.close()


@pytest.mark.usefixtures("watcher")
async def test_an_acceptor_that_fails_half_of_the_time_gets_everything_and_nothing_twice(
    bucket: Path, inbox: Inbox
) -> None:
    dice = random.Random(7)
    inbox.fault = lambda event: NotAccepted() if dice.random() < 0.5 else None
    names = [f"file-{number}" for number in range(200)]
    for name in names:
        (bucket / name).write_text(name)
    await inbox.until(lambda: len({key for _, key in inbox.seen()}) == len(names), 90)
    assert Counter(inbox.seen()) == Counter(("Created", name) for name in names)


async def test_an_acceptor_that_is_away_costs_time_and_no_memory(
    watcher: FileWatcher, bucket: Path, inbox: Inbox
) -> None:
    inbox.fault = lambda event: NotAccepted("the broker is away")
    for number in range(1_000):
        (bucket / f"{number}").write_text("x")
    await inbox.until(lambda: len(inbox.offered) > 5)
    await eventually(lambda: watcher.health().condition is Condition.LAGGING)
    session = watcher._session
    assert session is not None
    assert session._announcer is not None
    assert len(session._announcer.pending) <= 100
    assert "f takes no events" in str(watcher.health().reasons)
    inbox.fault = lambda event: None
    await inbox.until(lambda: len(inbox.accepted) >= 1_000, 90)
    assert Counter(inbox.seen()) == Counter(("Created", f"{number}") for number in range(1_000))


@pytest.mark.usefixtures("watcher")
async def test_one_function_that_takes_nothing_does_not_hold_up_another(bucket: Path, inbox: Inbox) -> None:
    inbox.fault = lambda event: NotAccepted("its queue is full") if event.function == "g" else None
    for number in range(300):
        (bucket / f"broken-{number}").write_text("x")
    await inbox.until(lambda: any(event.function == "g" for event in inbox.offered))
    for number in range(300):
        (bucket / f"fine-{number}").write_text("x")
    fine = {("Created", f"fine-{number}") for number in range(300)}
    await inbox.until(lambda: fine <= set(inbox.seen()), 60)
    inbox.fault = lambda event: None
    await inbox.until(lambda: sum(event.function == "g" for event in inbox.accepted) == 300, 60)
    mine = [event for event in inbox.accepted if event.function == "g"]
    assert len({event.event_id for event in mine}) == 300


async def test_a_checkpoint_store_that_fails_for_a_while_loses_nothing(
    watcher: FileWatcher, bucket: Path, inbox: Inbox, checkpoints: FaultyCheckpoints
) -> None:
    (bucket / "before").write_text("x")
    await eventually(lambda: checkpoints.recorded == ["before"])
    checkpoints.failing = True
    names = [f"file-{number}" for number in range(300)]
    for name in names:
        (bucket / name).write_text("x")
    await eventually(lambda: watcher.health().condition is Condition.LAGGING)
    assert "checkpoint store" in watcher.health().reasons[0]
    await eventually(lambda: checkpoints.refused >= 3)
    checkpoints.failing = False
    await eventually(lambda: set(checkpoints.recorded) == {"before", *names}, 60)
    assert Counter(inbox.seen()) == Counter(("Created", name) for name in ["before", *names])


async def test_a_lease_that_cannot_be_renewed_stops_the_watcher_before_another_may_start(
    watcher: FileWatcher, bucket: Path, inbox: Inbox, database: FileDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*arguments: object) -> None:
        raise OSError("disk I/O error")

    monkeypatch.setattr(database, "read", broken)
    monkeypatch.setattr(database, "write", broken)
    await eventually(lambda: watcher.health().condition is Condition.OUTAGE)
    (bucket / "a").write_text("x")
    monkeypatch.undo()
    await inbox.has(("Created", "a"))
    assert [record(event)["s3"]["object"]["key"] for event in inbox.accepted] == ["a"]


async def test_an_overflow_of_the_kernels_queue_is_made_good_by_comparing(
    watcher: FileWatcher, bucket: Path, inbox: Inbox
) -> None:
    await eventually(lambda: watcher.health().condition is Condition.WATCHING)
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    (bucket / "same").write_text("x")
    await inbox.until(lambda: len(inbox.accepted) == 1)
    # not a moment for the loop to read: the queue overflows with events that mean nothing, and this one is lost
    for _ in range(limit + 100):
        for name in (".a", ".b"):
            (bucket / name).write_text("")
    (bucket / "lost").write_text("x")
    await inbox.until(lambda: any(seen(event)[1] == "lost" for event in inbox.accepted))
    await eventually(lambda: watcher.health().counters.get("overflowed", 0) >= 1)
