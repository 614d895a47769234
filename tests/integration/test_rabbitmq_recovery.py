"""What no fake can show: RabbitMQ killed, restarted, choked, and its queues taken away."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from time import monotonic
from uuid import uuid4

import pytest

from broker import names
from broker.broker import Broker, Delivery, State
from broker.errors import Blocked, BrokerError, DeliveryLost, Unavailable
from broker.message import Message
from broker.rabbitmq import RabbitMQBroker
from broker.rabbitmq.permit import Permits
from broker.topology import Queue, QueueKind, Topology
from tests.rabbitmq_server import RabbitMQServer, free_port

PATIENCE_S = 40.0
REGISTERED_S = 2.0
"""RabbitMQ 3 writes down half a second late that a quorum queue was made: killed before, it never starts that queue."""

RECOVERY_S = 5.0
RESTARTS = int(os.environ.get("FNRUNNER_TEST_RESTARTS", "4"))
DELAYS = (timedelta(milliseconds=200),)


@pytest.fixture
async def broker(private_rabbitmq: RabbitMQServer) -> AsyncIterator[RabbitMQBroker]:
    client = RabbitMQBroker(private_rabbitmq.url, delays=DELAYS)
    await client.start()
    yield client
    await client.close()


class Consumer:
    """Acknowledges everything and remembers the bodies."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.duplicates = 0
        self._changed = asyncio.Event()
        self._work: set[asyncio.Task[None]] = set()

    def __call__(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._ack(delivery))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _ack(self, delivery: Delivery) -> None:
        self.duplicates += delivery.message.body in self.seen
        self.seen.add(delivery.message.body)
        self._changed.set()
        with contextlib.suppress(DeliveryLost):
            await delivery.ack()

    async def until_seen(self, bodies: set[bytes]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not bodies <= self.seen:
                self._changed.clear()
                await self._changed.wait()


async def until(broker: Broker, state: State) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while broker.status.state is not state:
            await asyncio.sleep(0.02)


class Load:
    """Publishes all the time, and knows what was confirmed."""

    def __init__(self, broker: Broker, queue: str) -> None:
        self.confirmed: set[bytes] = set()
        self._broker = broker
        self._queue = queue
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        number = 0
        while True:
            batch = [b"%d" % n for n in range(number, number + 10)]
            number += 10
            results = await asyncio.gather(*(self._publish(body) for body in batch), return_exceptions=True)
            self.confirmed.update(body for body, result in zip(batch, results, strict=True) if result is None)
            await asyncio.sleep(0.005)

    async def _publish(self, body: bytes) -> None:
        await self._broker.publish(
            Message(body, message_id=body.decode()), routing_key=self._queue, timeout=timedelta(seconds=60)
        )

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_no_confirmed_message_is_lost_when_the_broker_is_killed(
    broker: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    await broker.declare(Topology(queues=(Queue("q"),)))
    await asyncio.sleep(REGISTERED_S)
    load = Load(broker, "q")
    async with asyncio.timeout(PATIENCE_S):
        while len(load.confirmed) < 300:
            await asyncio.sleep(0.01)
    await asyncio.to_thread(private_rabbitmq.kill)
    await until(broker, State.DISCONNECTED)
    assert broker.status.reason
    await asyncio.to_thread(private_rabbitmq.start)
    await until(broker, State.CONNECTED)
    before = len(load.confirmed)
    async with asyncio.timeout(PATIENCE_S):
        while len(load.confirmed) < before + 100:
            await asyncio.sleep(0.01)
    await load.stop()
    consumer = Consumer()
    await broker.subscribe("q", consumer, prefetch=100)
    await consumer.until_seen(load.confirmed)
    assert broker.status.reconnects == 1


@pytest.mark.slow
async def test_every_one_of_many_restarts_under_load_is_recovered_from(
    broker: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    await broker.declare(Topology(queues=(Queue("q"),)))
    consumer, heard = Consumer(), asyncio.Queue[Message]()
    await broker.subscribe("q", consumer, prefetch=50)
    await broker.listen(heard.put_nowait)
    await asyncio.sleep(REGISTERED_S)
    load = Load(broker, "q")
    slowest = 0.0
    for restart in range(RESTARTS):
        await asyncio.to_thread(private_rabbitmq.kill if restart % 2 else private_rabbitmq.stop)
        await asyncio.to_thread(private_rabbitmq.start)
        opened = monotonic()
        await until(broker, State.CONNECTED)
        body = f"after restart {restart}".encode()
        await broker.publish(Message(body), routing_key="q", timeout=timedelta(seconds=30))
        await consumer.until_seen({body})
        slowest = max(slowest, monotonic() - opened)
        await broker.broadcast(Message(body))
        async with asyncio.timeout(PATIENCE_S):
            while (await heard.get()).body != body:
                pass
    await load.stop()
    await consumer.until_seen(load.confirmed)
    assert slowest < RECOVERY_S
    assert broker.status.reconnects >= RESTARTS


async def test_an_alarm_blocks_publishers_while_consumers_go_on(
    broker: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    await broker.declare(Topology(queues=(Queue("q"),)))
    bodies = {b"%d" % n for n in range(20)}
    await asyncio.gather(*(broker.publish(Message(body), routing_key="q") for body in bodies))
    await asyncio.to_thread(private_rabbitmq.raise_memory_alarm)
    # RabbitMQ tells a connection of the alarm when it publishes, not before.
    with pytest.raises(Blocked):
        await broker.publish(Message(b"blocked", message_id="b"), routing_key="q", timeout=timedelta(seconds=2))
    await until(broker, State.BLOCKED)
    with pytest.raises(Blocked):
        await broker.publish(Message(b"never sent"), routing_key="q", timeout=timedelta(milliseconds=100))
    consumer = Consumer()
    await broker.subscribe("q", consumer, prefetch=5)
    await consumer.until_seen(bodies)
    waiting = asyncio.create_task(
        broker.publish(Message(b"waited"), routing_key="q", timeout=timedelta(seconds=PATIENCE_S))
    )
    await asyncio.to_thread(private_rabbitmq.clear_memory_alarm)
    await waiting
    await until(broker, State.CONNECTED)
    await consumer.until_seen({b"waited"})
    assert b"never sent" not in consumer.seen


async def test_a_queue_deleted_under_a_consumer_is_declared_and_consumed_again(
    broker: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    await broker.declare(Topology(queues=(Queue("q"),)))
    consumer = Consumer()
    await broker.subscribe("q", consumer, prefetch=5)
    await asyncio.to_thread(private_rabbitmq.delete_queue, "q")
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await broker.publish(Message(b"again"), routing_key="q")
                break
            except BrokerError:
                await asyncio.sleep(0.05)
    await consumer.until_seen({b"again"})
    await until(broker, State.CONNECTED)


async def test_a_deleted_queue_that_this_client_did_not_declare_shows_in_the_status(
    broker: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    other = RabbitMQBroker(private_rabbitmq.url, delays=DELAYS)
    await other.start()
    topology = Topology(queues=(Queue("q"),))
    await other.declare(topology)
    consumer = Consumer()
    await broker.subscribe("q", consumer, prefetch=5)
    await other.delete(topology)
    await until(broker, State.DISCONNECTED)
    assert "'q'" in broker.status.reason
    await other.declare(topology)
    await until(broker, State.CONNECTED)
    await other.publish(Message(b"back"), routing_key="q")
    await consumer.until_seen({b"back"})
    await other.close()


async def test_a_channel_closed_by_an_error_consumes_again(
    broker: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    await broker.declare(Topology(queues=(Queue("q"),)))
    held: asyncio.Queue[Delivery] = asyncio.Queue()
    await broker.subscribe("q", held.put_nowait, prefetch=1)
    await broker.publish(Message(b"x"), routing_key="q")
    first = await held.get()
    # An acknowledgement of what was never delivered is the error that RabbitMQ closes a channel for.
    _break_channel(first)
    async with asyncio.timeout(PATIENCE_S):
        second = await held.get()
    assert second.redelivered
    with pytest.raises(DeliveryLost):
        await first.ack()
    await second.ack()
    await until(broker, State.CONNECTED)


async def test_connections_closed_by_the_broker_come_back(
    broker: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    await broker.declare(Topology(queues=(Queue("q"), Queue("own", QueueKind.CLASSIC, exclusive=True))))
    consumer = Consumer()
    await broker.subscribe("q", consumer, prefetch=5)
    await broker.subscribe("own", consumer, prefetch=5)
    await asyncio.to_thread(private_rabbitmq.close_connections)
    async with asyncio.timeout(PATIENCE_S):
        while broker.status.reconnects == 0:
            await asyncio.sleep(0.02)
    await until(broker, State.CONNECTED)
    await broker.publish(Message(b"1"), routing_key="q")
    await broker.publish(Message(b"2"), routing_key="own")
    await consumer.until_seen({b"1", b"2"})


async def test_a_request_that_waits_when_the_connection_goes_is_told_so(
    broker: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    queue = names.requests("f")
    await broker.declare(Topology(queues=(Queue(queue, QueueKind.CLASSIC, dead_letter_exchange=names.RETURNED),)))
    replies = broker.request(
        Message(b""), queue=queue, room=timedelta(minutes=1), timeout=timedelta(seconds=PATIENCE_S)
    )
    asking = asyncio.ensure_future(anext(replies))
    async with asyncio.timeout(PATIENCE_S):
        while (await broker.depth(queue)).ready == 0:
            await asyncio.sleep(0.01)
    await asyncio.to_thread(private_rabbitmq.close_connections)
    with pytest.raises(Unavailable):
        await asking


async def test_permits_are_void_and_free_again_after_a_lost_connection(
    broker: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    permits = broker.permits("f")
    await permits.resize(2)
    permit = await permits.acquire(timedelta(seconds=5))
    assert permit is not None
    await asyncio.to_thread(private_rabbitmq.close_connections)
    async with asyncio.timeout(PATIENCE_S):
        while permit.valid:
            await asyncio.sleep(0.02)
    await permit.release()
    again = [await permits.acquire(timedelta(seconds=10)) for _ in range(2)]
    assert None not in again
    assert await permits.acquire(timedelta(0)) is None


async def test_a_permit_held_for_long_is_renewed_and_nobody_else_gets_it(
    broker: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    other = RabbitMQBroker(private_rabbitmq.url, delays=DELAYS)
    await other.start()
    permits = Permits("f", broker._consuming, broker._publishing, broker, renew_after=timedelta(milliseconds=100))
    await permits.resize(2)
    held = [await permits.acquire(timedelta(seconds=5)) for _ in range(2)]
    since = [permit.since for permit in held if permit is not None]
    waiting = asyncio.ensure_future(other.permits("f").acquire(timedelta(seconds=PATIENCE_S)))
    async with asyncio.timeout(PATIENCE_S):
        while not all(p is not None and p.valid and p.since > at + 0.3 for p, at in zip(held, since, strict=True)):
            assert all(p is not None and p.valid for p in held)
            await asyncio.sleep(0.01)
    assert not waiting.done()
    assert held[0] is not None
    await held[0].release()
    assert await waiting is not None
    await permits.close()
    await other.close()


async def test_a_stream_is_read_on_without_a_gap_after_a_lost_connection(
    broker: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    await broker.declare(Topology(queues=(Queue("s", QueueKind.STREAM),)))
    for n in range(10):
        await broker.publish(Message(b"%d" % n), routing_key="s")
    deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
    await broker.subscribe("s", deliveries.put_nowait, prefetch=4, offset="first")
    first = [await deliveries.get() for _ in range(4)]
    await first[0].ack()
    await first[1].ack()
    await asyncio.to_thread(private_rabbitmq.close_connections)
    seen: list[int] = []
    async with asyncio.timeout(PATIENCE_S):
        while not broker.status.reconnects:
            await asyncio.sleep(0.01)
        while len(seen) < 8:
            delivery = await deliveries.get()
            try:
                await delivery.ack()
            except DeliveryLost:
                continue
            assert delivery.offset is not None
            seen.append(delivery.offset)
    assert seen == list(range(2, 10))


async def test_a_wrong_password_is_refused_at_once_and_never_shown(private_rabbitmq: RabbitMQServer) -> None:
    secret = uuid4().hex
    client = RabbitMQBroker(f"amqp://guest:{secret}@127.0.0.1:{private_rabbitmq.port}/", delays=DELAYS)
    with pytest.raises(Unavailable) as refused:
        await client.start()
    assert f"127.0.0.1:{private_rabbitmq.port}" in str(refused.value)
    assert secret not in str(refused.value)
    assert secret not in repr(client)


async def test_no_broker_at_the_first_connection_is_unavailable_with_a_remedy() -> None:
    port, secret = free_port(), uuid4().hex
    client = RabbitMQBroker(
        f"amqp://u:{secret}@127.0.0.1:{port}", delays=DELAYS, connect_timeout=timedelta(milliseconds=300)
    )
    started = monotonic()
    with pytest.raises(Unavailable) as unavailable:
        await client.start()
    assert 0.25 < monotonic() - started < 10
    assert f"127.0.0.1:{port}" in str(unavailable.value)
    assert secret not in str(unavailable.value)


async def test_the_first_of_several_hosts_may_be_down(private_rabbitmq: RabbitMQServer) -> None:
    url = f"amqp://guest:guest@127.0.0.1:{free_port()},127.0.0.1:{private_rabbitmq.port}/"
    client = RabbitMQBroker(url, delays=DELAYS)
    await client.start()
    assert client.status.state is State.CONNECTED
    await client.close()


def _break_channel(delivery: Delivery) -> None:
    from broker.rabbitmq import wire

    intake = delivery._intake  # type: ignore[attr-defined]
    intake._tap.send(wire.ack(intake.channel.number, 999, False))
