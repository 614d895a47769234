"""Reserved concurrency over all workers: a slot of this process and a permit of the broker, or nothing.

A capped function's permits are messages that every worker takes from and gives back to (:class:`broker.broker.Permits`). An
uncapped function has none and costs nothing here.

Both are needed at once, and neither is held while the other is waited for: a permit that waits for room in a full worker
would keep another worker's free slot idle. So whoever has room and finds no permit gives the room back while it waits for
one, and whoever gets a permit and has lost its room gives the permit back and waits for room::

    room ──permit free──────────────────────────► Lease
      ▲ └─none: give the room back─► wait for a permit ──room free──► Lease
      └──────────────────────── give the permit back ◄─┘ none

When a function becomes capped while it runs uncapped, what runs is counted in: a worker takes permits on behalf of
it, as far as there are any, and gives them back as it ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from broker.broker import Permit, Permits
from broker.errors import BrokerError
from fnrunner.concurrency.permits import NO_WAIT, Lease, LocalPermits, Patience
from fnrunner.model.invocation import Throttled, ThrottleReason

log = logging.getLogger(__name__)

AT_CAP = Throttled(ThrottleReason.RESERVED)
LOOK_AGAIN_S = 0.1
TELL_WITHIN = timedelta(seconds=2)


@dataclass(slots=True)
class _Cap:
    """``generation`` grows with each change of any cap; ``made`` is the one for which the broker's permits exist."""

    total: int
    generation: int
    made: int = -1


class FleetLease:
    """A slot here and a permit of the fleet's."""

    __slots__ = ("_gate", "_permit", "_slot", "function")

    def __init__(self, gate: FleetGate, function: str, slot: Lease, permit: Permit) -> None:
        self.function = function
        self._gate = gate
        self._slot: Lease | None = slot
        self._permit = permit

    @property
    def own_version(self) -> str:
        return self._slot.own_version if self._slot is not None else ""

    @property
    def valid(self) -> bool:
        return self._slot is not None and self._permit.valid

    @property
    def lost(self) -> asyncio.Event:
        return self._permit.lost

    async def release(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            self._gate.ended(self.function)
            # the permit first: whoever gets the slot next asks for one at once
            await self._permit.release()
            await slot.release()


class FleetGate:
    """See :class:`~fnrunner.concurrency.permits.ConcurrencyGate`. ``permits`` are the broker's, by function."""

    def __init__(self, permits: Callable[[str], Permits], local: LocalPermits) -> None:
        self._permits = permits
        self._local = local
        self._caps: dict[str, _Cap] = {}
        self._capped: Counter[str] = Counter()
        self._making: dict[str, asyncio.Lock] = {}
        self._adopting: dict[str, asyncio.Task[None]] = {}

    async def acquire(self, function: str, patience: Patience, version: str = "") -> Lease | Throttled:
        cap = self._caps.get(function)
        if cap is None:
            got = await self._local.acquire(function, patience.room, version)
            if isinstance(got, Throttled) or function not in self._caps:
                return got
            # it has become capped while this one stood in the line
            await got.release()
            return await self.acquire(function, patience, version)
        if cap.total == 0:
            return AT_CAP
        if cap.made != cap.generation:
            await self._make(function, cap)
        return await self._acquire_capped(function, patience, version)

    async def set_cap(self, function: str, cap: int | None, generation: int) -> None:
        """Raises BrokerError: the cap is known here all the same, and the broker is told before anything else runs."""
        known = self._caps.get(function)
        if cap is None:
            self._caps.pop(function, None)
        elif known is None:
            self._caps[function] = _Cap(cap, generation)
            self._adopt(function)
        elif known.total != cap:
            known.total, known.generation = cap, generation
        await self._local.set_cap(function, cap)
        if known is not None and cap is not None and known.made not in (-1, known.generation):
            # others may run with what there is no more
            await self._make(function, known)

    def running(self, function: str) -> int:
        """How many invocations hold a permit here."""
        return self._capped[function]

    def ended(self, function: str) -> None:
        self._capped[function] -= 1

    async def close(self) -> None:
        adopting, self._adopting = self._adopting, {}
        for task in adopting.values():
            task.cancel()
        await asyncio.gather(*adopting.values(), return_exceptions=True)

    async def _acquire_capped(self, function: str, patience: Patience, version: str) -> Lease | Throttled:
        permits, now = self._permits(function), asyncio.get_running_loop().time
        turn_ends = now() + patience.turn.total_seconds()
        room_ends = now() + patience.room.total_seconds()
        while True:
            slot = await self._local.acquire(function, NO_WAIT, version)
            if isinstance(slot, Throttled):
                ends = turn_ends if slot.reason is ThrottleReason.RESERVED else room_ends
                slot = await self._local.acquire(function, timedelta(seconds=max(0.0, ends - now())), version)
                if isinstance(slot, Throttled):
                    return slot
            if permit := await self._or_release(slot, permits.acquire(NO_WAIT)):
                return self._lease(function, slot, permit)
            await slot.release()
            if (left := turn_ends - now()) <= 0:
                return AT_CAP
            if (permit := await permits.acquire(timedelta(seconds=left), urgent=patience.urgent)) is None:
                return AT_CAP
            slot = await self._local.acquire(function, NO_WAIT, version)
            if not isinstance(slot, Throttled):
                return self._lease(function, slot, permit)
            await permit.release()

    @staticmethod
    async def _or_release(slot: Lease, asking: Awaitable[Permit | None]) -> Permit | None:
        try:
            return await asking
        except BaseException:
            await slot.release()
            raise

    def _lease(self, function: str, slot: Lease, permit: Permit) -> FleetLease:
        self._capped[function] += 1
        return FleetLease(self, function, slot, permit)

    async def _make(self, function: str, cap: _Cap) -> None:
        async with self._making.setdefault(function, asyncio.Lock()):
            if cap.made != (generation := cap.generation):
                await self._permits(function).resize(cap.total, generation)
                cap.made = generation

    # What ran before the cap

    def _adopt(self, function: str) -> None:
        if self._local.slots.running(function) > self._capped[function] and function not in self._adopting:
            task = asyncio.create_task(self._hold_for_uncapped(function), name=f"adopt {function}")
            self._adopting[function] = task
            task.add_done_callback(lambda _: self._adopting.pop(function, None))

    async def _hold_for_uncapped(self, function: str) -> None:
        held: list[Permit] = []
        try:
            while (cap := self._caps.get(function)) is not None:
                uncapped = self._local.slots.running(function) - self._capped[function]
                held = [permit for permit in held if permit.valid]
                while len(held) > uncapped:
                    await held.pop().release()
                if uncapped <= 0:
                    return
                if cap.total and len(held) < uncapped and (permit := await self._one_more(function, cap)) is not None:
                    held.append(permit)
                    continue
                await asyncio.sleep(LOOK_AGAIN_S)
        finally:
            for permit in held:
                await permit.release()

    async def _one_more(self, function: str, cap: _Cap) -> Permit | None:
        try:
            await self._make(function, cap)
            return await self._permits(function).acquire(NO_WAIT)
        except BrokerError as error:
            log.info("what of %s ran before its cap is not counted in yet: %s", function, error)
            return None


async def tell(permits: Permits, cap: int | None, generation: int, within: timedelta = TELL_WITHIN) -> None:
    """Let a cap hold from now on, whoever runs what. Workers do the same when they hear of it: a failure is only logged."""
    if cap is None:
        return
    try:
        async with asyncio.timeout(within.total_seconds()):
            await permits.resize(cap, generation)
    except (TimeoutError, BrokerError) as error:
        log.warning("a cap takes effect when the workers hear of it: %s", error)
