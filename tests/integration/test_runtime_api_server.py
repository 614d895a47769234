"""The HTTP server inside an environment, on a real socket: any pieces, any rubbish, any number of clients."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnrunner.runtimes.runtime_api.reactor import Reactor
from fnrunner.runtimes.runtime_api.server import MOST_CONNECTIONS, Collector, Exchange, Receiver, Server

LIMIT = 1000
TURNS = 2000


class World:
    """A server that echoes, in this thread: it runs while ``until`` waits for something."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.server = Server(self.reactor, self._handle)
        self.lost = 0
        self.held: list[Exchange] = []

    def _handle(self, exchange: Exchange) -> Receiver:
        if exchange.head.path == "/wait":
            exchange.on_gone = self._lose
            self.held.append(exchange)
            return Receiver()

        def done(body: bytes | None) -> None:
            exchange.answer(413 if body is None else 200, body or b"")

        return Collector(LIMIT, done, self._lose)

    def _lose(self) -> None:
        self.lost += 1

    def client(self) -> socket.socket:
        host, _, port = self.server.address.partition(":")
        made = socket.create_connection((host, int(port)))
        made.setblocking(False)
        return made

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(TURNS):
            if condition():
                return
            self.reactor.turn(0.01)
        raise AssertionError("it never came")

    def exchange(self, client: socket.socket, *pieces: bytes, ends: bytes | None = None) -> bytes:
        """What is answered: up to ``ends``, or until the server closes."""
        got = b""
        for piece in pieces:
            try:
                client.sendall(piece)
            except OSError:
                break  # refused before: what was answered counts
            self.reactor.turn(0)

        def came() -> bool:
            nonlocal got
            try:
                data = client.recv(65536)
            except BlockingIOError:
                return False
            except OSError:
                return True
            got += data
            return not data or (ends is not None and got.endswith(ends))

        self.until(came)
        return got


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    for _ in range(20):
        made.reactor.turn(0)
    made.server.close()
    made.reactor.close()


ASK = b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"


def is_well(world: World) -> bool:
    with world.client() as client:
        return world.exchange(client, ASK, ends=b"hi").startswith(b"HTTP/1.1 200 OK\r\n")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=80), st.sampled_from([ASK, ASK[:-1], b"\r\n\r\n", b"0\r\n\r\n"])), max_size=6)
)
def test_rubbish_is_refused_on_its_own_connection_and_others_go_on(world: World, pieces: list[bytes]) -> None:
    with world.client() as client:
        for piece in pieces:
            try:
                client.sendall(piece)
            except OSError:
                break
            world.reactor.turn(0)
    world.reactor.turn(0.01)
    assert is_well(world)


def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    asked = b"".join(b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\n%03d" % number for number in range(200))
    with world.client() as client:
        got = world.exchange(client, asked, ends=b"199")
    assert [part[-3:] for part in got.split(b"HTTP/1.1 200 OK\r\n")[1:]] == [b"%03d" % number for number in range(200)]


def test_what_is_pipelined_behind_a_long_wait_waits_too(world: World) -> None:
    with world.client() as client:
        client.sendall(b"GET /wait HTTP/1.1\r\n\r\n" + ASK)
        world.until(lambda: bool(world.held))
        with pytest.raises(BlockingIOError):
            client.recv(10)
        world.held.pop().answer(200, b"first")
        got = world.exchange(client, ends=b"hi")
    assert got.index(b"first") < got.index(b"hi")


def test_a_client_that_leaves_while_it_waits_is_noticed(world: World) -> None:
    before = world.lost
    client = world.client()
    client.sendall(b"GET /wait HTTP/1.1\r\n\r\n")
    world.until(lambda: bool(world.held))
    client.close()
    world.until(lambda: world.lost == before + 1)
    held = world.held.pop()
    assert not held.open
    held.answer(200, b"nobody hears this")
    assert is_well(world)


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large_a_body_gets_413_and_the_connection_goes_on(world: World, chunked: bool) -> None:
    size = LIMIT * 500
    head = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size if chunked else b"Content-Length: %d\r\n\r\n" % size
    tail = b"\r\n0\r\n\r\n" if chunked else b""
    with world.client() as client:
        client.setblocking(True)
        client.sendall(b"POST /echo HTTP/1.1\r\n" + head)
        for _ in range(500):
            client.sendall(b"a" * LIMIT)
            world.reactor.turn(0)
        client.sendall(tail)
        client.setblocking(False)
        got = world.exchange(client, ASK, ends=b"hi")
    assert got.startswith(b"HTTP/1.1 413 ")
    assert got.count(b"HTTP/1.1 ") == 2


def test_who_comes_when_there_are_too_many_waits_for_a_place(world: World) -> None:
    crowd = []
    for _ in range(MOST_CONNECTIONS):
        crowd.append(world.client())
        world.reactor.turn(0)
    for _ in range(10):
        world.reactor.turn(0)
    last = world.client()
    last.sendall(ASK)
    for _ in range(5):
        world.reactor.turn(0.01)
    with pytest.raises(BlockingIOError):
        last.recv(10)
    for one in crowd:
        one.close()
    assert world.exchange(last, ends=b"hi").startswith(b"HTTP/1.1 200 OK\r\n")
    last.close()


def test_who_asks_to_go_on_is_told_so(world: World) -> None:
    with world.client() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert world.exchange(client, ends=b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert world.exchange(client, b"hi", ends=b"hi").startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_connection_that_is_not_kept_is_closed_after_its_answer(world: World) -> None:
    with world.client() as client:
        got = world.exchange(client, ASK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    assert got.endswith(b"\r\nConnection: close\r\n\r\nhi")


def test_a_body_that_breaks_off_is_told_to_its_receiver(world: World) -> None:
    before = world.lost
    with world.client() as client:
        client.sendall(ASK[:-1])
        world.reactor.turn(0.01)
    world.until(lambda: world.lost == before + 1)


def test_who_will_not_send_any_more_is_answered_all_it_has_asked(world: World) -> None:
    with world.client() as client:
        client.sendall(ASK + b"GET /wait HTTP/1.1\r\n\r\n" + ASK)
        client.shutdown(socket.SHUT_WR)
        world.until(lambda: bool(world.held))
        for _ in range(5):
            world.reactor.turn(0.01)
        held = world.held.pop()
        assert held.open
        held.answer(200, b"later")
        got = world.exchange(client)
    assert [part[-5:] for part in got.split(b"HTTP/1.1 200 OK\r\n")[1:]] == [b"\n\r\nhi", b"later", b"\n\r\nhi"]


def test_who_stops_sending_and_then_leaves_is_noticed_when_there_is_something_to_hear(world: World) -> None:
    before = world.lost
    client = world.client()
    client.sendall(b"GET /wait HTTP/1.1\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    world.until(lambda: bool(world.held))
    for _ in range(3):
        world.reactor.turn(0.01)
    held = world.held.pop()
    assert held.open
    client.close()
    held.answer(200 if held.open else 400, b"nobody hears this")
    assert world.lost == before + 1


def test_who_stops_sending_in_the_middle_of_a_request_is_closed(world: World) -> None:
    before = world.lost
    with world.client() as client:
        client.sendall(ASK[:-1])
        client.shutdown(socket.SHUT_WR)
        assert world.exchange(client) == b""
    assert world.lost == before + 1


def test_a_connection_on_which_someone_asked_to_go_on_is_kept(world: World) -> None:
    asking = b"POST /echo HTTP/1.1\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    with world.client() as client:
        for _ in range(2):
            client.sendall(asking % 2)
            assert world.exchange(client, ends=b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            got = world.exchange(client, b"hi", ends=b"hi")
            assert b"Connection: close" not in got
        assert world.exchange(client, asking % 0, ends=b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
        assert world.exchange(client, ASK, ends=b"hi").startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_older_client_is_not_told_to_go_on(world: World) -> None:
    with world.client() as client:
        got = world.exchange(client, b"POST /echo HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
