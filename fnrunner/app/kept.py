"""Sources of one kind, kept as the catalogue wants them: made, reconfigured, closed, each by itself.

Each name is brought to what is wanted by a task of its own, so that one that takes long (a stream that does not answer, a
batch that must end) holds up no other, and what the catalogue wants meanwhile is done next. Of one name one thing is done
at a time: a source that is to come back begins after the last one was closed and what was stored for it has gone.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Task
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Generic, TypeVar

from fnrunner.model.problem import Code, Problem
from sources.source import Condition, Health, Source

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = timedelta(seconds=2)
"""How long :meth:`Kept.follow` waits; who takes longer follows in the background."""

AT_ONCE = 64
"""So many of one kind are started or closed side by side."""

AGAIN = timedelta(seconds=1)
CLOSING = timedelta(seconds=5)


_CODES = {
    Condition.LAGGING: Code.LAGGING,
    Condition.SILENT: Code.NOT_CONSUMING,
    Condition.OUTAGE: Code.SOURCE_AWAY,
}
"""Every other condition that is not well is a degraded one."""


async def nothing(name: str) -> None:
    """Nothing is left of this kind of source when it has gone."""


class Kept(Generic[T]):
    """``what`` names one of them in words, ``configuration`` makes the adapter's value of what the catalogue has, ``make``
    the source of that. ``gone`` is called after the source of a name that is wanted no longer was closed, until it works.
    """

    def __init__(
        self,
        what: str,
        *,
        configuration: Callable[[T], object],
        make: Callable[[T], Source],
        gone: Callable[[str], Awaitable[None]] = nothing,
        remedy: str = "",
    ) -> None:
        self.what = what
        self._configuration = configuration
        self._make = make
        self._gone = gone
        self._remedy = remedy
        self._wanted: Mapping[str, T] = {}
        self._sources: dict[str, Source] = {}
        self._last: dict[str, object] = {}
        self._followed: dict[str, T] = {}
        self._refused: dict[str, str] = {}
        self._lingering: dict[str, str] = {}
        self._tasks: dict[str, Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._closing = False

    @property
    def refused(self) -> Mapping[str, str]:
        """Why some of them do not work at all, by name."""
        return self._refused

    @property
    def followed(self) -> Mapping[str, T]:
        """What the catalogue wanted when the source last did as it is told, or was refused. Not those that still start."""
        starting = {name for name, state in self.health().items() if state.condition is Condition.STARTING}
        return {name: value for name, value in self._followed.items() if name not in starting}

    def health(self) -> Mapping[str, Health]:
        return {name: source.health() for name, source in self._sources.items()}

    async def follow(self, wanted: Mapping[str, T]) -> None:
        """Whatever is wrong with one of them, the others follow. Returns when all have, or after :data:`PATIENCE`."""
        self._wanted = dict(wanted)
        for name in {*self._sources, *self._refused, *wanted} - self._tasks.keys():
            if not self._closing:
                self._tasks[name] = asyncio.create_task(self._bring(name), name=f"{self.what} {name}")
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=PATIENCE.total_seconds())

    async def close(self) -> None:
        """What has been taken is finished or given back. Idempotent."""
        self._closing = True
        closing = [source.close() for source in self._sources.values()]
        for failure in await asyncio.gather(*closing, return_exceptions=True):
            if failure is not None:
                log.error("a %s could not be closed in order", self.what, exc_info=failure)
        if tasks := list(self._tasks.values()):
            _, late = await asyncio.wait(tasks, timeout=CLOSING.total_seconds())
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def problems(self) -> Iterable[Problem]:
        for name, reason in self._refused.items():
            yield Problem(f"{self.what} {name}", reason, self._remedy, Code.SOURCE_REFUSED)
        for name, reason in self._lingering.items():
            why = f"it was removed, and what it has stored is still there: {reason}"
            yield Problem(f"{self.what} {name}", why, "Start the database, or the broker", Code.SOURCE_NOT_REMOVED)
        for name, state in self.health().items():
            if not state.ok and name not in self._refused and name not in self._lingering:
                why = "; ".join(state.reasons) or state.condition.value
                yield Problem(f"{self.what} {name}", why, "", _CODES.get(state.condition, Code.SOURCE_DEGRADED))

    async def _bring(self, name: str) -> None:
        """Until it is as it is wanted by then."""
        try:
            while not self._closing:
                value = self._wanted.get(name)
                async with self._slots:
                    done = self._closing or await self._do(name, value)
                if not done:
                    await asyncio.sleep(AGAIN.total_seconds())
                elif self._wanted.get(name) is value:
                    return
        finally:
            del self._tasks[name]

    async def _do(self, name: str, value: T | None) -> bool:
        """False when it is to be tried again."""
        if (name in self._lingering or value is None) and not await self._end(name):
            return False
        if value is None:
            return True
        try:
            await self._keep(name, value)
        except Exception as error:
            reason = str(error) or type(error).__name__
            if reason != self._refused.get(name):
                log.exception("%s %s does not work as it is", self.what, name)
            self._refused[name] = reason
        else:
            self._refused.pop(name, None)
        self._followed[name] = value
        return True

    async def _end(self, name: str) -> bool:
        """Close it and remove what it has stored. False when that is to be tried again."""
        self._refused.pop(name, None)
        self._followed.pop(name, None)
        if (source := self._sources.get(name)) is None:
            return True
        try:
            await source.close()
            await self._gone(name)
        except Exception as error:
            reason = str(error) or type(error).__name__
            if reason != self._lingering.get(name):
                log.warning("%s %s has not gone yet: %s", self.what, name, reason, exc_info=True)
            self._lingering[name] = reason
            return False
        del self._sources[name]
        self._last.pop(name, None)
        self._lingering.pop(name, None)
        return True

    async def _keep(self, name: str, value: T) -> None:
        configuration = self._configuration(value)
        if (source := self._sources.get(name)) is None:
            self._sources[name] = source = self._make(value)
            try:
                await source.start()
            except Exception:
                del self._sources[name]  # a new one is made when it is tried again
                await source.close()
                raise
            self._last[name] = configuration
        elif self._last.get(name) != configuration:
            await source.reconfigure(configuration)
            self._last[name] = configuration
