"""The front: what a caller may ask of a function, and what it is promised in return.

::

    call    ─► validate ─► request ─► broker ─► worker ─► reply      synchronous: the caller waits
    stream  ─► validate ─► request ─► broker ─► worker ─► replies    the same, the answer in pieces as they are made
    accept  ─► validate ─► publish, confirm ─► ledger                asynchronous: the caller gets an id

An event is accepted when the broker has confirmed it on the function's queue; the id is given out only after that, and
after the ledger has written it down. If the process dies between the two, the event runs and is counted by its outcome.
When the broker cannot take the event the caller is told so (503) and may repeat the call with the same id.

The front never runs a function and never imports the worker: they meet through the broker.
"""
