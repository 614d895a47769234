"""Carry messages between the parts of fnrunner so that none that was accepted is lost.

What this package owns
    The words on the wire (:mod:`broker.names`, :mod:`broker.topology`, :mod:`broker.envelope`), the
    fixed retry delays (:mod:`broker.delays`), one port (:class:`broker.broker.Broker`) and two
    implementations of it: RabbitMQ (:mod:`broker.rabbitmq`) and an embedded broker that journals in
    SQLite (:mod:`broker.embedded`). ``tests/conformance/broker`` holds both to the same promises.

What it refuses
    It knows nothing of functions, outcomes or attempts. It never decides whether to retry; it is told
    to, and with which message. It never parses a payload.

::

    publish ──confirm──► exchange ──► queue ──► Delivery ──► ack
       │                   │            │           ├──► retry_later: copy to a delay queue, then ack
       │ Unroutable        │            │           └──► dead_letter: copy to the dead exchange, then ack
       ▼                   ▼            ▼
    the caller        alternate     lost consumer: delivered again, marked ``redelivered``

What happens when each part dies
    The process dies: every delivery it had not settled is delivered again, to whoever consumes.
    The broker dies: confirmed messages are on disk; publishers get :class:`~broker.errors.Unavailable`
    and may publish again with the same message id; consumers come back by themselves.
    A crash between the copy and the ack of a settlement: the message exists twice, never not at all.
"""
