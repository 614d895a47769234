"""Where a shard is: the document that is stored with its claim, ``esm:UUID:SHARD``. Pure.

==============  ======================================================================================================
``position``    decimal text: everything up to this record is settled. Absent before the first
``identity``    that record's identity, empty where the source has none
``start``       where to begin while there is no position: ``{"at": …, "timestamp": ISO 8601 or null, "exact": bool}``
``began``       ISO 8601: since when the mapping has worked on this stream
``lanes``       what is settled beyond the position: ``[{"factor": n, "positions": [decimal text of each lane]}]``
``factor``      how many lanes ``windows`` and ``blocks`` are of
``windows``     of each lane with one, by its number: ``{"start", "end", "state"}``
``blocks``      of each lane that failed, by its number: ``{"since", "until" or null}``: when it could not go on
``result``      how the last batch ended: ``No records processed``, ``OK``, ``PROBLEM: Function call failed`` …
``result_at``   ISO 8601
``error``       what the last failure was, for a person; empty after a success
``gaps``        the last ten losses: ``{"from", "to", "remade", "at"}``; positions as decimal text, ``to`` null: to the end
``rewound``     the id of the last rewind that was followed
==============  ======================================================================================================

A rewind is the document ``esm-rewind:UUID``, ``{"id": text, "to": …}``; ``to`` is ``{"position": the next record's}``,
``{"timestamp": ISO 8601}`` or ``{"at": "TRIM_HORIZON" | "LATEST"}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sources.errors import PositionLost
from sources.lanes import Settled
from sources.mapping import EventSourceMapping, StartingPosition
from sources.retrying import Block
from sources.stream import After, Begin, Start
from sources.window import Window, loaded, stored

NONE_YET = "No records processed"
OK = "OK"
FAILED = "PROBLEM: Function call failed"
NOT_RUN = "PROBLEM: Function could not be invoked"

_MOST_GAPS = 10


@dataclass(frozen=True, slots=True)
class Place:
    """``windows`` and ``blocks`` are by lane, of ``factor`` lanes."""

    low: After | None = None
    start: Begin | None = None
    began: datetime | None = None
    settled: tuple[Settled, ...] = ()
    factor: int = 1
    windows: Mapping[int, Window] = field(default_factory=dict)
    blocks: Mapping[int, Block] = field(default_factory=dict)
    result: str = NONE_YET
    result_at: datetime | None = None
    error: str = ""
    gaps: tuple[Mapping[str, Any], ...] = ()
    rewound: str = ""

    @property
    def fresh(self) -> bool:
        """Nobody has worked on the shard yet."""
        return self.low is None and self.start is None

    def lost(self, error: PositionLost, at: datetime) -> Place:
        """With a gap more. A stream that was made anew begins anew."""
        gap = {
            "from": str(error.expected),
            "to": None if error.found is None or error.remade else str(error.found - 1),
            "remade": error.remade,
            "at": at.isoformat(),
        }
        known = self.gaps[-1] if self.gaps else {}
        again = not error.remade and all(known.get(name) == gap[name] for name in ("from", "to", "remade"))
        place = self if again else replace(self, gaps=(*self.gaps, gap)[-_MOST_GAPS:])
        return place.begun_at(Begin(StartingPosition.TRIM_HORIZON)) if error.remade else place

    def begun_at(self, start: Start) -> Place:
        """From there on, with nothing left of what was done elsewhere."""
        low = start if isinstance(start, After) else None
        begin = None if isinstance(start, After) else start
        return replace(self, low=low, start=begin, settled=(), windows={}, blocks={})


def document(place: Place) -> dict[str, Any]:
    """JSON-able."""
    found: dict[str, Any] = {
        "result": place.result,
        "result_at": _written(place.result_at),
        "error": place.error,
        "began": _written(place.began),
        "rewound": place.rewound,
        "gaps": list(place.gaps),
        "lanes": [{"factor": each.factor, "positions": list(map(str, each.positions))} for each in place.settled],
        "factor": place.factor,
        "windows": {str(lane): stored(window) for lane, window in place.windows.items()},
        "blocks": {
            str(lane): {"since": block.since.isoformat(), "until": _written(block.until)}
            for lane, block in place.blocks.items()
        },
    }
    if place.low is not None:
        return {"position": str(place.low.position), "identity": place.low.identity, **found}
    if place.start is not None:
        start = place.start
        found["start"] = {"at": start.at.value, "timestamp": _written(start.timestamp), "exact": start.exact}
    return found


def read(known: Mapping[str, Any]) -> Place:
    """The inverse of :func:`document`, and an empty place for what has never been stored."""
    position, start = known.get("position"), known.get("start")
    return Place(
        low=None if position is None else After(int(position), known.get("identity", "")),
        start=_begin(start) if start else None,
        began=_moment(known.get("began")),
        settled=tuple(Settled(each["factor"], tuple(map(int, each["positions"]))) for each in known.get("lanes", ())),
        factor=known.get("factor", 1),
        windows={int(lane): loaded(window) for lane, window in known.get("windows", {}).items()},
        blocks={
            int(lane): Block(datetime.fromisoformat(block["since"]), _moment(block["until"]))
            for lane, block in known.get("blocks", {}).items()
        },
        result=known.get("result", NONE_YET),
        result_at=_moment(known.get("result_at")),
        error=known.get("error", ""),
        gaps=tuple(known.get("gaps", ())),
        rewound=known.get("rewound", ""),
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """A user's wish to go on from elsewhere."""

    id: str
    start: Start


def wish(known: Mapping[str, Any]) -> Wish | None:
    """The wish in a document; None where there is none that can be understood.

    >>> wish({"id": "1", "to": {"position": "8"}}).start, wish({})
    (After(position=7, identity=''), None)
    """
    to = known.get("to")
    if not known.get("id") or not isinstance(to, Mapping):
        return None
    try:
        if "position" in to:
            position = int(to["position"])
            start: Start = After(position - 1) if position > 0 else Begin(StartingPosition.TRIM_HORIZON)
        elif "timestamp" in to:
            start = Begin(StartingPosition.AT_TIMESTAMP, datetime.fromisoformat(to["timestamp"]))
        else:
            start = Begin(StartingPosition(to["at"]))
    except (KeyError, TypeError, ValueError):
        return None
    return Wish(str(known["id"]), start)


def followed(place: Place, wanted: Wish | None, siblings: Sequence[Place]) -> Place:
    """The place after the wish, if it has not been followed yet.

    A shard that came into being after the others had followed it is none of those that were meant.
    """
    if wanted is None or wanted.id == place.rewound:
        return place
    place = replace(place, rewound=wanted.id)
    if place.fresh and any(sibling.rewound == wanted.id for sibling in siblings):
        return place
    return place.begun_at(wanted.start)


def first_start(mapping: EventSourceMapping, siblings: Sequence[Place], now: datetime) -> Begin:
    """Where to begin a shard that nobody has worked on.

    With LATEST, a shard that came into being after the mapping had begun with the others is read from that moment on, so
    that nothing is left out between. The others began within seconds of each other.
    """
    at = mapping.starting_position or StartingPosition.TRIM_HORIZON
    began = min((sibling.began for sibling in siblings if sibling.began is not None), default=now)
    if at is StartingPosition.LATEST and (now - began).total_seconds() > _TOGETHER_S:
        return Begin(StartingPosition.AT_TIMESTAMP, began, exact=False)
    return Begin(at, mapping.starting_timestamp)


_TOGETHER_S = 10


def _begin(start: Mapping[str, Any]) -> Begin:
    return Begin(StartingPosition(start["at"]), _moment(start.get("timestamp")), start.get("exact", True))


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
