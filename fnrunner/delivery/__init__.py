"""Decide and carry out what follows an outcome, and keep the books that prove nothing was lost.

What this package owns
    The decision (:mod:`~fnrunner.delivery.retry`, pure), destinations and dead-letter targets
    (:mod:`~fnrunner.delivery.destinations`), the ledger of accepted events and attempts
    (:mod:`~fnrunner.delivery.ledger`), dead letters on the wire (:mod:`~fnrunner.delivery.letter`), filed by the
    :mod:`~fnrunner.delivery.archivist`, worked with through :mod:`~fnrunner.delivery.dead_letters` and sent back by
    :mod:`~fnrunner.delivery.redrive`, and the questions people ask of the books (:mod:`~fnrunner.delivery.history`,
    :mod:`~fnrunner.delivery.audit`).

What it refuses
    It runs nothing and settles nothing: the pipeline publishes and acknowledges what is decided here. It never reads a
    payload except to check that it is JSON where somebody edits it or a record quotes it.

::

    accept: publish, confirm ─► events queue ─► run ─► decide ─► Finish ───────────────────► ack
               │                    ▲   ▲                │  ├──► RetryAfter ─► delay queue ─► ack
               ▼                    │   └────────────────┼──┘        │
         row in `accepted`       redrive                 └► DeadLetter ─► exchange DEAD ────► ack
                                    │                                         │
                           table `dead_letter` ◄── archivist ◄── dead queue ◄─┘
                                               file, then ack

    Every run writes its row in `attempt` before its delivery is acknowledged.

Why the queue carries dead letters and the store keeps them
    A dead letter must not depend on the store being there when a run ends: it is published with confirm like a retry,
    and waits in its queue until an archivist has filed it. People list, edit and redrive, which a queue cannot do, so
    they work with the rows. Filing is idempotent (event, redrives, function), so any number of archivists may run.

The balance
    accepted = succeeded + dead-lettered + expired + in flight + missing, and missing must be 0. An event is final when
    it has a succeeded attempt, or else when its newest dead letter has not been redriven. Everything else is
    outstanding; in flight is the part of it that queues, workers and pending retries account for. An outcome counts as
    accepted even without its row in `accepted`, which is lost when a process is killed between confirm and commit.

What happens when each part dies
    The store: attempts wait for it, so deliveries stay unsettled (bounded by prefetch); dead letters wait in their
    queues. A worker: its deliveries come again; a run whose row was written but not acknowledged runs twice and shows
    as a duplicate. The archivist: another one files, or the letters wait. A process in the middle of a redrive: the
    letter stays marked ``redriving`` and is published (again) by any API process a minute later: a duplicate is
    possible, a loss is not.
    A destination: counted, logged, noted in the dead letter; the event itself goes on.
"""
