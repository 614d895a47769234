"""Do something again after each change of the catalogue, until it works."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

from broker.errors import BrokerError
from fnrunner.catalogue.catalogue import Catalogue
from fnrunner.store.errors import StoreError

log = logging.getLogger(__name__)

AGAIN_S = 1.0


class Follower:
    """``work`` brings its part up to the catalogue's snapshot; a broker or a store that is away delays it, nothing else."""

    def __init__(self, catalogue: Catalogue, work: Callable[[], Coroutine[None, None, None]], what: str) -> None:
        self._catalogue = catalogue
        self._work = work
        self._what = what
        self._changed = asyncio.Event()
        self._forget: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why the last try failed; empty when it worked."""
        return self._problem

    async def start(self) -> None:
        """Do it once, then after each change. Raises what ``work`` raises the first time."""
        self._forget = self._catalogue.on_change(lambda _: self._changed.set())
        await self._work()
        self._task = asyncio.create_task(self._follow(), name=f"follow {self._what}")

    async def close(self) -> None:
        """Idempotent."""
        self._forget()
        self._forget = lambda: None
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._work()
                self._problem = ""
            except (BrokerError, StoreError) as error:
                self._problem = str(error)
                log.warning("%s cannot follow the catalogue now: %s", self._what, error)
            except Exception:
                self._problem = "it failed; the log says why"
                log.exception("%s cannot follow the catalogue", self._what)
            if self._problem:
                await asyncio.sleep(AGAIN_S)
                self._changed.set()
