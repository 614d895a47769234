"""The port of queues: what an adapter gives the queue poller, which does everything else.

An adapter is one file in ``sources/adapters`` whose ``ADAPTER`` is an :class:`InboxAdapter`. Batching, filters,
concurrency, message groups and partial failures are the poller's (:mod:`sources.queue_poller`).

The contract, which ``tests/conformance/sources/queues`` checks of every adapter
    **Held.** A message that was received is nobody else's until it is deleted or released, or its holder dies.
    **Never lost.** A message leaves the source only by ``delete``, or by the queue's own rule (``maximum receives``)
    into its dead-letter queue, which has it before the source has not.
    **Counted.** ``receive_count`` is 1 the first time and grows with each time that it came back, however it came back.
    **Patience.** ``receive`` returns when there is something, and an empty sequence when ``wait`` is over.
    **Failure.** SourceUnavailable and SourceMissing as for streams. Settling what the source has taken back already
    (its connection was lost) is passed over: it is received again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from sources.mapping import EventSourceMapping

if TYPE_CHECKING:
    from sources.source import Services


@dataclass(frozen=True, slots=True)
class Received:
    """One message. ``id`` is what a partial batch response names. ``event`` is the message as the function sees it.

    ``data`` is its body, for filters. ``group`` is its message group (FIFO), empty without; messages of one group are
    handled one batch after the other, in order. ``handle`` is the adapter's own. After ``expires`` its sender does not want
    it handled any more; None: always.
    """

    id: str
    event: Mapping[str, Any]
    data: bytes
    receive_count: int
    handle: Any
    group: str = ""
    traceparent: str = ""
    expires: datetime | None = None


class Inbox(Protocol):
    async def start(self) -> None:
        """Raises nothing for a source that is away: ``receive`` says so."""

    async def close(self) -> None:
        """What is received and not settled goes back. Idempotent."""

    @property
    def visibility(self) -> timedelta:
        """How long a message that failed stays away before it comes again."""

    @property
    def trouble(self) -> str:
        """What a person should mend although messages come, with the remedy; empty when there is nothing."""

    async def receive(self, limit: int, wait: timedelta) -> Sequence[Received]:
        """At most ``limit`` messages. A limit of zero says that none are wanted for now, and returns at once.

        Cancelling it loses nothing: what had come is received next, or goes back with ``close``.
        Raises SourceUnavailable, SourceMissing.
        """

    async def delete(self, messages: Sequence[Received]) -> None:
        """They are done with. Raises SourceUnavailable: nothing is lost, they come again."""

    async def release(self, messages: Sequence[Received], *, failed: bool, reason: str = "") -> None:
        """They come again: after the visibility timeout, counted, when they ``failed``; at once otherwise, and uncounted
        where the source can do that. ``reason`` says why, for whoever finds them in a dead-letter queue.

        Messages of a group keep their order. Raises SourceUnavailable: call again with the same, nothing is done twice.
        """

    def payload(self, messages: Sequence[Received]) -> bytes:
        """The event of one batch."""


@dataclass(frozen=True, slots=True)
class InboxAdapter:
    """What a module in ``sources/adapters`` declares as ``ADAPTER`` for a kind of queue. See
    :class:`~sources.stream.StreamAdapter`. ``initial_concurrency`` is how many batches run at once at the start,
    ``highest_concurrency`` at most; ``partial``: whether ReportBatchItemFailures has a meaning. ``retries_in_place``: a
    batch that failed is invoked again as it is, with backoff, until it succeeds (Amazon MQ), instead of being released.
    """

    name: str
    serves: Callable[[EventSourceMapping, Services], bool]
    open: Callable[[EventSourceMapping, Services], Inbox]
    data_key: str = "body"
    initial_concurrency: int = 5
    highest_concurrency: int = 1250
    partial: bool = True
    retries_in_place: bool = False
    requires: Sequence[str] = field(default=())
