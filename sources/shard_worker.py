"""Own one shard whenever it is free: take the claim, follow a user's rewind, run a session, begin again or give it back."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Event
from collections.abc import Callable, Sequence
from datetime import timedelta

from sources import shard_place
from sources.errors import CheckpointsUnavailable, ClaimLost, SourceMissing, SourcesError
from sources.shard_place import Place, Wish
from sources.shard_session import Setting, ShardSession, Signs
from sources.source import Claim

log = logging.getLogger(__name__)

ASK_EVERY = timedelta(seconds=1)
FORGOTTEN = timedelta(seconds=10)
"""A shard that somebody has worked on, and of which nothing is stored, is one of a mapping that is being deleted. It is
begun anew only if the mapping is there for longer than this."""

_BROKEN_FIRST_S, _BROKEN_LONGEST_S = 0.5, 30.0


class ShardWorker:
    """``wish`` gives the user's last wish to rewind, ``others`` the ids of the mapping's shards."""

    def __init__(
        self, setting: Setting, shard: str, wish: Callable[[], Wish | None], others: Callable[[], Sequence[str]]
    ) -> None:
        self.signs = Signs()
        self.settled = Event()
        self._setting = setting
        self._shard = shard
        self._wish = wish
        self._others = others
        self._session: ShardSession | None = None
        self._rewound = ""
        self._owned = False
        self._forgotten = False
        self._stopping = False
        self._changed = Event()

    def stop(self) -> None:
        """End between two steps and give the claim back. :meth:`run` returns then."""
        self._stopping = True
        self._changed.set()
        if self._session is not None:
            self._session.stop()

    def interrupt(self) -> None:
        """The mapping has changed in what can be followed while a session runs."""
        if self._session is not None:
            self._session.interrupt()

    def restart(self) -> None:
        """Begin another session from what is settled."""
        if self._session is not None:
            self._session.stop()

    def look(self) -> None:
        """Follow a wish that has not been followed yet."""
        wish = self._wish()
        if self._session is not None and wish is not None and wish.id != self._rewound:
            self._session.stop()

    async def run(self) -> None:
        """The loop top for one shard: whatever goes wrong, it is tried again until it is stopped."""
        failures = 0
        while not self._stopping:
            try:
                claim = await self._acquire()
                if claim is not None:
                    await self._own(claim)
                    failures = 0
            except SourcesError as error:
                failures += 1
                self._blame(error)
            except Exception as error:
                failures += 1
                self.signs.source = f"it failed and begins again: {error or type(error).__name__}"
                log.exception("%s %s failed; it begins again", self._setting.mapping().label, self._shard)
            else:
                await self._sleep((FORGOTTEN if self._forgotten else ASK_EVERY).total_seconds())
                continue
            self.settled.set()
            await self._sleep(min(_BROKEN_LONGEST_S, _BROKEN_FIRST_S * 2.0 ** min(failures, 10)))

    @property
    def _name(self) -> str:
        return f"esm:{self._setting.mapping().uuid}:{self._shard}"

    async def _acquire(self) -> Claim | None:
        claim = await self._setting.services.claims.acquire(self._name)
        self.signs.store = ""
        self.signs.held = claim is not None
        if claim is None:
            self._owned = True
            self.signs.source = ""  # whoever has it says what is wrong with it
            self.settled.set()
        return claim

    async def _own(self, claim: Claim) -> None:
        """Until the claim goes, is wanted elsewhere, or the worker is stopped.

        Raises SourceUnavailable, SourceMissing, CheckpointsUnavailable.
        """
        try:
            while self._goes_on(claim):
                place = await self._place(claim)
                if place is None or not self._goes_on(claim):
                    break
                session = ShardSession(self._setting, self._shard, claim, place, self.signs)
                self._session = session
                ready = asyncio.create_task(self._tell_ready(session))
                try:
                    await session.run()
                finally:
                    self._session = None
                    ready.cancel()
        except* ClaimLost:
            log.warning("%s %s: another process has it now", self._setting.mapping().label, self._shard)
        finally:
            self.signs.held = False
            self.signs.lanes, self.signs.behind = (), timedelta(0)
            await claim.release()

    def _goes_on(self, claim: Claim) -> bool:
        return not self._stopping and claim.held and not claim.wanted_elsewhere

    async def _place(self, claim: Claim) -> Place | None:
        """Where to begin, a rewind and a shard without a place considered; None when it is not to be begun now."""
        place = shard_place.read(await claim.load())
        self._forgotten = place.fresh and self._owned and not self._forgotten
        if self._forgotten:
            return None
        wish = self._wish()
        if place.fresh or (wish is not None and wish.id != place.rewound):
            siblings = await self._siblings() if place.fresh else ()
            place = shard_place.followed(place, wish, siblings)
            if place.fresh:
                now = self._setting.services.clock()
                place = place.begun_at(shard_place.first_start(self._setting.mapping(), siblings, now))
            await claim.save(shard_place.document(place))
        self._rewound = place.rewound
        self._owned = True
        return place

    async def _siblings(self) -> Sequence[Place]:
        prefix = f"esm:{self._setting.mapping().uuid}:"
        names = [prefix + shard for shard in self._others() if shard != self._shard]
        return [shard_place.read(await self._setting.services.claims.load(name)) for name in names]

    async def _tell_ready(self, session: ShardSession) -> None:
        await session.opened.wait()
        self.signs.source = ""
        self.settled.set()

    def _blame(self, error: SourcesError) -> None:
        if isinstance(error, CheckpointsUnavailable):
            self.signs.store = str(error)
            return
        if str(error) != self.signs.source:
            level = logging.ERROR if isinstance(error, SourceMissing) else logging.WARNING
            log.log(level, "%s %s: %s", self._setting.mapping().label, self._shard, error)
        self.signs.source = str(error)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
