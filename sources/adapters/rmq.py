"""Queues of a RabbitMQ broker by its name, as Lambda reads those of Amazon MQ: an existing queue, which is never declared.

The broker of ``arn:aws:mq:REGION:ACCOUNT:broker:NAME:ID`` is the one that FNRUNNER_BROKERS calls NAME; ``fnrunner`` is the own
one. Its URL has user, password and virtual host, so SourceAccessConfigurations can only confirm them: VIRTUAL_HOST must be the
URL's, and BASIC_AUTH must name the broker, as ``NAME`` or as a secret called NAME
(``arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME``, with or without the six characters that AWS appends).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from broker.broker import Broker
from sources import rmq_message
from sources.errors import Misconfigured
from sources.inbox import InboxAdapter, Received
from sources.mapping import EventSourceMapping, Kind, name_of
from sources.queue_feed import QueueFeed, Taken
from sources.source import Services

BASIC_AUTH, VIRTUAL_HOST = "BASIC_AUTH", "VIRTUAL_HOST"
_SECRET = re.compile(r"arn:aws[a-z-]*:secretsmanager:[^:]*:[^:]*:secret:(.+)")


def virtual_host(mapping: EventSourceMapping, services: Services) -> str:
    """Of the mapping's broker, after comparing what the mapping says about getting into it.

    Raises Misconfigured for an unknown broker, another virtual host or other credentials.
    """
    name = name_of(mapping.source_arn)
    if name not in services.virtual_hosts:
        known = ", ".join(sorted(services.virtual_hosts))
        raise Misconfigured(f"there is no broker {name!r}. Name it in FNRUNNER_BROKERS ({known} are known)")
    host = services.virtual_hosts[name]
    for access in mapping.access:
        if access.type == VIRTUAL_HOST and access.uri != host:
            raise Misconfigured(
                f"VIRTUAL_HOST {access.uri!r} is not that of broker {name}, which is {host!r}: correct it, or give the "
                "broker's URL in FNRUNNER_BROKERS this virtual host"
            )
        if access.type == BASIC_AUTH and not _names(access.uri, name):
            raise Misconfigured(
                f"BASIC_AUTH names other credentials than those of broker {name}: leave it out, or give {name!r}. User and "
                "password are in the broker's URL in FNRUNNER_BROKERS"
            )
        if access.type not in (VIRTUAL_HOST, BASIC_AUTH):
            raise Misconfigured(f"{access.type} says nothing about a RabbitMQ broker: leave it out")
    return host


def _names(uri: str, broker: str) -> bool:
    if uri == broker:
        return True
    secret = _SECRET.fullmatch(uri)
    return secret is not None and re.fullmatch(rf"{re.escape(broker)}(-[A-Za-z0-9]{{6}})?", secret[1]) is not None


class RabbitMQInbox:
    """See :class:`sources.inbox.Inbox`."""

    def __init__(self, mapping: EventSourceMapping, services: Services) -> None:
        self._mapping = mapping
        self._services = services
        self._virtual_host = virtual_host(mapping, services)
        self._feed = QueueFeed(self._broker, mapping.queue)
        self.trouble = ""

    async def _broker(self) -> Broker:
        name = name_of(self._mapping.source_arn)
        return self._services.broker if name == "fnrunner" else await self._services.brokers(name)

    @property
    def visibility(self) -> timedelta:
        """RabbitMQ has none: a message that goes back comes again at once."""
        return timedelta(0)

    async def start(self) -> None:
        """Nothing to do before the first receive."""

    async def close(self) -> None:
        await self._feed.close()

    async def receive(self, limit: int, wait: timedelta) -> Sequence[Received]:
        return [self._received(taken) for taken in await self._feed.receive(limit, wait)]

    def _received(self, taken: Taken) -> Received:
        delivery = taken.delivery
        message = delivery.message
        traceparent = message.headers.get("traceparent")
        return Received(
            id=message.message_id or str(taken.place),
            event=rmq_message.record(message, redelivered=delivery.redelivered),
            data=message.body,
            receive_count=delivery.failures + 1,
            handle=taken,
            traceparent=traceparent if isinstance(traceparent, str) else "",
            expires=None if message.expiration is None else self._services.clock() + message.expiration,
        )

    async def delete(self, messages: Sequence[Received]) -> None:
        for message in messages:
            await self._feed.ack(message.handle)

    async def release(self, messages: Sequence[Received], *, failed: bool, reason: str = "") -> None:
        """At once in any case, to where the queue puts what is given back; then they are marked redelivered."""
        await self._feed.give_back([message.handle for message in messages])

    def payload(self, messages: Sequence[Received]) -> bytes:
        return rmq_message.payload(
            [message.event for message in messages],
            arn=self._mapping.source_arn,
            queue=self._mapping.queue,
            virtual_host=self._virtual_host,
        )


def serves(mapping: EventSourceMapping, services: Services) -> bool:
    """Every broker of Amazon MQ, whatever its account: its name decides."""
    return mapping.kind is Kind.MQ


ADAPTER = InboxAdapter(
    name="rmq",
    serves=serves,
    open=RabbitMQInbox,
    data_key="data",
    initial_concurrency=1,
    highest_concurrency=1,
    partial=False,
    retries_in_place=True,
)
