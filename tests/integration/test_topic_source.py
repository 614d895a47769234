"""Subscriptions to topics on both brokers: nothing that is published vanishes without being taken, filtered or filed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from broker import names
from broker.broker import Broker
from broker.embedded import EmbeddedBroker
from broker.errors import QueueNotFound, Unavailable
from broker.message import Message
from broker.rabbitmq import RabbitMQBroker
from broker.topology import Exchange, ExchangeKind, Queue, Topology, function_queues
from fnrunner.delivery.letter import read_dead_message
from sources.adapters.topic import TopicSource, forget
from sources.errors import InvalidPattern, Misconfigured, NotAccepted, Refused
from sources.invocation import GivenUp
from sources.source import Condition, Services
from sources.topic import TopicPace, TopicWatch
from tests.integration.taken import Taken, eventually

QUICK = TopicPace(look=timedelta(seconds=0.2), closing=timedelta(seconds=5), retry_longest=timedelta(seconds=0.1))
Make = Callable[..., Awaitable[TopicSource]]
Connect = Callable[[], Awaitable[Broker]]


class Letters:
    """Keeps what is given up; ``failing`` times it cannot."""

    def __init__(self) -> None:
        self.filed: list[GivenUp] = []
        self.failing = 0

    async def give_up(self, given_up: GivenUp) -> None:
        if self.failing:
            self.failing -= 1
            raise NotAccepted("the store is away")
        self.filed.append(given_up)


@pytest.fixture(params=["embedded", "rabbitmq"])
async def connect(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Connect]:
    """A started client of the broker, one more at each call."""
    clients: list[Any] = []

    async def connect() -> Broker:
        if request.param == "rabbitmq":
            url = getattr(connect, "url", None) or request.getfixturevalue("rabbitmq_url")
            connect.url = url  # type: ignore[attr-defined]
            clients.append(RabbitMQBroker(url, delays=()))
        else:
            clients.append(
                clients[0].sibling(f"client-{len(clients)}")
                if clients
                else EmbeddedBroker(tmp_path / "broker", delays=())
            )
        await clients[-1].start()
        return clients[-1]  # type: ignore[no-any-return]

    if request.param == "rabbitmq":
        request.getfixturevalue("rabbitmq")
    yield connect
    for client in reversed(clients):
        await client.close()


@pytest.fixture
async def broker(connect: Connect) -> Broker:
    return await connect()


@pytest.fixture
async def taken() -> Taken:
    return Taken()


@pytest.fixture
def letters() -> Letters:
    return Letters()


@pytest.fixture
def services(broker: Broker, taken: Taken, letters: Letters) -> Services:
    unused: Any = None
    return Services(taken, unused, unused, broker=broker, letters=letters, retry_first=timedelta(milliseconds=10))


@pytest.fixture
def subscription() -> TopicWatch:
    return TopicWatch(f"sub-{uuid4().hex}", f"orders-{uuid4().hex}", "f", prefetch=2, pace=QUICK)


@pytest.fixture
async def make(services: Services, subscription: TopicWatch) -> AsyncIterator[Make]:
    """A started source of the subscription; keyword arguments are fields of TopicWatch."""
    made: list[TopicSource] = []

    async def make(of: Services = services, **changes: Any) -> TopicSource:
        made.append(TopicSource(replace(subscription, **changes), of))
        await made[-1].start()
        return made[-1]

    yield make
    for source in made:
        await source.close()


async def publish(broker: Broker, topic: str, body: bytes, **fields: Any) -> None:
    await broker.publish(Message(body, **fields), exchange=topic, routing_key=fields.get("message_id") or "any.key")


def messages(taken: Taken) -> list[str]:
    return [json.loads(event.payload)["Records"][0]["Sns"]["Message"] for event in taken.accepted]


async def ready(broker: Broker, subscription: TopicWatch) -> int:
    return (await broker.depth(names.topic(subscription.id))).ready


async def test_a_published_message_invokes_the_function(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch
) -> None:
    source = await make(qualifier="live")
    assert source.health().condition is Condition.WATCHING
    await publish(
        broker, subscription.topic, b"Hello", message_id="m-1", headers={"subject": "Hi", "store": "north", "price": 5}
    )
    await eventually(lambda: taken.accepted)
    (event,) = taken.accepted
    assert (event.function, event.qualifier, event.source, event.trigger) == (
        "f", "live", f"sns:{subscription.topic}", "pubsub",
    )  # fmt: skip
    (record,) = json.loads(event.payload)["Records"]
    arn = f"arn:aws:sns:us-east-1:000000000000:{subscription.topic}"
    assert record["EventSubscriptionArn"] == f"{arn}:{subscription.id}"
    assert (record["Sns"]["TopicArn"], record["Sns"]["MessageId"], record["Sns"]["Subject"]) == (arn, "m-1", "Hi")
    assert record["Sns"]["MessageAttributes"] == {
        "store": {"Type": "String", "Value": "north"},
        "price": {"Type": "Number", "Value": "5"},
    }
    await eventually(lambda: source.health().counters == {"announced": 1})


async def test_what_is_published_while_nobody_consumes_is_kept(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch
) -> None:
    source = await make()
    await source.close()
    await publish(broker, subscription.topic, b"meanwhile")
    await make()
    await eventually(lambda: messages(taken) == ["meanwhile"])


async def test_each_subscription_gets_every_message_and_each_message_goes_to_one_process(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch
) -> None:
    await make()
    await make()
    await make(id="other-" + subscription.id, function="g")
    for number in range(20):
        await publish(broker, subscription.topic, b"x", message_id=str(number))
    await eventually(lambda: len(taken.accepted) >= 40)
    assert Counter(event.function for event in taken.accepted) == {"f": 20, "g": 20}
    assert len(set(taken.ids())) == 40


async def test_the_filter_policy_decides_by_attributes_or_by_the_body(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch
) -> None:
    by_attribute = await make(filter_policy='{"price": [{"numeric": [">", 3]}]}')
    by_body = await make(id="b-" + subscription.id, function="g", filter_policy='{"n": [1]}', body_filter=True)
    await publish(broker, subscription.topic, b'{"n": 1}', headers={"price": 2})
    for _ in range(5):  # more than the prefetch
        await publish(broker, subscription.topic, b'{"n": 0}', headers={"price": 0})
    await publish(broker, subscription.topic, b'{"n": 2}', headers={"price": 4})
    await eventually(lambda: by_attribute.health().counters == {"announced": 1, "filtered": 6})
    await eventually(lambda: by_body.health().counters == {"announced": 1, "filtered": 6})
    assert {(e.function, m) for e, m in zip(taken.accepted, messages(taken), strict=True)} == {
        ("f", '{"n": 2}'),
        ("g", '{"n": 1}'),
    }
    await asyncio.gather(by_attribute.close(), by_body.close())
    assert await ready(broker, subscription) == 0


async def test_another_policy_and_qualifier_count_from_when_they_are_given(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch
) -> None:
    source = await make(filter_policy='{"a": ["x"]}')
    await publish(broker, subscription.topic, b"1", headers={"a": "y"})
    await eventually(lambda: source.health().counters.get("filtered") == 1)
    await source.reconfigure(replace(subscription, filter_policy='{"a": ["y"]}', qualifier="v2", prefetch=3))
    await publish(broker, subscription.topic, b"2", headers={"a": "y"})
    await eventually(lambda: messages(taken) == ["2"])
    assert taken.accepted[0].qualifier == "v2"


async def test_what_is_not_accepted_is_offered_again_with_the_same_id(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch
) -> None:
    taken.fault = lambda event: NotAccepted("queue full") if len(taken.offered) < 4 else None
    source = await make()
    await publish(broker, subscription.topic, b"x", message_id="m")
    await eventually(lambda: source.health().condition is Condition.LAGGING or taken.accepted)
    await eventually(lambda: taken.accepted)
    assert len({event.event_id for event in taken.offered}) == 1
    assert source.health().counters["retried"] == 3
    await eventually(lambda: source.health().condition is Condition.WATCHING)


async def test_what_is_not_accepted_for_long_goes_back_to_the_queue_for_others(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch, services: Services
) -> None:
    stuck = Taken()
    stuck.fault = lambda event: NotAccepted("queue full")
    await make(replace(services, acceptor=stuck), pace=replace(QUICK, hold=timedelta(seconds=0.05)))
    await publish(broker, subscription.topic, b"x", message_id="m")
    await eventually(lambda: len(stuck.offered) > 3)
    await make()
    await eventually(lambda: messages(taken) == ["x"])
    assert taken.ids() == [stuck.offered[0].event_id]


async def test_an_acceptor_that_breaks_loses_nothing(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken.fault = lambda event: RuntimeError("a bug") if len(taken.offered) < 3 else None
    await make()
    await publish(broker, subscription.topic, b"x")
    await eventually(lambda: messages(taken) == ["x"])
    assert "a bug" in caplog.text


async def test_what_is_refused_is_filed_with_the_reason_before_it_leaves_the_queue(
    make: Make,
    broker: Broker,
    taken: Taken,
    letters: Letters,
    subscription: TopicWatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    taken.fault = lambda event: Refused("no such function")
    letters.failing = 2
    source = await make(qualifier="q")
    await publish(broker, subscription.topic, b"x", message_id="m")
    await eventually(lambda: letters.filed)
    await eventually(lambda: source.health().counters.get("refused") == 1)
    (filed,) = letters.filed
    assert (filed.condition, filed.report) == ("Refused", {"reason": "no such function"})
    assert json.loads(filed.payload)["Records"][0]["Sns"]["Message"] == "x"
    mapping = filed.mapping
    assert (mapping.function, mapping.qualifier, mapping.uuid) == ("f", "q", subscription.id)
    assert (mapping.label, mapping.on_failure) == (f"sns:{subscription.topic}", "")
    assert "no such function" in caplog.text
    await source.close()
    assert await ready(broker, subscription) == 0


async def test_the_prefetch_bounds_what_is_held(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch
) -> None:
    taken.gate.clear()
    await make(prefetch=3)
    for number in range(10):
        await publish(broker, subscription.topic, b"x", message_id=str(number))
    await eventually(lambda: len(taken.offered) == 3)
    await asyncio.sleep(0.1)
    assert len(taken.offered) == 3
    taken.gate.set()
    await eventually(lambda: len(taken.accepted) == 10)


async def test_closing_finishes_what_was_taken(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch
) -> None:
    source = await make()
    taken.gate.clear()
    await publish(broker, subscription.topic, b"x")
    await eventually(lambda: taken.offered)
    closing = asyncio.create_task(source.close())
    await asyncio.sleep(0.01)
    taken.gate.set()
    await closing
    assert messages(taken) == ["x"]
    assert source.health().condition is Condition.CLOSED
    assert await ready(broker, subscription) == 0


async def test_closing_gives_back_what_does_not_finish(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch
) -> None:
    taken.gate.clear()
    source = await make(pace=replace(QUICK, closing=timedelta(seconds=0.05)))
    await publish(broker, subscription.topic, b"x", message_id="m")
    await eventually(lambda: taken.offered)
    await source.close()
    taken.gate.set()
    await make()
    await eventually(lambda: messages(taken) == ["x"])


async def test_what_a_lost_consumer_held_is_delivered_to_another_under_the_same_id(
    make: Make, connect: Connect, broker: Broker, taken: Taken, subscription: TopicWatch, services: Services
) -> None:
    lost = await connect()
    taken.gate.clear()
    await make(replace(services, broker=lost))
    await publish(broker, subscription.topic, b"x", message_id="m")
    await eventually(lambda: taken.offered)
    await make()
    await lost.close()
    taken.gate.set()
    await eventually(lambda: len(taken.offered) == 2)
    assert len({event.event_id for event in taken.offered}) == 1


async def test_an_exchange_of_another_kind_is_an_outage_that_names_the_remedy(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch
) -> None:
    wrong = Topology(exchanges=(Exchange(subscription.topic, ExchangeKind.FANOUT),))
    await broker.declare(wrong)
    source = await make()
    assert source.health().condition is Condition.OUTAGE
    assert "delete it, or choose another name" in source.health().reasons[0]
    await broker.delete(wrong)
    await eventually(lambda: source.health().condition is Condition.WATCHING)
    await publish(broker, subscription.topic, b"x")
    await eventually(lambda: messages(taken) == ["x"])


async def test_a_deleted_exchange_and_queue_are_declared_again(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch
) -> None:
    await make()
    await broker.delete(
        Topology(
            exchanges=(Exchange(subscription.topic, ExchangeKind.TOPIC),), queues=(Queue(names.topic(subscription.id)),)
        )
    )

    async def heard() -> None:
        while not taken.accepted:
            try:
                await publish(broker, subscription.topic, b"x")
            except Exception:  # not there yet, or not bound yet
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.02)

    async with asyncio.timeout(30):
        await heard()


async def test_a_broker_that_is_away_at_the_start_is_an_outage_that_ends(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch, services: Services
) -> None:
    class Away:
        """The broker, which is not there at first."""

        attempts = 0

        async def declare(self, topology: Topology) -> None:
            self.attempts += 1
            if self.attempts < 4:
                raise Unavailable
            await broker.declare(topology)

        def __getattr__(self, name: str) -> Any:
            return getattr(broker, name)

    away: Any = Away()
    source = await make(replace(services, broker=away))
    assert source.health().condition is Condition.OUTAGE
    await eventually(lambda: source.health().condition is Condition.WATCHING)
    await publish(broker, subscription.topic, b"x")
    await eventually(lambda: messages(taken) == ["x"])


async def test_a_forgotten_subscription_leaves_no_queue(
    make: Make, broker: Broker, subscription: TopicWatch, services: Services
) -> None:
    source = await make()
    await source.close()
    await forget(subscription.id, services)
    await forget(subscription.id, services)
    with pytest.raises(QueueNotFound):
        await broker.depth(names.topic(subscription.id))


async def test_what_the_broker_gives_up_itself_goes_to_the_functions_dead_letters(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch
) -> None:
    await broker.declare(function_queues("f"))
    source = await make()
    await source.close()
    await publish(broker, subscription.topic, b"x", message_id="m")
    delivery = await broker.get(names.topic(subscription.id))
    assert delivery is not None
    await delivery.reject()
    dead = None
    async with asyncio.timeout(30):
        while (dead := await broker.get(names.dead("f"))) is None:
            await asyncio.sleep(0.02)
    letter = read_dead_message(dead.message, names.dead("f"), 0)
    assert (letter.function, letter.event_id) == ("f", "m")
    await dead.ack()


async def test_starting_and_closing_twice_is_harmless(
    make: Make, broker: Broker, taken: Taken, subscription: TopicWatch
) -> None:
    source = await make()
    await asyncio.gather(source.start(), source.start())
    await publish(broker, subscription.topic, b"x")
    await eventually(lambda: len(taken.accepted) == 1)
    await asyncio.gather(source.close(), source.close())
    await source.start()
    assert source.health().condition is Condition.CLOSED


async def test_one_that_was_never_started_can_be_closed(subscription: TopicWatch, services: Services) -> None:
    source = TopicSource(subscription, services)
    assert source.health().condition is Condition.STARTING
    await source.close()
    await source.start()
    assert source.health().condition is Condition.CLOSED


async def test_a_subscription_keeps_its_topic_and_its_function(make: Make, subscription: TopicWatch) -> None:
    source = await make()
    for changes in ({"id": "x"}, {"topic": "x"}, {"function": "x"}):
        with pytest.raises(Misconfigured, match="do not change"):
            await source.reconfigure(replace(subscription, **changes))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"id": ""}, Misconfigured, "id has 1 to 200"),
        ({"id": "x" * 201}, Misconfigured, "id has 1 to 200"),
        ({"topic": ""}, Misconfigured, "cannot be the exchange"),
        ({"topic": "amq.topic"}, Misconfigured, "cannot be the exchange"),
        ({"prefetch": 0}, Misconfigured, "prefetch"),
        ({"filter_policy": '{"a": "x"}'}, InvalidPattern, r"\$\.a"),
    ],
)
def test_a_subscription_that_cannot_be_is_refused(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        replace(TopicWatch("s", "t", "f"), **changes)
