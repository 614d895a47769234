"""What is declared: the discipline of dead letters and delays holds by construction."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import names
from broker.rabbitmq.declaration import queue_arguments
from broker.topology import Queue, QueueKind, Topology, foundation, function_queues

DELAYS = st.lists(st.integers(1, 10**7).map(lambda ms: timedelta(milliseconds=ms)), unique=True, max_size=5)


@given(DELAYS)
def test_every_delay_has_an_exchange_and_a_queue_that_leads_back(delays: list[timedelta]) -> None:
    topology = foundation(delays)
    queues = {q.name: q for q in topology.queues}
    for delay in delays:
        queue = queues[names.delay(delay // timedelta(milliseconds=1))]
        assert (queue.ttl, queue.dead_letter_exchange, queue.dead_letter_routing_key) == (delay, names.DUE, None)
        assert queue.kind is QueueKind.QUORUM
        assert any(b.queue == b.exchange == queue.name for b in topology.bindings)


@given(DELAYS, st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_bindings_and_dead_letters_lead_only_to_what_is_declared(delays: list[timedelta], function: str) -> None:
    topology = foundation(delays) + function_queues(function)
    exchanges, queues = {e.name for e in topology.exchanges}, {q.name for q in topology.queues}
    assert all(b.exchange in exchanges and b.queue in queues for b in topology.bindings)
    assert {q.dead_letter_exchange for q in topology.queues} - {None} <= exchanges
    assert {e.alternate for e in topology.exchanges} - {None} <= exchanges
    assert len(queues) == len(topology.queues)


def test_topologies_add_up_in_order() -> None:
    one, two = Topology(queues=(Queue("a"),)), Topology(queues=(Queue("b"),))
    assert [q.name for q in (one + two).queues] == ["a", "b"]


def test_every_dead_letter_hop_of_a_quorum_queue_is_at_least_once() -> None:
    arguments = queue_arguments(Queue("q", dead_letter_exchange="x", dead_letter_routing_key="k"))
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-overflow"] == "reject-publish"
    assert (arguments["x-dead-letter-exchange"], arguments["x-dead-letter-routing-key"]) == ("x", "k")


@pytest.mark.parametrize("queue", [Queue("q"), Queue("q", delivery_limit=7), Queue("q", dead_letter_exchange="x")])
def test_every_quorum_queue_has_an_explicit_delivery_limit(queue: Queue) -> None:
    assert queue_arguments(queue)["x-delivery-limit"] == (
        queue.delivery_limit or queue_arguments(Queue("d"))["x-delivery-limit"]
    )


def test_a_stream_has_only_arguments_that_streams_take() -> None:
    stream = Queue("s", QueueKind.STREAM, max_age=timedelta(hours=2), max_size_bytes=1000)
    assert queue_arguments(stream) == {"x-queue-type": "stream", "x-max-age": "7200s", "x-max-length-bytes": 1000}


def test_a_classic_queue_has_what_it_was_given_and_no_more() -> None:
    assert queue_arguments(Queue("c", QueueKind.CLASSIC)) == {}
    assert queue_arguments(Queue("c", QueueKind.CLASSIC, ttl=timedelta(seconds=1), max_length=3)) == {
        "x-message-ttl": 1000,
        "x-max-length": 3,
    }
