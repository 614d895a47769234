"""The names of every exchange and queue, as pure functions. Nothing else in the project spells one.

The version in the prefix changes when the arguments of a queue change, since a broker refuses to redeclare one.
Queues that users name (`fnrunner queue create`, ARNs) have exactly the user's name, without a prefix.

>>> events("thumbnails"), dead("thumbnails"), delay(60_000)
('fnrunner.v1.events.thumbnails', 'fnrunner.v1.dead.thumbnails', 'fnrunner.v1.delay.60000ms')
>>> function_of("fnrunner.v1.events.thumbnails")
'thumbnails'
"""

from __future__ import annotations

PREFIX = "fnrunner.v1"

DUE = f"{PREFIX}.due"
"""Direct exchange where delay queues send what is due; the routing key is the queue the message goes back to."""

DEAD = f"{PREFIX}.dead"
"""Topic exchange of dead letters; the routing key is the function's name. Anyone may bind a queue to it."""

ORPHANS = f"{PREFIX}.orphans"
"""Fanout exchange and quorum queue that catch what no queue takes any more, so that it does not vanish."""

RETURNED = f"{PREFIX}.returned"
"""Headers exchange that carries a request nobody could take back to the node that sent it."""

CONTROL = f"{PREFIX}.control"
"""Fanout exchange of control events: every process hears every event."""

PULSE = f"{PREFIX}.pulse"
"""Quorum queue of a cluster that nobody reads: whether a node confirms for it tells whether it reaches the others."""

NODE_HEADER = "x-fnrunner-node"
"""Header of a request: the node that waits for its replies. Header of a reply that is not the last and of a probe, where
the request has a window: the node that sends it."""

WINDOW_HEADER = "x-fnrunner-window"
"""Header of a request: how many replies may be on their way to the asker and not yet yielded."""


def events(function: str) -> str:
    """The quorum queue of a function's asynchronous events."""
    return f"{PREFIX}.events.{function}"


def requests(function: str) -> str:
    """The queue of a function's synchronous requests: classic, and on a cluster a quorum queue."""
    return f"{PREFIX}.requests.{function}"


def dead(function: str) -> str:
    """The quorum queue that holds a function's dead letters until they are filed."""
    return f"{PREFIX}.dead.{function}"


def delay(milliseconds: int) -> str:
    """The exchange and the queue of one fixed delay."""
    return f"{PREFIX}.delay.{milliseconds}ms"


def replies(node: str) -> str:
    """The exclusive queue where a node hears replies and returned requests."""
    return f"{PREFIX}.replies.{node}"


def permits(name: str) -> str:
    """The queue whose messages are the permits called ``name``."""
    return f"{PREFIX}.permits.{name}"


def control(node: str) -> str:
    """The exclusive queue where a node hears control events."""
    return f"{PREFIX}.control.{node}"


def topic(subscription: str) -> str:
    """The quorum queue of one subscription to a topic: what was published and its function has not been given yet."""
    return f"{PREFIX}.topic.{subscription}"


def function_of(queue: str) -> str | None:
    """The function that an events, requests or dead queue belongs to, or None for any other queue."""
    for kind in ("events", "requests", "dead"):
        if queue.startswith(start := f"{PREFIX}.{kind}."):
            return queue[len(start) :]
    return None
