"""The file watcher with real files: what is announced, once, when it is complete."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sources import bucket_session
from sources.adapters.file import BucketWatch, FileWatcher
from sources.checkpoints import StoredCheckpoints
from sources.directory_watch import DirectoryWatch
from sources.errors import WatchesExhausted
from sources.notification_filter import Notification
from sources.source import Condition, Services
from tests.conformance.sources.file_database import FileDatabase
from tests.conformance.sources.inbox import Inbox, eventually, record
from tests.conformance.sources.paces import QUICK
from tests.conformance.sources.unshared import Unshared

BOTH = Notification("both", "f", events=("s3:ObjectCreated:*", "s3:ObjectRemoved:*"))
Watch = Callable[..., FileWatcher]


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    (tmp_path / "bucket").mkdir()
    return tmp_path / "bucket"


@pytest.fixture
async def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def watch(tmp_path: Path, bucket: Path, inbox: Inbox) -> AsyncIterator[Watch]:
    """Make a watcher of the bucket; keyword arguments are fields of BucketWatch."""
    database = FileDatabase(tmp_path / "checkpoints.sqlite")
    checkpoints = StoredCheckpoints(database, database.seen, database.checkpoint)
    made: list[FileWatcher] = []

    def watch(**changes: Any) -> FileWatcher:
        configuration = BucketWatch("photos", str(bucket), (BOTH,), pace=QUICK)
        made.append(
            FileWatcher(replace(configuration, **changes), Services(inbox, checkpoints, lambda name: Unshared()))
        )
        return made[-1]

    yield watch
    for watcher in made:
        await watcher.close()
    database.close()


async def fenced(inbox: Inbox, bucket: Path) -> None:
    """Wait until what was hinted at before has been dealt with: hints come in order."""
    fence = bucket / f"fence-{len(inbox.accepted)}"
    fence.write_text("")
    await inbox.has(("Created", fence.name))


async def test_the_life_of_a_file(watch: Watch, bucket: Path, inbox: Inbox) -> None:
    await watch().start()
    file = bucket / "a.txt"
    file.write_text("one")
    await inbox.has(("Created", "a.txt"))
    file.write_text("two, longer")
    await inbox.until(lambda: len(inbox.accepted) == 2)
    file.unlink()
    await inbox.has(("Removed", "a.txt"))
    assert inbox.seen() == [("Created", "a.txt"), ("Created", "a.txt"), ("Removed", "a.txt")]
    one, two, removed = (record(event)["s3"]["object"] for event in inbox.accepted)
    assert one["eTag"] == hashlib.md5(b"one").hexdigest()
    assert (two["size"], two["eTag"]) == (11, hashlib.md5(b"two, longer").hexdigest())
    assert one["sequencer"] < two["sequencer"] < removed["sequencer"]
    assert len(set(inbox.ids())) == 3


async def test_quick_overwrites_end_with_the_last_content(watch: Watch, bucket: Path, inbox: Inbox) -> None:
    await watch().start()
    for number in range(200):
        (bucket / "a").write_text(f"{number:03}")
    last = hashlib.md5(b"199").hexdigest()
    await inbox.until(lambda: any(record(e)["s3"]["object"]["eTag"] == last for e in inbox.accepted))
    await fenced(inbox, bucket)
    tags = [found["eTag"] for e in inbox.accepted if (found := record(e)["s3"]["object"])["key"] == "a"]
    assert tags[-1] == last
    assert tags.count(last) == 1


async def test_a_file_that_is_moved_in_was_created_and_one_that_is_moved_out_was_removed(
    watch: Watch, bucket: Path, inbox: Inbox, tmp_path: Path
) -> None:
    await watch().start()
    (tmp_path / "outside").write_text("x")
    (tmp_path / "outside").rename(bucket / "in")
    await inbox.has(("Created", "in"))
    (bucket / "in").rename(tmp_path / "outside")
    await inbox.has(("Removed", "in"))
    (tmp_path / "outside").rename(bucket / "in")
    await inbox.until(lambda: inbox.seen().count(("Created", "in")) == 2)
    assert len(set(inbox.ids())) == 3, "the same file coming again is another event"


async def test_a_rename_inside_is_one_removed_and_one_created(watch: Watch, bucket: Path, inbox: Inbox) -> None:
    await watch().start()
    (bucket / "a").write_text("x")
    await inbox.has(("Created", "a"))
    (bucket / "a").rename(bucket / "b")
    await inbox.has(("Removed", "a"), ("Created", "b"))
    await fenced(inbox, bucket)
    assert len(inbox.accepted) == 4


async def test_a_partial_file_with_a_dot_is_announced_under_its_final_name_only(
    watch: Watch, bucket: Path, inbox: Inbox
) -> None:
    await watch().start()
    (bucket / ".a.x7f").write_text("x")
    (bucket / ".git").mkdir()
    (bucket / ".git" / "config").write_text("x")
    (bucket / ".a.x7f").rename(bucket / "a")
    await inbox.has(("Created", "a"))
    await fenced(inbox, bucket)
    assert len(inbox.accepted) == 2


async def test_nested_directories_made_at_once_lose_no_file(watch: Watch, bucket: Path, inbox: Inbox) -> None:
    await watch().start()
    expected = []
    for number in range(50):
        deep = bucket / f"{number}" / "a" / "b" / "c"
        deep.mkdir(parents=True)
        for place in (deep, deep.parent, deep.parents[2]):
            (place / "f").write_text("x")
            expected.append(("Created", str((place / "f").relative_to(bucket))))
    await inbox.has(*expected)
    await fenced(inbox, bucket)
    assert max(Counter(inbox.seen()).values()) == 1


async def test_a_directory_that_is_moved_takes_its_files_along(
    watch: Watch, bucket: Path, inbox: Inbox, tmp_path: Path
) -> None:
    await watch().start()
    (bucket / "a" / "b").mkdir(parents=True)
    (bucket / "a" / "b" / "f").write_text("x")
    await inbox.has(("Created", "a/b/f"))
    (bucket / "a").rename(bucket / "z")
    await inbox.has(("Removed", "a/b/f"), ("Created", "z/b/f"))
    (bucket / "z" / "b" / "g").write_text("x")
    await inbox.has(("Created", "z/b/g"))
    (bucket / "z").rename(tmp_path / "out")
    await inbox.has(("Removed", "z/b/f"), ("Removed", "z/b/g"))
    (tmp_path / "out" / "b" / "h").write_text("not in the bucket any more")
    await fenced(inbox, bucket)
    assert not [key for _, key in inbox.seen() if key.endswith("h")]


async def test_a_directory_that_is_moved_away_while_its_file_is_being_announced_is_noticed(
    watch: Watch, bucket: Path, inbox: Inbox, tmp_path: Path
) -> None:
    (bucket / "a").mkdir()
    await watch().start()
    inbox.gate.clear()
    (bucket / "a" / "f").write_text("x")
    await inbox.until(lambda: len(inbox.offered) == 1)
    (bucket / "a").rename(tmp_path / "out")
    (bucket / "fence").write_text("x")
    await inbox.until(lambda: len(inbox.offered) == 2)
    inbox.gate.set()
    await inbox.has(("Created", "a/f"), ("Removed", "a/f"))


async def slowly(path: Path, pause: float) -> None:
    with path.open("wb") as file:
        for number in range(3):
            if number:
                await asyncio.sleep(pause)
            file.write(b"part")
            file.flush()


async def test_a_slow_writer_is_announced_once_after_it_has_closed(watch: Watch, bucket: Path, inbox: Inbox) -> None:
    impatient = timedelta(milliseconds=200)  # only the open file itself can hold it back
    await watch(pace=replace(QUICK, compare_every=impatient, patience=impatient)).start()
    await slowly(bucket / "slow", 1.5)
    await inbox.has(("Created", "slow"))
    await fenced(inbox, bucket)
    assert record(inbox.accepted[0])["s3"]["object"]["size"] == 12
    assert inbox.seen().count(("Created", "slow")) == 1


async def test_a_writer_that_was_at_work_before_the_start_is_waited_for(
    watch: Watch, bucket: Path, inbox: Inbox
) -> None:
    with (bucket / "slow").open("w") as file:
        file.write("first")
        file.flush()
        await watch().start()
        (bucket / "fence").write_text("")
        await inbox.has(("Created", "fence"))
        await asyncio.sleep(3 * QUICK.settle.total_seconds())
        file.write(" second")
    await inbox.has(("Created", "slow"))
    assert inbox.seen() == [("Created", "fence"), ("Created", "slow")]
    assert record(inbox.accepted[1])["s3"]["object"]["size"] == len("first second")


async def test_a_link_to_a_complete_file_is_announced_though_nobody_closes_it(
    watch: Watch, bucket: Path, inbox: Inbox, tmp_path: Path
) -> None:
    await watch().start()
    (tmp_path / "outside").write_text("x")
    os.link(tmp_path / "outside", bucket / "hard")
    await inbox.has(("Created", "hard"))


@pytest.fixture
def no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for files of other users: nobody can tell whether a writer has the file open."""

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sources.probe.fcntl.fcntl", refuse)


@pytest.mark.usefixtures("no_leases")
async def test_where_open_files_cannot_be_told_the_close_is_waited_for(
    watch: Watch, bucket: Path, inbox: Inbox
) -> None:
    await watch(pace=replace(QUICK, patience=timedelta(seconds=20))).start()
    await slowly(bucket / "slow", 1.0)
    await inbox.has(("Created", "slow"))
    await fenced(inbox, bucket)
    assert inbox.seen().count(("Created", "slow")) == 1


@pytest.mark.usefixtures("no_leases")
async def test_where_open_files_cannot_be_told_what_is_found_has_to_settle(
    watch: Watch, bucket: Path, inbox: Inbox
) -> None:
    (bucket / "a").write_text("x")
    started = asyncio.get_running_loop().time()
    await watch().start()
    await inbox.has(("Created", "a"))
    assert asyncio.get_running_loop().time() - started >= QUICK.settle.total_seconds()


async def test_a_burst_of_two_thousand_files_is_announced_once_each(watch: Watch, bucket: Path, inbox: Inbox) -> None:
    await watch().start()
    names = [f"file-{number}" for number in range(2_000)]

    def drop() -> None:
        for name in names:
            (bucket / name).write_text(name)

    await asyncio.to_thread(drop)
    await inbox.until(lambda: len(inbox.accepted) >= 2_000, 120)
    assert Counter(inbox.seen()) == Counter(("Created", name) for name in names)


@pytest.mark.parametrize(
    "name", ["é ü.txt", "日本語/写真 1.jpg", "a+b&c=d%20.txt", "🙂", "new\nline", "tab\t", "a" * 255]
)
async def test_any_name_is_a_key(watch: Watch, bucket: Path, inbox: Inbox, name: str) -> None:
    await watch().start()
    (bucket / name).parent.mkdir(exist_ok=True)
    (bucket / name).write_text("x")
    await inbox.has(("Created", name))


async def test_a_name_that_is_not_text_is_announced_and_remembered(watch: Watch, bucket: Path, inbox: Inbox) -> None:
    first = watch()
    await first.start()
    path = os.fsencode(bucket) + b"/caf\xe9"
    with open(path, "w") as file:
        file.write("x")
    await inbox.until(lambda: len(inbox.accepted) == 1)
    assert record(inbox.accepted[0])["s3"]["object"]["key"] == "caf%E9"
    await first.close()
    await watch().start()
    os.unlink(path)
    await inbox.until(lambda: len(inbox.accepted) == 2)
    assert record(inbox.accepted[1])["eventName"] == "ObjectRemoved:Delete"


async def test_what_is_no_regular_file_inside_is_reported_and_ignored(
    watch: Watch, bucket: Path, inbox: Inbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "one").write_text("x")
    (bucket / "real").mkdir()
    os.mkfifo(bucket / "fifo")
    (bucket / "out").symlink_to(tmp_path / "secret")
    (bucket / "out-directory").symlink_to(tmp_path / "secrets")
    (bucket / "real" / "loop").symlink_to(bucket)
    (bucket / "self").symlink_to(bucket / "self")
    (bucket / "nothing").symlink_to(bucket / "missing")
    with closing(socket.socket(socket.AF_UNIX)) as unix:
        unix.bind(os.path.relpath(bucket / "socket"))
        (bucket / "file").write_text("x")
        (bucket / "inside").symlink_to("file")
        watcher = watch()
        await watcher.start()
        await inbox.has(("Created", "file"), ("Created", "inside"))
        await eventually(lambda: watcher.health().counters.get("ignored") == 5)
    assert len(inbox.accepted) == 2
    for reason in ("a FIFO", "a socket", "out of the bucket", "leads to itself", "a link to nothing"):
        assert reason in caplog.text


async def test_a_directory_that_becomes_a_link_leads_nowhere(
    watch: Watch, bucket: Path, inbox: Inbox, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("x")
    (bucket / "d").mkdir()
    (bucket / "d" / "f").write_text("x")
    await watch().start()
    await inbox.has(("Created", "d/f"))
    (bucket / "d" / "f").unlink()
    (bucket / "d").rmdir()
    (bucket / "d").symlink_to(tmp_path / "elsewhere")
    await inbox.has(("Removed", "d/f"))
    await fenced(inbox, bucket)
    assert len(inbox.accepted) == 3


async def test_a_file_that_is_replaced_by_a_fifo_was_removed(watch: Watch, bucket: Path, inbox: Inbox) -> None:
    await watch().start()
    (bucket / "a").write_text("x")
    await inbox.has(("Created", "a"))
    (bucket / "a").unlink()
    os.mkfifo(bucket / "a")
    await inbox.has(("Removed", "a"))


async def test_a_file_that_cannot_be_read_is_reported_and_announced_when_it_can(
    watch: Watch, bucket: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, locked = os.open, {"on": True}

    def guarded(path: Any, *arguments: Any, **keywords: Any) -> int:
        if locked["on"] and str(path).endswith("/locked"):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **keywords)

    monkeypatch.setattr("sources.probe.os.open", guarded)
    (bucket / "locked").write_text("x")
    (bucket / "open").write_text("x")
    watcher = watch()
    await watcher.start()
    await inbox.has(("Created", "open"))
    await eventually(lambda: watcher.health().condition is Condition.LAGGING)
    assert any("locked" in reason and "Permission denied" in reason for reason in watcher.health().reasons)
    locked["on"] = False
    await inbox.has(("Created", "locked"))
    await eventually(lambda: watcher.health().condition is Condition.WATCHING)


async def test_a_large_file_gets_a_tag_like_a_multipart_upload(watch: Watch, bucket: Path, inbox: Inbox) -> None:
    await watch(pace=replace(QUICK, hash_limit_bytes=2 << 20)).start()
    (bucket / "large").write_bytes(os.urandom(5 << 20))
    (bucket / "medium").write_bytes(content := os.urandom(2 << 20))
    await inbox.has(("Created", "large"), ("Created", "medium"))
    tags = {record(e)["s3"]["object"]["key"]: record(e)["s3"]["object"]["eTag"] for e in inbox.accepted}
    assert tags["medium"] == hashlib.md5(content).hexdigest()
    assert tags["large"].endswith("-3")


async def test_notifications_choose_by_event_prefix_and_suffix_and_follow_a_change_at_once(
    watch: Watch, bucket: Path, inbox: Inbox
) -> None:
    jpegs = Notification("jpegs", "thumbnails", events=("s3:ObjectCreated:Put",), prefix="in/", suffix=".jpg")
    gone = Notification("gone", "cleaner", events=("s3:ObjectRemoved:Delete",))
    watcher = watch(notifications=(jpegs, gone))
    await watcher.start()
    (bucket / "in").mkdir()
    for name in ("in/a.jpg", "in/a.png", "a.jpg"):
        (bucket / name).write_text("x")
    await inbox.has(("Created", "in/a.jpg"))
    await eventually(lambda: watcher.health().counters.get("skipped") == 2)
    (bucket / "a.jpg").unlink()
    await inbox.has(("Removed", "a.jpg"))
    assert [event.function for event in inbox.accepted] == ["thumbnails", "cleaner"]
    await watcher.reconfigure(BucketWatch("photos", str(bucket), (BOTH, jpegs), pace=QUICK))
    (bucket / "in" / "b.jpg").write_text("x")
    await inbox.until(lambda: len(inbox.accepted) == 4)
    assert sorted(event.function for event in inbox.accepted[2:]) == ["f", "thumbnails"]


async def test_what_is_there_already_can_be_ignored(watch: Watch, bucket: Path, inbox: Inbox) -> None:
    (bucket / "old").write_text("x")
    first = watch(existing="ignore")
    await first.start()
    (bucket / "new").write_text("x")
    await inbox.has(("Created", "new"))
    await first.close()
    (bucket / "meanwhile").write_text("x")
    await watch(existing="ignore").start()
    await inbox.has(("Created", "meanwhile"))
    (bucket / "old").write_text("now it is news")
    await inbox.has(("Created", "old"))
    assert len(inbox.accepted) == 3


async def test_a_restart_announces_what_was_created_changed_and_removed_meanwhile(
    watch: Watch, bucket: Path, inbox: Inbox
) -> None:
    for name in ("same", "changed", "removed", "d/removed"):
        (bucket / name).parent.mkdir(exist_ok=True)
        (bucket / name).write_text("x")
    first = watch()
    await first.start()
    await inbox.until(lambda: len(inbox.accepted) == 4)
    await first.close()
    (bucket / "changed").write_text("y")
    (bucket / "removed").unlink()
    (bucket / "d" / "removed").unlink()
    (bucket / "d").rmdir()
    (bucket / "created").write_text("x")
    await watch().start()
    await inbox.until(lambda: len(inbox.accepted) == 8)
    assert sorted(inbox.seen()[4:]) == [
        ("Created", "changed"),
        ("Created", "created"),
        ("Removed", "d/removed"),
        ("Removed", "removed"),
    ]


class NoWatches(DirectoryWatch):
    def __init__(self, root: str) -> None:
        raise WatchesExhausted


class FewWatches(DirectoryWatch):
    def add(self, directory: str) -> None:
        if directory:
            raise WatchesExhausted
        super().add(directory)


@pytest.mark.parametrize("kind", [NoWatches, FewWatches])
async def test_without_watches_the_tree_is_scanned_and_health_names_the_remedy(
    watch: Watch, bucket: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, kind: type[DirectoryWatch]
) -> None:
    monkeypatch.setattr(bucket_session, "DirectoryWatch", kind)
    (bucket / "d").mkdir()
    watcher = watch()
    await watcher.start()
    (bucket / "d" / "a").write_text("x")
    await inbox.has(("Created", "d/a"))
    health = watcher.health()
    assert health.condition is Condition.DEGRADED
    assert "sysctl -w fs.inotify.max_user_watches" in health.reasons[0]
    (bucket / "d" / "a").unlink()
    await inbox.has(("Removed", "d/a"))


async def test_a_network_file_system_is_scanned_and_files_have_to_settle(
    watch: Watch, bucket: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_session, "read_mounts", lambda: "1 0 0:1 / / rw - nfs4 nas:/x rw\n")
    watcher = watch()
    await watcher.start()
    assert watcher.health().condition is Condition.DEGRADED
    (bucket / "a").write_text("x")
    await inbox.has(("Created", "a"))


async def test_more_directories_than_hints_are_compared_as_a_whole(watch: Watch, bucket: Path, inbox: Inbox) -> None:
    await watch().start()
    for number in range(700):
        (bucket / f"{number}").mkdir()
        (bucket / f"{number}" / "f").write_text("x")
    await inbox.until(lambda: len(inbox.accepted) >= 700, 60)
    assert Counter(inbox.seen()) == Counter(("Created", f"{number}/f") for number in range(700))


async def test_health_speaks_of_files_that_wait(
    watch: Watch, bucket: Path, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watcher = watch(pace=replace(QUICK, lag=timedelta(milliseconds=100)))
    await watcher.start()
    inbox.gate.clear()
    (bucket / "a").write_text("x")
    await inbox.until(lambda: len(inbox.offered) == 1)
    await eventually(lambda: watcher.health().condition is Condition.LAGGING)
    assert "wait" in watcher.health().reasons[0]
    inbox.gate.set()
    await eventually(lambda: watcher.health().condition is Condition.WATCHING)
