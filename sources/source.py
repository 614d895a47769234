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

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Any, Protocol

from broker.broker import Broker
from sources.invocation import Invoker, Letters
from sources.queue_attributes import QueueAttributes
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


class Claim(Protocol):
    """The right to be the only one to work on something. It has a number that grows with each owner, which fences off an
    owner that does not know yet that it has lost it."""

    @property
    def name(self) -> str: ...

    @property
    def held(self) -> bool:
        """False from the moment when another process might have it: stop at once."""

    @property
    def wanted_elsewhere(self) -> bool:
        """Another process has less to do and waits for it: give it up between two batches."""

    async def load(self) -> Mapping[str, Any]:
        """What was stored under this claim's name, empty before the first time. Raises CheckpointsUnavailable."""

    async def save(self, document: Mapping[str, Any]) -> None:
        """Store it, if the claim is still ours. Those of many claims go in one transaction.

        Raises ClaimLost, CheckpointsUnavailable."""

    async def release(self) -> None:
        """Give it up at once, for whoever comes. Idempotent; raises nothing."""


class Claims(Protocol):
    """Who works on what, over all processes that share the store. Claims of a process that died are free in seconds."""

    async def acquire(self, name: str) -> Claim | None:
        """The claim, if it is free and this process is the one to take it; None otherwise: ask again in a second.

        Raises CheckpointsUnavailable."""

    async def load(self, name: str) -> Mapping[str, Any]:
        """What is stored under the name, whoever has the claim. Raises CheckpointsUnavailable."""

    async def forget(self, prefix: str) -> None:
        """Remove what is stored under all names that begin so, claims included. Raises CheckpointsUnavailable."""


class Condition(Enum):
    """WATCHING: all is well. DEGRADED: it works in a slower way. LAGGING: it is behind. WAITING: another process does it.
    IDLE: nobody wants its events. SILENT: it is connected, and what is there does not come. OUTAGE: what it watches, or the
    store, is away. STARTING and CLOSED as they say.
    """

    STARTING = "starting"
    WATCHING = "watching"
    DEGRADED = "degraded"
    LAGGING = "lagging"
    WAITING = "waiting"
    IDLE = "idle"
    SILENT = "connected but not consuming"
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


async def default_attributes(queue: str) -> QueueAttributes:
    """Of a queue about which nothing is stored."""
    return QueueAttributes()


class _Absent:
    """Stands for a service that nobody handed in; using it names what is missing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # whoever only looks at it is no user
            raise AttributeError(name)
        raise RuntimeError(f"this process has no service for {name!r}: the composition root gives it to pollers")


_absent: Any = _Absent()


@dataclass(frozen=True, slots=True)
class Services:
    """What every adapter may use. ``lease`` makes the lease of a name; ``clock`` is the wall clock, in UTC.

    Pollers use ``broker`` (the own one), ``invoker``, ``letters`` and ``claims``. ``brokers`` makes a started client of
    another RabbitMQ by its name in the settings (raises Misconfigured for an unknown one); ``endpoints`` are the URLs of
    AWS-compatible services by name (``sqs``, ``kinesis``, ``dynamodb``), where ARNs of other accounts live. ``retry_first``
    is the first wait after a failed batch; it doubles up to 60 times as much. ``lag`` is from when on it is worth saying that a
    stream's records are old. ``queue_attributes`` are those of a queue of
    the own broker (raises CheckpointsUnavailable); ``virtual_hosts`` are those of the brokers, by the brokers' names.
    """

    acceptor: Acceptor
    checkpoints: Checkpoints
    lease: Callable[[str], Lease]
    region: str = "us-east-1"
    account: str = "000000000000"
    clock: Callable[[], datetime] = utc_now
    broker: Broker = _absent
    invoker: Invoker = _absent
    letters: Letters = _absent
    claims: Claims = _absent
    brokers: Callable[[str], Awaitable[Broker]] = _absent
    endpoints: Mapping[str, str] = field(default_factory=dict)
    retry_first: timedelta = timedelta(seconds=1)
    lag: timedelta = timedelta(minutes=1)
    queue_attributes: Callable[[str], Awaitable[QueueAttributes]] = default_attributes
    virtual_hosts: Mapping[str, str] = field(default_factory=lambda: {"fnrunner": "/"})


@dataclass(frozen=True, slots=True)
class Adapter:
    """What a module in ``sources/adapters`` declares as ``ADAPTER``: ``make`` takes a value of type ``configuration``.

    ``watches``: it announces differences between what is there and what is remembered, as the suite of watchers checks.
    """

    name: str
    configuration: type
    make: Callable[[Any, Services], Source]
    watches: bool = False
