"""One process: its roles, its signals, its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from broker.errors import Denied, Unavailable
from fnrunner.api.health import routes as health_routes
from fnrunner.api.services import HealthServices
from fnrunner.app import worker_role
from fnrunner.app.api_role import ApiRole
from fnrunner.app.housekeeping import Housekeeping
from fnrunner.app.parts import Parts, started
from fnrunner.app.patience import STATUS, GaveUp
from fnrunner.app.server import HttpServer, check_free
from fnrunner.app.sources_role import SourcesRole
from fnrunner.app.vitals import Vitals
from fnrunner.sandbox.ownership import Owner
from fnrunner.sandbox.started import delete_tree
from fnrunner.settings import Settings, safe
from fnrunner.store.errors import StoreUnavailable
from fnrunner.worker.live import LiveCode

log = logging.getLogger(__name__)

START_AGAIN = timedelta(seconds=2)
LAST_WAIT = timedelta(seconds=60)
"""How long after the time for draining a process that gave up is ended by force: it may hang in what made it give up."""

Announce = Callable[[str], None]
"""Told in words what is ready, for a person who watches."""


@dataclass(frozen=True, slots=True)
class Development:
    """What there is for whoever develops functions beside a running server: where it answers, the worker's live code, and a
    directory for copies of code that is gone when the process has ended.
    """

    url: str
    live: LiveCode
    directory: Path
    announce: Announce


Beside = Callable[[Development], AbstractAsyncContextManager[None]]
"""What runs beside a server, from when it is ready until it stops."""


def run_dev(settings: Settings, announce: Announce = print, beside: Beside | None = None) -> None:
    """Everything in one process, until SIGINT or SIGTERM. Raises the first start's errors, with their remedies."""
    _run(settings, ("api", "worker", "sources"), announce, beside)


def run_api(settings: Settings, announce: Announce = print) -> None:
    """The HTTP door and the filing of dead letters, until SIGINT or SIGTERM."""
    _run(settings, ("api",), announce)


def run_worker(settings: Settings, announce: Announce = print) -> None:
    """A worker, until SIGINT or SIGTERM; then it drains. A second signal ends it at once. Raises GaveUp."""
    _run(settings, ("worker",), announce)


def run_sources(settings: Settings, announce: Announce = print) -> None:
    """The watchers and pollers, until SIGINT or SIGTERM. Raises GaveUp."""
    _run(settings, ("sources",), announce)


def _run(settings: Settings, roles: tuple[str, ...], announce: Announce, beside: Beside | None = None) -> None:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s %(message)s"
    )
    for chatty in ("httpx", "alembic", "uvicorn", "uvicorn.error", "aiormq"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, roles, announce, beside))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(settings: Settings, roles: tuple[str, ...], announce: Announce, beside: Beside | None = None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    gave_up: list[str] = []
    asked = 0

    def give_up(reason: str) -> None:
        gave_up.append(reason)
        stop.set()
        loop.call_later((settings.drain_timeout + LAST_WAIT).total_seconds(), os._exit, STATUS)

    def stopped() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            # asked twice: what runs is left to be delivered again, and environments die with this process
            os._exit(1)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped)
    async with AsyncExitStack() as stack:
        if (where := await _start(settings, roles, stack, stop, give_up, announce)) is not None:
            # what was made to start lives as long as the process: looking through it again would only stall the loop
            gc.collect()
            gc.freeze()
            announce(where.words)
            if beside is not None:
                await stack.enter_async_context(beside(Development(where.url, where.live, where.copies, announce)))
            await stop.wait()
            announce("stopping: what runs may end, nothing new is taken")
    if gave_up:
        raise GaveUp(gave_up[0])


async def _start(
    settings: Settings,
    roles: tuple[str, ...],
    stack: AsyncExitStack,
    stop: asyncio.Event,
    give_up: Callable[[str], None],
    announce: Announce,
) -> Reached | None:
    """Start on ``stack``. A part of an installation waits for its broker and store; `dev` says at once what is wrong.

    None when it was told to stop meanwhile.
    """
    while not stop.is_set():
        try:
            return await stack.enter_async_context(node(settings, roles, give_up))
        except (Unavailable, StoreUnavailable) as error:
            if len(roles) > 1 or isinstance(error, Denied):
                raise
            announce(f"waiting: {error}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_AGAIN.total_seconds()):
                await stop.wait()
    return None


@dataclass(frozen=True, slots=True)
class Reached:
    """A process that is ready. ``words`` say where it can be reached; ``url`` is empty without the API."""

    words: str
    url: str
    live: LiveCode
    copies: Path


@asynccontextmanager
async def node(settings: Settings, roles: tuple[str, ...], give_up: Callable[[str], None]) -> AsyncIterator[Reached]:
    """A process with these roles, for as long as the context lasts; yields where it can be reached.

    ``give_up`` hears why, when it has been unable to work for too long.
    """
    if "api" in roles:
        check_free(settings.host, settings.port)  # nothing else of a start that cannot succeed
    async with started(settings, "-".join(roles) if len(roles) == 1 else "dev") as parts, AsyncExitStack() as stack:
        vitals = Vitals(parts, roles, give_up)
        stack.push_async_callback(vitals.close)
        door = None if "api" in roles else _health_door(parts, vitals)
        if door is not None:
            # it is closed after the roles: whoever asks while they drain is told so
            stack.push_async_callback(door.close)
        live, url = LiveCode(), ""
        copies = stack.enter_context(_own_directory(settings.data_dir / "live"))
        if "worker" in roles:
            supervisor = await worker_role.make(parts, live, api_here="api" in roles)
            stack.push_async_callback(supervisor.drain)
            await supervisor.start()
            vitals.checks.append(supervisor.problems)
            vitals.activity = supervisor.activity
        if "sources" in roles:
            sources = SourcesRole(parts)
            stack.push_async_callback(sources.close)
            await sources.start()
            vitals.checks.append(sources.problems)
        if "api" in roles:
            api = ApiRole(parts, vitals.health, lambda function: live.of(function) is not None)
            stack.push_async_callback(api.close)
            vitals.checks.append(api.problems)
            await api.start()
            pruning = Housekeeping(parts)
            stack.push_async_callback(pruning.close)
            pruning.start()
            url = f"http://{settings.host}:{api.port}"
            where = f"fnrunner {'dev' if len(roles) > 1 else 'api'} answers on {url}"
        else:
            where = f"fnrunner {roles[0]} {parts.name} works for {safe(settings.broker_url)}"
            if door is not None:
                await door.start()
                where += f", health on http://{settings.host}:{door.port}/readyz"
        vitals.start()
        stack.push_async_callback(vitals.drain)
        yield Reached(where, url, live, copies)


@contextmanager
def _own_directory(root: Path) -> Iterator[Path]:
    """Where this process may put copies of code, once it has something to put there; gone afterwards. What dead processes
    left is removed first.
    """
    owner = Owner.this_process()
    for left in root.iterdir() if root.is_dir() else ():
        if owner.abandoned(left.name):
            delete_tree(left)
    directory = root / owner.name("code")
    try:
        yield directory
    finally:
        delete_tree(directory)


def _health_door(parts: Parts, vitals: Vitals) -> HttpServer | None:
    """/healthz, /readyz and /metrics of a process without the API, where a port is set for them."""
    if parts.settings.health_port is None:
        return None
    from starlette.applications import Starlette

    app = Starlette(routes=health_routes(HealthServices(vitals.health, parts.metrics.registry)))
    return HttpServer(app, parts.settings.host, parts.settings.health_port)
