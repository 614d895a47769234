"""What the Lambda API does not say of an event source mapping: where each shard is, what was skipped; and rewinding it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from fnrunner.api import event_source_mapping as operations
from fnrunner.api.admin.endpoint import Ask, Endpoint, answer, only
from fnrunner.api.errors import InvalidParameter, InvalidRequestContent, ResourceNotFound
from fnrunner.api.services import Services
from fnrunner.catalogue import positions
from fnrunner.catalogue.errors import NotFound
from sources.mapping import EventSourceMapping

SEQUENCE_NUMBER_DIGITS = 129
"""Source: Kinesis API, SequenceNumber. Those of AWS have 56."""


async def every(ask: Ask) -> Response:
    """The Lambda API's answers, each with whether it is wanted to be enabled; those of one function with ``function=NAME``."""
    wanted, services = ask.text("function"), ask.services
    found = await services.catalogue.list_triggers(EventSourceMapping)
    return answer({"mappings": [await _short(one, services) for one in found if wanted in ("", one.function)]})


async def _short(mapping: EventSourceMapping, services: Services) -> dict[str, Any]:
    state = await operations.current(mapping, services)
    return {
        "mapping": await operations.answer(mapping, state, services),
        "source": mapping.label,
        "enabled": mapping.enabled,
    }


async def show(ask: Ask) -> Response:
    """The Lambda API's answer, and the pollers' documents of each shard as they have them."""
    mapping = await _existing(ask)
    services, prefix = ask.services, positions.shard_prefix(mapping.uuid)
    shards = await positions.load(services.store, prefix)
    wish = await positions.load(services.store, positions.rewind_name(mapping.uuid))
    return answer(
        {
            **await _short(mapping, services),
            "revision": mapping.revision,
            "shards": [{"shard": name.removeprefix(prefix), **document} for name, document in shards.items()],
            "rewind": next(iter(wish.values()), None),
        }
    )


async def rewind(ask: Ask) -> Response:
    """Its shards go on from there, each as soon as its batch has ended. ``to`` is one of ``{"at": "TRIM_HORIZON"}``,
    ``{"at": "LATEST"}``, ``{"timestamp": "2026-01-31T12:00:00Z"}`` and ``{"position": "17"}``, the next record's.
    """
    mapping = await _existing(ask)
    document = await ask.document()
    only(document, "to")
    if not mapping.kind.is_stream:
        raise InvalidParameter(
            f"{mapping.label} is a queue: what was taken from it is gone. Only streams can be read again."
        )
    if mapping.deleting:
        raise InvalidParameter(f"The event source mapping {mapping.uuid} is being deleted.")
    wish = {"id": str(uuid.uuid4()), "to": _to(document.get("to"))}
    name = positions.rewind_name(mapping.uuid)
    await positions.put(ask.services.store, name, wish, ask.services.now())
    return answer(wish)


async def _existing(ask: Ask) -> EventSourceMapping:
    key = ask.path("uuid")
    try:
        return await ask.services.catalogue.get_trigger(EventSourceMapping, key)
    except NotFound as error:
        raise ResourceNotFound(f"There is no event source mapping {key}. `fnrunner mapping ls` lists them.") from error


def _to(given: Any) -> dict[str, Any]:
    match given:
        case {"at": "TRIM_HORIZON" | "LATEST" as at, **rest} if not rest:
            return {"at": at}
        case {"timestamp": str(text), **rest} if not rest:
            return {"timestamp": _moment(text)}
        case {"position": str(text), **rest} if (
            not rest and text.isascii() and text.isdecimal() and len(text) <= SEQUENCE_NUMBER_DIGITS
        ):
            return {"position": text}
    raise InvalidRequestContent(
        'to takes {"at": "TRIM_HORIZON"}, {"at": "LATEST"}, {"timestamp": ISO 8601} or {"position": digits}'
    )


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError) as error:
        raise InvalidRequestContent("timestamp takes a time such as 2026-01-31T12:00:00Z") from error


ROUTES = (
    Endpoint("GET", "/mappings", every),
    Endpoint("GET", "/mappings/{uuid}", show),
    Endpoint("PUT", "/mappings/{uuid}/rewind", rewind),
)
