"""Everything this package raises. The class docstring is the default message; each names the remedy."""

from __future__ import annotations


class IdempotencyError(Exception):
    """An effect could not be guarded by its idempotency key."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))


class IdempotencyAlreadyInProgressError(IdempotencyError):
    """Another invocation with this idempotency key is still running. Nothing was run; a retry finds its result, or takes
    over when its time is up."""


class IdempotencyKeyError(IdempotencyError):
    """The event has no idempotency key. Name one that every event has, or leave `key` out for the request id."""


class IdempotencyValidationError(IdempotencyError):
    """This idempotency key was used before with another payload. Nothing was run; use a key of its own for each payload."""


class IdempotencyResultError(IdempotencyError):
    """The function has run and its record is complete, but its result is no JSON and could not be kept. It will not run
    again for this key; return JSON values."""


class IdempotencyLeaseLostError(IdempotencyError):
    """The function ran beyond its deadline, and another invocation took the record over meanwhile. A retry finds what that
    one has stored."""


class IdempotencyConfigurationError(IdempotencyError):
    """The idempotency helper was called in a way that it cannot serve."""


class IdempotencyContextError(IdempotencyError):
    """The time that is left is unknown, so nobody could tell when to take over after a kill. Decorate the handler with
    `idempotent`, put the call inside `with invocation(context):`, pass it the context, or give `lease`."""


class IdempotencyPlaceError(IdempotencyError):
    """The idempotency store cannot live there."""


class IdempotencyTransactionError(IdempotencyError):
    """The connection is in no state for an idempotent transaction."""


class IdempotencyPersistenceLayerError(IdempotencyError):
    """The idempotency store could not be used. Nothing was run; the event is retried."""


class IdempotencyStoreFullError(IdempotencyPersistenceLayerError):
    """The idempotency store has no space left. Free space on its file system; shorten `expires` to keep fewer records."""


class IdempotencyStoreUnreachableError(IdempotencyPersistenceLayerError):
    """The idempotency store cannot be reached. Check that it runs, its address, and the network of the worker."""


class IdempotencyStoreBusyError(IdempotencyPersistenceLayerError):
    """The idempotency store was locked all the time. Keep transactions short, or wait longer."""


class IdempotencyDriverMissingError(IdempotencyPersistenceLayerError):
    """PostgreSQL needs psycopg 3, which is not in the function's package. Put `psycopg[binary]>=3.1` into its
    requirements.txt and deploy again, or bring it in a layer."""
