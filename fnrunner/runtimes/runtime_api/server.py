"""HTTP connections on the loopback: each request goes to a handler, its body to a receiver, its answer back in order.

Malformed input gets its status and ends its own connection, nothing else. A connection answers one request at a time: what
a client pipelines waits. A body is read no faster than its receiver takes it.
"""

from __future__ import annotations

import _socket
import os

from .parser import End, Head, Malformed, Parser
from .peer import is_there
from .reactor import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .reactor import Reactor

READ_BYTES = 256 * 1024
HELD_BYTES = 64 * 1024
"""What a client may send ahead of its turn before its socket is left to fill."""
BACKLOG = 128
CROWDED_S = 0.1
MOST_CONNECTIONS = 256
"""Of one environment at a time; who comes then waits until another one leaves."""
REASONS = {
    100: "Continue", 200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 413: "Request Entity Too Large", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented",
}  # fmt: skip


class Receiver:
    """Takes the body of one request. This one ignores it."""

    def data(self, piece: bytes) -> None:
        """A piece, never empty."""

    def end(self, trailers: dict[str, str]) -> None:
        """The request is complete."""

    def lost(self) -> None:
        """The connection broke before the end: nothing follows."""


class Collector(Receiver):
    """Hands over the whole body. With more than ``limit`` bytes it hands over None at once, and the rest is ignored."""

    def __init__(self, limit: int, done: Callable[[bytes | None], None], lost: Callable[[], None]) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._limit, self._done, self._lost = limit, done, lost

    def data(self, piece: bytes) -> None:
        if self._size > self._limit:
            return
        self._size += len(piece)
        self._pieces.append(piece)
        if self._size > self._limit:
            self._pieces.clear()
            self._done(None)

    def end(self, trailers: dict[str, str]) -> None:
        if self._size <= self._limit:
            self._done(b"".join(self._pieces))

    def lost(self) -> None:
        if self._size <= self._limit:
            self._lost()


class Exchange:
    """One request and its one answer, which may come later. ``on_gone`` is called when the client leaves before it."""

    __slots__ = ("_connection", "answered", "head", "on_gone")

    def __init__(self, head: Head, connection: Connection) -> None:
        self.head, self._connection = head, connection
        self.answered = False
        self.on_gone: Callable[[], None] | None = None

    @property
    def open(self) -> bool:
        """Whether somebody waits for the answer."""
        return not self.answered and self._connection.hears()

    def answer(
        self, status: int, body: bytes = b"", headers: tuple[tuple[str, str], ...] = (), kind: str = "application/json"
    ) -> None:
        """The answer, once; harmless when the client is gone."""
        if self.answered:
            return
        self.answered = True
        self._connection.answer(status, body, headers, kind)

    def pause(self) -> None:
        """Read no more of the body until ``resume``."""
        self._connection.pause()

    def resume(self) -> None:
        self._connection.resume()


class Connection:
    """One client."""

    def __init__(
        self, reactor: Reactor, fd: int, handle: Callable[[Exchange], Receiver], on_closed: Callable[[], None]
    ) -> None:
        self._reactor, self._fd, self._handle, self._on_closed = reactor, fd, handle, on_closed
        self._parser = Parser()
        self._out: list[memoryview] = []
        self._exchange: Exchange | None = None
        self._receiver: Receiver | None = None
        self._paused = self._closing = self._parsing = False
        self._finished = False
        """The client sends no more. It may have left, or wait for its answers."""
        self._withheld = False
        """The client keeps its body back until it is told to go on."""
        self.open = True
        os.set_blocking(fd, False)
        client = _socket.socket(fileno=fd)
        client.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self._ends = client.getpeername(), client.getsockname()
        client.detach()
        self._watch()

    def answer(self, status: int, body: bytes, headers: tuple[tuple[str, str], ...], kind: str) -> None:
        if not self.open:
            return
        assert self._exchange is not None
        head = self._exchange.head
        if self._withheld or not head.keep_alive:
            # a client that was never told to go on may or may not send its body: only a new connection is certain
            self._closing = True
        self._write(status, body, headers, kind)
        self._go_on()

    def hears(self) -> bool:
        """Whether the client is there to take an answer."""
        if self.open and self._finished and not is_there(*self._ends):
            self._lose()
        return self.open

    def pause(self) -> None:
        self._paused = True
        self._watch()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            # not from within the caller: it may be in the middle of the receiver
            self._reactor.call_later(0, self._go_on)

    def _write(self, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = (), kind: str = "") -> None:
        lines = [f"HTTP/1.1 {status} {REASONS[status]}"]
        if status != 100:
            lines += [f"{name}: {value}" for name, value in headers]
            lines += [f"Content-Type: {kind or 'text/plain; charset=utf-8'}", f"Content-Length: {len(body)}"]
            if self._closing:
                lines.append("Connection: close")
        self._out.append(memoryview(("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")))
        if body:
            self._out.append(memoryview(body))
        self._flush()

    def _flush(self) -> None:
        try:
            while self._out:
                sent = os.writev(self._fd, self._out)
                while self._out and sent >= len(self._out[0]):
                    sent -= len(self._out.pop(0))
                if sent:
                    self._out[0] = self._out[0][sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._lose()

    def _watch(self) -> None:
        if not self.open:
            return
        wants = not self._paused and not self._finished and self._parser.pending <= HELD_BYTES
        self._reactor.watch(self._fd, (READ if wants else 0) | (WRITE if self._out else 0), self._ready)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self.open and self._finished and events & ~WRITE:
            self._lose()  # it hears no answer any more either
            return
        if self.open and events & ~WRITE:
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self._lose()
                return
            self._finished = not data
            self._parser.feed(data)
        self._go_on()
        if self._finished and self._exchange is not None:
            self.hears()

    def _go_on(self) -> None:
        """Do what can be done now with what has arrived."""
        if not self._parsing:
            self._parsing = True
            try:
                while self.open and not self._paused and self._step():
                    pass
            except Malformed as error:
                self._refuse(error)
            finally:
                self._parsing = False
        if self.open and self._over:
            self._lose()
        self._watch()

    @property
    def _over(self) -> bool:
        if self._finished and not self._paused and self._receiver is not None:
            return True  # it broke off in the middle of a request
        return (self._closing or self._finished) and not self._out and self._exchange is None

    def _step(self) -> bool:
        """Take one event of the request. False when there is none, or it is not its turn."""
        if self._receiver is None and self._exchange is not None:
            if not self._exchange.answered:
                return False
            self._exchange = None
        if self._closing and self._exchange is None:
            return False
        event = self._parser.next()
        if event is None:
            return False
        if isinstance(event, Head):
            self._begin(event)
        elif self._receiver is None:
            return True
        elif isinstance(event, End):
            receiver, self._receiver = self._receiver, None
            receiver.end(event.trailers)
        else:
            self._receiver.data(event)
        return True

    def _begin(self, head: Head) -> None:
        self._exchange = exchange = Exchange(head, self)
        self._withheld = head.expects_continue and head.length != 0
        receiver = self._handle(exchange)
        if exchange.answered and self._withheld:
            self._exchange = None
            return
        if self._withheld:
            self._withheld = False
            self._write(100, b"")
        self._receiver = receiver

    def _refuse(self, error: Malformed) -> None:
        """Say what is wrong, after what is still being answered, and close."""
        answered = self._exchange is not None and self._exchange.answered
        receiver, self._receiver, self._exchange = self._receiver, None, None
        self._closing = True
        if not answered:
            self._write(error.status, f"{error}\n".encode("utf-8", "replace"))
        if receiver is not None:
            receiver.lost()

    def _lose(self) -> None:
        if not self.open:
            return
        self.open = False
        self._reactor.forget(self._fd)
        os.close(self._fd)
        self._out.clear()
        receiver, self._receiver = self._receiver, None
        exchange, self._exchange = self._exchange, None
        if receiver is not None:
            receiver.lost()
        if exchange is not None and not exchange.answered and exchange.on_gone is not None:
            exchange.on_gone()
        self._on_closed()


class Server:
    """Listens on a free port of 127.0.0.1. ``handle`` gets each request's head and says who takes its body.

    ``admits`` is asked about each client's address and this server's; without it everybody may come.
    """

    def __init__(
        self,
        reactor: Reactor,
        handle: Callable[[Exchange], Receiver],
        admits: Callable[[tuple[str, int], tuple[str, int]], bool] | None = None,
    ) -> None:
        """Raises OSError."""
        self._reactor, self._handle, self._admits = reactor, handle, admits
        self._connections = 0
        self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(BACKLOG)
        self._listen()

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``."""
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def close(self) -> None:
        """Nobody can come any more; who is there stays."""
        self._reactor.forget(self._socket.fileno())
        self._socket.close()

    def _listen(self) -> None:
        self._reactor.watch(self._socket.fileno(), READ, self._accept)

    def _accept(self, _: int) -> None:
        if self._connections >= MOST_CONNECTIONS:
            self._rest()
            return
        try:
            fd, client = self._socket._accept()  # type: ignore[attr-defined] # the socket module's own way
        except BlockingIOError:
            return
        except OSError:
            self._rest()  # no descriptor is free
            return
        if self._admits is not None and not self._admits(client, self._socket.getsockname()):
            os.close(fd)
            return
        self._connections += 1
        Connection(self._reactor, fd, self._handle, self._left)

    def _rest(self) -> None:
        """There are too many: for a moment whoever comes waits in the backlog."""
        self._reactor.forget(self._socket.fileno())
        self._reactor.call_later(CROWDED_S, self._listen)

    def _left(self) -> None:
        self._connections -= 1
