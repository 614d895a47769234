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

Why aiormq, and not the objects of aio-pika above it
    aiormq is aio-pika's own protocol layer. aio-pika's robust connection does not retry the first connection, never sends
    a failed publish again, and stays silent when a consumer is cancelled by the broker, so recovery has to be ours in
    any case; and its message, channel and iterator objects cost more for each message than everything else that a worker
    does with it (about 9,000 publishes a second and process, against 14,000 to 23,000 of aiormq alone).

What happens when each part dies
    A connection: its link opens another, trying every host in turn; publishes on their way are sent again with the same
    message id until their timeout; each attachment (publishing, every subscription, the queues of replies and control events)
    is set up again. Requests that wait get Unavailable; permits are void.
    A node of a cluster: likewise, with the next host in turn. A node that is up and cut off from the others takes every
    connection and carries out nothing: each connection asks its node (:mod:`~broker.rabbitmq.pulse`), and when no answer comes
    moves to one that answers. What was out there is delivered again when the other nodes have noticed, after RabbitMQ's
    ``net_ticktime``; until then nothing can be declared either, so replies may have to wait. A message that a quorum queue
    refuses because it lost its leader is sent again.
    A channel: only what was on it is set up again. A publish to an exchange that does not exist would close the channel of
    all, so an exchange is looked for before it is used for the first time.
    A queue under its consumer: declared again as this client declared it, when its deletion is over; a queue that
    another client declared is waited for, and the status says so.
"""

from broker.rabbitmq.client import RabbitMQBroker

__all__ = ["RabbitMQBroker"]
