"""The proxy does to bytes what its weather says, and the next connection is whole again."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import FAIR, Proxy, Weather


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """In front of a server that sends back what it is sent."""
    listener = socket.create_server(("127.0.0.1", 0))

    def echo(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(4096):
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

    server = threading.Thread(target=accept, daemon=True)
    server.start()
    made = Proxy(listener.getsockname()[1])
    yield made
    made.close()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    server.join(5)


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def test_silence_swallows_and_keeps_the_connection_until_it_is_cut(proxy: Proxy) -> None:
    with connected(proxy) as client:
        client.sendall(b"a")
        assert client.recv(10) == b"a"
        proxy.weather = Weather(silent=True)
        client.sendall(b"b")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(10)
        assert proxy.connections == 1
        proxy.weather = FAIR
        proxy.cut()
        client.settimeout(10)
        assert client.recv(10) == b""
    with connected(proxy) as client:
        client.sendall(b"c")
        assert client.recv(10) == b"c"


def test_a_delay_and_a_narrow_way_let_everything_through_later(proxy: Proxy) -> None:
    proxy.weather = Weather(delay_s=0.1, bytes_per_s=20_000)
    with connected(proxy) as client:
        began = time.monotonic()
        client.sendall(b"x" * 4000)
        received = b""
        while len(received) < 4000:
            received += client.recv(4096)
        assert time.monotonic() - began >= 0.2 + 0.2  # the delay and the width, each once in both directions
    assert received == b"x" * 4000


def test_nobody_gets_through_to_the_deaf(proxy: Proxy) -> None:
    proxy.deaf(True)
    with connected(proxy) as client, contextlib.suppress(ConnectionResetError):
        assert client.recv(10) == b""
    proxy.deaf(False)
    with connected(proxy) as client:
        client.sendall(b"d")
        assert client.recv(10) == b"d"
