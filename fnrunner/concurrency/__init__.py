"""Decide who may run now, so that no cap is exceeded and no slot stays idle while someone may use it.

What this package owns
    The pure accounting of one process's slots (:mod:`fnrunner.concurrency.accounting`) and its asynchronous form
    (:class:`fnrunner.concurrency.permits.LocalPermits`); the gate through which the pipeline asks for a right to run, over all
    workers (:class:`fnrunner.concurrency.fleet.FleetGate`); how the account's unreserved pool is shared among workers
    (:mod:`fnrunner.concurrency.sharing`); how fast a function may get new environments
    (:mod:`fnrunner.concurrency.scaling`).

What it refuses
    It starts nothing and stops nothing: lowering a cap lets what runs finish, and a lease only says that it was lost.

::

    acquire ──slot here, and a permit of the broker's where the function is capped──► Lease ──release──► the next one waiting
       │ none, and patience left                                                        │
       ├──► waits in its function's line, or at the broker                              └──lost──► what runs stops at once
       └──► Throttled: the function's own cap, the account, or the capacity of all

Why a cap is permits that are taken for each invocation
    A worker that held permits ahead of its work would keep them from others while it idles, so that a request elsewhere
    would be throttled although a slot is free; moving them about with the load takes longer than the millisecond that taking
    one costs. Taken for each invocation, a free permit is free for everybody, and a dead worker's return with its connection.

Why turns go round the functions and not round the callers
    One line for all would let a function that floods the process hold every other one back by the length of its
    flood. With a line for each function and turns in a ring, a function waits for at most one grant of each other one.

What happens when each part dies
    The process dies: its counts die with it, its permits return, and what ran there is delivered again elsewhere. A caller is
    cancelled while it waits: it leaves the line, and a slot granted to it in the same instant goes to the next. The
    broker cannot be reached: capped functions do not start, uncapped ones are not touched.
"""
