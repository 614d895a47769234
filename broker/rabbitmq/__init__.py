"""RabbitMQ 3.10 to 4.x behind the broker port.

What it owns
    Two connections of a process: one publishes, one does everything else, so that an alarm, which blocks publishing
    connections, leaves consumers at work. aiormq does what happens seldom (handshake, TLS, heartbeats, declaring, consuming,
    cancelling); the frames that every message costs go past it (:mod:`~broker.rabbitmq.tap`, :mod:`~broker.rabbitmq.wire`).

What it refuses
    aiormq's errors end at :mod:`~broker.rabbitmq.failure`. No message waits in a local buffer: prefetch is kept by the broker.

::

    client ─┬─ publisher ──── link "publishes" ─┐
            ├─ subscription ┐                   ├─ session: connection + tap ── RabbitMQ
            ├─ feed         ├─ link "consumes" ─┘
            ├─ permit       │
            └─ declaration ─┘

What happens when each part dies
    A connection: its link opens another, trying every host in turn; publishes on their way are sent again with the same
    message id until their timeout; each attachment (publishing, every subscription, the queues of replies and control events)
    is set up again. Requests that wait get Unavailable; permits are void.
    A channel: only what was on it is set up again. A publish to an exchange that does not exist would close the channel of
    all, so an exchange is looked for before it is used for the first time.
    A queue under its consumer: declared again as this client declared it, when its deletion is over; a queue that
    another client declared is waited for, and the status says so.
"""

from broker.rabbitmq.client import RabbitMQBroker

__all__ = ["RabbitMQBroker"]
