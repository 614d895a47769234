"""Errors of the store: the class says what is wrong with it, its docstring is the message and names the remedy."""

from __future__ import annotations

import inspect


class StoreError(Exception):
    """The store refused a statement.

    ``transient``: the same work may succeed in a moment. ``lost``: the connection is gone with the transaction.
    """

    def __init__(self, message: str | None = None, *, transient: bool = False, lost: bool = False) -> None:
        self.transient = transient
        self.lost = lost
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n", 1)[0].replace("\n", " "))


class StoreUnavailable(StoreError):
    """The store cannot be used now: it is locked or cannot be reached. Nothing was written; try again later."""


class StoreDoubtful(StoreUnavailable):
    """The connection was lost during a commit and the store did not come back to say whether it was applied. Look
    before writing again."""


class StoreFull(StoreUnavailable):
    """The store's disk is full. Nothing was written. Free space where FNRUNNER_STORE_URL points, then try again."""


class StoreTooNew(StoreError):
    """The store was written by a newer release of fnrunner. Upgrade this process; nothing was changed."""


class StoreCorrupt(StoreError):
    """The store's file is damaged or no database of fnrunner. Restore it from a backup, or point FNRUNNER_STORE_URL
    elsewhere."""


class StoreConflict(StoreError):
    """A row with that key exists, or a constraint refused the row. Nothing was written."""


class StoreClosed(StoreError):
    """The store is not open: call start() first, and nothing after close()."""
