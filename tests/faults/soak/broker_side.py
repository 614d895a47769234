"""What an operator, or the broker itself, does to its clients: asked of the node itself, and as one more publisher."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from broker import names
from broker.envelope import Envelope, to_message
from broker.rabbitmq import RabbitMQBroker
from fnrunner.model.arn import Home
from tests.rabbitmq_server import RabbitMQServer

TICK_MS = 500
"""How often a channel looks for deliveries that are held too long, while that is tested. The default is a minute."""

ONE_OF = "case Them of [] -> none; _ -> One = lists:nth(1 + trunc({chance} * length(Them)), Them), {what} end."


def fail_channel(server: RabbitMQServer, chance: float) -> None:
    """One channel ends as after a precondition that failed; its connection goes on."""
    error = '{amqp_error, precondition_failed, "as planned", none}'
    _of_one(server, "rabbit_channel:list_local()", chance, f"exit(One, {error})")


def close_connection(server: RabbitMQServer, chance: float) -> None:
    """The broker closes one connection in an orderly way."""
    _of_one(server, "rabbit_networking:connections()", chance, 'rabbit_networking:close_connection(One, "as planned")')


CLOSE_ALL = '[rabbit_networking:close_connection(One, "as planned") || One <- rabbit_networking:connections()].'


def close_connections(server: RabbitMQServer) -> None:
    """All of them, in an orderly way."""
    server.evaluate(CLOSE_ALL)


def alarm_memory(server: RabbitMQServer, *, on: bool) -> None:
    """Nothing is taken from publishers while it is on."""
    server.evaluate(f"vm_memory_monitor:set_vm_memory_high_watermark({0.00001 if on else 0.6:f}).")


def alarm_disk(server: RabbitMQServer, *, on: bool) -> None:
    """As for memory."""
    server.evaluate(f'rabbit_disk_monitor:set_disk_free_limit("{"1000TB" if on else "50MB"}").')


def delete_queue(server: RabbitMQServer, name: str) -> None:
    """With whatever is in it. Nothing happens when it is not there."""
    resource = f'rabbit_misc:r(<<"/">>, queue, <<"{name}">>)'
    delete = 'rabbit_amqqueue:delete(Queue, false, false, <<"an operator">>)'
    server.evaluate(f"case rabbit_amqqueue:lookup({resource}) of {{ok, Queue}} -> {delete}; _ -> none end.")


def set_consumer_timeout(server: RabbitMQServer, timeout_s: float | None) -> None:
    """How long a delivery may be held, for every channel from now on: all connections are closed. None: the default."""
    milliseconds, tick = (int(timeout_s * 1000), TICK_MS) if timeout_s else (1_800_000, 60_000)
    server.evaluate(
        f"application:set_env(rabbit, consumer_timeout, {milliseconds}), "
        f"application:set_env(rabbit, channel_tick_interval, {tick}), {CLOSE_ALL}"
    )


def _of_one(server: RabbitMQServer, every: str, chance: float, what: str) -> None:
    server.evaluate(f"Them = lists:sort({every}), " + ONE_OF.format(chance=f"{chance:f}", what=what))


class Copyist:
    """Publishes events once more under the ids they have. ``recent`` gives id, function and number of those accepted."""

    def __init__(self, server: RabbitMQServer, recent: Callable[[], Sequence[tuple[str, str, int]]]) -> None:
        self._server = server
        self._recent = recent

    def copy(self, count: int) -> list[str]:
        """The ids of which there is a copy now. They are events that succeed at once, so that each copy is one more run."""
        chosen = self._recent()[-count:]
        asyncio.run(self._publish(chosen))
        return [event_id for event_id, _, _ in chosen]

    async def _publish(self, events: Sequence[tuple[str, str, int]]) -> None:
        broker = RabbitMQBroker(self._server.url, delays=(), name="copyist")
        await broker.start()
        try:
            for event_id, function, number in events:
                payload = b'{"n": %d, "b": "ok"}' % number
                envelope = Envelope(
                    id=event_id,
                    function=function,
                    payload=payload,
                    accepted_at_ms=time.time_ns() // 1_000_000,
                    invoked_arn=Home().function(function),
                )
                await broker.publish(to_message(envelope), routing_key=names.events(function))
        finally:
            await broker.close()
