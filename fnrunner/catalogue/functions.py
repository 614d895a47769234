"""Functions in the store: statements that run inside a transaction, and what a new or changed function becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from sqlalchemy import BigInteger, ColumnElement, Connection, and_, case, cast, delete, insert, or_, select, update

from fnrunner.catalogue import document, function_setting, policies, triggers
from fnrunner.catalogue.errors import (
    FunctionExists,
    FunctionNotFound,
    InvalidParameterValue,
    PreconditionFailed,
)
from fnrunner.catalogue.validation import check_function
from fnrunner.model import limits
from fnrunner.model.arn import Home
from fnrunner.model.function import Code, Function, State, UpdateStatus
from fnrunner.model.image import ImageCode
from fnrunner.store.schema import alias, event_invoke_config, layer_version, notification, provisioned_concurrency
from fnrunner.store.schema import function as table
from fnrunner.store.sealing import NO_KEY

_DIGITS = 18
PAGE = 50
"""Lambda's pages of functions have at most as many, whatever is asked for."""

CONFIGURABLE = frozenset({
    "runtime", "handler", "role", "description", "timeout", "memory_mb", "ephemeral_storage_mb", "environment",
    "has_environment", "dead_letter_arn", "log_format", "application_log_level", "system_log_level",
    "log_group", "tracing_mode", "snap_start", "image", "kms_key_arn",
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
        if values["environment"] and function.environment_error.endswith(NO_KEY):
            # it would be stored in the clear, over what is sealed
            raise InvalidParameterValue(f"The variables of {function.name} are encrypted. {NO_KEY}")
        values.setdefault("has_environment", True)
        # what could not be opened is replaced
        values |= {"sealed_environment": "", "environment_error": ""}
    # Levels that were set for JSON lapse with it; levels that come with the change to Text are refused below.
    if values.get("log_format") == "Text":
        values = {"application_log_level": "", "system_log_level": ""} | values
    if values.get("log_group") == "":
        values["log_group"] = f"/aws/lambda/{function.name}"
    result = _with_levels(_frozen(replace(function, **values)))
    check_function(result)
    return _revised(result, now)


def recoded(
    function: Function, code: Code, architecture: str | None, now: datetime, image: ImageCode | None = None
) -> Function:
    """A new image keeps the configuration that the function gave the last. Raises ValidationFailed, InvalidParameterValue."""
    if function.image is None and image is not None:
        raise InvalidParameterValue("Please don't provide ImageUri when updating a function with packageType Zip.")
    if function.image is not None:
        if image is None:
            raise InvalidParameterValue("Please provide ImageUri when updating a function with packageType Image.")
        image = replace(image, config=function.image.config)
    result = replace(function, code=code, image=image, architecture=architecture or function.architecture)
    check_function(result)
    return _revised(result, now)


def fetch(
    connection: Connection, home: Home, name: str, version: str = limits.LATEST, *, asked: str | None = None
) -> Function:
    """Raises FunctionNotFound, with the qualifier that was ``asked`` for where it is another than the version."""
    query = select(table.c.document).where(table.c.name == name, table.c.version == version)
    found = connection.execute(query).scalar()
    if found is None:
        qualifier = version if asked is None else asked
        raise FunctionNotFound(home.function(name, "" if qualifier == limits.LATEST else qualifier))
    return document.load_function(found)


def has(connection: Connection, name: str, version: str = limits.LATEST) -> bool:
    query = select(table.c.name).where(table.c.name == name, table.c.version == version)
    return connection.execute(query).first() is not None


def published_of(connection: Connection, name: str) -> list[Function]:
    """The published versions of a function, by number."""
    query = select(table.c.document).where(table.c.name == name, table.c.version != limits.LATEST)
    found = [document.load_function(text) for text in connection.execute(query).scalars()]
    return sorted(found, key=lambda function: number_of(function.version))


def is_number(text: str) -> bool:
    """Whether a version could have this number."""
    return text.isascii() and text.isdecimal() and len(text) < _DIGITS


def number_of(version: str) -> int:
    """Where a version stands among the others: ``$LATEST`` is before the first."""
    return 0 if version == limits.LATEST else int(version)


def page(connection: Connection, marker: str, max_items: int) -> Page:
    """The ``$LATEST`` versions by name in the order of code points, from behind ``marker``."""
    size = min(max_items, PAGE)
    name = _by_code_points(connection)
    query = select(table.c.document).where(table.c.version == limits.LATEST, name > marker).order_by(name)
    rows = connection.execute(query.limit(size + 1)).scalars().all()
    found = tuple(document.load_function(row) for row in rows[:size])
    return Page(found, found[-1].name if len(rows) > size else "")


def page_of_versions(connection: Connection, marker: str, max_items: int) -> Page:
    """Every version of every function, each function's beginning with ``$LATEST``, from behind ``marker``, which is
    ``NAME:VERSION``. Raises InvalidParameterValue for another marker.
    """
    size = min(max_items, PAGE)
    name = _by_code_points(connection)
    number = case((table.c.version == limits.LATEST, 0), else_=cast(table.c.version, BigInteger))
    query = select(table.c.document).order_by(name, number)
    if marker:
        after, _, version = marker.partition(":")
        if version != limits.LATEST and not is_number(version):
            raise InvalidParameterValue("The marker is not one that a listing of all versions returned.")
        query = query.where(or_(name > after, and_(name == after, number > number_of(version))))
    rows = connection.execute(query.limit(size + 1)).scalars().all()
    found = tuple(document.load_function(row) for row in rows[:size])
    return Page(found, f"{found[-1].name}:{found[-1].version}" if len(rows) > size else "")


def _by_code_points(connection: Connection) -> ColumnElement[str]:
    """The order of a locale would differ between databases."""
    return table.c.name.collate("C" if connection.dialect.name == "postgresql" else "BINARY")


def check_absent(connection: Connection, name: str) -> None:
    """Raises FunctionExists."""
    if connection.execute(select(table.c.name).where(table.c.name == name)).first() is not None:
        raise FunctionExists(name)


def add(connection: Connection, function: Function) -> None:
    """Raises FunctionExists."""
    check_absent(connection, function.name)
    connection.execute(insert(table).values(_row(function)))


def insert_version(connection: Connection, function: Function) -> None:
    """A published version, beside those that there are."""
    connection.execute(insert(table).values(_row(function)))


def save(connection: Connection, function: Function) -> None:
    same = (table.c.name == function.name, table.c.version == function.version)
    connection.execute(update(table).where(*same).values(_row(function)))


def remove(connection: Connection, home: Home, name: str) -> frozenset[str]:
    """All versions, aliases, event-invoke configurations, policies and notifications; the digests they had.

    Raises FunctionNotFound.
    """
    documents = list(connection.execute(select(table.c.document).where(table.c.name == name)).scalars())
    if not documents:
        raise FunctionNotFound(home.function(name))
    digests = frozenset[str]().union(*(digests_of(document.load_function(text)) for text in documents))
    connection.execute(delete(table).where(table.c.name == name))
    # version numbers are not given again, even to a function that is made anew: its events may still be on their way
    for owned in (alias, event_invoke_config, notification, provisioned_concurrency):
        connection.execute(delete(owned).where(owned.c.function == name))
    triggers.remove_of_function(connection, name)
    policies.forget_function(connection, name)
    function_setting.forget(connection, name)
    return digests


def remove_of_qualifier(connection: Connection, name: str, qualifier: str) -> None:
    """The event-invoke configuration, provisioned concurrency, policy and notifications of a version or alias that goes."""
    policies.forget_qualifier(connection, name, qualifier)
    for owned in (event_invoke_config, provisioned_concurrency):
        connection.execute(delete(owned).where(owned.c.function == name, owned.c.qualifier == qualifier))
    query = select(notification.c.id, notification.c.document).where(notification.c.function == name)
    for key, text in connection.execute(query).all():
        if document.load_bucket_notification(text).qualifier == qualifier:
            connection.execute(delete(notification).where(notification.c.function == name, notification.c.id == key))


def digests(connection: Connection) -> frozenset[str]:
    """Of every artifact that a function or a layer refers to."""
    found = set(connection.execute(select(layer_version.c.digest).distinct()).scalars())
    for text in connection.execute(select(table.c.document)).scalars():
        found |= digests_of(document.load_function(text))
    return frozenset(found)


def digests_of(function: Function) -> frozenset[str]:
    """Of its code and its layers."""
    return frozenset({function.code.digest, *(layer.code.digest for layer in function.layers)})


def guard(function: Function, expected_revision: str | None) -> None:
    """Raises PreconditionFailed."""
    if expected_revision and expected_revision != function.revision_id:
        raise PreconditionFailed


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
