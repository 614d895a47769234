"""The port: what fnrunner asks of a broker, and what it may rely on. RabbitMQ and the embedded broker both keep it.

The contract, which ``tests/conformance/broker`` checks of every implementation
    **Confirm.** :meth:`Broker.publish` returns only after the broker has taken responsibility for the message on every
    queue it was routed to. If it raises :class:`~broker.errors.Unavailable` the message *may* have been taken:
    publish again with the same ``message_id``. Every other error means it was not taken.
    **Mandatory.** A message that no queue takes raises :class:`~broker.errors.Unroutable`.
    **Prefetch.** A subscription never holds more unsettled deliveries than its prefetch.
    **Settlement.** A delivery is settled exactly once; a second time raises :class:`~broker.errors.AlreadySettled`. When the
    connection is lost first, settling raises :class:`~broker.errors.DeliveryLost` and the message is delivered again,
    marked ``redelivered``.
    **Copy before ack.** ``retry_later``, ``dead_letter`` and ``forward`` publish with confirm, then acknowledge. When
    the publish fails, the delivery stays unsettled and the error is raised: settle it again, or let it be redelivered.
    **Order.** One publisher, one queue, one consumer with prefetch 1: first in, first out. A requeued message goes to
    the front of a classic queue; elsewhere its place is not promised.
    **Streams.** Offsets begin at 0 and rise by one, for records published over AMQP 0-9-1, except that RabbitMQ leaves out a
    number where it begins a new segment: a step of two is no loss. Subscribing with a number starts exactly at that record;
    where retention has dropped it, at the first there is; beyond the end it waits there, and the next record comes: the
    offset of what comes first shows either. (RabbitMQ does not say that a number is beyond the end: finding out takes about
    four seconds.) Subscribing with a time passes over no record that arrived at or after it, and may deliver earlier ones:
    those of the same second, and of the same chunk of the stream. A record keeps its properties and its headers, lists and
    tables apart, which RabbitMQ 3 drops. Nobody is told when a record arrived: whoever needs that asks publishers for a
    ``timestamp``, and takes the time of delivery for a record without.
    **Recovery.** After a lost connection, subscriptions come back by themselves, exclusive queues included.
    **Durability.** A persistent message that was confirmed on a quorum queue or a stream survives ``kill -9`` of
    the broker and of the process. (RabbitMQ 3.10 needs about a second until a new quorum queue itself is on disk.)
    **Structure.** ``start`` returns when the broker is usable or raises; ``close`` is idempotent, stops intake first, and
    leaves unsettled deliveries to be delivered again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Literal, Protocol

from broker.message import Message
from broker.topology import Topology

PUBLISH_TIMEOUT = timedelta(seconds=30)
"""How long a confirm may take before :class:`~broker.errors.Unavailable`."""

Offset = Literal["first", "last", "next"] | int | datetime
"""Where to start on a stream: the first record there is, the last chunk, only new ones, a number, or a time."""


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """``ready`` wait for a consumer. ``unsettled`` are delivered and not settled: None where the broker does not say."""

    ready: int
    unsettled: int | None
    consumers: int


class State(Enum):
    """CONNECTED works; BLOCKED consumes but takes no messages (alarm); DISCONNECTED is trying; CLOSED is over."""

    CONNECTED = "connected"
    BLOCKED = "blocked"
    DISCONNECTED = "disconnected"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Status:
    """``reason`` says in words what is wrong, for a person; ``reconnects`` counts recoveries since the start."""

    state: State
    reason: str = ""
    reconnects: int = 0


class Delivery(Protocol):
    """One message handed to one consumer, to be settled exactly once."""

    @property
    def message(self) -> Message: ...
    @property
    def queue(self) -> str: ...
    @property
    def exchange(self) -> str: ...
    @property
    def routing_key(self) -> str: ...

    @property
    def redelivered(self) -> bool:
        """It was delivered before and not settled: that consumer died, lost its connection, or gave it back."""

    @property
    def failures(self) -> int:
        """How many earlier deliveries of this message failed, as far as the broker says; 0 for the first.

        A quorum queue counts every delivery that was given back (``requeue``), lost with its consumer or cut off by a crash,
        on RabbitMQ 4.3 only the latter two; a crash may count one more. A copy starts at 0 again, and so does a dead letter,
        except that on RabbitMQ 4 it may come with the count of the queue where it died. Any other queue, and a stream, says 1
        when ``redelivered``, else 0.
        """

    @property
    def offset(self) -> int | None:
        """The position on a stream; None on a queue."""

    @property
    def settled(self) -> bool: ...

    async def ack(self) -> None:
        """It is done with. Raises AlreadySettled, DeliveryLost."""

    async def requeue(self) -> None:
        """Give it back unprocessed, for whoever has room. Raises AlreadySettled, DeliveryLost."""

    async def reject(self) -> None:
        """Send it to its queue's dead-letter exchange as it is, or drop it where there is none."""

    async def retry_later(self, message: Message, delay: timedelta) -> None:
        """Publish ``message`` so that it reaches this queue after ``delay``, then ack. See ``publish_later``."""

    async def dead_letter(self, message: Message, routing_key: str) -> None:
        """Publish ``message`` to :data:`broker.names.DEAD`, then ack."""

    async def forward(self, message: Message, *, exchange: str, routing_key: str) -> None:
        """Publish ``message``, then ack."""


OnDelivery = Callable[[Delivery], None]
"""Called on the event loop for each delivery; must not block. Start a task to do the work. What it raises is logged
and the delivery is requeued."""


class Subscription(Protocol):
    """A consumer. It survives reconnection."""

    @property
    def queue(self) -> str: ...
    @property
    def prefetch(self) -> int: ...

    @property
    def lost(self) -> str:
        """Why nothing comes, where that is because the queue does not exist now; empty otherwise, and after ``cancel``.

        Once the queue is made again consuming goes on by itself and this is empty. A stream is then another stream: it is read
        from its first record, which has offset 0 again.
        """

    async def set_prefetch(self, prefetch: int) -> None:
        """Change how many deliveries may be unsettled; 0 pauses. Deliveries that are out stay valid."""

    async def cancel(self) -> None:
        """Take no more. Deliveries that are out stay valid and can still be settled. Idempotent."""


PERMIT_PAUSE = timedelta(milliseconds=100)
"""How long a permit whose holder was lost is kept back, so that whatever ran under it can be stopped first."""


class Permit(Protocol):
    @property
    def valid(self) -> bool:
        """False once it was released, or lost with the connection that held it."""

    @property
    def lost(self) -> asyncio.Event:
        """Set when the right to run has gone and nobody released it: whatever runs under it must stop at once."""

    async def release(self) -> None:
        """Give it back. Idempotent; harmless when it is no longer valid."""


class Permits(Protocol):
    """A counted right, shared by all processes: at most ``total`` are held at any time, whatever dies.

    The permits of a process that dies return within seconds, and after :data:`PERMIT_PAUSE`. A process that is cut off from
    the broker loses its permits before the broker gives them to somebody else.
    """

    async def resize(self, total: int, generation: int = 0) -> None:
        """Make ``total`` permits exist. Shrinking takes effect as held permits are released, before anybody else gets them.

        Of two calls that differ the higher ``generation`` counts, whichever comes last. Call it before the first ``acquire``
        of a process: a broker that was restarted, or whose queue somebody deleted, is told again what was asked for last.
        """

    async def acquire(self, timeout: timedelta, *, urgent: bool = False) -> Permit | None:
        """A permit, waiting for one at most ``timeout`` (zero: take one only if it is free now).

        Of those who wait, the urgent ones come first. Raises Unavailable.
        """


class Broker(Protocol):
    """See the module's docstring for the contract."""

    @property
    def node(self) -> str:
        """This client's unique name: replies and control events reach it by this."""

    @property
    def status(self) -> Status: ...

    async def start(self) -> None:
        """Connect and declare :func:`broker.topology.foundation`. Raises Unavailable, Locked, TopologyConflict."""

    async def close(self) -> None: ...

    async def declare(self, topology: Topology) -> None:
        """Make it exist; nothing changes where it exists already. Raises TopologyConflict, QueueNotFound, Unavailable.

        A topology may have bindings alone: of the queues in them only the names need to be known.
        """

    async def delete(self, topology: Topology) -> None:
        """Delete its queues with what is in them, and its exchanges. What does not exist is passed over."""

    async def publish(
        self, message: Message, *, exchange: str = "", routing_key: str, timeout: timedelta = PUBLISH_TIMEOUT
    ) -> None:
        """Confirmed and mandatory. Raises Unroutable, Refused, MessageTooLarge, Blocked, Unavailable, Closed."""

    async def publish_later(self, message: Message, *, queue: str, delay: timedelta) -> None:
        """Publish so that it reaches ``queue`` after ``delay`` (zero: now). Raises as ``publish``, and DelayUnknown.

        Known are the delays that this client was made with, and every other whose queue it has declared: ``declare(
        delay_queue(delay))``. The way back is a binding of the queue, which those of a function have; for any other queue
        declare ``Topology(bindings=(Binding(names.DUE, queue, queue),))`` once, which does not touch the queue itself. What is
        due for a queue without it, or for one that is gone by then, ends with :data:`broker.names.ORPHANS`.
        """

    async def subscribe(
        self, queue: str, on_delivery: OnDelivery, *, prefetch: int, offset: Offset | None = None
    ) -> Subscription:
        """Consume; ``offset`` is for streams. Raises QueueNotFound, Unavailable, Closed."""

    async def get(self, queue: str) -> Delivery | None:
        """One message now, or None when the queue is empty. Raises QueueNotFound. Not for streams."""

    async def depth(self, queue: str) -> QueueDepth:
        """Raises QueueNotFound."""

    async def depths(self, queues: Iterable[str]) -> dict[str, QueueDepth]:
        """Of many queues, for little more than one costs. Those that do not exist are left out."""

    async def purge(self, queue: str) -> int:
        """Drop what is ready; how many there were. Raises QueueNotFound."""

    def request(
        self, message: Message, *, queue: str, room: timedelta, timeout: timedelta, window: int = 0
    ) -> AsyncGenerator[Message]:
        """Ask whoever consumes ``queue`` and yield its replies until the one marked last (see :meth:`reply`).

        ``room`` is how long the request may wait for a consumer with room; zero means at once or not at all.
        ``timeout`` is the longest wait for each reply. The message is not persistent. The implementation sets
        ``correlation_id``, ``reply_to``, ``expiration`` and the node header.
        ``window`` is how many replies may be on their way and not yet yielded; zero means any number. Whoever asks
        several replies of unknown size gives one, so that nobody's memory fills when it reads slowly. Closing the
        generator before the last reply tells the replier to stop.
        Raises RequestReturned, NoReply, Unavailable, Blocked.
        """

    async def reply(self, to: Message, message: Message, *, last: bool = True) -> None:
        """Send one reply to whoever sent the request ``to``. Replies arrive in order.

        Not confirmed: when the asker is gone a single reply is dropped. Where the request has a window, a reply that is
        not the last waits until there is room in it. Raises AskerGone when the asker has closed its generator, or its
        process has gone, before the last reply.
        """

    def abandoned(self, to: Message) -> asyncio.Event:
        """Set when whoever sent the request ``to``, which has a window, wants no more replies. Drop it after the last."""

    async def broadcast(self, message: Message) -> None:
        """Tell every listening process, this one included. Best effort: state must also be readable elsewhere."""

    async def listen(self, on_message: Callable[[Message], None]) -> Subscription:
        """Hear broadcasts from now on."""

    def permits(self, name: str) -> Permits: ...
