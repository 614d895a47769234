"""Seals functions' environments and stacks' parameters on their way into the store, and opens them on their way out.

The store's users see plain documents. What cannot be opened does not break what is read beside it: the document says why
(``environment_error``) and keeps what is sealed (``sealed_environment``), so that writing it back loses nothing. In
the record of a stack what cannot be opened stays the text that it is in the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy import Connection, Dialect, Engine, Text
from sqlalchemy.types import TypeDecorator

_ATTRIBUTE = "fnrunner_sealer"
_PREFIX = "sealed:"
_MARK = f'"environment":"{_PREFIX}'
_PASSING = ("sealed_environment", "environment_error")
STACK = "stack"
"""What the secrets of stacks are sealed for."""
_SECRET = frozenset(("parameters", "Environment"))
"""What in the record of a stack is sealed, at whatever depth: a revision's parameters, and the variables of functions that were
there before it."""


NO_KEY = "This process has no master key. Set FNRUNNER_MASTER_KEY_FILE, as for the one that sealed it."


class CannotOpen(Exception):
    """What is sealed cannot be opened, or nothing can be sealed. ``code`` is AWS's, the message names the remedy."""

    code = "KMSInvalidStateException"


class Sealer(Protocol):
    """``place`` is what something is sealed for; ``key`` names one of several keys, empty is the default one.

    Both raise CannotOpen. ``read_keys`` makes it know the keys that a transaction sees.
    """

    def seal_text(self, text: str, context: str, key: str = "") -> str: ...

    def open_text(self, text: str, context: str) -> str: ...

    def read_keys(self, connection: Connection) -> None: ...


class SealedDocument(TypeDecorator[str]):
    """A text column with the document of a function. Without a sealer texts go in as they are."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else sealed(value, getattr(dialect, _ATTRIBUTE, None))

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or _MARK not in value:
            return value
        return opened(value, getattr(dialect, _ATTRIBUTE, None))


class SealedRecord(TypeDecorator[str]):
    """A text column with the record of a stack. Without a sealer texts go in as they are."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else sealed_record(value, getattr(dialect, _ATTRIBUTE, None))

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else opened_record(value, getattr(dialect, _ATTRIBUTE, None))


def use(engine: Engine, sealer: Sealer) -> None:
    """Seal and open with this one from now on."""
    setattr(engine.dialect, _ATTRIBUTE, sealer)


def read_keys(connection: Connection) -> None:
    """Before documents are read for long: what is opened from here on is opened with the keys as they are now."""
    sealer: Sealer | None = getattr(connection.dialect, _ATTRIBUTE, None)
    if sealer is not None:
        sealer.read_keys(connection)


def sealed(text: str, sealer: Sealer | None) -> str:
    """Raises CannotOpen."""
    if sealer is None and not any(f'"{name}"' in text for name in _PASSING):
        return text
    document: dict[str, Any] = json.loads(text)
    kept, _ = (document.pop(name, "") for name in _PASSING)
    if kept:
        document["environment"] = kept
    elif sealer is not None and document.get("environment"):
        plain = json.dumps(document["environment"])
        document["environment"] = sealer.seal_text(plain, place_of(document), document.get("kms_key_arn", ""))
    return json.dumps(document, separators=(",", ":"))


def opened(text: str, sealer: Sealer | None) -> str:
    """Never fails for a key that is missing or disabled."""
    document: dict[str, Any] = json.loads(text)
    kept = document["environment"]
    try:
        if sealer is None:
            raise CannotOpen(NO_KEY)
        document["environment"] = json.loads(sealer.open_text(kept, place_of(document)))
    except CannotOpen as error:
        document |= {"environment": {}, "sealed_environment": kept, "environment_error": f"{error.code}: {error}"}
    return json.dumps(document, separators=(",", ":"))


def sealed_record(text: str, sealer: Sealer | None) -> str:
    """Raises CannotOpen. What is sealed already stays as it is."""
    if sealer is None:
        return text

    def seal(value: Any) -> Any:
        return sealer.seal_text(json.dumps(value), STACK) if isinstance(value, dict) and value else value

    return json.dumps(replaced(json.loads(text), seal))


def opened_record(text: str, sealer: Sealer | None) -> str:
    """Never fails for a key that is missing or disabled."""
    if sealer is None or f'"{_PREFIX}' not in text:
        return text

    def reveal(value: Any) -> Any:
        if not isinstance(value, str) or not value.startswith(_PREFIX):
            return value
        try:
            return json.loads(sealer.open_text(value, STACK))
        except CannotOpen:
            return value

    return json.dumps(replaced(json.loads(text), reveal))


def replaced(value: Any, secret: Callable[[Any], Any]) -> Any:
    """A stack's record with what ``secret`` makes of each part that is to be sealed."""
    match value:
        case dict():
            return {key: secret(one) if key in _SECRET else replaced(one, secret) for key, one in value.items()}
        case list():
            return [replaced(one, secret) for one in value]
        case _:
            return value


def place_of(document: dict[str, Any]) -> str:
    return place(document["name"])


def place(function: str) -> str:
    """What a function's environment is sealed for: its versions share it."""
    return f"function/{function}"
