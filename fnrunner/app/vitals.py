"""How a process is: asked by whoever wants to know, told to the store, and the reason to give up when it stays bad.

::

    broker, store, catalogue ─┐
    checks of the roles      ─┼─► problems ─► /healthz, /readyz · the process' row · Patience ─► give up
    event loop, heartbeats   ─┘

Alive says that starting the process again would not help, so it is true until a worker or a sources process gives up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from fnrunner.api.health import told
from fnrunner.api.services import Health
from fnrunner.app.health import of_parts
from fnrunner.app.lateness import Lateness
from fnrunner.app.parts import Parts, now
from fnrunner.app.patience import Patience
from fnrunner.app.presence import Presence
from fnrunner.model.problem import Check, Code, Problem
from fnrunner.worker.registry import HEARTBEAT

log = logging.getLogger(__name__)

GIVES_UP = (("worker",), ("sources",))
"""Processes that are of no use while they cannot work. An API still answers, and everything in one process is somebody's."""

Activity = Callable[[], Mapping[str, Any]]


class Vitals:
    """``give_up`` is called once, with the reason. Roles add to ``checks`` as they start, and a worker sets ``activity``."""

    def __init__(self, parts: Parts, roles: tuple[str, ...], give_up: Callable[[str], None]) -> None:
        self.checks: list[Check] = []
        self.activity: Activity = dict
        self._parts = parts
        self._roles = roles
        self._give_up = give_up
        self._patience = Patience(parts.settings.give_up)
        self._lateness = Lateness()
        self._presence = Presence(
            parts.store,
            name=parts.name,
            roles=roles,
            zone=parts.settings.zone,
            capacity=parts.settings.worker_capacity if "worker" in roles else 0,
            tell=self._document,
            now=now,
            monotonic=monotonic,
        )
        self._draining = False
        self._reason = ""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Once the roles have started: until then nobody says anything of this process."""
        self._lateness.start()
        self._presence.start()
        self._task = asyncio.create_task(self._look_for_ever(), name="vitals")

    async def drain(self) -> None:
        """It takes nothing new from now on, and says so."""
        self._draining = True
        self._presence.say()

    async def close(self) -> None:
        """Idempotent."""
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.wait([task])
        await self._lateness.close()
        await self._presence.close()

    async def health(self) -> Health:
        """Ready when nothing is wrong. Being late alone takes nobody out of service: under load all would be, at once."""
        problems = tuple(self._all())
        ready = all(problem.code is Code.LAGGING for problem in problems)
        return Health(alive=not self._reason, ready=ready, roles=self._roles, problems=problems)

    def _all(self) -> list[Problem]:
        found = of_parts(self._parts)
        found += [problem for check in self.checks for problem in check()]
        if (problem := self._presence.problem()) is not None:
            found.append(problem)
        found += self._lateness.problems(asyncio.get_running_loop().time())
        if self._draining:
            found.append(Problem("process", "draining: it takes nothing new, and ends", "", Code.DRAINING))
        if self._reason:
            found.append(Problem("process", self._reason, "It ends, to be started again", Code.GIVING_UP))
        return found

    def _document(self) -> Mapping[str, Any]:
        problems = [told(problem) for problem in self._all() if problem.code is not Code.DRAINING]
        return {"draining": self._draining, "problems": problems, **self.activity()}

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT.total_seconds())
            try:
                self._look()
            except Exception:
                log.exception("the health of this process could not be looked at")

    def _look(self) -> None:
        if self._roles not in GIVES_UP or self._draining or self._reason:
            return
        if reason := self._patience.look(self._all(), monotonic()):
            self._reason = reason
            log.error("giving up: %s", reason)
            self._presence.say()
            self._give_up(reason)
