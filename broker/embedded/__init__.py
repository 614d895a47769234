"""Keep the broker's promises inside one process, with no server: an engine in memory and a journal in SQLite.

What this package owns
    A pure engine with RabbitMQ's semantics (:mod:`~broker.embedded.engine`, with :mod:`~broker.embedded.routing`,
    :mod:`~broker.embedded.backlog`, :mod:`~broker.embedded.stream`, :mod:`~broker.embedded.death`): it decides, and
    leaves what must be written in batches. A journal (:mod:`~broker.embedded.journal`) that writes batches. A
    hub (:mod:`~broker.embedded.hub`) that carries one to the other: everything runs on the event loop, only SQLite has
    a thread. Clients (:mod:`~broker.embedded.client`) that speak the port.

What it refuses
    Two processes on one directory: the second gets :class:`~broker.errors.Locked`. To recreate a journal that it cannot
    read: that is for a person to decide.

::

    client ─► engine ─► batch ─► journal thread: BEGIN … COMMIT (fsync)
                ▲                     │ all that came meanwhile is the next batch
                └──── committed ◄─────┘ only now the message can be delivered and its publisher is confirmed

Where it promises more than RabbitMQ
    ``forward``, ``retry_later``, ``dead_letter`` and every dead-letter hop write the copy and delete the original
    in one transaction: a crash leaves exactly one of the two.
    A message that several queues take is taken by all of them or by none.

Where it costs
    ``ack`` does not wait for the disk: it is in the next batch, a few milliseconds later. ``kill -9`` inside that gap
    delivers the message again. A clean close loses no ack. The same gap holds for the mark *redelivered*.
    After a crash every message that was delivered before and is still there counts one delivery more, also when
    it had been given back: ``delivery_limit`` may be reached that much earlier.
    The journal file does not shrink while it is open: what was freed is used again.

What happens when each part dies
    The process: what was confirmed is in the journal. Queues and streams survive; exclusive queues, requests, permits
    and broadcasts live in memory and end with it.
    The power: commits are synced (``synchronous=FULL``), so the same holds.
    The disk is nearly full (50 MiB left, as RabbitMQ's ``disk_free_limit``): publishing what must be written raises
    Blocked; deliveries and acks go on and are written, so that consuming helps. Transient messages go on too.
    The disk is full all the same, or the journal is locked by another program: the same, but acks are kept in memory and
    tried again until they can be written. Either way publishing works again by itself once the cause is gone.
    One client of several: only its unsettled deliveries are delivered again, and its permits return.
"""

from broker.embedded.client import EmbeddedBroker
from broker.embedded.journal import JournalCorrupt

__all__ = ["EmbeddedBroker", "JournalCorrupt"]
