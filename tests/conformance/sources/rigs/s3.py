"""The world of the file watcher: a directory."""

from __future__ import annotations

from pathlib import Path

from sources.adapters.file import ADAPTER, BucketWatch
from sources.announcer import Pace
from sources.notification_filter import Notification
from sources.source import Services, Source
from tests.conformance.sources.paces import QUICK


class FileRig:
    pace: Pace = QUICK

    def __init__(self, directory: Path) -> None:
        self.bucket = directory / "bucket"
        self.bucket.mkdir()
        self._happenings = 0

    def configuration(self) -> BucketWatch:
        return BucketWatch("photos", str(self.bucket), (Notification("all", "f"),), pace=self.pace)

    def source(self, services: Services) -> Source:
        return ADAPTER.make(self.configuration(), services)

    def happen(self, name: str) -> None:
        self._happenings += 1
        (self.bucket / name).write_text(f"{self._happenings}" * self._happenings)

    def lose(self) -> None:
        self.bucket.rename(self.bucket.with_name("away"))

    def restore(self) -> None:
        self.bucket.with_name("away").rename(self.bucket)

    def unwanted(self) -> BucketWatch:
        return BucketWatch("photos", str(self.bucket), (), pace=self.pace)

    def foreign(self) -> BucketWatch:
        return BucketWatch("other", str(self.bucket), (), pace=self.pace)


RIG = FileRig
