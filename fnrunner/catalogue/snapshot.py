"""All that the catalogue holds, at one moment, in memory: what hot paths look things up in.

Every change of the catalogue raises a counter in the store within its own transaction. The counter says cheaply whether
a snapshot is current. Raising it comes first in the transaction and locks its row: changes happen one after another,
also on PostgreSQL, so that a check and what it allows cannot be separated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import BigInteger, Connection, String, cast, select

from fnrunner.catalogue import aliases, buckets, concurrency, document, policies, triggers, versions
from fnrunner.catalogue.triggers import T
from fnrunner.model import limits
from fnrunner.model.alias import Alias
from fnrunner.model.function import Bucket, EventInvokeConfig, Function, Notification
from fnrunner.model.provisioned import ProvisionedConcurrency
from fnrunner.store import sealing
from fnrunner.store.engine import Store
from fnrunner.store.schema import checkpoint, event_invoke_config
from fnrunner.store.schema import function as function_table

_COUNTER = {"source": "catalogue", "key": "changes"}

Functions = Mapping[tuple[str, str], Function]
Aliases = Mapping[tuple[str, str], Alias]
Policies = Mapping[tuple[str, str], str]
Provisioned = Mapping[tuple[str, str], ProvisionedConcurrency]
Configs = Mapping[tuple[str, str], EventInvokeConfig]
Notifications = Mapping[str, tuple[Notification, ...]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``change`` is the counter it belongs to; -1 before anything was read. Keys are (function, version or qualifier).

    ``policies`` are JSON texts, those of functions themselves under an empty qualifier.
    Published versions have the reserved concurrency and tags of their ``$LATEST``, which all versions share.
    """

    change: int = -1
    functions: Functions = field(default_factory=lambda: MappingProxyType({}))
    configs: Configs = field(default_factory=lambda: MappingProxyType({}))
    buckets: tuple[Bucket, ...] = ()
    notifications: Notifications = field(default_factory=lambda: MappingProxyType({}))
    triggers: triggers.Triggers = field(default_factory=lambda: MappingProxyType({}))
    aliases: Aliases = field(default_factory=lambda: MappingProxyType({}))
    provisioned: Provisioned = field(default_factory=lambda: MappingProxyType({}))
    policies: Policies = field(default_factory=lambda: MappingProxyType({}))

    def of_type(self, type_: type[T]) -> Mapping[str, T]:
        """Event source mappings, function URLs, schedules, subscriptions or routes, by id."""
        return self.triggers.get(type_, {})

    def function(self, name: str, version: str = limits.LATEST) -> Function | None:
        return self.functions.get((name, version))

    def resolve(self, name: str, qualifier: str, ticket: str = "") -> Function | None:
        """What an invocation of this qualifier runs: empty and ``$LATEST`` are the unpublished function, a number is that
        version, any other name an alias, whose version ``ticket`` decides (:func:`fnrunner.model.alias.ticket`).

        None when there is no such function, version or alias. Whatever it is has the function's reserved concurrency.
        """
        alias = self.aliases.get((name, qualifier)) if qualifier else None
        version = alias.version_for(ticket) if alias else qualifier or limits.LATEST
        return self.functions.get((name, version))

    def event_invoke_config(self, name: str, qualifier: str = "") -> EventInvokeConfig:
        """Lambda's defaults where none was put: an alias does not have its version's, nor a version its function's."""
        qualifier = qualifier or limits.LATEST
        return self.configs.get((name, qualifier)) or EventInvokeConfig(name, qualifier)

    def notifications_of(self, bucket: str) -> tuple[Notification, ...]:
        """By function and id."""
        return self.notifications.get(bucket, ())


@dataclass(frozen=True, slots=True)
class Change:
    """What differs between two snapshots. ``functions`` are the names of those that were added, removed, or changed in
    any way, by their versions, aliases and event-invoke configurations too; ``buckets`` says that buckets or
    notifications differ; ``triggers`` are the types of triggers that differ.
    """

    functions: frozenset[str]
    buckets: bool
    triggers: frozenset[type] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.functions) or self.buckets or bool(self.triggers)


def compare(before: Snapshot, after: Snapshot) -> Change:
    functions = {name for name, _ in _differing(before.functions, after.functions)}
    functions |= {name for name, _ in _differing(before.configs, after.configs)}
    functions |= {name for name, _ in _differing(before.aliases, after.aliases)}
    functions |= {name for name, _ in _differing(before.provisioned, after.provisioned)}
    same = (before.buckets, before.notifications) == (after.buckets, after.notifications)
    types = before.triggers.keys() | after.triggers.keys()
    differing = frozenset(t for t in types if before.triggers.get(t, {}) != after.triggers.get(t, {}))
    return Change(frozenset(functions), not same, differing)


def count_change(connection: Connection, store: Store, now: datetime) -> int:
    """The new value of the counter. The first statement of every transaction that changes the catalogue."""
    counter = cast(cast(checkpoint.c.document, BigInteger) + 1, String)
    row = {**_COUNTER, "document": "1", "updated_ms": round(now.timestamp() * 1000)}
    changed = {"document": counter, "updated_ms": row["updated_ms"]}
    upsert = store.upsert(checkpoint, ("source", "key"), changed)
    connection.execute(upsert.values(row))
    return read_counter(connection)


def read_counter(connection: Connection) -> int:
    """Zero before the first change."""
    query = select(checkpoint.c.document).where(
        checkpoint.c.source == _COUNTER["source"], checkpoint.c.key == _COUNTER["key"]
    )
    return int(connection.execute(query).scalar() or 0)


def load(connection: Connection, known: Snapshot) -> Snapshot:
    """The state of the store; ``known`` itself when nothing has changed since."""
    change = read_counter(connection)
    if change == known.change:
        return known
    # what a stale key makes of a document would stay until the next change
    sealing.read_keys(connection)
    functions = {}
    columns = (function_table.c.name, function_table.c.version, function_table.c.document)
    for name, version, text in connection.execute(select(*columns)):
        functions[name, version] = document.load_function(text)
    configs = {}
    for text in connection.execute(select(event_invoke_config.c.document)).scalars():
        config = document.load_event_invoke_config(text)
        configs[config.function, config.qualifier] = config
    notifications: dict[str, list[Notification]] = defaultdict(list)
    for notification in buckets.every_notification(connection):
        notifications[notification.bucket].append(notification)
    return Snapshot(
        change,
        MappingProxyType({key: _as_one(function, functions) for key, function in functions.items()}),
        MappingProxyType(configs),
        buckets.every_bucket(connection),
        MappingProxyType({bucket: tuple(found) for bucket, found in notifications.items()}),
        triggers.every(connection),
        MappingProxyType({(alias.function, alias.name): alias for alias in aliases.every(connection)}),
        MappingProxyType({(one.function, one.qualifier): one for one in concurrency.every(connection)}),
        MappingProxyType(policies.of_functions(connection)),
    )


def _as_one(function: Function, functions: Functions) -> Function:
    """A version with what it shares with its ``$LATEST``."""
    latest = functions.get((function.name, limits.LATEST), function)
    return function if latest is function else versions.belonging(function, latest)


def _differing(
    before: Mapping[tuple[str, str], object], after: Mapping[tuple[str, str], object]
) -> set[tuple[str, str]]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
