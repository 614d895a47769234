"""Put what is sealed in the store under the newest versions of its keys, and seal what is in the clear.

Rows are read and written as they are in the store, each for itself: one that is damaged, or whose key is gone, stays as it is
and is named, and the others are done. Functions that take a connection are for within a transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Text, and_, select, type_coerce, update

from fnrunner.auth.keyring import DEFAULT, TEXT, Keyring, KeyringError
from fnrunner.store import sealing
from fnrunner.store.schema import function as function_table
from fnrunner.store.schema import stack as stack_table

_DAMAGED = "its record is damaged. Restore it from a backup of the store"


@dataclass(frozen=True, slots=True)
class Resealed:
    """How many were ``changed``; ``failed`` has ``NAME: reason`` for each that stayed as it was, or a part of it."""

    changed: int = 0
    failed: tuple[str, ...] = ()


def functions(connection: Connection, keyring: Keyring) -> Resealed:
    """The variables of every version."""
    table = function_table
    changed, failed = 0, []
    for row in connection.execute(select(table.c.name, table.c.version, _as_stored(table.c.document))).all():
        try:
            new = _environment(row.stored, row.name, keyring)
        except (KeyringError, ValueError) as error:
            failed.append(f"function {row.name}, {row.version}: {_reason(error)}")
            continue
        if new is not None:
            _write(connection, table.c.document, and_(table.c.name == row.name, table.c.version == row.version), new)
            changed += 1
    return Resealed(changed, tuple(failed))


def stacks(connection: Connection, keyring: Keyring) -> Resealed:
    """The parameters and variables in the records of stacks."""
    table = stack_table
    changed, failed = 0, []
    query = select(table.c.name, _as_stored(table.c.document)).with_for_update()
    for row in connection.execute(query).all():
        try:
            new, faults = _record(row.stored, keyring)
        except ValueError as error:
            failed.append(f"stack {row.name}: {_reason(error)}")
            continue
        failed += [f"stack {row.name}: {fault}" for fault in dict.fromkeys(faults)]
        if new is not None:
            _write(connection, table.c.document, table.c.name == row.name, new)
            changed += 1
    return Resealed(changed, tuple(failed))


def _as_stored(column: Column[Any]) -> ColumnElement[Any]:
    return type_coerce(column, Text).label("stored")


def _write(connection: Connection, column: Column[Any], where: ColumnElement[bool], text: str) -> None:
    connection.execute(update(column.table).where(where).values({column: type_coerce(text, Text)}))


def _environment(stored: str, name: str, keyring: Keyring) -> str | None:
    """The document, its variables sealed anew; None where they are already. Raises KeyringError, ValueError."""
    document = json.loads(stored)
    if not isinstance(document, dict):
        raise ValueError("it is no object")
    environment, key, place = document.get("environment"), document.get("kms_key_arn") or DEFAULT, sealing.place(name)
    if isinstance(environment, str):
        new = keyring.renewed_text(environment, place, key)
    elif environment:
        new = keyring.seal_text(json.dumps(environment), place, key)
    else:
        return None
    return None if new == environment else _dump(document | {"environment": new})


def _record(stored: str, keyring: Keyring) -> tuple[str | None, list[str]]:
    """The record, each of its secrets sealed anew, None where nothing changes; and why some were left. Raises ValueError."""
    faults: list[str] = []
    changes = 0

    def anew(value: Any) -> Any:
        nonlocal changes
        renew = _renewal(value, keyring)
        if renew is None:
            return value
        try:
            new = renew()
        except KeyringError as error:
            faults.append(str(error))
            return value
        changes += new != value
        return new

    record = sealing.replaced(json.loads(stored), anew)
    return (_dump(record) if changes else None), faults


def _renewal(value: Any, keyring: Keyring) -> Callable[[], str] | None:
    """What seals a secret anew; None for what is none."""
    if isinstance(value, str) and value.startswith(TEXT):
        return lambda: keyring.renewed_text(value, sealing.STACK)
    if isinstance(value, dict) and value:
        return lambda: keyring.seal_text(json.dumps(value), sealing.STACK)
    return None


def _dump(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"))


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, KeyringError) else _DAMAGED
