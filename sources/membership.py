"""This process among those that share a store: one row for each, renewed every two seconds.

No clocks of two hosts are compared. An observer holds a member for dead when its row has not changed for the ttl by the
observer's own clock, or is gone, or when the process is of the same host and has ended. A member that could not renew in
time knows by its own clock that others may hold it for dead, before they do. From then on it is dead for itself too, for
ever: it comes back under another id, so that a judgement once made stays true. A process that was suspended finds out the
same way.

Source: the clock counts the time that the host sleeps (``CLOCK_BOOTTIME``, clock_gettime(2)).
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import Connection, Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from sources import lease
from sources.source import utc_now

MEMBERS = "member"
"""The ``source`` of the rows of the checkpoint table that are members."""

CLAIMS = "claim"
"""The ``source`` of the rows that say who has a claim: ``{"member": id or "", "epoch": n}``."""

TTL = timedelta(seconds=6)
_SAFE = 0.75
"""The part of the ttl for which a renewal is good for whoever made it. Others wait for all of it."""


def boottime() -> float:
    """Seconds since boot, those included during which the host slept."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True, slots=True)
class Sight:
    """What the store said at ``at``: which other members wait for which names, each claim's row as it is written, and the
    member and epoch in it."""

    at: float
    wants: Mapping[str, Collection[str]] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)
    owners: Mapping[str, tuple[str, int]] = field(default_factory=dict)


class Member:
    """One life of this process as a member. ``alive`` is False for good from when others might hold it for dead."""

    def __init__(self, ttl: timedelta, clock: Callable[[], float]) -> None:
        self.id = uuid.uuid4().hex
        self.written = False
        self._safe = ttl.total_seconds() * _SAFE
        self._clock = clock
        self._renewed: float | None = None
        self._ended = False

    @property
    def alive(self) -> bool:
        if self._renewed is None or self._clock() - self._renewed >= self._safe:
            self._ended = self._ended or self._renewed is not None
            return False
        return not self._ended

    @property
    def ended(self) -> bool:
        return not self.alive and self._ended

    def end(self) -> None:
        self._ended = True

    def renewed(self, began: float) -> None:
        """A renewal that was begun then has been written. One that ended too late revives nobody."""
        if not self.ended:
            self._renewed = began


class Membership:
    """The rows of the members, as one process writes and sees them. Its methods with a connection run in a transaction."""

    def __init__(self, checkpoint: Table, *, ttl: timedelta = TTL, clock: Callable[[], float] = boottime) -> None:
        self.me = Member(ttl, clock)
        self._table = checkpoint
        self._ttl = ttl.total_seconds()
        self._clock = clock
        self._renewals = 0
        self._watched: dict[str, tuple[str, float]] = {}
        self._left: list[str] = []

    def reborn(self) -> None:
        """Go on as another member when the last one ended."""
        if self.me.ended:
            self._left.append(self.me.id)
            self.me = Member(timedelta(seconds=self._ttl), self._clock)

    def document(self, wants: Collection[str]) -> str:
        self._renewals += 1
        return json.dumps(
            {
                "machine": lease.machine(),
                "pid": os.getpid(),
                "started": lease.process_started(os.getpid()),
                "renewals": self._renewals,
                "wants": list(wants),
            }
        )

    def renew(self, connection: Connection, document: str, dead: Mapping[str, str]) -> bool:
        """Write our row and remove those of the dead, and of our own former lives. False: others held us for dead."""
        table, me = self._table, self.me
        for member, seen in dead.items():
            connection.execute(
                delete(table).where(table.c.source == MEMBERS, table.c.key == member, table.c.document == seen)
            )
        for member in self._left:
            connection.execute(delete(table).where(table.c.source == MEMBERS, table.c.key == member))
        values = {"document": document, "updated_ms": now_ms()}
        ours = update(table).where(table.c.source == MEMBERS, table.c.key == me.id).values(**values)
        if connection.execute(ours).rowcount == 1:
            return True
        return not me.written and inserted(connection, table, {"source": MEMBERS, "key": me.id, **values})

    def leave(self, connection: Connection) -> None:
        for member in [*self._left, self.me.id]:
            connection.execute(delete(self._table).where(self._table.c.source == MEMBERS, self._table.c.key == member))

    def forget_former(self) -> None:
        """The rows of our former lives are gone."""
        self._left.clear()

    def look(self, connection: Connection) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """The documents of all members, and of all claims."""
        table = self._table
        found: dict[str, dict[str, str]] = {MEMBERS: {}, CLAIMS: {}}
        query = select(table.c.source, table.c.key, table.c.document).where(table.c.source.in_([MEMBERS, CLAIMS]))
        for source, key, document in connection.execute(query):
            found[source][key] = document
        return found[MEMBERS], found[CLAIMS]

    def judge(
        self, members: Mapping[str, str], began: float, ended: float
    ) -> tuple[Mapping[str, Collection[str]], Mapping[str, str]]:
        """Of what a read between ``began`` and ``ended`` saw: the living others with what they wait for, and the rows of
        the dead. A slow read counts for the member: its row was seen late, and seen unchanged early.
        """
        self._watched = {
            member: watched if (watched := self._watched.get(member)) and watched[0] == document else (document, ended)
            for member, document in members.items()
        }
        alive: dict[str, Collection[str]] = {}
        dead: dict[str, str] = {}
        for member, (document, since) in self._watched.items():
            if member == self.me.id or member in self._left:
                continue
            known = json.loads(document)
            here = known["machine"] and known["machine"] == lease.machine()
            if began - since >= self._ttl or (here and lease.process_started(known["pid"]) != known["started"]):
                dead[member] = document
            else:
                alive[member] = known["wants"]
        return alive, dead


def inserted(connection: Connection, table: Table, row: Mapping[str, object]) -> bool:
    """False when there is a row with that key. The transaction is as good as before then."""
    try:
        with connection.begin_nested():
            connection.execute(insert(table), row)
    except IntegrityError:
        return False
    return True


def now_ms() -> int:
    return int(utc_now().timestamp() * 1000)
