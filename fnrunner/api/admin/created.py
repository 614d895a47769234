"""The queues and streams that users created, remembered in the store so that they can be listed.

``kind`` is ``quorum``, ``stream``, or ``stream/N`` for a super stream of N partitions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from fnrunner.api.errors import InvalidParameter
from fnrunner.store import schema
from fnrunner.store.engine import Store

QUORUM, STREAM = "quorum", "stream"
_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,200}")
_RESERVED = ("fnrunner.", "amq.")


@dataclass(frozen=True, slots=True)
class Created:
    """``document`` is what was said about it, for a queue its attributes as :mod:`sources.queue_attributes` reads them."""

    name: str
    kind: str
    created_ms: int
    document: Mapping[str, Any] = field(default_factory=dict)

    @property
    def partitions(self) -> int:
        return int(self.kind.partition("/")[2] or 1)


def checked_name(name: str) -> str:
    """A name that users may give and use. fnrunner's own queues are not for sending and receiving by hand.

    Raises InvalidParameter.
    """
    if not _NAME.fullmatch(name):
        raise InvalidParameter(f"{name[:64]!r} is no name for a queue or stream: 1 to 200 of A-Z a-z 0-9 . _ : / -")
    if name.startswith(_RESERVED):
        raise InvalidParameter(
            f"{name!r} is the broker's or fnrunner's own; choose a name that does not start like that"
        )
    return name


async def remember(store: Store, name: str, kind: str, now: datetime) -> None:
    """Idempotent; the first creation's time stays."""
    statement = store.insert_or_ignore(schema.broker_queue).values(
        name=name, kind=kind, created_ms=int(now.timestamp() * 1000)
    )
    await store.write(lambda connection: connection.execute(statement) and None)


async def every(store: Store, kind: str) -> list[Created]:
    """Those of a kind (``stream`` includes super streams), by name."""
    table = schema.broker_queue
    query = select(table).where(table.c.kind.startswith(kind)).order_by(table.c.name)
    rows = await store.read(lambda connection: connection.execute(query).all())
    return [_made(row) for row in rows]


async def find(store: Store, name: str) -> Created | None:
    table = schema.broker_queue
    query = select(table).where(table.c.name == name)
    row = await store.read(lambda connection: connection.execute(query).one_or_none())
    return None if row is None else _made(row)


async def change(
    store: Store, name: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Replace the document of what is remembered by what ``change`` makes of it, in one transaction; the new one."""
    table = schema.broker_queue

    def work(connection: Connection) -> Mapping[str, Any]:
        text = connection.execute(select(table.c.document).where(table.c.name == name).with_for_update()).scalar_one()
        document = change(json.loads(text))
        connection.execute(update(table).where(table.c.name == name).values(document=json.dumps(document)))
        return document

    return await store.write(work)


async def forget(store: Store, name: str) -> None:
    """It is not listed any more. Passed over when it is not."""
    table = schema.broker_queue
    await store.write(lambda connection: connection.execute(delete(table).where(table.c.name == name)) and None)


def _made(row: Row[Any]) -> Created:
    return Created(row.name, row.kind, row.created_ms, json.loads(row.document))
