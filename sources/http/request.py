"""One HTTP request as it came, decoded as far as JSON needs it and no further.

>>> readable(b"caf\\xc3\\xa9"), readable(b"caf\\xe9")
('café', 'café')
>>> in_ascii(b"q=\\xff&x=1")
'q=%FF&x=1'
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_NOT_ASCII = re.compile(rb"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True)
class Request:
    """``raw_path`` and ``raw_query`` are ASCII, still percent-encoded. Header names are lower-case, repeats stay apart.

    ``protocol`` is such as ``HTTP/1.1``, ``scheme`` ``http`` or ``https``; ``port`` is the one that was connected to.
    """

    method: str
    raw_path: str = "/"
    raw_query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    protocol: str = "HTTP/1.1"
    scheme: str = "http"
    source_ip: str = ""
    port: int = 80

    def values(self, name: str) -> list[str]:
        """Of every header with this lower-case name, in order."""
        return [value for given, value in self.headers if given == name]

    def header(self, name: str) -> str:
        """The first header with this lower-case name, or nothing."""
        return next((value for given, value in self.headers if given == name), "")


def readable_headers(raw: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    return tuple((readable(name).lower(), readable(value)) for name, value in raw)


def readable(raw: bytes) -> str:
    """UTF-8 where it is that, else Latin-1: every header has a text, and none has half a surrogate pair."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def in_ascii(raw: bytes) -> str:
    """A path or query whose bytes outside of visible ASCII are percent-encoded, as a browser would have sent it."""
    return _NOT_ASCII.sub(lambda match: b"%%%02X" % match[0][0], raw).decode("ascii")
