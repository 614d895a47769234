"""The API on a free loopback port, with the real catalogue, store, dead letters and embedded broker, and a front that
follows a script instead of running functions.
"""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette

from broker.delays import ladder
from broker.embedded import EmbeddedBroker
from fnrunner.api.app import create_app
from fnrunner.api.code_link import CodeLinks
from fnrunner.api.services import Health, Services
from fnrunner.api.updates import Updates
from fnrunner.app.connection import Connection
from fnrunner.app.parts import started_iam
from fnrunner.app.secrecy import started_keyring
from fnrunner.auth.trail import Trail
from fnrunner.catalogue import Artifacts, Catalogue
from fnrunner.delivery.audit import Audit
from fnrunner.delivery.dead_letters import DeadLetters
from fnrunner.delivery.history import History
from fnrunner.invoke import errors
from fnrunner.invoke.payload import checked
from fnrunner.model.arn import FunctionRef, Home
from fnrunner.model.function import Function
from fnrunner.settings import Settings
from fnrunner.store.engine import Store
from tests.store_template import new_sqlite_store

HOME = Home()
ROLE = HOME.role()
PLENTY = timedelta(seconds=60)


def zipped(**files: str) -> bytes:
    """A zip with these files; ``_`` in a keyword stands for ``.``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name.replace("_", ".")), text)
    return buffer.getvalue()


CODE = zipped(app_py="def handler(event, context): return event\n")


@dataclass(frozen=True)
class Result:
    """What the scripted front answers: see fnrunner.invoke.front.CallResult."""

    payload: bytes = b"{}"
    function_error: str = ""
    executed_version: str = "$LATEST"
    log_tail: bytes = b""
    xray: str = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0"
    request_id: str = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"


@dataclass
class Streamed:
    """What the scripted front streams: see fnrunner.api.services.StreamedCall. An event among the chunks is waited for."""

    chunks: Sequence[bytes | asyncio.Event] = (b"one", b"two")
    content_type: str = "text/plain"
    error_code: str = ""
    error_details: bytes = b""
    log_tail: bytes = b""
    executed_version: str = "$LATEST"
    xray: str = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0"
    request_id: str = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"
    taken: int = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            if isinstance(chunk, bytes):
                self.taken += 1
                yield chunk
            else:
                await chunk.wait()


@dataclass
class ScriptedFront:
    """Answers ``result`` (or what it makes of the payload), streams ``streamed``, or raises ``error``; remembers what it
    was asked, and the streams that were left (complete or not) in ``left``.
    """

    catalogue: Catalogue
    result: Callable[[bytes], Result] = lambda payload: Result(payload=payload)
    error: Exception | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    streamed: Callable[[bytes], Streamed] = lambda payload: Streamed()
    left: list[Streamed] = field(default_factory=list)

    async def check(self, ref: FunctionRef) -> Function:
        function = self.catalogue.resolve(ref.name, ref.qualifier)
        if function is None:
            raise errors.FunctionNotFound(f"Function not found: {HOME.function(ref.name, ref.qualifier or '$LATEST')}")
        return function

    async def call(
        self,
        ref: FunctionRef,
        payload: bytes,
        *,
        client_context: str = "",
        log_tail: bool = False,
        xray: str = "",
        trace: Mapping[str, str] = {},
        source: str = "api",
        trigger: str = "http",
    ) -> Result:
        await self._asked("call", ref, client_context=client_context, log_tail=log_tail, xray=xray, trace=dict(trace))
        return self.result(await checked(payload, asynchronous=False))

    @asynccontextmanager
    async def stream(
        self,
        ref: FunctionRef,
        payload: bytes,
        *,
        client_context: str = "",
        log_tail: bool = False,
        xray: str = "",
        trace: Mapping[str, str] = {},
        source: str = "api",
        trigger: str = "http",
    ) -> AsyncIterator[Streamed]:
        await self._asked("stream", ref, client_context=client_context, log_tail=log_tail, xray=xray, trace=dict(trace))
        answer = self.streamed(await checked(payload, asynchronous=False))
        try:
            yield answer
        finally:
            self.left.append(answer)

    async def accept(
        self,
        ref: FunctionRef,
        payload: bytes,
        *,
        event_id: str | None = None,
        source: str = "api",
        trigger: str = "other",
        xray: str = "",
        trace: Mapping[str, str] = {},
    ) -> str:
        payload = await checked(payload, asynchronous=True)
        await self._asked("accept", ref, payload=payload, xray=xray, trace=dict(trace))
        return event_id or "event-1"

    async def _asked(self, kind: str, ref: FunctionRef, **more: Any) -> None:
        await self.check(ref)
        self.asked.append({"kind": kind, "ref": ref, **more})
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error


def settings_for(directory: Path, **more: Any) -> Settings:
    return Settings(data_dir=directory, home=HOME, **more)


@asynccontextmanager
async def services_in(directory: Path, **more: Any) -> AsyncIterator[Services]:
    """Everything that the API needs, in a directory of its own."""
    now = lambda: datetime.now(UTC)  # noqa: E731
    settings = settings_for(directory, **more)
    async with AsyncExitStack() as stack:
        if not settings.store_url and not (directory / "store.sqlite").exists():
            new_sqlite_store(directory / "store.sqlite")
        store = Store(settings.store)
        await store.start()
        stack.push_async_callback(store.close)
        broker = EmbeddedBroker(directory / "broker", delays=ladder(settings.retry_delays))
        await broker.start()
        stack.push_async_callback(broker.close)
        keyring = await started_keyring(settings, store)
        catalogue = Catalogue(
            store, Artifacts(settings.artifacts, keyring), HOME, now, account_concurrency=settings.account_concurrency
        )
        await catalogue.refresh()
        registry = CollectorRegistry()
        Counter("fnrunner_accepted", "Events accepted.", registry=registry).inc(3)
        epoch_ms = lambda: int(now().timestamp() * 1000)  # noqa: E731

        trail = Trail(store)
        trail.start()
        stack.push_async_callback(trail.close)

        async def health() -> Health:
            return Health(alive=True, ready=True, roles=("api",))

        yield Services(
            settings=settings,
            home=HOME,
            version="9.9.9",
            catalogue=catalogue,
            front=ScriptedFront(catalogue),
            dead_letters=DeadLetters(store, broker, HOME, clock=epoch_ms),
            audit=Audit(store, broker, clock=epoch_ms, recheck=timedelta(milliseconds=1)),
            history=History(store),
            broker=broker,
            store=store,
            registry=registry,
            code_links=CodeLinks(now),
            health=health,
            now=now,
            updates=Updates(store, now),
            iam=await started_iam(settings, store, keyring),
            keyring=keyring,
            trail=trail,
        )


class ApiServer:
    """uvicorn on a thread with a loop of its own; ``with ApiServer(directory) as server`` serves at ``server.url``."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self._directory = directory
        self._settings = settings
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="api-server")
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop
        self._server: uvicorn.Server
        self.services: Services
        self.app: Starlette
        self.url = ""

    def __enter__(self) -> ApiServer:
        self._thread.start()
        if not self._ready.wait(PLENTY.total_seconds()):
            raise TimeoutError("the API did not start")
        if self._failed is not None:
            raise RuntimeError("the API did not start") from self._failed
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(PLENTY.total_seconds())

    @property
    def front(self) -> ScriptedFront:
        front = self.services.front
        assert isinstance(front, ScriptedFront)
        return front

    def run(self, coroutine: Any) -> Any:
        """Run it on the server's loop and wait for what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PLENTY.total_seconds())

    async def _serve(self) -> None:
        try:
            async with services_in(self._directory, **self._settings) as self.services:
                self._loop = asyncio.get_running_loop()
                # the protocol is named so that asyncio turns TCP_NODELAY on for what it accepts
                listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
                listener.bind(("127.0.0.1", 0))
                self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                self.app = create_app(self.services)
                config = uvicorn.Config(
                    self.app,
                    log_level="error",
                    lifespan="off",
                    http=Connection,
                    ws="none",
                    timeout_graceful_shutdown=5,
                )
                self._server = uvicorn.Server(config)
                serving = asyncio.create_task(self._server.serve(sockets=[listener]))
                while not self._server.started and not serving.done():
                    await asyncio.sleep(0.005)
                self._ready.set()
                await serving
        except BaseException as error:
            self._failed = error
            self._ready.set()
            raise


def body_of(response: Any) -> Any:
    """The JSON of an httpx response."""
    return json.loads(response.content)
