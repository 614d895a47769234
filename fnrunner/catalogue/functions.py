"""Functions in the store: statements that run inside a transaction, and what a new or changed function becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, select, update

from fnrunner.catalogue import document, triggers
from fnrunner.catalogue.errors import FunctionExists, FunctionNotFound, PreconditionFailed, UnreservedConcurrencyTooLow
from fnrunner.catalogue.validation import check_function
from fnrunner.model import limits
from fnrunner.model.arn import Home
from fnrunner.model.function import Code, Function, State, UpdateStatus
from fnrunner.store.schema import event_invoke_config, notification
from fnrunner.store.schema import function as table

PAGE = 50
"""Lambda's pages of functions have at most as many, whatever is asked for."""

CONFIGURABLE = frozenset({
    "runtime", "handler", "role", "description", "timeout", "memory_mb", "ephemeral_storage_mb", "environment",
    "has_environment", "dead_letter_arn", "log_format", "application_log_level", "system_log_level",
    "log_group", "tracing_mode",
})  # fmt: skip
"""What ``update_configuration`` changes, by field of Function."""


@dataclass(frozen=True, slots=True)
class Page:
    """``next_marker`` is empty on the last page."""

    functions: tuple[Function, ...]
    next_marker: str


def drafted(draft: Function, code: Code, now: datetime) -> Function:
    """The function that creation makes of what was asked for. Raises ValidationFailed, InvalidParameterValue."""
    function = replace(
        _frozen(draft),
        code=code,
        version=limits.LATEST,
        log_group=draft.log_group or f"/aws/lambda/{draft.name}",
        reserved_concurrency=None,
    )
    function = _with_levels(function)
    check_function(function)
    return _revised(function, now)


def changed(function: Function, changes: Mapping[str, Any], now: datetime) -> Function:
    """``changes`` maps names of :data:`CONFIGURABLE`. Raises ValidationFailed, InvalidParameterValue; TypeError for others."""
    if unknown := set(changes) - CONFIGURABLE:
        raise TypeError(f"no part of a function's configuration: {', '.join(sorted(unknown))}")
    values = dict(changes)
    if "environment" in values:
        values.setdefault("has_environment", True)
    # Levels that were set for JSON lapse with it; levels that come with the change to Text are refused below.
    if values.get("log_format") == "Text":
        values = {"application_log_level": "", "system_log_level": ""} | values
    if values.get("log_group") == "":
        values["log_group"] = f"/aws/lambda/{function.name}"
    result = _with_levels(_frozen(replace(function, **values)))
    check_function(result)
    return _revised(result, now)


def recoded(function: Function, code: Code, architecture: str | None, now: datetime) -> Function:
    """Raises ValidationFailed."""
    result = replace(function, code=code, architecture=architecture or function.architecture)
    check_function(result)
    return _revised(result, now)


def fetch(connection: Connection, home: Home, name: str, version: str = limits.LATEST) -> Function:
    """Raises FunctionNotFound."""
    query = select(table.c.document).where(table.c.name == name, table.c.version == version)
    found = connection.execute(query).scalar()
    if found is None:
        raise FunctionNotFound(home.function(name, "" if version == limits.LATEST else version))
    return document.load_function(found)


def page(connection: Connection, marker: str, max_items: int) -> Page:
    """The ``$LATEST`` versions by name in the order of code points, from behind ``marker``."""
    size = min(max_items, PAGE)
    # The order of a locale would differ between databases.
    name = table.c.name.collate("C" if connection.dialect.name == "postgresql" else "BINARY")
    query = select(table.c.document).where(table.c.version == limits.LATEST, name > marker).order_by(name)
    rows = connection.execute(query.limit(size + 1)).scalars().all()
    found = tuple(document.load_function(row) for row in rows[:size])
    return Page(found, found[-1].name if len(rows) > size else "")


def add(connection: Connection, function: Function) -> None:
    """Raises FunctionExists."""
    query = select(table.c.name).where(table.c.name == function.name)
    if connection.execute(query).first() is not None:
        raise FunctionExists(function.name)
    connection.execute(insert(table).values(_row(function)))


def save(connection: Connection, function: Function) -> None:
    same = (table.c.name == function.name, table.c.version == function.version)
    connection.execute(update(table).where(*same).values(_row(function)))


def remove(connection: Connection, home: Home, name: str) -> frozenset[str]:
    """All versions, event-invoke configurations and notifications; the digests they had. Raises FunctionNotFound."""
    digests = frozenset(connection.execute(select(table.c.digest).where(table.c.name == name)).scalars())
    if not digests:
        raise FunctionNotFound(home.function(name))
    connection.execute(delete(table).where(table.c.name == name))
    connection.execute(delete(event_invoke_config).where(event_invoke_config.c.function == name))
    connection.execute(delete(notification).where(notification.c.function == name))
    triggers.remove_of_function(connection, name)
    return digests


def digests(connection: Connection) -> frozenset[str]:
    """Of every artifact that a function refers to."""
    return frozenset(connection.execute(select(table.c.digest).distinct()).scalars())


def guard(function: Function, expected_revision: str | None) -> None:
    """Raises PreconditionFailed."""
    if expected_revision and expected_revision != function.revision_id:
        raise PreconditionFailed


def check_reservation(connection: Connection, name: str, reserved: int) -> None:
    """Whether enough is left unreserved for the others. Raises UnreservedConcurrencyTooLow."""
    query = select(table.c.document).where(table.c.version == limits.LATEST, table.c.name != name)
    others = sum(document.load_function(row).reserved_concurrency or 0 for row in connection.execute(query).scalars())
    if others + reserved > limits.ACCOUNT_CONCURRENCY - limits.UNRESERVED_MINIMUM:
        raise UnreservedConcurrencyTooLow


def _row(function: Function) -> dict[str, str]:
    return {
        "name": function.name,
        "version": function.version,
        "revision_id": function.revision_id,
        "digest": function.code.digest,
        "document": document.dump_function(function),
    }


def _revised(function: Function, now: datetime) -> Function:
    return replace(
        function,
        state=State.ACTIVE,
        update_status=UpdateStatus.SUCCESSFUL,
        last_modified=now,
        revision_id=str(uuid4()),
    )


def _frozen(function: Function) -> Function:
    """With mappings of its own, which nobody can change behind its back."""
    return replace(
        function,
        environment=MappingProxyType(dict(function.environment)),
        tags=MappingProxyType(dict(function.tags)),
    )


def _with_levels(function: Function) -> Function:
    if function.log_format != "JSON":
        return function
    return replace(
        function,
        application_log_level=function.application_log_level or "INFO",
        system_log_level=function.system_log_level or "INFO",
    )
