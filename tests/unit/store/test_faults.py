from __future__ import annotations

import sqlite3

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from fnrunner.store.errors import (
    StoreConflict,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from fnrunner.store.faults import translate


def sqlite_error(code: int) -> DBAPIError:
    original = sqlite3.OperationalError("it failed")
    original.sqlite_errorcode = code
    return DBAPIError("INSERT …", {}, original)


def postgresql_error(state: str) -> DBAPIError:
    return DBAPIError("INSERT …", {}, psycopg.errors.lookup(state)("it failed"))


@pytest.mark.parametrize(
    ("code", "kind", "transient"),
    [
        (sqlite3.SQLITE_BUSY, StoreUnavailable, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreUnavailable, True),
        (sqlite3.SQLITE_LOCKED, StoreUnavailable, True),
        (sqlite3.SQLITE_FULL, StoreFull, False),
        (sqlite3.SQLITE_IOERR_SHMSIZE, StoreFull, False),
        (sqlite3.SQLITE_IOERR_READ, StoreUnavailable, False),
        (sqlite3.SQLITE_CANTOPEN, StoreUnavailable, False),
        (sqlite3.SQLITE_NOTADB, StoreCorrupt, False),
        (sqlite3.SQLITE_CORRUPT_INDEX, StoreCorrupt, False),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, StoreConflict, False),
        (sqlite3.SQLITE_ERROR, StoreError, False),
    ],
)
def test_each_sqlite_code_has_its_meaning(code: int, kind: type[StoreError], transient: bool) -> None:
    fault = translate(sqlite_error(code))
    assert (type(fault), fault.transient, fault.lost) == (kind, transient, False)


@pytest.mark.parametrize(
    ("state", "kind", "transient", "lost"),
    [
        ("40001", StoreUnavailable, True, False),
        ("40P01", StoreUnavailable, True, False),
        ("55P03", StoreUnavailable, True, False),
        ("57P01", StoreUnavailable, True, True),
        ("57P03", StoreUnavailable, True, True),
        ("08006", StoreUnavailable, True, True),
        ("53100", StoreFull, False, False),
        ("53200", StoreUnavailable, False, False),
        ("53300", StoreUnavailable, True, False),
        ("XX001", StoreCorrupt, False, False),
        ("23505", StoreConflict, False, False),
        ("42P01", StoreError, False, False),
        ("57014", StoreError, False, False),
    ],
)
def test_each_postgresql_state_has_its_meaning(state: str, kind: type[StoreError], transient: bool, lost: bool) -> None:
    fault = translate(postgresql_error(state))
    assert (type(fault), fault.transient, fault.lost) == (kind, transient, lost)


@pytest.mark.parametrize("kind", [psycopg.OperationalError, psycopg.errors.ConnectionTimeout])
def test_a_connection_that_broke_without_a_state_is_lost_and_worth_another_try(kind: type[psycopg.Error]) -> None:
    fault = translate(DBAPIError("SELECT 1", {}, kind("server closed the connection")))
    assert (type(fault), fault.transient, fault.lost) == (StoreUnavailable, True, True)


def test_an_sqlite_error_that_nobody_wrapped_is_understood_too() -> None:
    original = sqlite3.DatabaseError("file is not a database")
    original.sqlite_errorcode = sqlite3.SQLITE_NOTADB
    assert type(translate(original)) is StoreCorrupt


def test_the_message_names_the_remedy_and_the_cause_but_not_the_values() -> None:
    error = DBAPIError("INSERT", {"secret": "hunter2"}, sqlite_error(sqlite3.SQLITE_FULL).orig)
    message = str(translate(error))
    assert "Free space" in message
    assert "it failed" in message
    assert "hunter2" not in message
