"""Which records of a shard are worked on side by side, and how far the shard is then. Pure.

A record's lane follows from its partition key, so that records of one key stay in order; records without a key are spread
by their positions. Each lane goes on by itself. What is stored is the low position, up to which everything is settled, and
how far each lane is beyond it: with the same number of lanes nothing that is settled is done again after a restart. Nor
is it with another number, since what the former lanes had settled is remembered until the low position has passed it.

>>> from datetime import UTC, datetime
>>> def record(position, key): return Record(position, key, datetime(2026, 1, 1, tzinfo=UTC), {}, None)
>>> ledger = Ledger(2)
>>> [ledger.add(record(position, key)) for position, key in enumerate("agag")]
[1, 0, 1, 0]
>>> ledger.settle(0, 3)
>>> ledger.low, ledger.settled
(None, (Settled(factor=2, positions=(3, -1)),))
>>> ledger.settle(1, 2)
>>> ledger.low.position
3
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from sources.stream import After, Record

NOWHERE = -1
"""Before every position."""

_REMEMBERED = 4
"""Former numbers of lanes whose progress is kept."""

_SLACK = 1024


def lane_of(key: str, position: int, factor: int) -> int:
    """The lane, from 0 on; the same in every process.

    >>> lane_of("", 7, 1), lane_of("sensor-1", 7, 4) == lane_of("sensor-1", 8, 4)
    (0, True)
    """
    if factor == 1:
        return 0
    text = key or str(position)
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()) % factor


@dataclass(frozen=True, slots=True)
class Settled:
    """With ``factor`` lanes, everything in each lane up to its position is done with."""

    factor: int
    positions: tuple[int, ...]

    def covers(self, record: Record) -> bool:
        return record.position <= self.positions[lane_of(record.key, record.position, self.factor)]


class _Entry:
    __slots__ = ("identity", "position", "settled")

    def __init__(self, position: int, identity: str, settled: bool) -> None:
        self.position = position
        self.identity = identity
        self.settled = settled


class Ledger:
    """What was read of a shard and is not settled, in order. ``low``: everything up to there is; ``former``: as stored."""

    def __init__(self, factor: int, low: After | None = None, former: Sequence[Settled] = ()) -> None:
        self.low = low
        self.factor = factor
        known = next((each for each in former if each.factor == factor), None)
        self._positions = list(known.positions if known else (NOWHERE,) * factor)
        self._former = [each for each in former if each.factor != factor]
        self._stored = tuple(former)
        self._last_covered = max((max(each.positions) for each in former), default=NOWHERE)
        self._entries: deque[_Entry] = deque()
        self._lanes: list[deque[_Entry]] = [deque() for _ in range(factor)]

    @property
    def unsettled(self) -> int:
        return sum(map(len, self._lanes))

    @property
    def settled(self) -> tuple[Settled, ...]:
        """What is settled beyond the low position, the present number of lanes first."""
        low = self.low.position if self.low is not None else NOWHERE
        every = [Settled(self.factor, tuple(self._positions)), *self._former]
        return tuple(each for each in every if max(each.positions) > low)[:_REMEMBERED]

    def covers(self, record: Record) -> bool:
        """It has been done with already, before a restart or a change of lanes."""
        return record.position <= self._last_covered and any(each.covers(record) for each in self._stored)

    def skip(self, record: Record) -> None:
        """It was read, and nothing is to be done with it."""
        if self._entries and self._entries[-1].settled:
            self._entries[-1].position, self._entries[-1].identity = record.position, record.identity
        else:
            self._entries.append(_Entry(record.position, record.identity, settled=True))
        self._advance()

    def add(self, record: Record) -> int:
        """It was read, and is for this lane."""
        lane = lane_of(record.key, record.position, self.factor)
        entry = _Entry(record.position, record.identity, settled=False)
        self._entries.append(entry)
        self._lanes[lane].append(entry)
        return lane

    def settle(self, lane: int, position: int) -> None:
        """Everything that was added to the lane up to the position is done with."""
        line = self._lanes[lane]
        while line and line[0].position <= position:
            entry = line.popleft()
            entry.settled = True
            self._positions[lane] = entry.position
        self._advance()

    def _advance(self) -> None:
        while self._entries and self._entries[0].settled:
            entry = self._entries.popleft()
            self.low = After(entry.position, entry.identity)
        if len(self._entries) > 2 * self.unsettled + _SLACK:
            self._compact()

    def _compact(self) -> None:
        """Of neighbours that are settled, only the last can become the low position."""
        kept: deque[_Entry] = deque()
        for entry in self._entries:
            if kept and kept[-1].settled and entry.settled:
                kept[-1] = entry
            else:
                kept.append(entry)
        self._entries = kept
