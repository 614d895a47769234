"""Whether a node of a cluster can still do what needs the others: it takes every connection even when it cannot.

A node that is cut off from the others keeps its connections and takes new ones, and neither confirms nor delivers, until
it notices (RabbitMQ's ``net_ticktime``, 60 s as delivered) and closes them. So it is asked for the confirm of a message to
a quorum queue, on which a majority of the nodes must agree. The question has a connection of its own: an alarm stops
whoever publishes, and RabbitMQ 3 ends the connection of many an order whose queue loses its leader.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

import aiormq
from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from broker import names
from broker.errors import BrokerError, QueueNotFound, Refused
from broker.rabbitmq.connection import CLOSE_S, Session, end
from broker.rabbitmq.declaration import declare_queue
from broker.rabbitmq.failure import Border
from broker.rabbitmq.tap import TapFactory
from broker.topology import Queue

log = logging.getLogger(__name__)

AGAIN_S = 0.2
QUESTION_S = 2.5
"""RabbitMQ may take a message in the moment when its queue loses the leader, and never say a word about it: ask again."""

QUEUE = Queue(names.PULSE, max_length=1)
"""Only the newest message stays: nobody reads them."""


class Pulse:
    """The question to the node of one session. A late answer is an answer."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._factory: TapFactory | None = None
        self._connection: aiormq.Connection | None = None
        self._channel: AbstractChannel | None = None
        self._blocked: str | None = None
        self._asking: asyncio.Task[bool] | None = None

    async def beats(self, patience_s: float) -> bool:
        """An answer came within this time, or the node says that an alarm keeps it from answering.

        False as well when the session is lost.
        """
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="rabbitmq pulse")
        lost = asyncio.ensure_future(self._session.lost.wait())
        try:
            await asyncio.wait((self._asking, lost), timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
        if not self._asking.done():
            return self._blocked is not None
        asked, self._asking = self._asking, None
        return not asked.cancelled() and asked.result()

    async def stop(self) -> None:
        await end(self._asking)
        await self._hang_up()

    async def _ask(self) -> bool:
        while not self._session.lost.is_set():
            try:
                async with asyncio.timeout(QUESTION_S), Border():
                    await _publish(await self._ready_channel())
                return self._proven()
            except QueueNotFound:
                await self._declare()
            except (BrokerError, TimeoutError):
                if self._blocked is not None:
                    return self._proven()
                log.debug("asking a node of the cluster failed", exc_info=True)
                await self._hang_up()
            except Exception:
                log.exception("asking a node of the cluster failed in an unexpected way")
                await self._hang_up()
            await asyncio.sleep(AGAIN_S)
        return False

    def _proven(self) -> bool:
        self._session.proven_at = asyncio.get_running_loop().time()
        return True

    async def _ready_channel(self) -> AbstractChannel:
        if self._connection is None:
            url = self._session.host
            named = url.update_query(name=f"{url.query.get('name', '')} asks")
            self._factory = TapFactory(self._on_blocked, lambda: None)
            self._connection = aiormq.Connection(named, transport_factory=self._factory)
            await self._connection.connect()
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._connection.channel(publisher_confirms=True)
        return self._channel

    def _on_blocked(self, reason: str | None) -> None:
        self._blocked = reason

    async def _declare(self) -> None:
        with contextlib.suppress(BrokerError, TimeoutError, RuntimeError):
            async with asyncio.timeout(QUESTION_S), Border():
                await declare_queue(await self._ready_channel(), QUEUE)

    async def _hang_up(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        self._blocked = None
        if self._factory is not None and self._factory.tap is not None:
            # A node that is cut off would take its time to say goodbye.
            self._factory.tap.abort()
        if connection is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_S):
                    await connection.close()


async def _publish(channel: AbstractChannel) -> None:
    """Raises QueueNotFound, Refused: the queue has lost its leader."""
    try:
        properties = Basic.Properties(delivery_mode=1)
        await channel.basic_publish(b"", routing_key=names.PULSE, properties=properties, mandatory=True)
    except PublishError as returned:
        raise QueueNotFound from returned
    except DeliveryError as refused:
        raise Refused from refused
