"""Marks of updates that take a while, so that every API process knows of them: who carries it out, and until when that counts.

A mark is renewed while the update goes on; that of a process that died lapses. It refuses other updates and is shown as
LastUpdateStatus, and decides nothing: changes of one function follow one another in the store with marks and without.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, select

from fnrunner.catalogue import document
from fnrunner.catalogue.errors import FunctionNotFound
from fnrunner.catalogue.function_setting import Name
from fnrunner.model import limits
from fnrunner.model.arn import Home
from fnrunner.model.function import Function
from fnrunner.store.engine import Store
from fnrunner.store.schema import function as function_table
from fnrunner.store.schema import function_setting as table

LEASE = timedelta(seconds=30)
"""How long a mark counts that nobody renews."""


def find(connection: Connection, function: str, now: datetime) -> str:
    """Who updates it; empty: nobody."""
    return _who(connection.execute(select(table.c.value).where(*_at(function))).scalar(), now)


def fetch(connection: Connection, home: Home, function: str, now: datetime) -> tuple[Function, str]:
    """The function as it is, and who updates it, in one look: functions are asked for all the time.

    Raises FunctionNotFound.
    """
    row = connection.execute(_latest(), {"function": function}).first()
    if row is None:
        raise FunctionNotFound(home.function(function))
    return document.load_function(row.document), _who(row.mark, now)


@cache
def _latest() -> Select[Any]:
    mark = select(table.c.value).where(table.c.function == function_table.c.name, table.c.name == Name.UPDATE.value)
    asked = function_table.c.name == bindparam("function"), function_table.c.version == limits.LATEST
    return select(function_table.c.document, mark.scalar_subquery().label("mark")).where(*asked)


def _who(mark: str | None, now: datetime) -> str:
    who, _, until_ms = (mark or "").partition(" ")
    return who if until_ms.isdecimal() and int(until_ms) > _ms(now) else ""


async def put(store: Store, function: str, who: str, now: datetime) -> None:
    """Marked, or the mark renewed. ``who`` is one word. Raises StoreError."""
    row = {"function": function, "name": Name.UPDATE.value, "value": f"{who} {_ms(now + LEASE)}"}
    statement = store.upsert(table, ("function", "name")).values(**row)
    await store.write(lambda connection: connection.execute(statement))


async def remove(store: Store, function: str, who: str) -> None:
    """Of somebody else's nothing is removed. Raises StoreError."""
    where = *_at(function), table.c.value.startswith(f"{who} ")
    await store.write(lambda connection: connection.execute(delete(table).where(*where)))


def _at(function: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.c.function == function, table.c.name == Name.UPDATE.value


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
