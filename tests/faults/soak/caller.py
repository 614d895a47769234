"""A keep-alive HTTP/1.1 client for threads that costs little: the system under test has the processors, not its sender."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Mapping

from tests.faults.soak.history import ACKNOWLEDGED, REFUSED, UNKNOWN

PATIENCE_S = 75.0
HEAD_END = b"\r\n\r\n"
NEVER_RUN = frozenset({400, 403, 404, 413, 429})
"""Answers after which an event does not run. After any other but 200 and 202 it may."""


class Unanswered(Exception):
    """The connection ended, or the answer did not come in time."""


class NotSent(Unanswered):
    """There was no connection, so nobody can have heard of it."""


class Answer:
    """``headers`` by lower-case names."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def outcome(self) -> str:
        if self.status in (200, 202):
            return ACKNOWLEDGED
        return REFUSED if self.status in NEVER_RUN else UNKNOWN

    @property
    def event_id(self) -> str:
        return self.headers.get("x-amzn-requestid", "")


class Caller:
    """One connection, one request at a time. It is made again after it was lost."""

    def __init__(self, port: int) -> None:
        self._address = "127.0.0.1", port
        self._socket: socket.socket | None = None

    def invoke(self, function: str, event: Mapping[str, object], *, wait: bool = False) -> Answer:
        """Raises Unanswered."""
        kind = "" if wait else "X-Amz-Invocation-Type: Event\r\n"
        return self.post(f"/2015-03-31/functions/{function}/invocations", event, kind)

    def post(self, path: str, document: object, headers: str = "") -> Answer:
        """Raises Unanswered."""
        body = json.dumps(document).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        connection = self._connected()
        try:
            connection.sendall(head.encode() + body)
            return self._answer(connection)
        except OSError as error:
            self.close()
            raise Unanswered(str(error)) from error
        except Unanswered:
            self.close()
            raise

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is not None and self._is_stale(self._socket):
            self.close()
        if self._socket is None:
            try:
                self._socket = socket.create_connection(self._address, timeout=PATIENCE_S)
            except OSError as error:
                raise NotSent(str(error)) from error
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    @staticmethod
    def _is_stale(connection: socket.socket) -> bool:
        """The other side has closed it: nothing is to be read of a connection that is at rest."""
        try:
            connection.settimeout(0)
            return not connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            connection.settimeout(PATIENCE_S)

    def _answer(self, connection: socket.socket) -> Answer:
        data = b""
        while (end := data.find(HEAD_END)) < 0:
            data += self._more(connection)
        lines = data[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        body = data[end + len(HEAD_END) :]
        while len(body) < length:
            body += self._more(connection)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(int(lines[0].split(" ", 2)[1]), headers, body)

    @staticmethod
    def _more(connection: socket.socket) -> bytes:
        if not (data := connection.recv(65_536)):
            raise Unanswered("the connection was closed")
        return data
