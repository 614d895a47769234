"""The value that travels down the pipeline, and what is remembered of deliveries while they are here."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum

from broker.broker import Delivery
from broker.envelope import Envelope
from fnrunner.concurrency.permits import Lease
from fnrunner.delivery.retry import Decision
from fnrunner.model.function import Function
from fnrunner.model.invocation import Answer, EnvironmentSpec
from fnrunner.telemetry.tracing import Span


class Kind(Enum):
    """EVENT is asynchronous: accepted, retried, dead-lettered. REQUEST is synchronous: answered once."""

    EVENT = "event"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Execution:
    """One delivery on its way. Fields are filled from top to bottom by the steps of the pipeline."""

    delivery: Delivery
    kind: Kind
    envelope: Envelope
    span: Span
    started_ms: int
    function: Function | None = None
    spec: EnvironmentSpec | None = None
    lease: Lease | None = None
    answer: Answer | None = None
    decision: Decision | None = None
    rest: asyncio.Task[None] | None = None
    """Its environment is answered and not free yet: until this has ended."""

    @property
    def version(self) -> str:
        return self.function.version if self.function else ""

    @property
    def digest(self) -> str:
        return self.function.code.digest if self.function else ""


Key = tuple[str, int, int, int]


def key_of(envelope: Envelope) -> Key:
    """What makes two deliveries the same piece of work: a retry or a redrive of an event is another one."""
    return envelope.id, envelope.redrives, envelope.attempt, envelope.throttles


class Admission(Enum):
    """NEW: run it. JOINED: the same work runs here; it will be settled with it. SETTLED: the same work was settled here."""

    NEW = "new"
    JOINED = "joined"
    SETTLED = "settled"


@dataclass(slots=True)
class InFlight:
    """Which work is here. It keeps a redelivery from running what already runs or has been settled in this process.

    An acknowledgement that was written may not have reached the broker's disk when it died, so what was settled is kept in
    mind: the last ``remembered`` of it. Only a redelivery is compared with it; a first delivery is always run.
    """

    remembered: int = 10_000
    _running: dict[Key, list[Delivery]] = field(default_factory=dict)
    _settled: OrderedDict[Key, None] = field(default_factory=OrderedDict)

    def admit(self, envelope: Envelope, delivery: Delivery) -> Admission:
        key = key_of(envelope)
        if delivery.redelivered and key in self._settled:
            return Admission.SETTLED
        if (deliveries := self._running.get(key)) is not None:
            deliveries.append(delivery)
            return Admission.JOINED
        self._running[key] = [delivery]
        return Admission.NEW

    def deliveries(self, envelope: Envelope) -> list[Delivery]:
        """All deliveries of this work, oldest first."""
        return self._running.get(key_of(envelope), [])

    def leave(self, envelope: Envelope) -> None:
        """The work is over or given back."""
        self._running.pop(key_of(envelope), None)

    def remember(self, envelope: Envelope) -> None:
        """It was settled, whether or not the broker has heard so."""
        self._settled[key_of(envelope)] = None
        if len(self._settled) > self.remembered:
            self._settled.popitem(last=False)

    def __len__(self) -> int:
        return len(self._running)
