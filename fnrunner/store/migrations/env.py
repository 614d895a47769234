"""Run by Alembic for each command: migrates over the connection it is given, and configures no logging."""

from __future__ import annotations

from alembic import context

from fnrunner.store.schema import metadata

# SQLite's DDL is transactional once the transaction was begun explicitly, which the store does.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
