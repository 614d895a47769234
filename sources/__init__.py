"""Turn what happens outside into invocations, and lose nothing of it.

What this package owns
    The ports of a source (:mod:`sources.source`, :mod:`sources.stream`, :mod:`sources.inbox`), the adapters, one file each
    (:mod:`sources.adapters`), and what does the work between them and a function:

    ========================  ==========================================================================================
    watchers                  compare a directory with what is remembered of it: :mod:`sources.adapters.file`
    :mod:`.stream_poller`     reads the shards of ordered streams, batch by batch, and blocks on what fails
    :mod:`.queue_poller`      receives from queues, and settles message by message what a batch made of them
    push sources              are called by the clock or the broker: :mod:`sources.adapters.schedule`, ``topic``
    :mod:`sources.http`       which function a request means, its event, and the response: values only, no server
    ========================  ==========================================================================================

What it refuses
    It knows no function, no store and no concrete broker. The composition root hands in all of that
    (:class:`sources.source.Services`): an acceptor for single events, an invoker for batches, letters for what is given
    up, claims and checkpoints in a database. It decides neither how a function runs nor how an accepted event is retried.

::

    directory ──► watcher ───────┐
    clock ──────► schedule ──────┤ event ──► Acceptor ──► the function's queue         then: checkpoint, claim, ack
    topic ──────► subscription ──┘

    stream ──► StreamPoller ─────┐ batch ──► Invoker ──► an answer ──► settle          then: position, delete, ack
    queue ───► QueuePoller ──────┘             └─ given up ──► Letters ──► destination and dead letter, then settle

    Claims: over all processes one owner of each shard, queue and schedule; what it stores is fenced by its claim

    The order is the same everywhere: first somebody else has it for sure, then it is remembered as done. A crash between
    the two does it again, under the same event id or from the same position; nothing is left out.

What decides
    Pure modules, apart from all waiting: ``snapshot`` (what has changed), ``batching``, ``retrying``, ``partial``,
    ``lanes``, ``window`` (a shard's batches), ``queue_batching``, ``queue_settlement``, ``schedule``,
    ``schedule_expression``, ``pattern``, ``filters``, ``filter_policy``, ``stream_verdict`` (is it still the same stream).

What happens when each part dies
    A process: others have its claims in seconds, and go on from what was stored. The function fails, or is not there: a
    shard stands still, or gives up as its mapping says; a queue's messages come again; health says which. The acceptor or
    the invoker is away: what is to be done waits with backoff and is charged to no record. The store is away: an owner
    ends before another may begin, and what it had not stored is done again. The source is away: nothing counts as removed
    or lost, and reading goes on where it was; what the source itself has dropped meanwhile is told once, as lost. A
    subscription, a watch or a reader: its loop begins another. A cancelled or failed task is never the end of a source,
    only :meth:`~sources.source.Source.close` is.
"""
