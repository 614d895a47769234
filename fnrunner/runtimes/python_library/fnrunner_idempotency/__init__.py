"""Idempotency for functions: an effect once for each event or key, though every event may be delivered more than once.

``import fnrunner_idempotency`` works inside every Python environment::

    from fnrunner_idempotency import SQLiteStore, idempotent

    store = SQLiteStore(os.environ["DATA_DIR"] + "/.idempotency.sqlite")

    @idempotent(store=store)
    def handler(event, context):
        charge(event["order"])
        return {"charged": event["order"]["id"]}

The first invocation with a key claims its *record*, *in progress*; its result *completes* the record. A duplicate gets the
stored result without running, waits for it while the first is in progress, and takes over when the first's time is up: its
lease is its own deadline and half a second, so a function that was killed for its timeout blocks nobody longer. A function
that raises leaves no record, so that a retry runs.

============================================ ===========================================================================
form                                         guards
============================================ ===========================================================================
``@idempotent`` a handler                    one effect an event: the key is the request id, the same for every attempt,
                                             or a part of the event (``key="order.id"``)
``@idempotent_function`` any function        several effects in one event, each with its own key; also ``async def``
``@idempotent_batch`` a function of a record each record of a batch, by its own identity (``record_key``)
``with once(connection, key) as first``      an effect in the same SQLite or PostgreSQL database
============================================ ===========================================================================

What is guaranteed
    ``once``: exactly once. Record and effect are one transaction; a kill at any moment leaves both or neither.

    The decorators: never again after the record is complete, for as long as it is kept (``expires``); never two at the same
    time, while clocks and kills keep to the lease. A kill between the effect and the completion of its record repeats the
    effect, as does an error that is raised after it: no store can know what happened elsewhere. If that matters, pass the
    key on to what has the effect (payment services take an idempotency key), or keep the effect in the database and use
    ``once``.

    When the store is full, locked or unreachable, an error says so and nothing is run. When that happens after the function
    has run, it is tried again until 500 ms before the deadline; the error then says that a retry will run it again.

Stores
    ``SQLiteStore(path)`` for the environments of one host; the file has to be where all of them see it, not in their private
    /tmp. ``PostgresStore(conninfo)`` for any number of hosts; psycopg 3 comes with the function's package or a layer. Both
    make their table (``table``, ``fnrunner_idempotency`` unless given) when first used, and remove expired records.

What dies, and what follows: the function, see above. Its worker: the function dies with it. The store: nothing is run until
it is back. A clock that jumps by more than a lease: two may run at once, as with every lease.

Terms and their meaning are those of Powertools for AWS Lambda (idempotency key, record, in progress, expiry, payload
validation) and of Stripe's idempotency keys. Standard library only, on Python 3.9 and later.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from typing import Any

    from .batch import idempotent_batch, record_key
    from .deadline import invocation
    from .decorator import idempotent, idempotent_function
    from .errors import (
        IdempotencyAlreadyInProgressError,
        IdempotencyConfigurationError,
        IdempotencyContextError,
        IdempotencyDriverMissingError,
        IdempotencyError,
        IdempotencyKeyError,
        IdempotencyLeaseLostError,
        IdempotencyPersistenceLayerError,
        IdempotencyPlaceError,
        IdempotencyResultError,
        IdempotencyStoreBusyError,
        IdempotencyStoreFullError,
        IdempotencyStoreUnreachableError,
        IdempotencyTransactionError,
        IdempotencyValidationError,
    )
    from .postgres import PostgresStore
    from .sqlite import SQLiteStore
    from .transactional import First, once

__all__ = [
    "First",
    "IdempotencyAlreadyInProgressError",
    "IdempotencyConfigurationError",
    "IdempotencyContextError",
    "IdempotencyDriverMissingError",
    "IdempotencyError",
    "IdempotencyKeyError",
    "IdempotencyLeaseLostError",
    "IdempotencyPersistenceLayerError",
    "IdempotencyPlaceError",
    "IdempotencyResultError",
    "IdempotencyStoreBusyError",
    "IdempotencyStoreFullError",
    "IdempotencyStoreUnreachableError",
    "IdempotencyTransactionError",
    "IdempotencyValidationError",
    "PostgresStore",
    "SQLiteStore",
    "idempotent",
    "idempotent_batch",
    "idempotent_function",
    "invocation",
    "once",
    "record_key",
]

_MODULES = {
    "First": "transactional",
    "PostgresStore": "postgres",
    "SQLiteStore": "sqlite",
    "idempotent": "decorator",
    "idempotent_batch": "batch",
    "idempotent_function": "decorator",
    "invocation": "deadline",
    "once": "transactional",
    "record_key": "batch",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for: a cold start pays for nothing else."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f".{_MODULES.get(name, 'errors')}", __name__)
    found = globals()[name] = getattr(module, name)
    return found
