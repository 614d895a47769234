"""A host of its own for tests of the network: this thread enters a network namespace, and beyond it there is an outside.

::

    environment ── uplink ── slirp4netns ── the host, 203.0.113.10 ═══ the outside, 203.0.113.20 and others

What listens says where a caller came from. Needs root; the machine's own network is neither used nor changed.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from fnrunner.sandbox.kernel import CLONE_NEWNET, check, join, libc
from fnrunner.sandbox.rtnetlink import Channel, address, pair, route, switch_on

HOST, OUTSIDE, SERVICE, METADATA = "203.0.113.10", "203.0.113.20", "198.51.100.7", "169.254.169.254"
THREAD = "/proc/thread-self/ns/net"


def packed(text: str) -> bytes:
    return socket.inet_aton(text)


@dataclass
class World:
    """``outside_ns`` is a descriptor of the other namespace; ``close`` is called for everything that listens."""

    outside_ns: int
    stack: ExitStack

    def listen(self, host: str, port: int, *, outside: bool = False) -> int:
        """Greets everybody with where they came from, and ends the connection. The port."""
        with self._inside(outside):
            server = socket.create_server((host, port))
        self._serve(server, _greet)
        return int(server.getsockname()[1])

    def silence(self) -> None:
        """Nobody listens any more."""
        self.stack.close()

    def answer_names(self, host: str, names: dict[str, str], *, outside: bool = False) -> None:
        """A name server of IPv4 addresses."""
        with self._inside(outside):
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.bind((host, 53))
        self._serve(server, lambda each: _answer(each, names))

    @contextmanager
    def _inside(self, outside: bool) -> Iterator[None]:
        own = os.open(THREAD, os.O_RDONLY)
        try:
            if outside:
                join(self.outside_ns, CLONE_NEWNET)
            yield
        finally:
            join(own, CLONE_NEWNET)
            os.close(own)

    def _serve(self, server: socket.socket, step: Callable[[socket.socket], None]) -> None:
        def run() -> None:
            try:
                while True:
                    step(server)
            except OSError:
                pass  # closed

        def stop() -> None:
            # a thread that waits in the kernel does not hear of a close
            try:
                server.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # a socket without connections says so, and wakes nevertheless
            thread.join(10)
            server.close()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.stack.callback(stop)


def _greet(server: socket.socket) -> None:
    connection, (who, _) = server.accept()
    with connection:
        connection.sendall(f"hello {who}".encode())


def _answer(server: socket.socket, names: dict[str, str]) -> None:
    query, who = server.recvfrom(512)
    if not query:
        raise OSError("closed")
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    question = query[12 : at + 5]
    found = names.get(".".join(labels)) if question[-4:-2] == b"\0\1" else None
    flags = 0x8180 if ".".join(labels) in names else 0x8183
    reply = query[:2] + struct.pack("!HHHHH", flags, 1, 1 if found else 0, 0, 0) + question
    if found:
        reply += b"\xc0\x0c\0\1\0\1" + struct.pack("!IH", 60, 4) + packed(found)
    server.sendto(reply, who)


@contextmanager
def world() -> Iterator[World]:
    """This thread is on the host until the end. Skips without the rights."""
    if os.geteuid() != 0:
        pytest.skip("a network of the test's own takes root")
    own = os.open(THREAD, os.O_RDONLY)
    with ExitStack() as stack:
        stack.callback(os.close, own)
        try:
            check(libc.unshare(CLONE_NEWNET), "unshare")
        except OSError as error:
            pytest.skip(str(error))
        stack.callback(join, own, CLONE_NEWNET)
        outside = os.open(THREAD, os.O_RDONLY)
        stack.callback(os.close, outside)
        _furnish([OUTSIDE, SERVICE, METADATA])
        check(libc.unshare(CLONE_NEWNET), "unshare")
        host = os.open(THREAD, os.O_RDONLY)
        stack.callback(os.close, host)
        _furnish([HOST])
        _cable(host, outside)
        yield World(outside, stack.enter_context(ExitStack()))


def _furnish(addresses: list[str]) -> None:
    channel = Channel()
    channel.change(switch_on(1), *(address(1, packed(each)) for each in addresses))
    channel.close()


def _cable(host: int, outside: int) -> None:
    """This thread is on the host, and stays there."""
    hardware = b"\x02\0\0\0\0\7"
    channel = Channel()
    channel.change(pair(7, "wan", (7, "lan", outside), hardware=hardware, mtu=1500))
    join(outside, CLONE_NEWNET)
    beyond = Channel()
    beyond.change(switch_on(7), route(packed(HOST), 32, index=7))
    beyond.close()
    join(host, CLONE_NEWNET)
    channel.change(route(packed(OUTSIDE), 32, index=7), route(b"", 0, index=7, gateway=packed(OUTSIDE)))
    channel.close()
