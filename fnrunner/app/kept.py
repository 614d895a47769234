"""Sources of one kind, kept as the catalogue wants them: made, reconfigured, closed, each by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Generic, TypeVar

from fnrunner.api.services import Problem
from sources.source import Health, Source

log = logging.getLogger(__name__)

T = TypeVar("T")


async def nothing(name: str) -> None:
    """Nothing is left of this kind of source when it has gone."""


class Kept(Generic[T]):
    """``what`` names one of them in words, ``configuration`` makes the adapter's value of what the catalogue has, ``make``
    the source of that. ``gone`` is called after the source of a name that is wanted no longer was closed.
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
        self._what = what
        self._configuration = configuration
        self._make = make
        self._gone = gone
        self._remedy = remedy
        self._sources: dict[str, Source] = {}
        self._last: dict[str, object] = {}
        self._refused: dict[str, str] = {}

    @property
    def refused(self) -> Mapping[str, str]:
        """Why some of them do not work at all, by name."""
        return self._refused

    def health(self) -> Mapping[str, Health]:
        return {name: source.health() for name, source in self._sources.items()}

    async def follow(self, wanted: Mapping[str, T]) -> None:
        """Whatever is wrong with one of them, the others follow."""
        for name in set(self._sources) - set(wanted):
            await self._sources[name].close()
            await self._gone(name)
            del self._sources[name]
            self._last.pop(name, None)
        refused = {}
        for name, value in wanted.items():
            try:
                await self._keep(name, value)
            except Exception as error:
                refused[name] = str(error) or type(error).__name__
                if refused[name] != self._refused.get(name):
                    log.exception("%s %s does not work as it is", self._what, name)
        self._refused = refused

    async def close(self) -> None:
        """What has been taken is finished or given back. Idempotent."""
        await asyncio.gather(*(source.close() for source in self._sources.values()))

    def problems(self) -> Iterable[Problem]:
        for name, reason in self._refused.items():
            yield Problem(f"{self._what} {name}", reason, self._remedy)
        for name, state in self.health().items():
            if not state.ok and name not in self._refused:
                yield Problem(f"{self._what} {name}", "; ".join(state.reasons) or state.condition.value)

    async def _keep(self, name: str, value: T) -> None:
        configuration = self._configuration(value)
        if (source := self._sources.get(name)) is None:
            self._sources[name] = source = self._make(value)
            self._last[name] = configuration
            await source.start()
        elif self._last.get(name) != configuration:
            await source.reconfigure(configuration)
            self._last[name] = configuration
