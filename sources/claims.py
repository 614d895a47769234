"""Claims kept in the table that all processes share: who works on what, and what was stored by whoever did last.

A process is a member (:mod:`sources.membership`); a claim's row names its member and a number, the epoch, that grows with
each owner. A claim is free when its row names nobody, or a member that is gone. It is taken by replacing exactly the row
that was seen, so of two one gets it. What is stored with a claim is written in the transaction that finds the claim's row,
locked, still naming the same member and epoch: an owner that lost it without knowing writes nothing over its successor.

A process takes a free name at once when an even spread (:mod:`sources.spread`) gives it the name, otherwise when nobody
else has taken it for a while. A name that another holds too many of is asked for in the member's row; the holder sees it
as ``wanted_elsewhere`` when that lasts.

When things die: a process of the same host, at once; one of another host, in ttl. The store: ``held`` turns False in three
quarters of the ttl, and every call raises CheckpointsUnavailable in bounded time.
"""

from __future__ import annotations

import asyncio
import json
import logging
from asyncio import Task
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, Table

from sources.checkpoints import Database, translated
from sources.claim_rows import ClaimRows, Release, Save, Take, key_of, read_row, row_of
from sources.errors import CheckpointsUnavailable, ClaimLost
from sources.group_commit import GroupCommit
from sources.membership import TTL, Member, Membership, Sight, boottime
from sources.source import Claim
from sources.spread import assignment

log = logging.getLogger(__name__)
T = TypeVar("T")

_MOST_WANTS = 256
"""Names that a member's row asks for at once; it asks for more when it has these."""


@dataclass(frozen=True, slots=True)
class ClaimPace:
    """``renew``: between renewals. ``look``: how old a look at the rows may be for a decision. ``grace``: how long a name
    is left to whom it belongs. ``wanted``: how long another must have asked for it. ``asked``: how long a name counts as
    asked for after it was. ``answer``: how long the store may take."""

    renew: timedelta = timedelta(seconds=2)
    look: timedelta = timedelta(seconds=0.5)
    grace: timedelta = timedelta(seconds=2.5)
    wanted: timedelta = timedelta(seconds=5)
    asked: timedelta = timedelta(seconds=10)
    answer: timedelta = timedelta(seconds=5)


class StoredClaim:
    """One owner's claim. Made by :class:`StoredClaims`."""

    def __init__(self, claims: StoredClaims, name: str, member: Member, epoch: int) -> None:
        self.epoch = epoch
        self.wanted_since: float | None = None
        self._claims = claims
        self._name = name
        self._member = member
        self._lost = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def held(self) -> bool:
        return not self._lost and self._member.alive

    @property
    def wanted_elsewhere(self) -> bool:
        return self.held and self._claims.long_wanted(self)

    @property
    def row(self) -> str:
        return row_of(self._member.id, self.epoch)

    def lose(self) -> None:
        self._lost = True

    async def load(self) -> Mapping[str, Any]:
        return await self._claims.load(self._name)

    async def save(self, document: Mapping[str, Any]) -> None:
        """A claim whose time has run out is still ours while nobody took it: the row decides."""
        if self._lost:
            raise ClaimLost
        try:
            await self._claims.commit(Save(key_of(self._name), self.row, json.dumps(document, separators=(",", ":"))))
        except ClaimLost:
            self._lost = True
            raise

    async def release(self) -> None:
        if self._lost:
            return
        self._lost = True
        try:
            await self._claims.commit(Release(key_of(self._name), self.row))
        except CheckpointsUnavailable as error:
            log.warning(
                "the claim of %s was not given back; others take it when this process is gone: %s", self._name, error
            )
        finally:
            self._claims.released(self)


class StoredClaims:
    """The claims of one process in the ``checkpoint`` table. Without :meth:`start`, only what is stored can be used."""

    def __init__(
        self,
        database: Database,
        checkpoint: Table,
        *,
        ttl: timedelta = TTL,
        pace: ClaimPace | None = None,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._database = database
        self._pace = pace or ClaimPace()
        self._clock = clock
        self._membership = Membership(checkpoint, ttl=ttl, clock=clock)
        self._rows = ClaimRows(checkpoint)
        self.commit = GroupCommit(database, self._rows.apply, patience=self._pace.answer)
        self._sight: Sight | None = None
        self._dead: Mapping[str, str] = {}
        self._looking = asyncio.Lock()
        self._held: dict[str, StoredClaim] = {}
        self._asked: dict[str, float] = {}
        self._free_since: dict[str, float] = {}
        self._spread: tuple[Sight | None, str, Mapping[str, str]] = (None, "", {})
        self._task: Task[None] | None = None

    async def start(self) -> None:
        """Become a member. A store that is away is asked again until it is back. Idempotent."""
        if self._task is None:
            with suppress(CheckpointsUnavailable):
                await self.renew()
            self._task = asyncio.create_task(self._keep(), name="claims")

    async def close(self) -> None:
        """Give everything back, in bounded time. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        await asyncio.gather(*(claim.release() for claim in list(self._held.values())))
        await self.commit.close()
        try:
            await self._answered(translated(self._database.write, self._membership.leave))
        except CheckpointsUnavailable as error:
            log.warning("this process stays a member until others miss it: %s", error)
        self._membership.me.end()

    async def acquire(self, name: str) -> Claim | None:
        key, now = key_of(name), self._clock()
        self._asked[key] = now
        if (mine := self._held.get(key)) is not None and mine.held:
            return None
        sight = await self._answered(self._look())
        if not self._membership.me.alive:
            raise CheckpointsUnavailable(
                "this process could not renew its claims in time; it does when the store answers"
            )
        seen = sight.claims.get(key)
        holder, epoch = sight.owners.get(key, ("", 0))
        if holder in sight.wants:
            self._free_since.pop(key, None)
            return None
        since = self._free_since.setdefault(key, now)
        if self._assigned(sight).get(key) != self._me and now - since < self._pace.grace.total_seconds():
            return None
        return await self._take(name, seen, epoch + 1)

    async def load(self, name: str) -> Mapping[str, Any]:
        key = key_of(name)
        text = await self._answered(translated(self._database.read, lambda c: self._rows.load(c, key)))
        return json.loads(text) if text else {}

    async def put(self, name: str, document: Mapping[str, Any]) -> None:
        """Store under the name, whoever has the claim: what a user asks of its owner. Raises CheckpointsUnavailable."""
        key, text = key_of(name), json.dumps(document, separators=(",", ":"))
        await self._answered(translated(self._database.write, lambda c: self._rows.put(c, key, text)))

    async def forget(self, prefix: str) -> None:
        await self._answered(translated(self._database.write, lambda c: self._rows.forget(c, prefix)))

    async def renew(self) -> None:
        """One write: our row, and a look at all rows. What the background does. Raises CheckpointsUnavailable."""
        await self._answered(self._renew())

    async def _renew(self) -> None:
        membership = self._membership
        membership.reborn()
        async with self._looking:
            me, began, dead = membership.me, self._clock(), self._dead
            document = membership.document(self._wants())

            def work(connection: Connection) -> tuple[bool, tuple[Mapping[str, str], Mapping[str, str]]]:
                return membership.renew(connection, document, dead), membership.look(connection)

            alive, rows = await translated(self._database.write, work)
            membership.forget_former()
            me.written = me.written or alive
            if alive:
                me.renewed(began)
            else:
                me.end()
            self._see(rows, began)

    def long_wanted(self, claim: StoredClaim) -> bool:
        since = claim.wanted_since
        return since is not None and self._clock() - since >= self._pace.wanted.total_seconds()

    def released(self, claim: StoredClaim) -> None:
        key = key_of(claim.name)
        if self._held.get(key) is claim:
            del self._held[key]

    async def _answered(self, asking: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._pace.answer.total_seconds()):
                return await asking
        except TimeoutError as error:
            raise CheckpointsUnavailable("the checkpoint store does not answer in time") from error

    @property
    def _me(self) -> str:
        return self._membership.me.id

    async def _keep(self) -> None:
        """The loop top: whatever goes wrong, the next renewal is tried."""
        while True:
            wait = self._pace.renew.total_seconds()
            try:
                await self.renew()
                if self._membership.me.ended:
                    log.warning("this process was not heard of in time; its claims are free for others")
                    wait = 0
            except CheckpointsUnavailable as error:
                log.warning("claims cannot be renewed: %s", error)
                wait /= 4
            except Exception:
                log.exception("claims could not be renewed; it is tried again")
            await asyncio.sleep(wait)

    async def _look(self) -> Sight:
        """The rows as they were not long ago. One look at a time, which serves all who wait."""
        async with self._looking:
            if self._sight is None or self._clock() - self._sight.at >= self._pace.look.total_seconds():
                began = self._clock()
                self._see(await translated(self._database.read, self._membership.look), began)
            assert self._sight is not None
            return self._sight

    def _see(self, rows: tuple[Mapping[str, str], Mapping[str, str]], began: float) -> None:
        members, claims = rows
        now = self._clock()
        wants, self._dead = self._membership.judge(members, began, now)
        self._sight = Sight(now, wants, claims, {key: read_row(row) for key, row in claims.items()})
        asked = {name for names in wants.values() for name in names}
        for key, claim in self._held.items():
            claim.wanted_since = (claim.wanted_since or now) if key in asked else None

    def _recently(self) -> Collection[str]:
        oldest = self._clock() - self._pace.asked.total_seconds()
        self._asked = {key: at for key, at in self._asked.items() if at >= oldest}
        self._free_since = {key: at for key, at in self._free_since.items() if key in self._asked}
        return self._asked

    def _assigned(self, sight: Sight) -> Mapping[str, str]:
        """Over all names that somebody has or this process asked for, and all living members. Reckoned once a look, and
        again for names that were not asked for before."""
        reckoned, me, found = self._spread
        if reckoned is not sight or me != self._me or not self._asked.keys() <= found.keys():
            names = {key for key, (member, _) in sight.owners.items() if member} | set(self._recently())
            found = assignment(names, {*sight.wants, self._me})
            self._spread = (sight, self._me, found)
        return found

    def _wants(self) -> Sequence[str]:
        """What this process asked for in vain, and is to have."""
        if (sight := self._sight) is None or not sight.wants:
            return []
        assigned = self._assigned(sight)
        theirs = (key for key in self._recently() if sight.owners.get(key, ("", 0))[0] in sight.wants)
        return [key for key in theirs if assigned.get(key) == self._me][:_MOST_WANTS]

    async def _take(self, name: str, seen: str | None, epoch: int) -> StoredClaim | None:
        key, member = key_of(name), self._membership.me
        claim = StoredClaim(self, name, member, epoch)
        self._held[key] = claim
        taken = False
        try:
            taken = await self.commit(Take(key, seen, claim.row))
        finally:
            if not taken:
                claim.lose()
                self.released(claim)
                self._sight = None
        self._free_since.pop(key, None)
        return claim if taken and claim.held else None
