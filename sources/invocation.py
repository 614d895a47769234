"""How a poller has a batch run, and what is done with records it gives up: two ports, filled by the composition root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol
from uuid import NAMESPACE_OID, uuid5

from sources.mapping import EventSourceMapping


@dataclass(frozen=True, slots=True)
class BatchCall:
    """One synchronous invocation of a mapping's function. ``size`` is how many records are in it; ``links`` are the
    traceparents of the records that have one (a few hundred at most)."""

    mapping: EventSourceMapping
    payload: bytes
    size: int
    links: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """The function ended well; ``payload`` is its answer."""

    payload: bytes
    request_id: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The function failed. ``payload`` is the error JSON. Charged as an attempt."""

    error_type: str
    message: str
    payload: bytes = b""
    request_id: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Crashed:
    """The worker died, or fnrunner failed, while the batch ran: perhaps the batch's fault. Charged from the third in a
    row on."""

    reason: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Deferred:
    """It was not run, and that is not the batch's fault: throttled, no worker, broker away, function not there (yet).

    Never charged: try again after a while. ``throttled`` tells the first case; ``reason`` is for a person.
    """

    reason: str
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The payload is over the limit of a synchronous invocation: split the batch; a single record is given up."""

    size_bytes: int


Result = Answered | Failed | Crashed | Deferred | TooLarge


class Invoker(Protocol):
    async def invoke(self, call: BatchCall) -> Result:
        """Have it run and wait. Raises nothing but cancellation."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Records that will not be tried again, and why.

    ``condition`` is ``RetryAttemptsExhausted``, ``RecordAgeExceeded``, ``InvokePayloadTooLarge`` or ``RecordMalformed``.
    ``payload`` is the event they would have been invoked with (for a queue, the message's body), ``first`` and ``last``
    the positions (for a queue, message ids) as texts. ``info`` is the batch info of the destination record
    (``KinesisBatchInfo`` …), under ``info_key``. ``result`` is the last one, None when they were never tried. ``report``
    is the poison report (JSON-able), empty when there is none. ``attempts`` is how often the function was invoked with
    the guilty record.
    """

    mapping: EventSourceMapping
    shard: str
    condition: str
    payload: bytes
    first: str
    last: str
    size: int
    attempts: int
    at: datetime
    result: Answered | Failed | Crashed | None = None
    info_key: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def event_id(self) -> str:
        """The same each time these records are given up by this mapping.

        The content counts: a stream that was made anew has other records at the same positions.
        """
        content = sha256(self.payload).hexdigest()
        return str(uuid5(NAMESPACE_OID, f"{self.mapping.uuid}/{self.shard}/{self.first}/{self.last}/{content}"))


class Letters(Protocol):
    async def give_up(self, given_up: GivenUp) -> None:
        """Tell the mapping's on-failure destination and file a dead letter; returns when both are safe.

        Telling twice what a crash made be told twice does no harm. Raises NotAccepted: try again; the records must not
        be passed over before it has returned.
        """
