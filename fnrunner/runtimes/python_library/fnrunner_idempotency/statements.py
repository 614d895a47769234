"""The table of records and what is said to it, for both databases. Pure.

Times are milliseconds since 1970, by one clock: this host's for SQLite, whose processes share it, and the server's for
PostgreSQL. A claim is one statement, so that it is atomic wherever it runs.
"""

from __future__ import annotations

import re

from .errors import IdempotencyConfigurationError

DEFAULT_TABLE = "fnrunner_idempotency"
PURGED_AT_ONCE = 100
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")
_PARAMETER = re.compile(r":([a-z_]+)")

_CREATE = (
    "CREATE TABLE IF NOT EXISTS {table} (scope TEXT NOT NULL, key TEXT NOT NULL, status TEXT NOT NULL, owner TEXT, "
    "lease_ms BIGINT NOT NULL, expiry_ms BIGINT NOT NULL, payload_hash TEXT, result TEXT, PRIMARY KEY (scope, key))"
)
_INDEX = "CREATE INDEX IF NOT EXISTS {index} ON {table} (expiry_ms)"
_CLAIM = (
    "INSERT INTO {table} AS r (scope, key, status, owner, lease_ms, expiry_ms, payload_hash, result) "
    "VALUES (:scope, :key, :status, :owner, {now} + :lease, {now} + :expires, :payload_hash, NULL) "
    "ON CONFLICT (scope, key) DO UPDATE SET status = excluded.status, owner = excluded.owner, "
    "lease_ms = excluded.lease_ms, expiry_ms = excluded.expiry_ms, payload_hash = excluded.payload_hash, result = NULL "
    "WHERE r.expiry_ms <= {now} "
    "OR (r.status = 'INPROGRESS' AND (r.lease_ms <= {now} OR r.owner = excluded.owner))"
)
_FIND = (
    "SELECT status, owner, lease_ms - {now}, expiry_ms - {now}, payload_hash, result FROM {table} "
    "WHERE scope = :scope AND key = :key"
)
# The owner stays: a completion whose confirmation was lost is done again and finds itself.
_COMPLETE = (
    "UPDATE {table} SET status = 'COMPLETED', result = :result, expiry_ms = {now} + :expires "
    "WHERE scope = :scope AND key = :key AND owner = :owner"
)
_FORGET = "DELETE FROM {table} WHERE scope = :scope AND key = :key AND owner = :owner AND status = 'INPROGRESS'"
_PURGE = "DELETE FROM {table} WHERE {row} IN (SELECT {row} FROM {table} WHERE expiry_ms <= {now} LIMIT :most{skip})"


class Statements:
    """Those of one table, for one database: ``create`` is two statements, the others take the parameters they name."""

    __slots__ = ("claim", "complete", "create", "find", "forget", "purge", "table")

    def __init__(self, table: str, *, postgres: bool) -> None:
        """Raises IdempotencyConfigurationError."""
        parts = table.split(".") if isinstance(table, str) else []
        if len(parts) not in ((1, 2) if postgres else (1,)) or not all(map(_NAME.fullmatch, parts)):
            raise IdempotencyConfigurationError(
                f"{table!r} is no name for a table: up to 48 letters, digits and underscores"
                + (", a schema and a dot before it where wanted" if postgres else "")
            )
        names = {
            "table": ".".join(f'"{part}"' for part in parts),
            "index": f'"{parts[-1]}_expiry"',
            "now": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)" if postgres else ":now",
            "row": "ctid" if postgres else "rowid",
            "skip": " FOR UPDATE SKIP LOCKED" if postgres else "",
        }

        def made(template: str) -> str:
            text = template.format(**names)
            return _PARAMETER.sub(r"%(\1)s", text) if postgres else text

        self.table = names["table"]
        self.create = (made(_CREATE), made(_INDEX))
        self.claim, self.find = made(_CLAIM), made(_FIND)
        self.complete, self.forget, self.purge = made(_COMPLETE), made(_FORGET), made(_PURGE)
