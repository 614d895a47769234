"""The API process: HTTP, and the filing of dead letters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from broker.topology import function_queues
from fnrunner import __version__
from fnrunner.api.app import create_app
from fnrunner.api.code_link import CodeLinks
from fnrunner.api.services import Health, Services
from fnrunner.api.updates import Updates
from fnrunner.app.backlog import Backlog
from fnrunner.app.load_metrics import LoadCollector
from fnrunner.app.parts import Parts, now, now_ms
from fnrunner.app.server import HttpServer
from fnrunner.auth.trail import Trail
from fnrunner.catalogue.follower import Follower
from fnrunner.delivery.archivist import Archivist
from fnrunner.delivery.audit import Audit
from fnrunner.delivery.dead_letters import DeadLetters
from fnrunner.delivery.history import History
from fnrunner.model.function import Function
from fnrunner.model.problem import Code, Problem


class ApiRole:
    """Started, it answers on its port and files dead letters. ``health`` is that of the whole process.

    ``saved`` says whether a function runs code here that is newer than what is deployed.
    """

    def __init__(
        self, parts: Parts, health: Callable[[], Awaitable[Health]], saved: Callable[[Function], bool] = lambda _: False
    ) -> None:
        self._parts = parts
        self._saved = saved
        self._health = health
        self._archivist = Archivist(parts.store, parts.broker, clock=now_ms)
        self._letters = DeadLetters(parts.store, parts.broker, parts.settings.home, clock=now_ms, tracing=parts.tracing)
        self._watched: set[str] = set()
        self._follower = Follower(parts.catalogue, self._follow, "dead letters")
        self._backlog = Backlog(parts.catalogue, parts.broker, parts.store, clock=now_ms)
        self._trail = Trail(parts.store)
        self._services = self._make_services()
        self._server = HttpServer(
            create_app(self._services),
            parts.settings.host,
            parts.settings.port,
            grace=parts.settings.drain_timeout,
        )

    @property
    def port(self) -> int:
        return self._server.port

    async def start(self) -> None:
        """Raises PortInUse, BrokerError, StoreError."""
        self._parts.metrics.registry.register(LoadCollector(lambda: self._backlog.latest))
        self._backlog.start()
        self._trail.start()
        await self._server.start()
        await self._letters.start()
        await self._archivist.start()
        await self._follower.start()

    async def close(self) -> None:
        self._services.stopping.set()
        await self._server.close()
        await self._trail.close()
        await self._backlog.close()
        await self._follower.close()
        await self._archivist.close()
        await self._letters.close()

    async def _follow(self) -> None:
        """File the dead letters of every function there is, and of those that are gone."""
        current = {name for name, _ in self._parts.catalogue.snapshot.functions}
        for name in current | await self._parts.former_functions():
            if name not in self._watched:
                await self._parts.broker.declare(function_queues(name))
                await self._archivist.watch(name)
                self._watched.add(name)

    def _make_services(self) -> Services:
        return Services(
            settings=self._parts.settings,
            home=self._parts.settings.home,
            version=__version__,
            catalogue=self._parts.catalogue,
            front=self._parts.front,
            broker=self._parts.broker,
            store=self._parts.store,
            registry=self._parts.metrics.registry,
            dead_letters=self._letters,
            audit=Audit(self._parts.store, self._parts.broker, clock=now_ms),
            history=History(self._parts.store),
            code_links=CodeLinks(now),
            health=self._health,
            now=now,
            updates=Updates(self._parts.store, now),
            load=lambda: self._backlog.latest,
            iam=self._parts.iam,
            keyring=self._parts.keyring,
            trail=self._trail,
            saved=self._saved,
        )

    def problems(self) -> Iterable[Problem]:
        if problem := self._trail.problem:
            yield Problem("log of calls", problem, "Free disk, or start the database", Code.STORE_UNAVAILABLE)
        if problem := self._archivist.health.problem:
            yield Problem("dead letters", problem, "Free disk, or start the database", Code.DEAD_LETTERS_NOT_FILED)
        if self._follower.problem:
            why = f"not all are filed: {self._follower.problem}"
            yield Problem("dead letters", why, "Start the broker", Code.DEAD_LETTERS_NOT_FILED)
