"""One transaction for all that waits at the same moment, and a result of its own for each.

While a transaction runs, what comes waits and goes together in the next one. So the number of commits does not grow with
the number of writers. What one caller asked for runs in the order in which it was asked.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from sources.checkpoints import Database, translated
from sources.errors import CheckpointsUnavailable, SourcesError

Request = TypeVar("Request")
_MOST = 500
"""In one transaction: a row each, and what a statement may have as parameters."""


class GroupCommit(Generic[Request]):
    """``apply`` runs in a transaction, perhaps more than once: a result or a SourcesError for each request, in order."""

    def __init__(
        self,
        database: Database,
        apply: Callable[[Connection, Sequence[Request]], Sequence[Any]],
        *,
        patience: timedelta = timedelta(seconds=5),
    ) -> None:
        self._database = database
        self._apply = apply
        self._patience = patience.total_seconds()
        self._waiting: list[tuple[Request, Future[Any]]] = []
        self._task: Task[None] | None = None

    async def __call__(self, request: Request) -> Any:
        """The result, once committed. Raises the request's own error, or CheckpointsUnavailable for all of a group.

        A caller that has waited for long enough, or is cancelled, does not know whether it was done.
        """
        future: Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="group commit")
        try:
            async with asyncio.timeout(self._patience):
                return await future
        except TimeoutError as error:
            raise CheckpointsUnavailable(f"the checkpoint store has not answered for {self._patience:g} s") from error

    async def close(self) -> None:
        """Wait for what was asked for, for a bounded time."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self._patience)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                await self._commit(group)
        finally:
            self._task = None

    async def _commit(self, group: Sequence[tuple[Request, Future[Any]]]) -> None:
        requests = [request for request, _ in group]
        try:
            results: Sequence[Any] = await translated(
                self._database.write, lambda connection: self._apply(connection, requests)
            )
        except CheckpointsUnavailable as error:
            results = [error] * len(group)
        for (_, future), result in zip(group, results, strict=True):
            if future.done():
                continue
            if isinstance(result, SourcesError):
                future.set_exception(result)
            else:
                future.set_result(result)
