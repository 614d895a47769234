"""Decide who may run now, so that no cap is exceeded and no slot stays idle while someone may use it.

What this package owns
    The pure accounting of one process's slots (:mod:`fnrunner.concurrency.accounting`), the port through which the
    pipeline asks for one (:class:`fnrunner.concurrency.permits.ConcurrencyGate`) and its implementation for one
    process (:class:`fnrunner.concurrency.permits.LocalPermits`).

What it refuses
    It starts nothing and stops nothing: lowering a cap lets what runs finish. It knows no queue and no broker.

::

    acquire ──free──────────────► Lease ──release──► the next one waiting: its function's turn comes round
       │ no slot, wait > 0                                  ▲
       ├──► waits in its function's line ───────────────────┘
       └──► Throttled: the function's own cap, or the capacity of all

Why turns go round the functions and not round the callers
    One line for all would let a function that floods the process hold every other one back by the length of its
    flood. With a line for each function and turns in a ring, a function waits for at most one grant of each other one.

What happens when each part dies
    The process dies: its counts die with it, and what ran there is delivered again elsewhere. A caller is cancelled
    while it waits: it leaves the line, and a slot granted to it in the same instant goes to the next.
"""
