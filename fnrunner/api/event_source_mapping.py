"""Event source mappings: a stream or a queue whose records invoke a function.

The API stores what is wanted, and reads from the pollers' documents what has become of it (see
:mod:`fnrunner.catalogue.mapping_state`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from fnrunner.api import mapping_document
from fnrunner.api.errors import InvalidParameter, ResourceNotFound
from fnrunner.api.mapping_source import check_source
from fnrunner.api.reference import derive
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.api.services import Services
from fnrunner.catalogue import mapping as rules
from fnrunner.catalogue import positions, resource_tags, triggers
from fnrunner.catalogue.errors import MappingInUse
from fnrunner.catalogue.mapping_state import MappingState, processing_result, state_of
from fnrunner.model.arn import FunctionRef
from sources.mapping import EventSourceMapping
from sources.shard_place import NONE_YET

PAGE = 100
"""A page has at most as many, whatever is asked for."""


async def create(call: Call) -> Reply:
    services, now = call.services, call.now
    mapping = mapping_document.created(call.params, _function(call), now)
    rules.check(mapping, services.home, now)
    await check_source(mapping, services)

    def work(connection: Connection) -> None:
        rules.check_function(connection, mapping, services.home)
        rules.check_unique(connection, mapping, services.home)
        triggers.save(connection, mapping)
        if tags := call.params.get("Tags"):
            resource_tags.add(connection, resource_tags.mapping(mapping.uuid), tags)

    await services.catalogue.change(work)
    state = state_of(mapping, None, now)
    return Reply(_described(mapping, services, state, NONE_YET))


async def get(call: Call) -> Reply:
    mapping = await call.services.catalogue.get_trigger(EventSourceMapping, call.params["UUID"])
    return Reply(await answer(mapping, await current(mapping, call.services), call.services))


async def every(call: Call) -> Reply:
    """By UUID; ``Marker`` is the UUID that the page before ended with. A function without a qualifier: all of its own."""
    source, marker = call.params.get("EventSourceArn", ""), call.params.get("Marker", "")
    ref = derive(call.params, call.services.home) if call.params.get("FunctionName") else None
    found = [
        mapping
        for mapping in await call.services.catalogue.list_triggers(EventSourceMapping)
        if mapping.uuid > marker and source in ("", mapping.source_arn) and _is_of(mapping, ref)
    ]
    size = min(call.params.get("MaxItems", PAGE), PAGE)
    page = [await answer(one, await current(one, call.services), call.services) for one in found[:size]]
    more = {"NextMarker": found[size - 1].uuid} if len(found) > size else {}
    return Reply({"EventSourceMappings": page, **more})


async def update(call: Call) -> Reply:
    services, now = call.services, call.now
    ref = _function(call) if "FunctionName" in call.params else None

    def work(connection: Connection) -> tuple[EventSourceMapping, MappingState]:
        before, told = fetch(connection, call.params["UUID"])
        if state_of(before, told, now).busy:
            raise MappingInUse("update")
        mapping = rules.changed(mapping_document.updated(before, call.params, ref), before, now)
        rules.check(mapping, services.home, now)
        if mapping.function != before.function or mapping.qualifier != before.qualifier or "Enabled" in call.params:
            rules.check_function(connection, mapping, services.home)
        rules.check_unique(connection, mapping, services.home)
        triggers.save(connection, mapping)
        return mapping, state_of(mapping, told, now)

    return Reply(await answer(*await services.catalogue.change(work), services))


async def delete(call: Call) -> Reply:
    """Marked, for its pollers to finish. One that no poller has ever had goes at once."""
    services, now = call.services, call.now

    def work(connection: Connection) -> tuple[EventSourceMapping, MappingState]:
        before, told = fetch(connection, call.params["UUID"])
        state = state_of(before, told, now)
        if state.seen and state.busy:
            raise MappingInUse("delete")
        mapping = rules.changed(replace(before, deleting=True), before, now)
        if state.seen:
            triggers.save(connection, mapping)
        else:
            triggers.remove(connection, EventSourceMapping, mapping.uuid)
            positions.forget(connection, mapping.uuid)
        return mapping, state_of(mapping, told, now)

    return Reply(await answer(*await services.catalogue.change(work), services))


def fetch(connection: Connection, uuid: str) -> tuple[EventSourceMapping, Mapping[str, Any] | None]:
    """The mapping and what its pollers have told of it, as they are in this transaction. Raises NotFound."""
    return triggers.fetch(connection, EventSourceMapping, uuid), positions.told(connection, uuid)


async def current(mapping: EventSourceMapping, services: Services) -> MappingState:
    """Its state now. Raises StoreError."""
    told = await services.store.read(lambda connection: positions.told(connection, mapping.uuid))
    return state_of(mapping, told, services.now())


async def answer(mapping: EventSourceMapping, state: MappingState, services: Services) -> dict[str, Any]:
    """The mapping as the API has it. Raises StoreError."""
    shards = await positions.load(services.store, positions.shard_prefix(mapping.uuid))
    return _described(mapping, services, state, processing_result(shards.values()))


def _described(mapping: EventSourceMapping, services: Services, state: MappingState, result: str) -> dict[str, Any]:
    return mapping_document.described(mapping, services.home, state=state.state, reason=state.reason, result=result)


def _function(call: Call) -> FunctionRef:
    """Raises InvalidParameter for a function that cannot exist, as for one that does not."""
    home = call.services.home
    try:
        return derive(call.params, home)
    except ResourceNotFound:
        raise InvalidParameter("Function does not exist") from None


def _is_of(mapping: EventSourceMapping, ref: FunctionRef | None) -> bool:
    return ref is None or (mapping.function == ref.name and ref.qualifier in ("", mapping.qualifier))


_CHANGEABLE = (
    "FunctionName", "Enabled", "BatchSize", "FilterCriteria", "ScalingConfig", "MaximumBatchingWindowInSeconds",
    "ParallelizationFactor", "DestinationConfig", "MaximumRecordAgeInSeconds", "BisectBatchOnFunctionError",
    "MaximumRetryAttempts", "TumblingWindowInSeconds", "SourceAccessConfigurations", "FunctionResponseTypes",
    "AmazonManagedKafkaEventSourceConfig.ConsumerGroupId", "SelfManagedKafkaEventSourceConfig.ConsumerGroupId",
)  # fmt: skip
_SOURCE = (
    "EventSourceArn", "StartingPosition", "StartingPositionTimestamp", "Topics", "Queues", "SelfManagedEventSource",
)  # fmt: skip

ROUTES = (
    Route("CreateEventSourceMapping", create, supporting(*_CHANGEABLE, *_SOURCE, "Tags")),
    Route("GetEventSourceMapping", get, supporting("UUID")),
    Route("ListEventSourceMappings", every, supporting("EventSourceArn", "FunctionName", "Marker", "MaxItems")),
    Route("UpdateEventSourceMapping", update, supporting("UUID", *_CHANGEABLE)),
    Route("DeleteEventSourceMapping", delete, supporting("UUID")),
)
