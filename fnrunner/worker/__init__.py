"""Run functions: take deliveries from the broker, run each in an environment, settle it by what came of it.

::

    Intake ──delivery──► Executor ──────────────────────────────────────────────► settle
    (one pair of           decode → admit → resolve → reserve → run → classify     retry copy | dead letter | reply,
     subscriptions                    │         │         │       │                then the ledger, then the ack
     a function)                  InFlight  Catalogue    Slots   Pool ─► Environment (a process of its own)
                                  Suspects

Each step takes and returns an :class:`~fnrunner.worker.execution.Execution`; only ``settle`` publishes or acknowledges.

A request that asks for a stream gets its answer in pieces while it is made: Environment ─► ReplyStream ─► broker, one at a
time, each when the one before it was taken. Nobody holds more than a few pieces, and who does not read holds back only the
function that it reads from. Its last reply is settled as any other.

What happens when each part dies
    *An environment*: its invocation ends as a function error, its whole process tree is killed, the next gets a fresh one.
    *Whoever asked for a stream*: the handler is told (its generator is closed, its write fails); one that has not ended two
    seconds later is killed. The attempt is recorded as Runtime.ClientDisconnected and the slot is free.
    *The worker*: its environments die with it. Its deliveries come back, marked as redelivered. Since one of them may
    have killed it, each is a **suspect** and runs alone from then on. Only what was alone when its worker died is charged
    an attempt, so no innocent neighbour is ever dead-lettered. Whether a worker died, or only lost its connection, is
    read from the worker table: a loss of connection makes no suspects.
    *The connection to the broker*: what runs goes on. An event that comes back while it still runs here, or after it was
    settled here, joins its first delivery instead of running twice.
    *The store*: deliveries stay unsettled until their attempt is written down; new ones stop at the prefetch.

On SIGTERM a worker takes no more, gives back what has not started, lets what runs end within the drain timeout, and says in
the worker table that it stopped in order: nothing is charged.
"""
