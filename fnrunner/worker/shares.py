"""This worker's share of the account's concurrency, agreed with the others in the store, at most once a heartbeat.

What all shares add up to is decided in one transaction at a time, so that an invocation asks nobody. A worker gives up
before it says so, and takes only after it was written down::

    propose: lower the own limits to what is due ──► settle, in the heartbeat's transaction ──► apply: raise them

A worker that cannot reach the store is buried by the others after some time, and they take its share. It stops starting
what counts on that share before they do. What runs there then goes on to its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, select, text

from fnrunner.catalogue import Catalogue
from fnrunner.catalogue.snapshot import Snapshot, read_counter
from fnrunner.concurrency.accounting import room_for_newcomers
from fnrunner.concurrency.permits import LocalPermits
from fnrunner.concurrency.sharing import Account, Held, Settled, Target, settle
from fnrunner.model import limits, provisioned
from fnrunner.model.account import exclusive
from fnrunner.store.schema import prepared, worker
from fnrunner.worker import provisioning
from fnrunner.worker.provisioner import Provisioner
from fnrunner.worker.starting import StartLine

log = logging.getLogger(__name__)

UNSURE = timedelta(seconds=10)
"""Who has not beaten for so long starts nothing that counts on its share: less than the others wait to bury it."""

_ADVISORY_LOCK = 0x666E73686172
"""Ours among PostgreSQL's advisory locks: the letters "fnshar"."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What this worker wants, and ``needed`` of what it has, seen at one moment. ``change`` is the catalogue's counter that
    it knows."""

    change: int
    account: Account
    target: Target
    needed: Held
    prepared: Mapping[provisioned.Key, tuple[int, str]]
    at: float


class Shares:
    """One for each worker process. ``propose`` and ``apply`` on the event loop, ``settle`` in the transaction between."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        permits: LocalPermits,
        provisioner: Provisioner,
        line: StartLine,
        worker_id: str,
        capacity: int,
    ) -> None:
        self._catalogue = catalogue
        self._permits = permits
        self._provisioner = provisioner
        self._line = line
        self._id = worker_id
        self._capacity = capacity
        self._others: Mapping[str, int] = {}
        self._limit = 0
        self._settled: Account | None = None
        self._held = Held()
        self._unsure: asyncio.TimerHandle | None = None
        permits.limit_unreserved(0)

    @property
    def room(self) -> int:
        """How many invocations of functions without a reservation may run here at once, provisioned ones included."""
        return self._limit + sum(self._held.provisioned.values())

    @property
    def outdated(self) -> bool:
        """What is reserved or provisioned is not what it was when the share was settled last."""
        return self._account(self._catalogue.snapshot)[0] != self._settled

    def see(self, others: Mapping[str, int]) -> None:
        """These workers live beside this one, with these capacities."""
        self._others = others
        self._line.divide(1 + len(others))

    async def propose(self) -> Proposal:
        """Look at what is due, and give up what is not. Raises StoreError."""
        await self._catalogue.refresh()
        at = asyncio.get_running_loop().time()
        snapshot = self._catalogue.snapshot
        account, reserved = self._account(snapshot)
        self._permits.set_reserved(name for name, number in reserved.items() if number is not None)
        self._permits.set_exclusive(exclusive(reserved, account.demands))
        target = self._target(account)
        if target.share < self._limit:
            self._set_limit(target.share)
        self._provisioner.lower(target.provisioned)
        needed = Held(max(self._limit, self._permits.slots.unreserved_running), self._provisioner.running())
        return Proposal(snapshot.change, account, target, needed, self._provisioner.prepared(), at)

    def settle(self, connection: Connection, proposal: Proposal) -> Settled:
        """What this worker holds from now on. The caller writes the share to the worker's row, and then calls ``write``."""
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        held = _held(connection)
        me = held.pop(self._id, Held())
        target = proposal.target
        if read_counter(connection) != proposal.change:
            # what is reserved has changed a moment ago: nothing is taken by what was known before
            target = _no_more_than(target, me)
        return settle(proposal.account, me, proposal.needed, target, list(held.values()))

    def write(self, connection: Connection, held: Held, proposal: Proposal) -> None:
        """What it holds of the provisioned concurrency, and how much of that is ready.

        After the worker's row, as whoever buries a worker does: in another order two transactions could wait for each other.
        """
        connection.execute(delete(prepared).where(prepared.c.worker == self._id))
        rows = []
        for key, number in held.provisioned.items():
            available, reason = proposal.prepared.get(key, (0, ""))
            rows.append(_row(self._id, key, number, min(number, available), reason))
        if rows:
            connection.execute(insert(prepared), rows)

    def apply(self, settled: Settled, proposal: Proposal) -> None:
        """It is committed: this much may be used, until the store has not been reached for :data:`UNSURE`."""
        self._settled, self._held = proposal.account, settled.held
        # what is held beyond the limit and the target still runs, and nothing follows it
        self._set_limit(min(settled.held.share, settled.limit))
        self._provisioner.aim(settled.held.provisioned, proposal.target.provisioned)
        self.close()
        self._unsure = asyncio.get_running_loop().call_at(proposal.at + UNSURE.total_seconds(), self._suspend)

    def close(self) -> None:
        """The worker leaves, or has just beaten. Idempotent."""
        if self._unsure is not None:
            self._unsure.cancel()
            self._unsure = None

    def _account(self, snapshot: Snapshot) -> tuple[Account, dict[str, int | None]]:
        whole = [f for (_, version), f in snapshot.functions.items() if version == limits.LATEST]
        reserved = {function.name: function.reserved_concurrency for function in whole}
        demands = provisioned.demands(
            snapshot.provisioned.values(), snapshot.functions, snapshot.aliases, limits.LATEST
        )
        left = self._catalogue.account_concurrency - sum(number or 0 for number in reserved.values())
        return Account(left, demands), reserved

    def _target(self, account: Account) -> Target:
        workers = {**self._others, self._id: self._capacity}
        # who fills a worker must not use up what another function needs to begin there
        roomy = {name: capacity + room_for_newcomers(capacity) for name, capacity in workers.items()}
        share = provisioning.shares(account.pool(), account.demands, roomy)[self._id]
        return Target(share, provisioning.divide(account.demands, workers)[self._id])

    def _set_limit(self, limit: int) -> None:
        self._limit = limit
        self._permits.limit_unreserved(limit)

    def _suspend(self) -> None:
        log.warning("the store has not taken a heartbeat for %.0f s: only what is reserved starts here", UNSURE.seconds)
        self._unsure = None
        self._set_limit(0)
        self._provisioner.suspend()


def _held(connection: Connection) -> dict[str, Held]:
    """What the living ones hold, by worker."""
    living = worker.c.stopped_ms.is_(None) & worker.c.died_ms.is_(None)
    found = {row.id: row.share for row in connection.execute(select(worker.c.id, worker.c.share).where(living))}
    numbers: dict[str, dict[provisioned.Key, int]] = {name: {} for name in found}
    for row in connection.execute(select(prepared)):
        if row.worker in numbers:
            numbers[row.worker][row.function, row.qualifier, row.version] = row.share
    return {name: Held(share, numbers[name]) for name, share in found.items()}


def _no_more_than(target: Target, held: Held) -> Target:
    numbers = {key: min(number, held.provisioned.get(key, 0)) for key, number in target.provisioned.items()}
    return Target(min(target.share, held.share), numbers)


def _row(name: str, key: provisioned.Key, share: int, available: int, reason: str) -> dict[str, Any]:
    function, qualifier, version = key
    return {
        "worker": name,
        "function": function,
        "qualifier": qualifier,
        "version": version,
        "share": share,
        "available": available,
        "reason": reason,
    }
