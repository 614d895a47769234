"""Relays between nodes on this host that can be cut without closing: what a broken network does to open connections.

Run as ``python -m tests.relay`` with a JSON list of routes ``[name, listening port, target port]`` and a JSON list of names to
register ``[epmd port, node name, port]``. It then obeys lines on its standard input: ``hold NAME…`` stops these routes in
both directions, silently, ``pass`` lets everything go on; each is answered with ``ok``. It ends with its standard input.
What is held stays in the kernel's buffers and goes on its way afterwards, as TCP sends again what a network lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass, field

PIECE_BYTES = 262_144
_ALIVE_REQUEST, _NORMAL_NODE = 120, 77
_VERSION = 6


@dataclass(slots=True)
class Route:
    """Connections to ``port`` go on to ``target`` while it is open."""

    name: str
    port: int
    target: int
    open: asyncio.Event = field(default_factory=asyncio.Event)
    server: asyncio.Server | None = None

    async def serve(self) -> None:
        self.open.set()
        self.server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            await self.open.wait()
            there, onward = await asyncio.open_connection("127.0.0.1", self.target)
            with contextlib.closing(onward):
                pumps = (
                    asyncio.create_task(self._pump(reader, onward)),
                    asyncio.create_task(self._pump(there, writer)),
                )
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                await self.open.wait()
                writer.write(piece)
                await writer.drain()
        # The end of a connection is held back like everything else.
        await self.open.wait()


async def register(epmd: int, node: str, port: int) -> StreamWriter:
    """Say at this epmd that ``node`` listens on ``port``; true as long as the connection is kept."""
    reader, writer = await asyncio.open_connection("127.0.0.1", epmd)
    name = node.encode()
    request = bytes((_ALIVE_REQUEST,)) + port.to_bytes(2, "big") + bytes((_NORMAL_NODE, 0))
    request += _VERSION.to_bytes(2, "big") + (5).to_bytes(2, "big") + len(name).to_bytes(2, "big") + name + b"\0\0"
    writer.write(len(request).to_bytes(2, "big") + request)
    answer = await reader.readexactly(2)
    if answer[1] != 0:
        raise RuntimeError(f"epmd at {epmd} does not take {node!r}: {answer!r}")
    return writer


async def obey(routes: list[Route]) -> None:
    reader = StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        held = set(line.decode().split()[1:])
        for route in routes:
            if route.name in held:
                route.open.clear()
            else:
                route.open.set()
        print("ok", flush=True)


async def main(routes: list[Route], registrations: list[tuple[int, str, int]]) -> None:
    for route in routes:
        await route.serve()
    kept = [await register(*each) for each in registrations]
    print("ok", flush=True)
    await obey(routes)
    for writer in kept:
        writer.close()


if __name__ == "__main__":
    asyncio.run(main([Route(*r) for r in json.loads(sys.argv[1])], json.loads(sys.argv[2])))
