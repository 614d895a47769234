"""Bring a database to the schema of this release: empty ones are made, older ones migrated, newer ones refused."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from fnrunner.store.errors import StoreTooNew

_ADVISORY_LOCK = 0x666E72756E6E6572
"""Ours among PostgreSQL's advisory locks: the letters "fnrunner"."""


def up_to_date(connection: Connection) -> bool:
    """Whether there is nothing to migrate. Raises StoreTooNew."""
    scripts = ScriptDirectory.from_config(_config())
    found = set(MigrationContext.configure(connection).get_current_heads())
    known = {script.revision for script in scripts.walk_revisions()}
    if strange := found - known:
        raise StoreTooNew(f"{StoreTooNew()} (schema {', '.join(sorted(strange))})")
    return found == set(scripts.get_heads())


def migrate(connection: Connection) -> None:
    """Migrate within the transaction that ``connection`` has begun, one process at a time. Raises StoreTooNew.

    On SQLite the caller's BEGIN IMMEDIATE is the lock; on PostgreSQL an advisory lock that ends with the transaction.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    # Look again under the lock: another process may have migrated while this one waited.
    if up_to_date(connection):
        return
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    """No ini file: nothing outside the package changes what a migration does."""
    config = Config()
    config.set_main_option("script_location", "fnrunner.store:migrations")
    return config
