"""Queues as event sources where the kind of broker, or what goes wrong with it, matters."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.broker import Broker
from broker.embedded import EmbeddedBroker
from broker.message import Message
from broker.rabbitmq import RabbitMQBroker
from broker.topology import Queue, QueueKind, Topology
from sources.adapters import queue as queue_adapter
from sources.adapters import rmq
from sources.inbox import InboxAdapter
from sources.invocation import Answered, BatchCall, Failed, Result
from sources.mapping import EventSourceMapping
from sources.queue_attributes import QueueAttributes
from sources.queue_poller import QueuePoller
from sources.source import Condition, Services
from tests.conformance.sources.queues.play import Claims, Letterbox, Stage, body_of, count_of, eventually
from tests.rabbitmq_server import RabbitMQServer

MOMENT = timedelta(milliseconds=100)
PLENTY = timedelta(seconds=20)
QUICK = QueueAttributes(MOMENT)
nobody: Any = None


@pytest.fixture
async def broker(request: pytest.FixtureRequest, rabbitmq_url: str) -> AsyncIterator[Broker]:
    client = RabbitMQBroker(rabbitmq_url, delays=())
    await client.start()
    yield client
    await client.close()


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Broker]:
    client = EmbeddedBroker(tmp_path / "broker", delays=())
    await client.start()
    yield client
    await client.close()


def own(**more: Any) -> EventSourceMapping:
    arn = "arn:aws:sqs:us-east-1:000000000000:jobs"
    return EventSourceMapping(**{"uuid": "u", "function": "f", "source_arn": arn, "batch_size": 10, **more})


def amazon_mq(**more: Any) -> EventSourceMapping:
    arn = "arn:aws:mq:us-east-1:000000000000:broker:shop:b-1"
    return EventSourceMapping(
        **{"uuid": "u", "function": "f", "source_arn": arn, "queue": "jobs", "batch_size": 10, **more}
    )


def services(broker: Broker, attributes: QueueAttributes = QUICK, **more: Any) -> Services:
    async def attributes_of(queue: str) -> QueueAttributes:
        return attributes

    async def brokers(name: str) -> Broker:
        assert name == "shop"
        return broker

    return Services(
        nobody,
        nobody,
        nobody,
        **{
            "broker": broker,
            "brokers": brokers,
            "queue_attributes": attributes_of,
            "virtual_hosts": {"fnrunner": "/", "shop": "/orders"},
            "retry_first": timedelta(milliseconds=20),
            **more,
        },
    )


async def make(broker: Broker, *names: str, kind: QueueKind = QueueKind.QUORUM) -> None:
    await broker.declare(Topology(queues=tuple(Queue(name, kind) for name in names)))


class Played:
    """A poller with its script, claims and letters."""

    def __init__(self, mapping: EventSourceMapping, given: Services, adapter: InboxAdapter) -> None:
        self.stage, self.claims, self.letters = Stage(), Claims(), Letterbox()
        given = replace(given, invoker=self.stage, claims=self.claims, letters=self.letters)
        self.poller = QueuePoller(mapping, given, adapter)

    async def __aenter__(self) -> Played:
        await self.poller.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.poller.close()

    def counted(self, name: str) -> int:
        return self.poller.health().counters[name]

    async def until(self, name: str, count: int) -> None:
        async def reached() -> bool:
            return self.counted(name) >= count

        await eventually(reached, f"{name} {count}")


@pytest.mark.parametrize("kind", [QueueKind.CLASSIC, QueueKind.QUORUM])
async def test_a_queue_of_another_broker_is_read_as_one_of_amazon_mq(broker: Broker, kind: QueueKind) -> None:
    await make(broker, "jobs", kind=kind)
    await broker.publish(
        Message(
            b'{"n": 1}', message_id="m1", headers={"colour": "red", "n": 7}, content_type="application/json",
            timestamp=datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC), priority=3, expiration=timedelta(minutes=5),
        ),
        routing_key="jobs",
    )  # fmt: skip
    payloads: list[bytes] = []

    class Keeping(Stage):
        async def invoke(self, call: BatchCall) -> Result:
            payloads.append(call.payload)
            return await super().invoke(call)

    played = Played(amazon_mq(), services(broker), rmq.ADAPTER)
    keeping = Keeping()
    played.poller = QueuePoller(
        amazon_mq(),
        replace(services(broker), invoker=keeping, claims=played.claims, letters=played.letters),
        rmq.ADAPTER,
    )
    async with played:
        await played.until("deleted", 1)
    event = json.loads(payloads[0])
    [(key, [message])] = event["rmqMessagesByQueue"].items()
    assert (event["eventSource"], key, message["redelivered"]) == ("aws:rmq", "jobs::/orders", False)
    assert base64.b64decode(message["data"]) == b'{"n": 1}'
    properties = message["basicProperties"]
    assert properties["headers"] == {"colour": {"bytes": [114, 101, 100]}, "n": 7}
    assert (properties["timestamp"], properties["expiration"]) == ("Jan 2, 2026, 3:04:05 PM", "300000")
    assert (properties["deliveryMode"], properties["priority"], properties["bodySize"]) == (2, 3, 8)
    assert (await broker.depth("jobs")).ready == 0


async def test_a_batch_that_failed_is_retried_in_place_and_marked_only_when_it_was_given_back(broker: Broker) -> None:
    await make(broker, "jobs")
    await broker.publish(Message(b"m"), routing_key="jobs")
    played = Played(amazon_mq(), services(broker), rmq.ADAPTER)
    played.stage.script = lambda messages: Failed("E", "")
    async with played:
        await played.stage.until(lambda: len(played.stage.calls) >= 3)
    marks = [message["redelivered"] for call in played.stage.calls for message in call]
    assert not any(marks)
    again = Played(amazon_mq(), services(broker), rmq.ADAPTER)
    async with again:
        await again.until("deleted", 1)
    assert again.stage.calls[0][0]["redelivered"] is True


async def test_a_message_that_expires_while_its_batch_fails_is_left_out(embedded: Broker) -> None:
    await make(embedded, "jobs")
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    await embedded.publish(Message(b"short", expiration=timedelta(seconds=30)), routing_key="jobs")
    await embedded.publish(Message(b"long"), routing_key="jobs")
    given = services(embedded, clock=lambda: now[0])
    played = Played(amazon_mq(batching_window=MOMENT * 3), given, rmq.ADAPTER)

    def script(messages: list[dict[str, Any]]) -> Result:
        now[0] += timedelta(seconds=20)
        return Failed("E", "") if len(messages) == 2 else Answered(b"")

    played.stage.script = script
    async with played:
        await played.until("deleted", 2)
    assert played.stage.batches == [["short", "long"], ["short", "long"], ["long"]]
    assert played.counted("expired") == 1


async def test_what_fails_carries_its_story_into_the_dead_letter_queue(broker: Broker) -> None:
    await make(broker, "jobs", "dead")
    sent = Message(b"bad", message_id="m1", headers={"k": "v"}, user_id="guest", expiration=timedelta(hours=1))
    await broker.publish(sent, routing_key="jobs")
    attributes = QueueAttributes(MOMENT, 2, "dead")
    played = Played(own(), services(broker, attributes), queue_adapter.ADAPTER)
    played.stage.script = lambda messages: Failed("ValueError", "no such thing")
    async with played:

        async def buried() -> bool:
            return (await broker.depth("dead")).ready == 1

        await eventually(buried)
    assert [count_of(call[0]) for call in played.stage.calls] == [1, 2]
    senders = {call[0]["attributes"]["SenderId"] for call in played.stage.calls}
    firsts = {call[0]["attributes"]["ApproximateFirstReceiveTimestamp"] for call in played.stage.calls}
    assert (senders, len(firsts)) == ({"guest"}, 1)
    delivery = await broker.get("dead")
    assert delivery is not None
    letter = delivery.message
    assert (letter.body, letter.message_id, letter.headers["k"]) == (b"bad", "m1", "v")
    assert letter.headers["x-fnrunner-source-queue"] == "jobs"
    assert letter.headers["x-fnrunner-receives"] == 2
    assert letter.headers["x-fnrunner-function"] == "f"
    assert letter.headers["x-fnrunner-reason"] == "ValueError: no such thing"
    assert "x-death" not in letter.headers
    await delivery.ack()


async def test_without_its_dead_letter_queue_a_message_is_kept_and_others_go_on(embedded: Broker) -> None:
    await make(embedded, "jobs")
    await embedded.publish(Message(b"bad"), routing_key="jobs")
    played = Played(own(), services(embedded, QueueAttributes(MOMENT, 1, "dead")), queue_adapter.ADAPTER)
    played.stage.script = lambda messages: Failed("E", "") if body_of(messages[0]) == "bad" else Answered(b"")
    async with played:

        async def told() -> bool:
            return any("fnrunner queue create dead" in reason for reason in played.poller.health().reasons)

        await eventually(told)
        assert played.poller.health().condition is Condition.DEGRADED
        await embedded.publish(Message(b"good"), routing_key="jobs")
        await played.until("deleted", 1)
        assert played.stage.times() == {"bad": 1, "good": 1}
    assert (await embedded.depth("jobs")).ready == 1


async def test_what_rests_for_too_long_is_given_back_in_order(
    embedded: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_adapter, "HELD_FOR_S", 0.2)
    await make(embedded, "jobs")
    for body in (b"1", b"2", b"3"):
        await embedded.publish(Message(body, headers={"message-group-id": "g"}), routing_key="jobs")
    inbox = queue_adapter.ADAPTER.open(own(), services(embedded, QueueAttributes(timedelta(seconds=30))))
    await inbox.start()
    found = [*await inbox.receive(10, PLENTY)]
    assert [message.data for message in found] == [b"1", b"2", b"3"]
    await inbox.release(found, failed=True)
    await embedded.publish(Message(b"4", headers={"message-group-id": "g"}), routing_key="jobs")
    await asyncio.sleep(0.25)
    again = [*await inbox.receive(10, PLENTY)]
    while len(again) < 4:
        again += await inbox.receive(10, PLENTY)
    assert [message.data for message in again] == [b"1", b"2", b"3", b"4"]
    assert [message.receive_count for message in again[:3]] == [2, 2, 2]
    await inbox.close()


async def test_a_poller_whose_connection_dies_loses_nothing(private_rabbitmq: RabbitMQServer) -> None:
    broker = RabbitMQBroker(private_rabbitmq.url, delays=())
    await broker.start()
    try:
        await make(broker, "jobs")
        await asyncio.sleep(1.5)  # RabbitMQ 3.10 needs about a second until a new quorum queue is on disk
        for number in range(60):
            await broker.publish(Message(str(number).encode()), routing_key="jobs")
        played = Played(own(batch_size=5), services(broker), queue_adapter.ADAPTER)
        slow = asyncio.Event()

        async def script(messages: list[dict[str, Any]]) -> Result:
            if len(played.stage.batches) > 3 and not slow.is_set():
                await slow.wait()
            return Answered(b"")

        played.stage.script = script
        async with played:
            await played.stage.until(lambda: len(played.stage.batches) > 4)
            await asyncio.to_thread(private_rabbitmq.kill)
            slow.set()
            await asyncio.to_thread(private_rabbitmq.start)

            async def empty() -> bool:
                try:
                    return (await broker.depth("jobs")).ready == 0 and set(map(int, played.stage.bodies)) == set(
                        range(60)
                    )
                except Exception:
                    return False

            await eventually(empty)

            async def well() -> bool:
                return played.poller.health().ok

            await eventually(well)
        again = await broker.depth("jobs")
        assert again.ready == 0
    finally:
        await broker.close()


async def test_a_process_that_dies_leaves_its_messages_to_the_next(rabbitmq_url: str) -> None:
    dying, living = RabbitMQBroker(rabbitmq_url, delays=()), RabbitMQBroker(rabbitmq_url, delays=())
    await dying.start()
    await living.start()
    try:
        await make(living, "jobs")
        await living.publish(Message(b"m"), routing_key="jobs")
        inbox = queue_adapter.ADAPTER.open(own(), services(dying))
        await inbox.start()
        assert len(await inbox.receive(10, PLENTY)) == 1
        await dying.close()
        played = Played(own(), services(living), queue_adapter.ADAPTER)
        async with played:
            await played.until("deleted", 1)
        assert count_of(played.stage.calls[0][0]) == 2
    finally:
        await dying.close()
        await living.close()
