"""Keys of objects: the path below the bucket's directory, with ``/``, in three spellings.

In memory a key is a ``str`` in which bytes that are not UTF-8 are lone surrogates, as ``os.fsdecode`` makes them. On the
wire it is percent-encoded from its bytes. In the store it is text that both databases take.

>>> wire("red flower/é.jpg"), wire("bad" + chr(0xdcff))
('red+flower/%C3%A9.jpg', 'bad%FF')
>>> stored("a b"), stored("bad" + chr(0xdcff)), from_stored(stored("bad" + chr(0xdcff))) == "bad" + chr(0xdcff)
('a b', '/bad%FF', True)
"""

from __future__ import annotations

from urllib.parse import quote_from_bytes, quote_plus, unquote_to_bytes

LONGEST_BYTES = 1024
"""S3's limit for a key."""


def to_bytes(key: str) -> bytes:
    """The bytes of the path, whatever the locale."""
    return key.encode("utf-8", "surrogateescape")


def wire(key: str) -> str:
    """As in an event: like a form field, but ``/`` stays as it is, as S3 leaves it."""
    return quote_plus(to_bytes(key), safe="/")


def stored(key: str) -> str:
    """The key itself, or, where it is not UTF-8, ``/`` and its percent-encoding: no key begins with ``/``."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return "/" + quote_from_bytes(to_bytes(key))
    return key


def from_stored(text: str) -> str:
    """The inverse of :func:`stored`."""
    if not text.startswith("/"):
        return text
    return unquote_to_bytes(text[1:]).decode("utf-8", "surrogateescape")


def hidden(key: str) -> bool:
    """Whether a name in the path begins with a dot: those are the temporary files of rsync, editors and browsers.

    >>> hidden("a/.b.swp"), hidden(".git/config"), hidden("a.b")
    (True, True, False)
    """
    return key.startswith(".") or "/." in key


def too_long(key: str) -> bool:
    return len(to_bytes(key)) > LONGEST_BYTES
