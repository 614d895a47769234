"""What pollers have stored about event source mappings, by name: read here, and one thing written, the wish to rewind.

===================  ============================================================================================
``esm-state:UUID``   ``{"revision", "state", "reason"}``: which revision of the mapping is followed, and what came of it
``esm:UUID:SHARD``   where a shard is, and how its last batch ended (``result``)
``esm-rewind:UUID``  ``{"id", "to"}``: where its shards are to go on from; each of them obeys an id once
===================  ============================================================================================

Whoever polls owns the first two (:mod:`sources.claims`); rewinding has no owner: the last wish counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, select

from fnrunner.store.engine import Store
from fnrunner.store.schema import checkpoint as table
from sources.claim_rows import DOCUMENTS

Documents = Mapping[str, Mapping[str, Any]]


def state_name(uuid: str) -> str:
    return f"esm-state:{uuid}"


def shard_prefix(uuid: str) -> str:
    return f"esm:{uuid}:"


def rewind_name(uuid: str) -> str:
    return f"esm-rewind:{uuid}"


def under(connection: Connection, prefix: str) -> Documents:
    """The documents whose names begin so, by name."""
    begins = func.substr(table.c.key, 1, len(prefix)) == prefix  # LIKE is blind to case on SQLite
    query = select(table.c.key, table.c.document).where(table.c.source == DOCUMENTS, begins).order_by(table.c.key)
    return {key: json.loads(text) for key, text in connection.execute(query)}


def told(connection: Connection, uuid: str) -> Mapping[str, Any] | None:
    """What the pollers have said of a mapping's state; None before the first time."""
    name = state_name(uuid)
    query = select(table.c.document).where(table.c.source == DOCUMENTS, table.c.key == name)
    text = connection.execute(query).scalar()
    return None if text is None else json.loads(text) or None


async def load(store: Store, prefix: str) -> Documents:
    """As :func:`under`, as they are now. Raises StoreError."""
    return await store.read(lambda connection: under(connection, prefix))


async def put(store: Store, name: str, document: Mapping[str, Any], now: datetime) -> None:
    """Replaces what is there. Raises StoreError."""
    row = {
        "source": DOCUMENTS,
        "key": name,
        "document": json.dumps(document, separators=(",", ":")),
        "updated_ms": int(now.timestamp() * 1000),
    }
    await store.write(lambda c: c.execute(store.upsert(table, ("source", "key")).values(row)) and None)


def forget(connection: Connection, uuid: str) -> None:
    """All that is stored about a mapping that nobody has polled."""
    for name in (state_name(uuid), rewind_name(uuid)):
        connection.execute(delete(table).where(table.c.source == DOCUMENTS, table.c.key == name))
