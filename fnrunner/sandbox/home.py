"""What an environment has on the host: a directory with its /tmp, and its control group."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fnrunner.sandbox.cgroups import Cgroup
from fnrunner.sandbox.started import delete_tree


@dataclass(frozen=True, slots=True)
class Home:
    """Made before anybody lives there; its group is limited when it is known who will."""

    directory: Path
    group: Cgroup | None

    @property
    def temporary(self) -> str:
        return str(self.directory / "tmp")

    @contextmanager
    def entrances(self) -> Iterator[list[int]]:
        """The opened files by which its group is joined. Raises OSError."""
        opened: list[int] = []
        try:
            opened.extend(os.open(path, os.O_WRONLY) for path in (self.group.entrances if self.group else ()))
            yield opened
        finally:
            for descriptor in opened:
                os.close(descriptor)

    async def remove(self) -> None:
        """Where nothing runs, or nothing should."""
        if self.group:
            await self.group.kill()
            await self.group.remove()
        await asyncio.to_thread(delete_tree, self.directory)

    def remove_now(self) -> None:
        """The same without an event loop."""
        if self.group:
            self.group.kill_now()
        delete_tree(self.directory)


MakeHome = Callable[[], Home]
"""Blocks for a moment. Raises OSError."""
