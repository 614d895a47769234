"""HTTP/1.1 requests out of bytes as they arrive: a head, pieces of its body, its end. Pure: no socket, no clock.

>>> parser = Parser()
>>> parser.feed(b"POST /x HTTP/1.1\\r\\nContent-Length: 3\\r\\n\\r\\nabcGET /y HTTP/1.1\\r\\n\\r\\n")
>>> head = parser.next()
>>> (head.method, head.path, head.length), parser.next(), parser.next()
(('POST', '/x', 3), b'abc', End({}))
>>> parser.next().path, parser.next(), parser.next()
('/y', End({}), None)

Source: RFC 9112. Lines may end with a bare LF, as shells write them; whatever else is wrong is refused, because a request
whose end is uncertain must not become two.
"""

from __future__ import annotations

HEAD_BYTES = 1024 * 1024
LINE_BYTES = 256
MOST_HEADERS = 200
LENGTH_DIGITS = 15
CHUNK_DIGITS = 12
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX = frozenset(b"0123456789abcdefABCDEF")


class Malformed(Exception):
    """This is no HTTP request. ``status`` is what to answer before the connection is closed."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Head:
    """A request without its body. Header names are lower case; ``length`` is None for a chunked body."""

    __slots__ = ("expects_continue", "headers", "keep_alive", "length", "method", "path")

    def __init__(self, method: str, path: str, headers: dict[str, str], *, version: bytes) -> None:
        self.method, self.path, self.headers = method, path, headers
        self.length = _body_length(headers)
        connection = headers.get("connection", "").lower()
        self.keep_alive = "close" not in connection and (version == b"HTTP/1.1" or "keep-alive" in connection)
        self.expects_continue = version == b"HTTP/1.1" and headers.get("expect", "").lower() == "100-continue"


class End:
    """The request is complete. ``trailers`` as headers."""

    __slots__ = ("trailers",)

    def __init__(self, trailers: dict[str, str]) -> None:
        self.trailers = trailers

    def __repr__(self) -> str:
        return f"End({self.trailers})"


class Parser:
    """``feed`` what arrives, then ``next`` until None. After Malformed nothing more can be read."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = 0
        self._read = self._read_head
        self._left = 0

    @property
    def pending(self) -> int:
        """Bytes that were fed and not yet given out."""
        return len(self._data)

    @property
    def between(self) -> bool:
        """Whether no request has begun."""
        return self._read == self._read_head and not self._data

    def feed(self, data: bytes) -> None:
        self._data += data

    def next(self) -> Head | bytes | End | None:
        """The next event, or None until more is fed. Raises Malformed."""
        return self._read()

    def _read_head(self) -> Head | bytes | End | None:
        while self._data.startswith((b"\r\n", b"\n")):  # empty lines between requests
            del self._data[: 2 if self._data[0] == 13 else 1]
        block = self._block()
        if block is None:
            return None
        request, *lines = block
        parts = request.split(b" ")
        if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise Malformed("the request line is not METHOD PATH HTTP/1.1")
        method, target, version = parts
        if not method.isalpha() or not target or not _printable(target):
            raise Malformed("the request line is not METHOD PATH HTTP/1.1")
        head = Head(method.decode("ascii", "replace"), _path(target), _headers(lines), version=version)
        if head.length is None:
            self._read = self._read_chunk_size
        else:
            self._left = head.length
            self._read = self._read_body if head.length else self._read_end
        return head

    def _read_body(self) -> Head | bytes | End | None:
        if not self._data:
            return None
        piece = bytes(memoryview(self._data)[: self._left])
        del self._data[: len(piece)]
        self._left -= len(piece)
        if not self._left:
            self._read = self._read_end
        return piece

    def _read_end(self) -> Head | bytes | End | None:
        self._read = self._read_head
        return End({})

    def _read_chunk_size(self) -> Head | bytes | End | None:
        line = self._line()
        if line is None:
            return None
        digits = line.partition(b";")[0].strip()
        if not 0 < len(digits) <= CHUNK_DIGITS or not _HEX.issuperset(digits):
            raise Malformed("a chunk does not begin with its size")
        self._left = int(digits, 16)
        self._read = self._read_chunk if self._left else self._read_trailers
        return self._read()

    def _read_chunk(self) -> Head | bytes | End | None:
        if self._left:
            if not self._data:
                return None
            piece = bytes(memoryview(self._data)[: self._left])
            del self._data[: len(piece)]
            self._left -= len(piece)
            return piece
        line = self._line()
        if line is None:
            return None
        if line:
            raise Malformed("a chunk is longer than its size")
        self._read = self._read_chunk_size
        return self._read()

    def _read_trailers(self) -> Head | bytes | End | None:
        if self._data[:1] == b"\n" or self._data[:2] == b"\r\n":
            del self._data[: 1 if self._data[0] == 10 else 2]
            self._read, self._searched = self._read_head, 0
            return End({})
        block = self._block()
        if block is None:
            return None
        self._read = self._read_head
        return End(_headers(block))

    def _line(self) -> bytes | None:
        """The next short line without its end."""
        position = self._data.find(b"\n", 0, LINE_BYTES)
        if position < 0:
            if len(self._data) >= LINE_BYTES:
                raise Malformed("a line of the chunked body is too long")
            return None
        line = bytes(self._data[:position]).removesuffix(b"\r")
        del self._data[: position + 1]
        return line

    def _block(self) -> list[bytes] | None:
        """The lines up to an empty one."""
        start = max(0, self._searched - 3)
        ends = [at + len(mark) for mark in (b"\n\r\n", b"\n\n") if (at := self._data.find(mark, start)) >= 0]
        end = min(ends, default=-1)
        if (end if end >= 0 else len(self._data)) > HEAD_BYTES:
            raise Malformed(f"the head is larger than {HEAD_BYTES} bytes", 431)
        if end < 0:
            self._searched = len(self._data)
            return None
        block = bytes(self._data[:end])
        del self._data[:end]
        self._searched = 0
        return [line.removesuffix(b"\r") for line in block.rstrip(b"\r\n").split(b"\n")]


def _headers(lines: list[bytes]) -> dict[str, str]:
    """Header fields; of one that is repeated, all values. Raises Malformed."""
    if len(lines) > MOST_HEADERS:
        raise Malformed(f"there are more than {MOST_HEADERS} headers", 431)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or not _TOKEN.issuperset(name):
            raise Malformed("a header is not NAME: VALUE")
        if b"\0" in value or b"\r" in value:
            raise Malformed("a header's value has control characters")
        key, text = name.decode("ascii").lower(), value.strip(b" \t").decode("utf-8", "replace")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _body_length(headers: dict[str, str]) -> int | None:
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if length is not None:
            raise Malformed("Content-Length and Transfer-Encoding exclude each other")
        if coding.lower() != "chunked":
            raise Malformed(f"the transfer encoding {coding[:LINE_BYTES]} is not supported", 501)
        return None
    if length is None:
        return 0
    if not length.isascii() or not length.isdigit() or len(length) > LENGTH_DIGITS:
        raise Malformed("Content-Length is not a number")
    return int(length)


def _printable(target: bytes) -> bool:
    return all(32 < byte < 127 for byte in target)


def _path(target: bytes) -> str:
    """The path of a target in any of its forms, without the query."""
    text = target.decode("ascii")
    if "://" in text.partition("/")[0] + "//" and not text.startswith("/"):
        text = "/" + text.partition("://")[2].partition("/")[2]
    return text.partition("?")[0]
