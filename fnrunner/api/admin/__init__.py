"""What the `fnrunner` commands ask for under ``/fnrunner/v1/``: logs, the story of an event, dead letters, the audit, buckets,
queues and streams. One module each, with its ``ROUTES``; the table of paths is in :mod:`fnrunner.api`.

Nothing here decides: each handler reads its request, asks the part that knows, and answers in JSON.
"""
