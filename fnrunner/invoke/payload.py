"""Whether a payload is one that a function may be given. The bytes go on unchanged: nothing is re-serialised.

A small payload is looked at at once. A large one is looked at in a thread, by SQLite, whose JSON parser needs no interpreter
lock: 6 MB of numbers hold nobody up, where Python's own parser would stop the whole process for a fifth of a second.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing

from fnrunner.invoke.errors import InvalidPayload, PayloadTooLarge
from fnrunner.model import limits

AT_ONCE_BYTES = 16 * 1024
"""Up to here the look costs less than the way to a thread and back."""


async def checked(payload: bytes, *, asynchronous: bool) -> bytes:
    """The payload; an empty one is ``{}``. Raises PayloadTooLarge and InvalidPayload with Lambda's texts."""
    if asynchronous and len(payload) > limits.ASYNC_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"{len(payload)} byte payload is too large for the Event invocation type"
            f" (limit {limits.ASYNC_PAYLOAD_BYTES} bytes)"
        )
    if len(payload) > limits.SYNC_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"Request must be smaller than {limits.SYNC_PAYLOAD_BYTES} bytes for the InvokeFunction operation"
        )
    if not payload:
        return b"{}"
    fault = fault_of(payload) if len(payload) <= AT_ONCE_BYTES else await asyncio.to_thread(fault_of_large, payload)
    if fault:
        raise InvalidPayload(f"Could not parse request body into json: Could not parse payload into json: {fault}")
    return payload


def fault_of(payload: bytes) -> str:
    """What is wrong with it, in words; empty when it is JSON.

    >>> fault_of(b'{"n": [1, 2]}'), fault_of(b"[1,]")
    ('', 'Expecting value: line 1 column 4 (char 3)')
    """
    try:
        _DECODER.decode(payload.decode())
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return str(error)
    return ""


def fault_of_large(payload: bytes) -> str:
    """The same for a thread. SQLite only says whether it is JSON; what is not is read again, to say where."""
    # a NUL ends SQLite's texts, and JSON has none
    if b"\0" not in payload and _known_to_be_json(payload):
        return ""
    return fault_of(payload)


def _known_to_be_json(payload: bytes) -> bool:
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            return bool(connection.execute("SELECT json_valid(?)", (payload.decode(),)).fetchone()[0])
    except (UnicodeDecodeError, sqlite3.Error):
        # not UTF-8, or a SQLite that was built without JSON
        return False


def _digits(text: str) -> str:
    """Numbers are not converted: only their form is checked, and a million digits cost nothing."""
    return text


def _refused(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_digits, parse_float=_digits, parse_constant=_refused)
