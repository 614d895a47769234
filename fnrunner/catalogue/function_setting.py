"""What belongs to a function and to none of its versions, as short texts in the store."""

from __future__ import annotations

from enum import Enum
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from fnrunner.store.schema import function_setting as table

ALLOW = "Allow"


class Name(Enum):
    CODE_SIGNING = "code-signing"
    """The ARN of a code signing configuration."""

    RECURSION = "recursion"
    """:data:`ALLOW`; empty: a loop is ended."""

    UPDATE = "update"
    """Who updates it, and until when that counts; see :mod:`fnrunner.catalogue.update_mark`."""


def find(connection: Connection, function: str, name: Name) -> str:
    """Empty where nothing was put."""
    found: str | None = connection.execute(select(table.c.value).where(*_at(function, name))).scalar()
    return found or ""


def put(connection: Connection, function: str, name: Name, value: str) -> None:
    if connection.execute(update(table).where(*_at(function, name)).values(value=value)).rowcount == 0:
        connection.execute(insert(table).values(function=function, name=name.value, value=value))


def remove(connection: Connection, function: str, name: Name) -> None:
    """Harmless where nothing was put."""
    connection.execute(delete(table).where(*_at(function, name)))


def with_value(connection: Connection, name: Name, value: str) -> list[str]:
    """The functions that have it, by name."""
    query = select(table.c.function).where(table.c.name == name.value, table.c.value == value)
    return sorted(connection.execute(query).scalars())


def forget(connection: Connection, function: str) -> None:
    """It goes."""
    connection.execute(delete(table).where(table.c.function == function))


def _at(function: str, name: Name) -> tuple[Any, Any]:
    return table.c.function == function, table.c.name == name.value
