"""Running a deployed function on a developer's machine: the environment of a worker, without a worker.

What this package owns
    One run (:mod:`fnrunner.local.run`): which sandbox and which runtime it is made of, how a debugger or a fixed clock gets
    into it, and that nothing is left of it.

What it refuses
    To know servers: code, configuration and payload are given to it as values. To settle: there is no broker, no ledger
    and no dead letter here, so that a run changes nothing but what the function itself changes.

::

    fnrunner replay ─► recording, configuration, zip (HTTP) ─► LocalRun ─► perform ─► Environment ─► Answer
                                                                              ▲
                                              debugger ─── loopback ──────────┘

It is not a part of :mod:`fnrunner.app`, which makes servers, and takes ten times as long to import.
"""
