"""What the suite needs of each adapter: a queue outside, and inboxes over it.

A rig is one class for each adapter and each thing it runs on. ``RIGS`` has them all; the suite fails for an adapter that
has none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from broker.broker import Broker, State
from broker.message import Message
from broker.topology import Queue, Topology
from sources.adapters import queue, rmq, sqs
from sources.inbox import Inbox, InboxAdapter
from sources.mapping import EventSourceMapping
from sources.queue_attributes import QueueAttributes
from sources.source import Services

DEAD = "dead-letters"


@dataclass(frozen=True)
class Sent:
    """``id`` is the id that the sender gave, empty where the source makes one."""

    body: str
    id: str


class Rig(Protocol):
    """``visibility`` is how long a message that failed stays away. ``uncounted``: a release that did not fail leaves the
    receive count alone. ``groups`` and ``buries``: the source has message groups, dead-letter queues. ``repeats``: it may give
    a message twice without a cause, as standard queues of SQS may.
    """

    adapter: InboxAdapter
    services: Services
    visibility: timedelta
    uncounted: bool
    groups: bool
    buries: bool
    repeats: bool

    async def start(self, *, fifo: bool = False, most: int | None = None) -> None:
        """Make the queue, and a dead-letter queue where there are most ``most`` receives."""

    async def close(self) -> None: ...
    def mapping(self, **more: Any) -> EventSourceMapping: ...
    async def send(self, *bodies: str, group: str = "", headers: Mapping[str, str] = {}) -> None: ...
    async def depth(self) -> int:
        """How many messages are in the queue, those in hand not counted."""

    async def dead(self) -> Sequence[str]:
        """Takes the bodies out of the dead-letter queue."""

    async def remove(self) -> None:
        """Delete the queue with what is in it."""

    async def create(self) -> None:
        """Make it again."""


def open_inbox(rig: Rig, **more: Any) -> Inbox:
    return rig.adapter.open(rig.mapping(**more), rig.services)


class BrokerRig:
    """A queue of the broker port; ``make`` gives a client that is not started."""

    groups = buries = uncounted = repeats = False
    visibility = timedelta(milliseconds=300)
    adapter: InboxAdapter

    def __init__(self, make: Callable[[], Broker]) -> None:
        self._broker = make()
        self.name = f"jobs-{uuid4().hex[:8]}"
        self._dead = f"{DEAD}-{uuid4().hex[:8]}"
        self._attributes = QueueAttributes(self.visibility)
        nobody: Any = None
        self.services = Services(
            nobody,
            nobody,
            nobody,
            broker=self._broker,
            queue_attributes=self._attributes_of,
            retry_first=timedelta(milliseconds=20),
        )

    async def _attributes_of(self, queue: str) -> QueueAttributes:
        return self._attributes

    async def start(self, *, fifo: bool = False, most: int | None = None) -> None:
        await self._broker.start()
        if most is not None:
            self._attributes = replace(self._attributes, max_receive_count=most, dead_letter_queue=self._dead)
            await self._broker.declare(Topology(queues=(Queue(self._dead),)))
        await self.create()

    async def close(self) -> None:
        try:
            if self._broker.status.state is State.CONNECTED:
                await self._broker.delete(Topology(queues=(Queue(self.name), Queue(self._dead))))
        finally:
            await self._broker.close()

    async def send(self, *bodies: str, group: str = "", headers: Mapping[str, str] = {}) -> None:
        more = {"message-group-id": group} if group else {}
        for body in bodies:
            message = Message(body.encode(), message_id=str(uuid4()), headers={**headers, **more})
            await self._broker.publish(message, routing_key=self.name)

    async def depth(self) -> int:
        return (await self._broker.depth(self.name)).ready

    async def dead(self) -> Sequence[str]:
        bodies = []
        while (delivery := await self._broker.get(self._dead)) is not None:
            bodies.append(delivery.message.body.decode())
            await delivery.ack()
        return bodies

    async def remove(self) -> None:
        await self._broker.delete(Topology(queues=(Queue(self.name),)))

    async def create(self) -> None:
        await self._broker.declare(Topology(queues=(Queue(self.name),)))


class QueueRig(BrokerRig):
    """A queue of the own broker as one of SQS."""

    adapter = queue.ADAPTER
    groups = buries = uncounted = True

    def mapping(self, **more: Any) -> EventSourceMapping:
        arn = f"arn:aws:sqs:us-east-1:000000000000:{self.name}"
        return EventSourceMapping(**{"uuid": "u", "function": "f", "source_arn": arn, "batch_size": 10, **more})


class RabbitMQRig(BrokerRig):
    """A queue of a broker as one of Amazon MQ."""

    adapter = rmq.ADAPTER
    visibility = timedelta(0)

    def mapping(self, **more: Any) -> EventSourceMapping:
        arn = "arn:aws:mq:us-east-1:000000000000:broker:fnrunner:b-1"
        given = {"uuid": "u", "function": "f", "source_arn": arn, "queue": self.name, "batch_size": 10, **more}
        return EventSourceMapping(**given)


class SqsRig:
    """A queue of moto's SQS, which answers over HTTP."""

    adapter = sqs.ADAPTER
    groups = buries = repeats = True
    uncounted = False
    visibility = timedelta(seconds=1)
    account = "123456789012"

    def __init__(self, endpoint: str, client: Any) -> None:
        """``client`` is boto3's; making one takes long enough to share it."""
        self._client = client
        self._suffix = ""
        self._base = f"jobs-{uuid4().hex[:8]}"
        self._attributes: dict[str, str] = {}
        self._url = self._dead_url = ""
        nobody: Any = None
        self.services = Services(
            nobody, nobody, nobody, endpoints={"sqs": endpoint}, retry_first=timedelta(milliseconds=20)
        )

    @property
    def name(self) -> str:
        return self._base + self._suffix

    def mapping(self, **more: Any) -> EventSourceMapping:
        arn = f"arn:aws:sqs:us-east-1:{self.account}:{self.name}"
        return EventSourceMapping(**{"uuid": "u", "function": "f", "source_arn": arn, "batch_size": 10, **more})

    async def start(self, *, fifo: bool = False, most: int | None = None) -> None:
        self._attributes = {"VisibilityTimeout": "1"}
        if fifo:
            # moto forgets the order of a group whose timeout is over, which must not happen on a slow machine
            self._attributes = {"VisibilityTimeout": "2"}
            self._suffix = ".fifo"
            self._attributes |= {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        if most is not None:
            shared = {key: value for key, value in self._attributes.items() if "Fifo" in key or "Content" in key}
            answer = await self._call("create_queue", QueueName=f"dead-{self.name}", Attributes=shared)
            self._dead_url = answer["QueueUrl"]
            arn = f"arn:aws:sqs:us-east-1:{self.account}:dead-{self.name}"
            self._attributes["RedrivePolicy"] = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"{most}"}}'
        await self.create()

    async def _call(self, operation: str, **more: Any) -> Any:
        return await asyncio.to_thread(getattr(self._client, operation), **more)

    async def close(self) -> None:
        """The queues go with moto's server."""

    async def send(self, *bodies: str, group: str = "", headers: Mapping[str, str] = {}) -> None:
        attributes = {name: {"DataType": "String", "StringValue": value} for name, value in headers.items()}
        more = {"MessageGroupId": group} if group else {}
        for body in bodies:
            await self._call("send_message", QueueUrl=self._url, MessageBody=body, MessageAttributes=attributes, **more)

    async def depth(self) -> int:
        answer = await self._call("get_queue_attributes", QueueUrl=self._url, AttributeNames=["All"])
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    async def dead(self) -> Sequence[str]:
        answer = await self._call("receive_message", QueueUrl=self._dead_url, MaxNumberOfMessages=10)
        return [message["Body"] for message in answer.get("Messages", [])]

    async def remove(self) -> None:
        await self._call("delete_queue", QueueUrl=self._url)

    async def create(self) -> None:
        answer = await self._call("create_queue", QueueName=self.name, Attributes=self._attributes)
        self._url = answer["QueueUrl"]


def embedded(directory: Path) -> Callable[[], Broker]:
    def make() -> Broker:
        from broker.embedded import EmbeddedBroker

        return EmbeddedBroker(directory, delays=())

    return make


def rabbitmq(url: str) -> Callable[[], Broker]:
    def make() -> Broker:
        from broker.rabbitmq import RabbitMQBroker

        return RabbitMQBroker(url, delays=())

    return make


RIGS: Mapping[str, type[QueueRig] | type[RabbitMQRig] | type[SqsRig]] = {
    "queue": QueueRig,
    "rmq": RabbitMQRig,
    "sqs": SqsRig,
}
