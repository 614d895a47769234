"""What users said of a queue when they created it, as the pollers read it."""

from __future__ import annotations

import json

from sqlalchemy import select

from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreError
from fnrunner.store.schema import broker_queue as table
from sources import queue_attributes
from sources.errors import CheckpointsUnavailable
from sources.queue_attributes import QueueAttributes


async def attributes_of(store: Store, name: str) -> QueueAttributes:
    """The defaults for a queue that nobody created here. Raises CheckpointsUnavailable."""
    query = select(table.c.document).where(table.c.name == name)
    try:
        text = await store.read(lambda connection: connection.execute(query).scalar())
    except StoreError as error:
        raise CheckpointsUnavailable(f"the attributes of queue {name} cannot be read: {error}") from error
    return queue_attributes.read(json.loads(text)) if text else QueueAttributes()
