"""Which part of an event is its idempotency key, and how it is written into a record. Pure.

A path is names and positions with dots between them: ``order.id``, ``Records.0.messageId``; ``$`` is everything.
"""

from __future__ import annotations

import json

from .errors import IdempotencyConfigurationError, IdempotencyKeyError

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Selector = str | Sequence[str] | Callable[..., Any]

LONGEST_KEY = 255
_HASHED = "sha256:"


def at_path(document: Any, path: str) -> Any:
    """What is at ``path``.

    >>> event = {"order": {"id": 7}, "Records": [{"messageId": "m"}]}
    >>> at_path(event, "order.id"), at_path(event, "Records.0.messageId"), at_path(event, "$") is event
    (7, 'm', True)

    Raises IdempotencyKeyError when there is nothing.
    """
    found = document
    for name in steps(path):
        try:
            found = found[int(name)] if isinstance(found, (list, tuple)) else found[name]
        except (LookupError, TypeError, ValueError):
            raise IdempotencyKeyError(
                f"the event has nothing at {path!r}: {name!r} is missing. Name a path that every event has"
            ) from None
    return found


def steps(path: str) -> list[str]:
    """The names of a path. Raises IdempotencyConfigurationError.

    >>> steps("$"), steps("$.a.b"), steps("a.0")
    ([], ['a', 'b'], ['a', '0'])
    """
    names = path.split(".")
    if names[0] == "$":
        del names[0]
    if not all(names):
        raise IdempotencyConfigurationError(f"{path!r} is no path: write names with dots between them, as in order.id")
    return names


def checked(selector: Selector, what: str) -> Selector:
    """The selector, if it is one. Raises IdempotencyConfigurationError."""
    if callable(selector):
        return selector
    paths = [selector] if isinstance(selector, str) else selector
    if not isinstance(paths, (list, tuple)) or not paths or not all(isinstance(path, str) for path in paths):
        raise IdempotencyConfigurationError(f"{what} takes a path such as order.id, a list of paths, or a callable")
    for path in paths:
        steps(path)
    return selector


def selected(selector: Selector, document: Any) -> Any:
    """The part of ``document`` that a checked selector of paths names: a value, or a list of them for a list of paths."""
    if isinstance(selector, str):
        return at_path(document, selector)
    return [at_path(document, path) for path in selector]  # type: ignore[union-attr]


def canonical(value: Any) -> bytes:
    """JSON that is the same for equal values. Raises TypeError and ValueError for what is no JSON.

    >>> canonical({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def written(key: Any) -> str:
    """The key as it stands in a record: a short printable text as it is, anything else as a hash of its JSON.

    >>> written("order-7"), written(["a", 7])[:12], written("x" * 300)[:7], written("7") == written(7)
    ('order-7', 'sha256:3b964', 'sha256:', False)

    Raises IdempotencyKeyError for an empty key, and for what is no JSON.
    """
    if key is None or key in ("", [], (), {}) or (isinstance(key, list) and None in key):
        raise IdempotencyKeyError
    # a text that looks like a hash is hashed too: it must not be taken for the key that has this hash
    if isinstance(key, str) and len(key) <= LONGEST_KEY and key.isprintable() and not key.startswith(_HASHED):
        return key
    return _HASHED + digest(key, "an idempotency key")


def digest(value: Any, what: str = "the payload") -> str:
    """SHA-256 of its canonical JSON, in hexadecimal. Raises IdempotencyKeyError for what is no JSON."""
    import hashlib  # loads OpenSSL: not for a key that stays as it is

    try:
        return hashlib.sha256(canonical(value)).hexdigest()
    except (TypeError, ValueError, RecursionError) as error:
        raise IdempotencyKeyError(f"{what} has to be JSON: {error}") from error
