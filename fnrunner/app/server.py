"""Serve an ASGI application on one port inside a running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from datetime import timedelta

import uvicorn
from starlette.types import ASGIApp

from fnrunner.app.connection import Connection


class PortInUse(Exception):
    """The port is in use. Stop the other process, or choose another with --port."""


def check_free(host: str, port: int) -> None:
    """Raises PortInUse. It may be taken a moment later all the same."""
    _bound(host, port).close()


def _bound(host: str, port: int) -> socket.socket:
    """Raises PortInUse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # naming the protocol makes asyncio set TCP_NODELAY, without which each response waits 40 ms
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortInUse(
            f"{host}:{port} cannot be listened on ({error.strerror}). Stop what uses it, or choose another with --port."
        ) from error
    return listener


class _Quiet(uvicorn.Server):
    """Signals are the node's: it decides what stops when."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Listening from ``start`` to ``close``, which waits at most ``grace`` for the requests that run then."""

    def __init__(self, app: ASGIApp, host: str, port: int, *, grace: timedelta = timedelta(seconds=10)) -> None:
        self._host = host
        self._port = port
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,  # who calls is who connects: a header must not change it
            timeout_graceful_shutdown=max(1, int(grace.total_seconds())),
            timeout_keep_alive=75,
        )
        self._server = _Quiet(config)
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The real port, also when 0 was asked for."""
        return int(self._socket.getsockname()[1]) if self._socket else self._port

    async def start(self) -> None:
        """Raises PortInUse."""
        listener = _bound(self._host, self._port)
        listener.setblocking(False)
        self._socket = listener
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")
        while not self._server.started and not self._task.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        self._server.should_exit = True
        if self._task:
            await self._task
            self._task = None
        if self._socket:
            self._socket.close()
            self._socket = None
