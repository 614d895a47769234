"""A keep-alive HTTP/1.1 client that costs little, so that the server is measured and not the client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httptools


class Refused(Exception):
    """The server answered with another status than was asked for."""


class HttpCaller:
    """One connection; one request at a time. ``post`` sends the same request each time, a POST unless it is another."""

    def __init__(
        self,
        host: str,
        port: int,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        status: int,
        *,
        method: str = "POST",
    ) -> None:
        lines = (f"{method} {path} HTTP/1.1", f"Host: {host}:{port}", f"Content-Length: {len(body)}")
        named = (f"{name}: {value}" for name, value in headers.items())
        self._request = "\r\n".join((*lines, *named, "", "")).encode() + body
        self._address = host, port
        self._status = status
        self._body = bytearray()
        self._complete = False

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(*self._address)

    async def post(self) -> bytes:
        """The body. Raises Refused, OSError."""
        self._body.clear()
        self._complete = False
        parser = httptools.HttpResponseParser(self)
        self._writer.write(self._request)
        while not self._complete:
            if not (data := await self._reader.read(65_536)):
                raise Refused("the connection was closed")
            parser.feed_data(data)
        if (status := parser.get_status_code()) != self._status:
            raise Refused(f"{status}: {bytes(self._body[:500])!r}")
        return bytes(self._body)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    # what httptools calls

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._complete = True
