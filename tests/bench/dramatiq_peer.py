"""Dramatiq: two processes of eight threads, its defaults."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from tests.bench.completions import marker
from tests.bench.peer import Peer
from tests.bench.subject import EVENT, URL, WORKERS, CallPath, Ground

THREADS = 8
ACTOR = "work"


def make_broker(url: str) -> RabbitmqBroker:
    """A broker with the measured actor."""
    mark = marker()
    broker = RabbitmqBroker(url=url)

    def work(event: dict[str, Any]) -> None:
        mark()

    dramatiq.actor(actor_name=ACTOR, broker=broker)(work)
    return broker


def set_up() -> None:
    """What the ``dramatiq`` command calls in each worker."""
    dramatiq.set_broker(make_broker(os.environ[URL]))


class DramatiqPeer(Peer):
    name = "Dramatiq"
    packages = ("dramatiq", "pika")
    configuration = (
        f"{WORKERS} processes of {THREADS} threads, prefetch {2 * THREADS} a process (its defaults); "
        "durable classic queue (its default)"
    )
    queue = "default"

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self._broker = make_broker(ground.broker_url)

    def command(self) -> Sequence[str]:
        app = "tests.bench.dramatiq_peer:set_up"
        return ("dramatiq", app, "--processes", str(WORKERS), "--threads", str(THREADS))

    def publish(self, count: int) -> None:
        actor = self._broker.get_actor(ACTOR)
        for _ in range(count):
            actor.send(EVENT)

    def paths(self) -> tuple[CallPath, ...]:
        return (CallPath("results", absent="not offered on RabbitMQ: its result backends are Redis and Memcached"),)

    def close(self) -> None:
        super().close()
        self._broker.close()
