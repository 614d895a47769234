"""Turn what happens outside into events, and lose none of them.

What this package owns
    The ports of a source (:mod:`sources.source`), the adapters, one file each (:mod:`sources.adapters`), and what they are
    made of. The composition root hands in an acceptor, checkpoints and leases (:class:`sources.source.Services`).

What it refuses
    It knows no function, no store and no broker client: it offers events to the acceptor and remembers what was taken.

The file watcher, whose adapter is :mod:`sources.adapters.file`
    ::

        inotify ── hints ──► pending ──► probe ──► decide ──► accept ──► record
                                ▲      what is   snapshot,   acceptor   checkpoint
        comparer ── walk ───────┘      there     filter
            ▲ at the start, after an overflow, now and then

    Hints only say where to look. Everything is decided by comparing what is there with the checkpoint, so a lost hint
    costs time, not events, and memory is bounded: what does not fit is found by the next comparison.

What happens when each part dies
    A watcher dies between accept and record: the next one announces again, with the same event id. The acceptor is away:
    keys wait with backoff, each function by itself. The store is away: announcements stop until it is back, and another
    process may take the lease. The directory is away: nothing counts as removed; it is compared when it is back.
"""
