"""The composition root: the only place that names a concrete broker, store or sandbox.

::

    Node ── Parts (store, broker, catalogue, ledger, tracing, front)
      ├── worker role   Supervisor
      ├── api role      archivist, dead letters, HTTP
      └── sources role  file watchers

``dev`` is all three roles in one process. A node starts from the bottom up and stops from the top down: intake first,
the broker's connection last. A worker that cannot come back to its broker says so on ``/readyz`` and keeps trying.
"""

from fnrunner.app.node import run_api, run_dev, run_sources, run_worker

__all__ = ["run_api", "run_dev", "run_sources", "run_worker"]
