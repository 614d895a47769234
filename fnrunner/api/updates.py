"""Which functions this process is updating at this moment: a second update meanwhile is a conflict, as on Lambda.

Each API process knows of its own; those of several follow one another in the store.

>>> updates = Updates()
>>> with updates.of("f", "arn"):
...     "f" in updates
True
>>> "f" in updates
False
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fnrunner.api.errors import ApiError


class UpdateInProgress(ApiError):
    """``arn`` is the function's. Wait until LastUpdateStatus is Successful."""

    code, status, message_key = "ResourceConflictException", 409, "message"

    def __init__(self, arn: str) -> None:
        super().__init__(
            f"The operation cannot be performed at this time. An update is in progress for resource: {arn}"
        )


class Updates:
    """The functions that this process is updating."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def __contains__(self, name: object) -> bool:
        return name in self._names

    @contextmanager
    def of(self, name: str, arn: str) -> Iterator[None]:
        """Raises UpdateInProgress when there is another."""
        if name in self._names:
            raise UpdateInProgress(arn)
        self._names.add(name)
        try:
            yield
        finally:
            self._names.discard(name)
