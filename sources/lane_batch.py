"""One batch of a lane while it runs: what it is invoked with, what the answers mean, and what is told of what is given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from sources import giving_up
from sources import window as windows
from sources.batching import LIMIT_BYTES
from sources.errors import ClaimLost
from sources.invocation import Answered, BatchCall, Deferred, Failed, GivenUp, TooLarge
from sources.mapping import EventSourceMapping
from sources.partial import FailedFrom, FailedWhole, Passed, Verdict, failed, read, verdict
from sources.retrying import GiveUp, Outcome, Stack
from sources.source import Claim, Services
from sources.stream import Record, Stream
from sources.window import Window

_LINKS = 200


class Stopped(Exception):
    """The lane is to end: whatever it was about to do is done again by whoever comes next."""


class Shard(Protocol):
    """What a lane needs of the session it belongs to."""

    shard: str
    services: Services
    stream: Stream
    claim: Claim
    info_key: str
    tally: Counter[str]

    @property
    def mapping(self) -> EventSourceMapping:
        """As it is now: it may change between two steps."""

    @property
    def stopping(self) -> bool: ...

    def now(self) -> float:
        """Seconds of the monotonic clock."""

    def idle_at(self, moment: datetime) -> bool:
        """Everything that arrived before the moment has been read."""

    def taken(self) -> None:
        """There is room for more."""

    def settle(self, lane: int, position: int) -> None: ...

    async def save(self, result: str, error: str = "") -> None:
        """Raises ClaimLost."""

    async def pause(self, seconds: float) -> None:
        """Sleep, or until something has changed."""


class LaneBatch:
    """``window`` is the one that the records belong to. ``final``: there are none, and the window is being ended."""

    def __init__(
        self, shard: Shard, records: tuple[Record, ...], window: Window | None = None, *, final: bool = False
    ) -> None:
        self.records = records
        self.window = window
        self.final = final
        self.failure: Outcome | None = None
        self._shard = shard
        self._guilty: set[int] = set()
        self._requests: list[tuple[int, int, str]] = []
        self._state: Mapping[str, Any] | None = None
        self._rendered: tuple[Sequence[Record], bytes] | None = None

    async def invoke(self, records: tuple[Record, ...]) -> Outcome:
        """Raises Stopped, ClaimLost."""
        outcome = await self._invoke(records)
        if not isinstance(outcome, Passed):
            self.failure = outcome
        return outcome

    def settled(self, *, passed: bool) -> None:
        """The window goes on with what the function answered, if the records passed."""
        if self.window is not None and self._state is not None and passed:
            self.window = self.window.with_state(self._state)
        self._state = self._rendered = None

    def given_up(self, action: GiveUp) -> None:
        self._guilty |= {record.position for record in action.piece.records}

    def told(self, action: GiveUp) -> GivenUp:
        """What is told of it."""
        shard, piece = self._shard, action.piece
        told = giving_up.given_up(
            shard.mapping,
            shard.shard,
            piece,
            action.condition,
            payload=self._render(piece.records),
            info_key=shard.info_key,
            batch=self.records,
            guilty=frozenset(self._guilty),
            request_ids=self._request_ids(piece.records[0].position),
            now=shard.services.clock(),
        )
        if not self.final or self.window is None:
            return told
        # a window's end has no record: it is named by the window
        name = f"window {self.window.start.isoformat()}"
        info = {**told.info, "batchSize": 0, "startSequenceNumber": None, "endSequenceNumber": None}
        return replace(told, size=0, first=name, last=name, info=info, report={})

    def explained(self, stack: Stack) -> str:
        """What keeps it from going on, and the remedy."""
        function = self._shard.mapping.function
        if isinstance(self.failure, Deferred):
            return f"{function} is not run: {self.failure.reason}. It is asked again; no record is charged"
        where = "the end of a window" if self.final else f"record {stack[0].records[0].position}"
        return (
            f"{function} failed {stack[0].invoked} times at {where}: {words(self.failure)}. Correct it, or set "
            "MaximumRetryAttempts or MaximumRecordAgeInSeconds"
        )

    async def _invoke(self, records: tuple[Record, ...]) -> Outcome:
        shard, mapping = self._shard, self._shard.mapping
        if shard.stopping:
            raise Stopped
        payload = self._render(records)
        if len(payload) > LIMIT_BYTES:
            return TooLarge(len(payload))
        if not shard.claim.held:
            raise ClaimLost
        links = [record.traceparent for record in records if record.traceparent][:_LINKS]
        size = 0 if self.final else len(records)
        result = await shard.services.invoker.invoke(BatchCall(mapping, payload, size, links))
        if isinstance(result, Deferred | TooLarge):
            shard.tally["throttled"] += isinstance(result, Deferred) and result.throttled
            return result
        shard.tally["invocations"] += 1
        outcome = self._judge(records, result) if isinstance(result, Answered | Failed) else result
        if not isinstance(outcome, Passed):
            shard.tally["failed"] += 1
            self._requests.append((records[0].position, records[-1].position, result.request_id))
        return outcome

    def _render(self, records: tuple[Record, ...]) -> bytes:
        """The event. That of a batch which is only tried again is not made again."""
        if self._rendered is not None and self._rendered[0] == records:
            return self._rendered[1]
        more: Mapping[str, Any] = {}
        if self.window is not None:
            mapping = self._shard.mapping
            more = windows.keys(self.window, self._shard.shard, mapping.source_arn, final=self.final)
        events = [] if self.final else [record.event for record in records]
        payload = self._shard.stream.payload(events, more)
        self._rendered = (records, payload)
        return payload

    def _judge(self, records: Sequence[Record], result: Answered | Failed) -> Verdict:
        """What the answer means; the state that it has is kept until the records are settled."""
        self._state = None
        if isinstance(result, Failed):
            return failed(result)
        mapping, failure_key = self._shard.mapping, self._shard.stream.failure_key
        positions = {record.position for record in records}
        if self.final:
            return Passed(result)
        if self.window is None:
            return verdict(result, positions, failure_key) if mapping.report_failures else Passed(result)
        found = windows.state_of(result)
        if isinstance(found, FailedWhole):
            return found
        answer, self._state = found
        return read(answer, result, positions, failure_key) if mapping.report_failures else Passed(result)

    def _request_ids(self, position: int) -> list[str]:
        return [request for first, last, request in self._requests if first <= position <= last]


def words(outcome: object) -> str:
    """An outcome in words."""
    match outcome:
        case FailedWhole(_, error_type, message):
            return f"{error_type}: {message}"[:1000]
        case FailedFrom(position):
            return f"it named record {position} in batchItemFailures"
        case None:
            return "not tried"
        case _:
            return str(getattr(outcome, "reason", outcome))
