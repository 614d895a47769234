"""A stream, functions, letters and claims in memory, for pollers: with everything that may happen to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sources.errors import (
    CheckpointsUnavailable,
    ClaimLost,
    NotAccepted,
    NotSupported,
    PositionLost,
    SourceMissing,
    SourceUnavailable,
)
from sources.invocation import Answered, BatchCall, Failed, GivenUp, Result
from sources.mapping import EventSourceMapping, StartingPosition
from sources.source import Claims, Services
from sources.stream import After, Begin, Record, Start, StreamAdapter, records_payload, sequence_number
from sources.stream_poller import StreamPoller

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/clicks"


def clock() -> datetime:
    return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())


def now() -> float:
    return asyncio.get_running_loop().time()


class FakeStream:
    """``shards_there`` are lists of records; ``trimmed`` is the first position that is left of a shard."""

    def __init__(self, *shards: str) -> None:
        self.shards_there: dict[str, list[Record]] = {shard: [] for shard in shards}
        self.trimmed: dict[str, int] = {}
        self.fault: SourceUnavailable | SourceMissing | None = None
        self.knows_times = True
        self.opened: list[tuple[str, Start]] = []
        self.readers = 0
        self.closed = 0
        self.generation = 0
        self.news = asyncio.Event()

    def put(self, shard: str, *datas: object, key: str = "", fault: str = "", arrived: datetime | None = None) -> None:
        records = self.shards_there[shard]
        for data in datas:
            position = records[-1].position + 1 if records else 0
            body = data if isinstance(data, bytes) else json.dumps(data).encode()
            identity = f"{self.generation}/{position}"
            event = {"kinesis": {"sequenceNumber": str(position), "partitionKey": key}, "data": body.decode("latin-1")}
            records.append(Record(position, key, arrived or clock(), event, body, identity, fault=fault))
        self.wake()

    def remake(self, shard: str) -> None:
        self.generation += 1
        self.shards_there[shard] = []

    def trim(self, shard: str, before: int) -> None:
        self.trimmed[shard] = before
        self.shards_there[shard] = [r for r in self.shards_there[shard] if r.position >= before]

    def wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    async def start(self) -> None: ...

    async def close(self) -> None:
        assert self.readers == 0, "every reader is closed before the stream"
        self.closed += 1

    async def shards(self) -> Sequence[str]:
        if self.fault:
            raise self.fault
        return list(self.shards_there)

    async def open(self, shard: str, start: Start) -> FakeReader:
        if self.fault:
            raise self.fault
        if isinstance(start, Begin) and start.at is StartingPosition.AT_TIMESTAMP and not self.knows_times:
            raise NotSupported("no times here")
        self.opened.append((shard, start))
        self.readers += 1
        return FakeReader(self, shard, start)

    def payload(self, records: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> bytes:
        return records_payload(records, more)

    def failure_key(self, identifier: Any) -> int | None:
        return sequence_number(identifier)


class FakeReader:
    def __init__(self, stream: FakeStream, shard: str, start: Start) -> None:
        self._stream = stream
        self._shard = shard
        self._next = 0
        self._expected: After | None = None
        self._not_before: datetime | None = None
        self._closed = False
        records = stream.shards_there[shard]
        match start:
            case After():
                self._next, self._expected = start.position + 1, start
            case Begin(StartingPosition.LATEST):
                self._next = records[-1].position + 1 if records else 0
            case Begin(StartingPosition.AT_TIMESTAMP, moment):
                self._not_before = moment

    async def read(self, limit: int, wait: timedelta) -> Sequence[Record]:
        until = now() + wait.total_seconds()
        while True:
            if self._stream.fault:
                await asyncio.sleep(0.01)
                raise self._stream.fault
            self._check()
            found = [
                record
                for record in self._stream.shards_there[self._shard]
                if record.position >= self._next and (self._not_before is None or record.arrived >= self._not_before)
            ][:limit]
            if found:
                self._next = found[-1].position + 1
                self._expected = After(found[-1].position, found[-1].identity)
                return found
            news = self._stream.news
            try:
                async with asyncio.timeout_at(until):
                    await news.wait()
            except TimeoutError:
                return ()

    def _check(self) -> None:
        records = self._stream.shards_there[self._shard]
        if (seen := self._expected) is not None:
            same = next((r for r in records if r.position == seen.position), None)
            remade = (same is not None and seen.identity not in ("", same.identity)) or (
                not records and self._stream.generation
            )
            if remade:
                self._expected, self._next = None, 0
                raise PositionLost(seen.position + 1, 0, remade=True)
        first = self._stream.trimmed.get(self._shard, 0)
        if self._next < first:
            expected, self._next = self._next, first
            raise PositionLost(expected, first)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._stream.readers -= 1


Function = Callable[[list[dict[str, Any]], dict[str, Any]], object]


class FakeInvoker:
    """``function`` gets the data of the records and the event; it answers, raises, or gives a Result or an awaitable."""

    def __init__(self) -> None:
        self.function: Function = lambda datas, event: None
        self.calls: list[list[Any]] = []
        self.events: list[dict[str, Any]] = []
        self.begun: list[float] = []
        self.running = 0

    async def invoke(self, call: BatchCall) -> Result:
        event = json.loads(call.payload)
        assert call.size == len(event["Records"])
        datas = [json.loads(record["data"]) for record in event["Records"]]
        self.calls.append(datas)
        self.events.append(event)
        self.begun.append(now())
        self.running += 1
        try:
            await asyncio.sleep(0.001)
            answer = self.function(datas, event)
            if isinstance(answer, Awaitable):
                answer = await answer
        except Exception as error:
            return Failed(type(error).__name__, str(error), b"{}", f"request-{len(self.calls)}")
        finally:
            self.running -= 1
        if isinstance(answer, Result):
            return answer
        return Answered(json.dumps(answer).encode(), f"request-{len(self.calls)}")


class FakeLetters:
    """Keeps what it is given, each id once; ``away`` while there are that many refusals left."""

    def __init__(self) -> None:
        self.given: list[GivenUp] = []
        self.away = 0

    async def give_up(self, given_up: GivenUp) -> None:
        await asyncio.sleep(0.001)
        if self.away:
            self.away -= 1
            raise NotAccepted("the broker is away")
        self.given = [each for each in self.given if each.event_id != given_up.event_id]
        self.given.append(given_up)


@dataclass
class FakeStore:
    """What all processes share: who holds what, and the documents as JSON."""

    owners: dict[str, FakeClaim] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)
    away: bool = False
    saves: int = 0

    def document(self, name: str) -> dict[str, Any]:
        return json.loads(self.documents.get(name, "{}"))


class FakeClaim:
    def __init__(self, store: FakeStore, name: str) -> None:
        self.name = name
        self.held = True
        self.wanted_elsewhere = False
        self._store = store

    async def load(self) -> Mapping[str, Any]:
        return await _load(self._store, self.name)

    async def save(self, document: Mapping[str, Any]) -> None:
        text = json.dumps(document)
        await asyncio.sleep(0.001)
        if self._store.away:
            raise CheckpointsUnavailable
        if self._store.owners.get(self.name) is not self:
            self.held = False
            raise ClaimLost
        self._store.documents[self.name] = text
        self._store.saves += 1

    async def release(self) -> None:
        self.held = False
        if self._store.owners.get(self.name) is self:
            del self._store.owners[self.name]


class FakeClaims:
    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def acquire(self, name: str) -> FakeClaim | None:
        if self._store.away:
            raise CheckpointsUnavailable
        if name in self._store.owners:
            return None
        self._store.owners[name] = FakeClaim(self._store, name)
        return self._store.owners[name]

    async def load(self, name: str) -> Mapping[str, Any]:
        return await _load(self._store, name)

    async def forget(self, prefix: str) -> None:
        raise AssertionError("a poller forgets nothing")


async def _load(store: FakeStore, name: str) -> Mapping[str, Any]:
    await asyncio.sleep(0.001)
    if store.away:
        raise CheckpointsUnavailable
    return store.document(name)


class World:
    """One stream and what is round it; ``poller`` makes the poller of another process."""

    def __init__(self, *shards: str) -> None:
        self.stream = FakeStream(*(shards or ("s0",)))
        self.invoker = FakeInvoker()
        self.letters = FakeLetters()
        self.store = FakeStore()
        self.pollers: list[StreamPoller] = []

    def mapping(self, **changes: Any) -> EventSourceMapping:
        defaults: dict[str, Any] = {
            "uuid": "u", "function": "f", "source_arn": ARN, "batch_size": 10,
            "starting_position": StartingPosition.TRIM_HORIZON,
        }  # fmt: skip
        return EventSourceMapping(**{**defaults, **changes})

    def poller(self, *, claims: Claims | None = None, **changes: Any) -> StreamPoller:
        absent: Any = None
        services = Services(
            absent,
            absent,
            absent,
            clock=clock,
            invoker=self.invoker,
            letters=self.letters,
            claims=claims or FakeClaims(self.store),
        )
        adapter = StreamAdapter("fake", lambda mapping, services: True, lambda mapping, services: self.stream)
        poller = StreamPoller(self.mapping(**changes), services, adapter, now=now)
        self.pollers.append(poller)
        return poller

    async def started(self, **changes: Any) -> StreamPoller:
        poller = self.poller(**changes)
        await poller.start()
        return poller

    async def crash(self, poller: StreamPoller) -> None:
        """End it as a killed process ends: nothing more is stored, and its claims are free after a while."""
        for claim in self.store.owners.values():
            claim.held = False
        owners = dict(self.store.owners)
        self.store.owners = dict.fromkeys(owners)  # type: ignore[arg-type]
        assert poller._task is not None
        poller._task.cancel()
        await asyncio.wait([poller._task])
        self.store.owners = {}

    def place(self, shard: str = "s0") -> dict[str, Any]:
        return self.store.document(f"esm:u:{shard}")

    @property
    def seen(self) -> list[Any]:
        """The data of all records of all invocations."""
        return [data for datas in self.invoker.calls for data in datas]

    async def until(self, condition: Callable[[], object], seconds: float = 600) -> None:
        pause = 0.01
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(pause)
                pause = min(0.25, pause * 1.1)

    async def at(self, position: int, shard: str = "s0", seconds: float = 600) -> None:
        """Wait until that position is stored."""
        await self.until(lambda: self.place(shard).get("position") == str(position), seconds)
