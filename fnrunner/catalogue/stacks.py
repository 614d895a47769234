"""What has been deployed as one: a document a stack, and who may write it.

Whoever deploys holds the stack for a while and renews that; nobody else writes it in that time. The document is the
deployer's, but for the digests under ``code``: what it names there is kept among the artifacts as long as it does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from fnrunner.catalogue.errors import CatalogueError, NotFound
from fnrunner.store.schema import stack as table


class StackNotFound(NotFound):
    """There is no such stack. `fnrunner stack ls` lists them."""


class StackInUse(CatalogueError):
    """Somebody else deploys this stack now. Wait until that has ended, or has been silent for long enough."""

    code, status, type = "ResourceConflictException", 409, "User"


@dataclass(frozen=True, slots=True)
class Stack:
    """``holder`` may write until ``held_until_ms``, epoch milliseconds. ``revision`` counts the writes."""

    name: str
    revision: int
    holder: str
    held_until_ms: int
    updated_ms: int
    document: Mapping[str, Any] = field(repr=False, default_factory=dict)


def every(connection: Connection) -> list[Stack]:
    """By name."""
    return [_made(row) for row in connection.execute(select(table).order_by(table.c.name)).all()]


def fetch(connection: Connection, name: str) -> Stack:
    """Raises StackNotFound."""
    row = connection.execute(select(table).where(table.c.name == name)).one_or_none()
    if row is None:
        raise StackNotFound(f"There is no stack {name}. `fnrunner stack ls` lists them.")
    return _made(row)


def hold(
    connection: Connection, name: str, holder: str, span: timedelta, now: datetime, *, instead_of: str = ""
) -> Stack:
    """From now on only ``holder`` writes it, for ``span``; made where it is not there. Renews what it holds already.

    ``instead_of`` takes over from a holder that is known to be dead. Raises StackInUse.
    """
    now_ms = _ms(now)
    values = {"holder": holder, "held_until_ms": now_ms + int(span.total_seconds() * 1000)}
    found = connection.execute(select(table).where(table.c.name == name).with_for_update()).one_or_none()
    if found is None:
        row = {"name": name, "revision": 0, "updated_ms": now_ms, "document": "{}", **values}
        connection.execute(insert(table).values(row))
    else:
        _check_free(found, holder, instead_of, now_ms)
        connection.execute(update(table).where(table.c.name == name).values(values))
    return fetch(connection, name)


def save(connection: Connection, name: str, holder: str, document: Mapping[str, Any], now: datetime) -> Stack:
    """Replace the document. Raises StackInUse unless ``holder`` holds it, StackNotFound."""
    found = _held(connection, name, holder, now)
    values = {"revision": found.revision + 1, "updated_ms": _ms(now), "document": json.dumps(document)}
    connection.execute(update(table).where(table.c.name == name).values(values))
    return fetch(connection, name)


def release(connection: Connection, name: str, holder: str) -> None:
    """Nobody holds it. One that has never been written is gone. Passed over when somebody else holds it."""
    mine = (table.c.name == name, table.c.holder == holder)
    connection.execute(delete(table).where(*mine, table.c.revision == 0))
    connection.execute(update(table).where(*mine).values(holder="", held_until_ms=0))


def remove(connection: Connection, name: str, holder: str, now: datetime) -> None:
    """Raises StackInUse unless ``holder`` holds it, StackNotFound."""
    _held(connection, name, holder, now)
    connection.execute(delete(table).where(table.c.name == name))


def digests(connection: Connection) -> frozenset[str]:
    """Of every artifact that a stack names."""
    return frozenset(digest for stack in every(connection) for digest in digests_of(stack.document))


def digests_of(value: object) -> Iterator[str]:
    """The digests under ``code``, at whatever depth.

    >>> list(digests_of({"current": {"code": {"F": {"digest": "ab"}}}}))
    ['ab']
    """
    if not isinstance(value, Mapping):
        return
    for key, child in value.items():
        if key == "code" and isinstance(child, Mapping):
            yield from (str(one["digest"]) for one in child.values() if isinstance(one, Mapping) and "digest" in one)
        else:
            yield from digests_of(child)


def _held(connection: Connection, name: str, holder: str, now: datetime) -> Stack:
    found = fetch(connection, name)
    if found.holder != holder or found.held_until_ms <= _ms(now):
        who = f"{found.holder} does" if found.holder else "nobody does"
        raise StackInUse(f"{holder} does not hold the stack {name} now: {who}")
    return found


def _check_free(found: Row[Any], holder: str, instead_of: str, now_ms: int) -> None:
    if found.holder in ("", holder, instead_of) or found.held_until_ms <= now_ms:
        return
    seconds = (found.held_until_ms - now_ms) / 1000
    raise StackInUse(
        f"The stack {found.name} is being deployed by {found.holder}, for {seconds:.0f} s more if it is silent"
    )


def _made(row: Row[Any]) -> Stack:
    return Stack(row.name, row.revision, row.holder, row.held_until_ms, row.updated_ms, json.loads(row.document))


def _ms(now: datetime) -> int:
    return int(now.timestamp() * 1000)
