"""The transactional form: the record and the effect are in one database and commit together, or not at all."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from datetime import timedelta

from . import deadline
from .decorator import DAY, MARGIN, checked_scope
from .errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigurationError,
    IdempotencyResultError,
    IdempotencyTransactionError,
    IdempotencyValidationError,
)
from .key import digest, written
from .procedure import as_json, new_owner
from .record import Claim, Decision, decide, purges
from .statements import DEFAULT_TABLE
from .transaction import ENDED, transaction_on

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .transaction import Transaction


class First:
    """True for the one that runs the effect, false for a duplicate. ``result`` is what the first has kept."""

    __slots__ = ("_keep", "result")

    def __init__(self, result: Any, keep: Any) -> None:
        self.result, self._keep = result, keep

    def __bool__(self) -> bool:
        return self._keep is not None

    def keep(self, result: Any) -> Any:
        """Store a result for duplicates, within the transaction; returns it as they will get it.

        Raises IdempotencyResultError for what is no JSON, IdempotencyTransactionError in a duplicate.
        """
        if self._keep is None:
            raise IdempotencyTransactionError("a duplicate keeps no result: do it inside `if first:`")
        text = as_json(result)
        if text is None:
            raise IdempotencyResultError(
                f"a {type(result).__name__} is no JSON and cannot be kept. Keep JSON values; the transaction is rolled back"
            )
        self.result = self._keep(text)
        return self.result


@contextlib.contextmanager
def once(
    connection: Any,
    key: Any,
    *,
    payload: Any = None,
    expires: timedelta = DAY,
    scope: str | None = None,
    table: str = DEFAULT_TABLE,
    wait: timedelta | None = None,
    commit: bool = True,
) -> Iterator[First]:
    """One transaction on ``connection``, a sqlite3 or psycopg 3 connection of yours, in which the key is recorded::

        with once(connection, context.aws_request_id) as first:
            if first:
                connection.execute("UPDATE account SET balance = balance - 5 WHERE id = 1")

    Exactly once: what the block does through this connection commits together with the record, when the block ends; an error
    rolls both back; a kill at any moment leaves both or neither. A duplicate waits while the first is in its block, then
    gets a false ``first``.

    ``key`` is any JSON value; ``payload``, any JSON value, must be the same for each use of the key. Keys are apart by
    ``scope``, the Lambda function's name unless given. A wait ends after ``wait``; without it 500 ms before the deadline of
    the ``invocation`` it is in, or as the connection is set.

    Begin with no transaction open, and do not commit inside. ``commit=False``: the record becomes part of the transaction
    that is open, or of the one that this begins, and you commit; an error then undoes the block alone.

    Raises: IdempotencyAlreadyInProgressError, IdempotencyStoreBusyError (nothing was run; a retry may), IdempotencyKeyError,
    IdempotencyValidationError, IdempotencyTransactionError, IdempotencyConfigurationError, and other kinds of
    IdempotencyPersistenceLayerError for what happens to the record. Errors of your own statements are left as they are.
    """
    if not isinstance(expires, timedelta) or expires <= timedelta(0):
        raise IdempotencyConfigurationError(f"expires takes a timedelta above zero, not {expires!r}")
    claim = Claim(
        scope=checked_scope(scope, os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")),
        key=written(key),
        owner=new_owner(),
        lease_ms=0,
        expires_ms=max(1, expires // timedelta(milliseconds=1)),
        payload_hash=None if payload is None else digest(payload),
    )
    transaction = transaction_on(connection, table)
    wait_s = _wait_s(wait)
    try:
        with transaction.translated():
            transaction.begin(wait_s, commit)
            first = _begun(transaction, claim, wait_s)
        yield first
        with transaction.translated():
            transaction.end()
    except BaseException as error:
        transaction.undo(error)
        raise


def _begun(transaction: Transaction, claim: Claim, wait_s: float | None) -> First:
    if transaction.claimed(claim, wait_s):
        if purges(claim):
            transaction.purge()
        return First(None, functools.partial(_kept, transaction, claim))
    record = transaction.found(claim)
    decision = decide(record, claim)
    if decision is Decision.MISMATCH:
        raise IdempotencyValidationError(f"{IdempotencyValidationError()} The key is {claim.key!r}.")
    if record is None or decision is not Decision.REPLAY:
        # in progress by the other form, or removed or expired between two statements: a retry sees clearly
        raise IdempotencyAlreadyInProgressError
    return First(None if record.result is None else json.loads(record.result), None)


def _kept(transaction: Transaction, claim: Claim, text: str) -> Any:
    named = {"scope": claim.scope, "key": claim.key, "owner": claim.owner}
    with transaction.translated():
        done = transaction.changed(
            transaction.statements.complete, {**named, "result": text, "expires": claim.expires_ms}
        )
    if done != 1:
        raise IdempotencyTransactionError(ENDED)
    return json.loads(text)


def _wait_s(wait: timedelta | None) -> float | None:
    if wait is not None:
        if not isinstance(wait, timedelta) or wait < timedelta(0):
            raise IdempotencyConfigurationError(f"wait takes a timedelta of zero or more, not {wait!r}")
        return wait.total_seconds()
    context = deadline.current()
    return None if context is None else deadline.time_left_s(context, None) - MARGIN.total_seconds()
