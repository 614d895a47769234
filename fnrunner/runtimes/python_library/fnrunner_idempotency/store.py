"""Where records are kept: the protocol, and what both stores do alike."""

from __future__ import annotations

import abc
import os
import threading
import time

from .record import COMPLETED, IN_PROGRESS, Claim, Record, purges
from .statements import DEFAULT_TABLE, PURGED_AT_ONCE, Statements

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    class Store(Protocol):
        """What the procedure needs. Every method blocks, at most about ``patience_s`` where it takes that, may be called
        from any thread, and raises IdempotencyPersistenceLayerError; none is half done after that."""

        def claim(self, claim: Claim, patience_s: float) -> bool:
            """Whether the key is this claim's now. A second time for the same claim it still is."""

        def find(self, claim: Claim, patience_s: float) -> Record | None:
            """The record of the claim's key."""

        def complete(self, claim: Claim, result: str | None, patience_s: float) -> bool:
            """Keep the JSON ``result``. False when the record is not this claim's any more. May be repeated."""

        def forget(self, claim: Claim, patience_s: float) -> None:
            """Remove the record if it is in progress and this claim's."""


def claim_parameters(claim: Claim, *, completed: bool = False) -> dict[str, Any]:
    """The claim statement's. ``completed``: as a record that is complete from the start."""
    # kept beyond the lease, whatever the expiry: a record that is purged while its function runs would guard nothing
    lease_ms = 0 if completed else claim.lease_ms
    return {
        "scope": claim.scope,
        "key": claim.key,
        "status": COMPLETED if completed else IN_PROGRESS,
        "owner": claim.owner,
        "lease": lease_ms,
        "expires": lease_ms + claim.expires_ms,
        "payload_hash": claim.payload_hash,
    }


def as_record(row: Any) -> Record | None:
    if row is None:
        return None
    # a user's SQLite connection may give texts as bytes
    status, owner, lease, expiry, payload, result = (part.decode() if isinstance(part, bytes) else part for part in row)
    return Record(status, owner, int(lease), int(expiry), payload, result)


def now_ms() -> int:
    return int(time.time() * 1000)


class KeptConnection(abc.ABC):
    """One connection for all threads of a process, made when it is first needed, and anew in a forked child and after
    ``drop``. A subclass says how to open one and how to do something with it.
    """

    def __init__(self, table: str = DEFAULT_TABLE, *, postgres: bool) -> None:
        self._statements = Statements(table, postgres=postgres)
        self._lock = threading.RLock()
        self._kept: Any = None
        self._pid = 0
        self._inherited: list[Any] = []

    def claim(self, claim: Claim, patience_s: float) -> bool:
        claimed = self._changed(self._statements.claim, claim_parameters(claim), patience_s) == 1
        if claimed and purges(claim):
            self.purge(at_most=PURGED_AT_ONCE)
        return claimed

    def find(self, claim: Claim, patience_s: float) -> Record | None:
        parameters = {"scope": claim.scope, "key": claim.key}
        return as_record(self._found(self._statements.find, parameters, patience_s))

    def complete(self, claim: Claim, result: str | None, patience_s: float) -> bool:
        named = {"scope": claim.scope, "key": claim.key, "owner": claim.owner}
        parameters = {**named, "result": result, "expires": claim.expires_ms}
        return self._changed(self._statements.complete, parameters, patience_s) == 1

    def forget(self, claim: Claim, patience_s: float) -> None:
        parameters = {"scope": claim.scope, "key": claim.key, "owner": claim.owner}
        self._changed(self._statements.forget, parameters, patience_s)

    def purge(self, *, at_most: int = 10_000, patience_s: float = 5.0) -> int:
        """Remove expired records, in small transactions; how many. Every 64th claim or so also removes up to a hundred.

        Raises IdempotencyPersistenceLayerError.
        """
        removed = 0
        while removed < at_most:
            most = min(PURGED_AT_ONCE, at_most - removed)
            count = self._changed(self._statements.purge, {"most": most}, patience_s)
            removed += count
            if count < most:
                break
        return removed

    def close(self) -> None:
        """Give the connection back. The next use makes a new one. Idempotent."""
        with self._lock:
            self._drop()

    def _connection(self, patience_s: float) -> Any:
        if self._pid != os.getpid():
            if self._kept is not None:
                # the parent's: closing it here would disturb it there
                self._inherited.append(self._kept)
            self._kept, self._pid = None, os.getpid()
        if self._kept is not None and self._is_stale():
            self._drop()
        if self._kept is None:
            self._kept = self._open(patience_s)
        return self._kept

    def _drop(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None and self._pid == os.getpid():
            try:
                kept.close()
            except Exception:  # noqa: S110 - it is broken; that is why it goes
                pass

    def _is_stale(self) -> bool:
        """Whether the kept connection leads nowhere any more."""
        return False

    @abc.abstractmethod
    def _open(self, patience_s: float) -> Any:
        """A connection that is ready, with the table made. Raises IdempotencyPersistenceLayerError."""

    @abc.abstractmethod
    def _changed(self, statement: str, parameters: Mapping[str, Any], patience_s: float) -> int:
        """How many rows a statement changed, durably."""

    @abc.abstractmethod
    def _found(self, statement: str, parameters: Mapping[str, Any], patience_s: float) -> Any:
        """The first row."""
