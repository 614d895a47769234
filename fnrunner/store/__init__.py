"""The tables that all processes share, and one way to use them.

What this package owns
    The schema (:mod:`fnrunner.store.schema`), its migrations by Alembic, and :class:`fnrunner.store.engine.Store`,
    which runs a function in one transaction on a thread of its own. SQLite is the default; PostgreSQL for several
    hosts. The same SQLAlchemy Core statements serve both.

What it refuses
    No business rule. Whoever owns a table writes its statements: ``catalogue`` functions, buckets and notifications,
    ``delivery`` the ledger, attempts, logs and dead letters, ``worker`` the worker and trial tables.

When it dies
    Statements raise :class:`~fnrunner.store.errors.StoreUnavailable` after a bounded number of tries (locked, full,
    connection lost); callers keep what they hold: deliveries stay unsettled and come back, accepts are refused.
"""
