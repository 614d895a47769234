"""Checkpoints that fail when they are told to, over ones that work."""

from __future__ import annotations

from collections.abc import Sequence

from sources.errors import CheckpointsUnavailable
from sources.snapshot import Change, Remembered, Root
from sources.source import Checkpoints


class FaultyCheckpoints:
    """``failing`` decides; ``recorded`` are the keys of what was remembered, ``refused`` counts what was not."""

    def __init__(self, inner: Checkpoints) -> None:
        self.inner = inner
        self.failing = False
        self.recorded: list[str] = []
        self.refused = 0

    async def load(self, bucket: str) -> Remembered:
        self._check()
        return await self.inner.load(bucket)

    async def record(self, bucket: str, changes: Sequence[Change]) -> None:
        self._check()
        await self.inner.record(bucket, changes)
        self.recorded += [change.key for change in changes]

    async def remember_root(self, bucket: str, root: Root) -> None:
        self._check()
        await self.inner.remember_root(bucket, root)

    async def delete(self, bucket: str) -> None:
        self._check()
        await self.inner.delete(bucket)

    def _check(self) -> None:
        if self.failing:
            self.refused += 1
            raise CheckpointsUnavailable
