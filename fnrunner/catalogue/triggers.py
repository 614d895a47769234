"""Event source mappings, function URLs, schedules, topic subscriptions and HTTP routes: rows of one table.

Each kind is a value with an ``id`` and a ``function``. What makes one valid is said by the module of its kind, which
gives a check that runs inside the transaction of the change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, insert, select, update

from fnrunner.catalogue import resource_tags, trigger_document
from fnrunner.catalogue.errors import NotFound
from fnrunner.model.trigger import FunctionUrl, HttpRoute, Schedule, TopicSubscription
from fnrunner.store.schema import trigger as table
from sources.mapping import EventSourceMapping

T = TypeVar("T", EventSourceMapping, FunctionUrl, Schedule, TopicSubscription, HttpRoute)
Value = EventSourceMapping | FunctionUrl | Schedule | TopicSubscription | HttpRoute

KINDS: Mapping[type, str] = MappingProxyType(
    {
        EventSourceMapping: "mapping",
        FunctionUrl: "url",
        Schedule: "schedule",
        TopicSubscription: "subscription",
        HttpRoute: "route",
    }
)
_TYPES = {kind: type_ for type_, kind in KINDS.items()}
GOES_WITH_ITS_FUNCTION = ("url", "schedule", "subscription", "route")
"""Mappings stay, as on Lambda: their records wait until the function is there again or the mapping is deleted."""

Triggers = Mapping[type, Mapping[str, Any]]


def id_of(value: Value) -> str:
    return value.uuid if isinstance(value, EventSourceMapping) else value.id


def every(connection: Connection) -> Triggers:
    """All of them, by type and id."""
    found: dict[type, dict[str, Any]] = defaultdict(dict)
    for kind, key, text in connection.execute(select(table.c.kind, table.c.id, table.c.document)):
        found[_TYPES[kind]][key] = trigger_document.load(_TYPES[kind], text)
    return MappingProxyType({type_: MappingProxyType(dict(sorted(found[type_].items()))) for type_ in KINDS})


def fetch(connection: Connection, type_: type[T], key: str) -> T:
    """Raises NotFound."""
    query = select(table.c.document).where(table.c.kind == KINDS[type_], table.c.id == key)
    if (text := connection.execute(query).scalar()) is None:
        raise NotFound
    return trigger_document.load(type_, text)


def of_type(connection: Connection, type_: type[T]) -> list[T]:
    """By id."""
    query = select(table.c.document).where(table.c.kind == KINDS[type_]).order_by(table.c.id)
    return [trigger_document.load(type_, text) for text in connection.execute(query).scalars()]


def save(connection: Connection, value: Value) -> None:
    """Made, or replaced."""
    key = {"kind": KINDS[type(value)], "id": id_of(value)}
    changed = {"function": value.function, "document": trigger_document.dump(value)}
    where = (table.c.kind == key["kind"], table.c.id == key["id"])
    if connection.execute(update(table).where(*where).values(**changed)).rowcount == 0:
        connection.execute(insert(table).values(**key, **changed))


def remove(connection: Connection, type_: type[T], key: str) -> T:
    """What was removed. Raises NotFound."""
    value = fetch(connection, type_, key)
    connection.execute(delete(table).where(table.c.kind == KINDS[type_], table.c.id == key))
    if type_ is EventSourceMapping:
        resource_tags.forget(connection, resource_tags.mapping(key))
    return value


def remove_of_function(connection: Connection, function: str) -> None:
    """Those that go with their function."""
    connection.execute(delete(table).where(table.c.function == function, table.c.kind.in_(GOES_WITH_ITS_FUNCTION)))


def remove_of_qualifier(connection: Connection, function: str, qualifier: str) -> None:
    """Those that go with this version or alias of their function."""
    query = select(table.c.kind, table.c.id, table.c.document).where(
        table.c.function == function, table.c.kind.in_(GOES_WITH_ITS_FUNCTION)
    )
    for kind, key, text in connection.execute(query).all():
        value: Value = trigger_document.load(_TYPES[kind], text)
        if value.qualifier == qualifier:
            connection.execute(delete(table).where(table.c.kind == kind, table.c.id == key))
