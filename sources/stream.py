"""The port of ordered streams: what an adapter gives the poller, which does everything else.

An adapter is one file in ``sources/adapters`` whose ``ADAPTER`` is a :class:`StreamAdapter`. It knows shards, positions and
how a record looks to a function. Batching, filters, retries, bisection, leases, checkpoints and destinations are the
poller's (:mod:`sources.stream_poller`).

The contract, which ``tests/conformance/sources/streams`` checks of every adapter
    **Order.** Records of a shard come in order of their positions, each once.
    **From anywhere.** A reader opened after a position gives the next record there is; nothing between is left out
    silently: what the source has dropped meanwhile is raised once, as :class:`~sources.errors.PositionLost`.
    **Bounded.** A reader holds at most a few batches in memory, however far behind it is.
    **Patience.** ``read`` returns at once when there is something, and an empty sequence when ``wait`` is over.
    **Failure.** A source that is away raises SourceUnavailable, one that is not there SourceMissing; the reader can be
    used again after either. It is never silent for longer than ``wait``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from sources.mapping import EventSourceMapping, StartingPosition

if TYPE_CHECKING:
    from sources.source import Services


@dataclass(frozen=True, slots=True)
class Record:
    """``position`` orders the records of a shard; its decimal text is the sequence number. ``key`` is the partition key.

    ``arrived`` is when the source took it, in UTC. ``event`` is the record as the function sees it, JSON-able. ``data``
    is its content decoded, for filters and reports; None where it has none. ``identity`` names the content, so that a
    stream that was made anew is recognised: two records with different identities are different.
    """

    position: int
    key: str
    arrived: datetime
    event: Mapping[str, Any]
    data: bytes | None
    identity: str = ""
    traceparent: str = ""
    fault: str = ""
    """Why no event can be made of it (data that is not JSON where JSON is promised); empty for all others. The poller
    never invokes with such a record: it goes to the on-failure destination and the dead letters with this reason."""


@dataclass(frozen=True, slots=True)
class After:
    """Go on behind the record with this position, whose ``identity`` was seen then (empty: not known)."""

    position: int
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Begin:
    """Nothing is stored: where the mapping says. ``timestamp`` only with AT_TIMESTAMP.

    ``exact`` False: what counts is when the source took a record, whatever its publisher says of its time, and some that
    came just before may be among them. So begins again who began with LATEST: nothing that came since is passed over.
    """

    at: StartingPosition
    timestamp: datetime | None = None
    exact: bool = True


Start = After | Begin


class ShardReader(Protocol):
    async def read(self, limit: int, wait: timedelta) -> Sequence[Record]:
        """The next records, at most ``limit``; empty when none came within ``wait``.

        Raises SourceUnavailable, SourceMissing, and PositionLost once, when records between the start and the first one
        there is are gone: reading then goes on from there.
        """

    async def close(self) -> None:
        """Idempotent."""


class Stream(Protocol):
    """A stream with its shards."""

    async def start(self) -> None:
        """Connect where there is something to connect to. Raises nothing for a source that is away: reads say so."""

    async def close(self) -> None: ...

    async def shards(self) -> Sequence[str]:
        """Ids of the shards that can be read now, such as ``shardId-000000000000``. A shard that was split or merged away
        stays until it has been read to its end. Raises SourceUnavailable, SourceMissing."""

    async def open(self, shard: str, start: Start) -> ShardReader:
        """Raises SourceUnavailable, SourceMissing."""

    def payload(self, records: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> bytes:
        """The event of one batch of one shard: ``records`` are their ``event``; ``more`` are top-level keys of tumbling
        windows, empty otherwise. :func:`records_payload` is what Kinesis and DynamoDB have."""

    def failure_key(self, identifier: Any) -> int | None:
        """The position that one ``itemIdentifier`` of a partial batch response means; None: it is malformed."""


@dataclass(frozen=True, slots=True)
class StreamAdapter:
    """What a module in ``sources/adapters`` declares as ``ADAPTER`` for a kind of stream.

    ``serves`` says which mappings are its own: two adapters may serve one kind (a stream of the own broker, and one at an
    AWS-compatible endpoint). ``data_key`` is where the data stands in a filter's view of a record.
    """

    name: str
    serves: Callable[[EventSourceMapping, Services], bool]
    open: Callable[[EventSourceMapping, Services], Stream]
    data_key: str = "data"
    batch_info: str = "KinesisBatchInfo"
    requires: Sequence[str] = field(default=())
    """Distributions of an optional extra that it needs; without them the mapping is refused, naming the extra."""


def records_payload(records: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> bytes:
    """``{"Records": […]}``

    >>> records_payload([{"a": 1}], {})
    b'{"Records":[{"a":1}]}'
    """
    import json

    return json.dumps({"Records": list(records), **more}, separators=(",", ":")).encode()


def sequence_number(identifier: Any) -> int | None:
    """Of an ``itemIdentifier`` that is a sequence number.

    >>> sequence_number("12"), sequence_number(""), sequence_number(None)
    (12, None, None)
    """
    return int(identifier) if isinstance(identifier, str) and identifier.isdecimal() and identifier.isascii() else None
