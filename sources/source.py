"""The ports of the sources: what a source is, and what whoever composes the program gives it.

The contract, which ``tests/conformance/sources`` checks of every adapter
    **Checkpoint after accept.** A change is recorded only after :meth:`Acceptor.accept` returned for everybody who wants
    it. A crash between the two announces it again with the same ``event_id``: duplicated, never lost.
    **Nothing twice without a cause.** What is recorded and has not changed is not announced again, whatever restarts.
    **Refused once.** What the acceptor refuses for good is counted, reported and passed over.
    **Order.** Events about the same thing are offered one after the other.
    **Structure.** ``start`` returns when the source works or its health says why it does not yet; it never waits for the
    world to come right. ``start`` and ``close`` are idempotent; what is accepted when ``close`` begins is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Any, Protocol

from sources.snapshot import Change, Remembered, Root

NO_COUNTS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SourceEvent:
    """One event for one function. ``payload`` is the JSON the function gets; ``source`` such as ``s3:photos`` and
    ``trigger`` (OpenTelemetry's ``faas.trigger``) say where it comes from. A repeat has the same ``event_id``.
    """

    function: str
    qualifier: str
    payload: bytes
    source: str
    trigger: str
    event_id: str


class Acceptor(Protocol):
    async def accept(self, event: SourceEvent) -> str:
        """The event's id, once the broker has confirmed that a queue took it. Raises NotAccepted, Refused."""


class Checkpoints(Protocol):
    """What has been announced, kept where a restart finds it. Every method raises CheckpointsUnavailable."""

    async def load(self, bucket: str) -> Remembered:
        """All that is remembered of the bucket. The value is the caller's own, to change."""

    async def record(self, bucket: str, changes: Sequence[Change]) -> None:
        """Remember all of the changes, or none. At most one change a key."""

    async def remember_root(self, bucket: str, root: Root) -> None:
        """Remember which directory the objects were seen in."""

    async def delete(self, bucket: str) -> None:
        """Forget the bucket: whatever is in it will be new."""


class Lease(Protocol):
    """The right to be the only one, among all processes. It is lost when it is not renewed for ``ttl``."""

    @property
    def ttl(self) -> timedelta: ...

    async def acquire(self) -> bool:
        """Try once: True when it is ours now. Raises CheckpointsUnavailable."""

    async def renew(self) -> bool:
        """False when somebody else has it. Raises CheckpointsUnavailable."""

    async def release(self) -> None:
        """Give it back at once. Harmless when it is not ours. Raises CheckpointsUnavailable."""


class Condition(Enum):
    """WATCHING: all is well. DEGRADED: it works in a slower way. LAGGING: it is behind. WAITING: another process does it.
    IDLE: nobody wants its events. OUTAGE: what it watches, or the store, is away. STARTING and CLOSED as they say.
    """

    STARTING = "starting"
    WATCHING = "watching"
    DEGRADED = "degraded"
    LAGGING = "lagging"
    WAITING = "waiting"
    IDLE = "idle"
    OUTAGE = "outage"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Health:
    """``reasons`` are for a person and name the remedy; ``counters`` only ever grow while the source lives."""

    condition: Condition
    reasons: tuple[str, ...] = ()
    counters: Mapping[str, int] = field(default_factory=lambda: NO_COUNTS)

    @property
    def ok(self) -> bool:
        """Nothing needs a person's attention."""
        return self.condition in (Condition.WATCHING, Condition.WAITING, Condition.IDLE, Condition.STARTING)


class Source(Protocol):
    """Something outside that becomes events. See the module's docstring for the contract."""

    @property
    def name(self) -> str: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def health(self) -> Health: ...

    async def reconfigure(self, configuration: Any) -> None:
        """Follow another configuration of the adapter's type, with the same name, from now on. Raises Misconfigured."""


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Services:
    """What every adapter may use. ``lease`` makes the lease of a name; ``clock`` is the wall clock, in UTC."""

    acceptor: Acceptor
    checkpoints: Checkpoints
    lease: Callable[[str], Lease]
    region: str = "us-east-1"
    account: str = "000000000000"
    clock: Callable[[], datetime] = utc_now


@dataclass(frozen=True, slots=True)
class Adapter:
    """What a module in ``sources/adapters`` declares as ``ADAPTER``: ``make`` takes a value of type ``configuration``."""

    name: str
    configuration: type
    make: Callable[[Any, Services], Source]
