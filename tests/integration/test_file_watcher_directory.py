"""The bucket's directory itself comes and goes: that is an outage, never the removal of what was in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sources.adapters.file import BucketWatch, FileWatcher
from sources.checkpoints import StoredCheckpoints
from sources.notification_filter import Notification
from sources.source import Condition, Services
from tests.conformance.sources.file_database import FileDatabase
from tests.conformance.sources.inbox import Inbox, eventually
from tests.conformance.sources.paces import QUICK
from tests.conformance.sources.unshared import Unshared

BOTH = Notification("both", "f", events=("s3:ObjectCreated:*", "s3:ObjectRemoved:*"))
Watch = Callable[[], FileWatcher]


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    for number in range(20):
        (bucket / f"{number}").write_text("x")
    return bucket


@pytest.fixture
async def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def watch(tmp_path: Path, bucket: Path, inbox: Inbox) -> AsyncIterator[Watch]:
    database = FileDatabase(tmp_path / "checkpoints.sqlite")
    checkpoints = StoredCheckpoints(database, database.seen, database.checkpoint)
    made: list[FileWatcher] = []

    def watch() -> FileWatcher:
        services = Services(inbox, checkpoints, lambda name: Unshared())
        made.append(FileWatcher(BucketWatch("photos", str(bucket), (BOTH,), pace=QUICK), services))
        return made[-1]

    yield watch
    for watcher in made:
        await watcher.close()
    database.close()


async def outage(watcher: FileWatcher) -> None:
    await eventually(lambda: watcher.health().condition is Condition.OUTAGE)
    assert watcher.health().reasons


async def test_a_directory_that_is_moved_away_and_back_announces_only_what_changed(
    watch: Watch, bucket: Path, inbox: Inbox, tmp_path: Path
) -> None:
    watcher = watch()
    await watcher.start()
    await inbox.until(lambda: len(inbox.accepted) == 20)
    bucket.rename(tmp_path / "away")
    await outage(watcher)
    (tmp_path / "away" / "3").unlink()
    (tmp_path / "away" / "new").write_text("x")
    (tmp_path / "away").rename(bucket)
    await inbox.has(("Removed", "3"), ("Created", "new"))
    await eventually(lambda: watcher.health().condition is Condition.WATCHING)
    assert len(inbox.accepted) == 22


async def test_a_directory_that_is_made_again_is_compared_when_something_is_in_it(
    watch: Watch, bucket: Path, inbox: Inbox, tmp_path: Path
) -> None:
    watcher = watch()
    await watcher.start()
    await inbox.until(lambda: len(inbox.accepted) == 20)
    bucket.rename(tmp_path / "away")
    await outage(watcher)
    bucket.mkdir()
    await eventually(lambda: "Nothing counts as removed" in str(watcher.health().reasons))
    assert len(inbox.accepted) == 20
    (bucket / "new").write_text("x")
    await inbox.has(("Created", "new"), *(("Removed", f"{number}") for number in range(20)))
    await eventually(lambda: watcher.health().condition is Condition.WATCHING)


async def test_a_directory_that_is_deleted_with_all_its_files_removes_at_most_those(
    watch: Watch, bucket: Path, inbox: Inbox
) -> None:
    watcher = watch()
    await watcher.start()
    await inbox.until(lambda: len(inbox.accepted) == 20)
    shutil.rmtree(bucket)
    await outage(watcher)
    bucket.mkdir()
    (bucket / "new").write_text("x")
    await inbox.has(("Created", "new"), *(("Removed", f"{number}") for number in range(20)))
    assert len(inbox.accepted) == 41


async def test_a_directory_missing_at_a_restart_removes_nothing(
    watch: Watch, bucket: Path, inbox: Inbox, tmp_path: Path
) -> None:
    first = watch()
    await first.start()
    await inbox.until(lambda: len(inbox.accepted) == 20)
    await first.close()
    bucket.rename(tmp_path / "away")
    second = watch()
    await second.start()
    await outage(second)
    (tmp_path / "away").rename(bucket)
    (bucket / "fence").write_text("x")
    await inbox.has(("Created", "fence"))
    assert len(inbox.accepted) == 21


async def test_a_file_in_place_of_the_directory_is_an_outage(
    watch: Watch, bucket: Path, inbox: Inbox, tmp_path: Path
) -> None:
    bucket.rename(tmp_path / "away")
    bucket.write_text("not a directory")
    watcher = watch()
    await watcher.start()
    await outage(watcher)
    bucket.unlink()
    (tmp_path / "away").rename(bucket)
    await inbox.until(lambda: len(inbox.accepted) == 20)


@pytest.fixture
def mounted(tmp_path: Path, bucket: Path) -> Path:
    """The bucket as a mount point."""
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", bucket], check=False).returncode != 0:
        pytest.skip("mounting needs root (CAP_SYS_ADMIN)")
    return bucket


async def test_a_file_system_that_is_unmounted_and_mounted_again_removes_nothing(
    watch: Watch, mounted: Path, inbox: Inbox
) -> None:
    try:
        (mounted / "on-the-mount").write_text("x")
        watcher = watch()
        await watcher.start()
        await inbox.has(("Created", "on-the-mount"))
        # moved away, not unmounted, so that its content is there when it comes back
        away = mounted.with_name("elsewhere")
        away.mkdir()
        subprocess.run(["mount", "--make-private", mounted.parent.parent], check=False, capture_output=True)
        subprocess.run(["mount", "--bind", mounted, away], check=True)
        subprocess.run(["umount", "--lazy", mounted], check=True)
        for file in list(mounted.iterdir()):
            file.unlink()
        await outage(watcher)
        assert [kind for kind, _ in inbox.seen()] == ["Created"]
        subprocess.run(["mount", "--bind", away, mounted], check=True)
        (mounted / "after").write_text("x")
        await inbox.has(("Created", "after"))
        assert ("Removed", "on-the-mount") not in inbox.seen()
        assert inbox.seen().count(("Created", "on-the-mount")) == 1
    finally:
        for point in (mounted, mounted.with_name("elsewhere")):
            while subprocess.run(["umount", "--lazy", point], check=False, capture_output=True).returncode == 0:
                pass
