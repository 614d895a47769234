"""Run AWS-Lambda-style functions on machines you own, with RabbitMQ as the engine.

::

    outside ─► sources ─┐
    HTTP    ─► api ─────┤ invoke.front ─► broker ─► worker.executor ─► environment (a process of its own)
                        │   validate, admit,         one pipeline per delivery          │
                        │   publish, confirm   ◄─ settle: result | retry | dead letter ◄┘
    boto3, CLI ─► api ──┴─► catalogue (store + artifacts) ─ change events ─► workers, sources

Imports go downwards only: ``cli, console, api → invoke, worker → delivery, concurrency, catalogue, sandbox, runtime_api →
runtimes, auth, telemetry, cost → store → model``; ``fnrunner → sources → broker``. ``worker`` and ``invoke`` never import
each other: they meet through the broker. :mod:`fnrunner.app` alone names a concrete broker, store or sandbox. Read
:mod:`fnrunner.worker.executor` first: the whole life of an event is on one screen.
"""

__version__ = "0.1.0"
