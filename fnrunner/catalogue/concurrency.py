"""Reserved and provisioned concurrency in the store, and what Lambda lets be put. Source: Lambda API; its answers.

Each function here runs inside :meth:`~fnrunner.catalogue.catalogue.Catalogue.change`, or ``read`` where it only reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from fnrunner.catalogue import aliases, constraint, document, functions
from fnrunner.catalogue.errors import (
    InvalidParameterValue,
    ProvisionedConcurrencyConfigNotFound,
    ProvisionedTwice,
    UnreservedConcurrencyTooLow,
    ValidationFailed,
)
from fnrunner.model import account, limits
from fnrunner.model.arn import Home
from fnrunner.model.provisioned import Prepared, ProvisionedConcurrency, State, status_of, weights
from fnrunner.store.schema import function as function_table
from fnrunner.store.schema import prepared, worker
from fnrunner.store.schema import provisioned_concurrency as table


@dataclass(frozen=True, slots=True)
class Progress:
    """What was asked for, and how far the workers are with it."""

    wanted: ProvisionedConcurrency
    state: State


def check_reservation(connection: Connection, name: str, reserved: int, limit: int) -> None:
    """``limit`` is the account's. Raises UnreservedConcurrencyTooLow, InvalidParameterValue (less than is provisioned)."""
    configurations = every(connection)
    if reserved < (provisioned := account.provisioned_total(configurations, name)):
        raise InvalidParameterValue(
            f" ReservedConcurrentExecutions  {reserved} should not be lower than function's total provisioned concurrency "
            f"[{provisioned}]."
        )
    reservations = _reservations(connection) | {name: reserved}
    if account.unreserved(limit, reservations, configurations) < limits.UNRESERVED_MINIMUM:
        raise UnreservedConcurrencyTooLow


def put(connection: Connection, home: Home, wanted: ProvisionedConcurrency, limit: int) -> ProvisionedConcurrency:
    """Make it, or change its number. ``limit`` is the account's.

    Raises FunctionNotFound, AliasNotFound, ValidationFailed, ProvisionedTwice, InvalidParameterValue (more than there is).
    """
    if broken := constraint.between("provisionedConcurrentExecutions", wanted.requested, 1, 2**31 - 1):
        raise ValidationFailed(broken)
    if limits.LATEST in _versions(connection, home, wanted.function, wanted.qualifier):
        raise InvalidParameterValue(
            "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
        )
    others = [one for one in every(connection) if _name(one) != _name(wanted)]
    _check_not_twice(connection, wanted, {one.qualifier for one in others if one.function == wanted.function})
    _check_number(_reservations(connection), wanted, others, limit)
    row = {"requested": wanted.requested, "modified_ms": round(wanted.last_modified.timestamp() * 1000)}
    if connection.execute(update(table).where(*_same(*_name(wanted))).values(row)).rowcount == 0:
        connection.execute(insert(table).values(function=wanted.function, qualifier=wanted.qualifier, **row))
    return wanted


def fetch(connection: Connection, home: Home, function: str, qualifier: str) -> ProvisionedConcurrency:
    """Raises FunctionNotFound, AliasNotFound, ProvisionedConcurrencyConfigNotFound, InvalidParameterValue (``$LATEST``)."""
    check_published(connection, home, function, qualifier)
    row = connection.execute(select(table).where(*_same(function, qualifier))).first()
    if row is None:
        raise ProvisionedConcurrencyConfigNotFound
    return _value(row)


def remove(connection: Connection, home: Home, function: str, qualifier: str) -> None:
    """One that is not there is removed already. Raises as ``fetch`` where the version or alias does not exist."""
    check_published(connection, home, function, qualifier)
    connection.execute(delete(table).where(*_same(function, qualifier)))


def every(connection: Connection) -> list[ProvisionedConcurrency]:
    """By function and qualifier."""
    return sorted((_value(row) for row in connection.execute(select(table))), key=_name)


def of_function(connection: Connection, home: Home, function: str) -> list[ProvisionedConcurrency]:
    """By qualifier. Raises FunctionNotFound."""
    functions.fetch(connection, home, function)
    return [one for one in every(connection) if one.function == function]


def progress(connection: Connection, wanted: ProvisionedConcurrency) -> Progress:
    """How far the workers that live are. What they still have of versions that are meant no longer does not count."""
    current = weights(wanted.qualifier, aliases.find(connection, wanted.function, wanted.qualifier))
    living = worker.c.stopped_ms.is_(None) & worker.c.died_ms.is_(None)
    query = select(prepared).join(worker, worker.c.id == prepared.c.worker).where(living)
    query = query.where(prepared.c.function == wanted.function, prepared.c.qualifier == wanted.qualifier)
    parts = [
        Prepared(row.worker, row.share, row.available, row.reason)
        for row in connection.execute(query)
        if row.version in current
    ]
    return Progress(wanted, status_of(wanted.requested, parts))


def check_published(connection: Connection, home: Home, function: str, qualifier: str) -> None:
    """Raises FunctionNotFound, AliasNotFound, and InvalidParameterValue for ``$LATEST``."""
    if qualifier == limits.LATEST:
        raise InvalidParameterValue("The function resource provided must be an alias or a published version.")
    _versions(connection, home, function, qualifier)


def _versions(connection: Connection, home: Home, function: str, qualifier: str) -> tuple[str, ...]:
    """What the qualifier points at, all of which exists."""
    functions.fetch(connection, home, function, asked=qualifier)
    if qualifier == limits.LATEST:
        return (qualifier,)
    if qualifier.isdigit():
        functions.fetch(connection, home, function, qualifier)
        return (qualifier,)
    return aliases.fetch(connection, home, function, qualifier).versions


def _check_not_twice(connection: Connection, wanted: ProvisionedConcurrency, others: set[str]) -> None:
    for alias in aliases.of_function(connection, wanted.function):
        if alias.name == wanted.qualifier and others & set(alias.versions):
            raise ProvisionedTwice(
                "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
            )
        if alias.name in others and wanted.qualifier in alias.versions:
            raise ProvisionedTwice("Version is pointed by a Provisioned Concurrency alias")


def _check_number(
    reservations: dict[str, int | None],
    wanted: ProvisionedConcurrency,
    others: Iterable[ProvisionedConcurrency],
    limit: int,
) -> None:
    others = list(others)
    reserved = reservations.get(wanted.function)
    if reserved is not None:
        if account.provisioned_total(others, wanted.function) + wanted.requested > reserved:
            raise InvalidParameterValue(
                "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
            )
        return
    left = account.unreserved(limit, reservations, others)
    if wanted.requested > left:
        raise InvalidParameterValue(
            f"Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{left}]."
        )
    if left - wanted.requested < limits.UNRESERVED_MINIMUM:
        raise InvalidParameterValue(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
            f"minimum value of [{limits.UNRESERVED_MINIMUM}]."
        )


def _reservations(connection: Connection) -> dict[str, int | None]:
    query = select(function_table.c.document).where(function_table.c.version == limits.LATEST)
    found = (document.load_function(text) for text in connection.execute(query).scalars())
    return {function.name: function.reserved_concurrency for function in found}


def _value(row: Row[Any]) -> ProvisionedConcurrency:
    modified = datetime.fromtimestamp(row.modified_ms / 1000, UTC)
    return ProvisionedConcurrency(row.function, row.qualifier, row.requested, modified)


def _name(one: ProvisionedConcurrency) -> tuple[str, str]:
    return one.function, one.qualifier


def _same(function: str, qualifier: str) -> tuple[Any, Any]:
    return table.c.function == function, table.c.qualifier == qualifier
