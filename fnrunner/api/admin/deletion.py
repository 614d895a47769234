"""Deleting queues and streams that were created here, with what is in them."""

from __future__ import annotations

from starlette.responses import Response

from broker.topology import Queue, Topology
from fnrunner.api.admin import created, stream
from fnrunner.api.admin.created import Created
from fnrunner.api.admin.endpoint import Ask, Endpoint
from fnrunner.api.errors import ResourceNotFound


async def remove_queue(ask: Ask) -> Response:
    """404 for a queue that was not created here: it may be somebody else's."""
    found = await _existing(ask, created.QUORUM, "queue")
    await ask.services.broker.delete(Topology(queues=(Queue(found.name),)))
    # Forgotten last: a crash between the two leaves a queue that is listed and can be deleted again.
    await created.forget(ask.services.store, found.name)
    return Response(status_code=204)


async def remove_stream(ask: Ask) -> Response:
    """404 for a stream that was not created here."""
    found = await _existing(ask, created.STREAM, "stream")
    await ask.services.broker.delete(stream.topology(found.name, found.partitions))
    await created.forget(ask.services.store, found.name)
    return Response(status_code=204)


async def _existing(ask: Ask, kind: str, word: str) -> Created:
    name = created.checked_name(ask.path("name"))
    found = await created.find(ask.services.store, name)
    if found is None or not found.kind.startswith(kind):
        raise ResourceNotFound(f"There is no {word} {name} that was created here. `fnrunner {word} ls` lists them.")
    return found


ROUTES = (
    Endpoint("DELETE", "/queues/{name:path}", remove_queue),
    Endpoint("DELETE", "/streams/{name:path}", remove_stream),
)
