"""Bring a database to the schema of this release: empty ones are made, older ones migrated, newer ones refused.

Alembic is loaded only when there is something to migrate: most starts find nothing, and loading it takes a good part of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from fnrunner.store.errors import StoreTooNew

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0010"
"""The newest revision of this release."""

_ADVISORY_LOCK = 0x666E72756E6E6572
"""Ours among PostgreSQL's advisory locks: the letters "fnrunner"."""


def up_to_date(connection: Connection) -> bool:
    """Whether there is nothing to migrate. Raises StoreTooNew."""
    found = _revisions(connection)
    if found == {HEAD}:
        return True
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config())
    known = {script.revision for script in scripts.walk_revisions()}
    if strange := found - known:
        raise StoreTooNew(f"{StoreTooNew()} (schema {', '.join(sorted(strange))})")
    return found == set(scripts.get_heads())


def _revisions(connection: Connection) -> set[str]:
    """What Alembic wrote down; empty for a database that is new."""
    if not inspect(connection).has_table("alembic_version"):
        return set()
    return set(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


def migrate(connection: Connection) -> None:
    """Migrate within the transaction that ``connection`` has begun, one process at a time. Raises StoreTooNew.

    On SQLite the caller's BEGIN IMMEDIATE is the lock; on PostgreSQL an advisory lock that ends with the transaction.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    # Look again under the lock: another process may have migrated while this one waited.
    if up_to_date(connection):
        return
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    """No ini file: nothing outside the package changes what a migration does."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "fnrunner.store:migrations")
    return config
