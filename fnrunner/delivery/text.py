"""Text as both databases and AMQP headers take it, and JSON as a client may send it.

>>> storable("a\\x00b" + chr(0xD800), 10)
'a\\ufffdb?'
>>> is_json(b'{"a": 1}'), is_json(b"{'a': 1}"), is_json(b"NaN")
(True, False, False)
"""

from __future__ import annotations

import json


def storable(text: str, limit: int) -> str:
    """At most ``limit`` characters, without what PostgreSQL (NUL) and UTF-8 (lone surrogates) refuse."""
    if len(text) > limit:
        text = text[:limit]
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\0", "\ufffd") if "\0" in text else text


def cut_utf8(text: str, size_bytes: int) -> str:
    """The longest beginning that fits ``size_bytes`` of UTF-8, never half a character.

    >>> cut_utf8("aé", 2)
    'a'
    """
    return text.encode("utf-8", "replace")[:size_bytes].decode("utf-8", "ignore")


def is_json(body: bytes) -> bool:
    """Whether it is JSON text in UTF-8; NaN and Infinity, which Python would read, are not."""
    try:
        json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
