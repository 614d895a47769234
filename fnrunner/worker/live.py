"""Code that is newer than what is deployed: which directory a function's next environment sees, while it is developed.

It stands for ``$LATEST`` only, and only as long as that is the deployment which it departs from: whoever deploys something
else by other means gets what was deployed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from fnrunner.model import limits
from fnrunner.model.function import Function


@dataclass(frozen=True, slots=True)
class Live:
    """``directory`` holds the code; the same one has another ``generation`` after each change. ``digest`` is that of the
    deployed code it departs from.
    """

    directory: str
    generation: int
    digest: str


@dataclass(frozen=True, slots=True)
class _Worker:
    renew: Callable[[str], Awaitable[None]]
    unpacked: Callable[[str], Awaitable[Path]]
    compiled: Callable[[Path, str], Awaitable[None]]
    in_use: Callable[[], Collection[str]]


class LiveCode:
    """Where a worker and who develops its functions meet. Empty in every process but `fnrunner dev`."""

    def __init__(self) -> None:
        self._shown: dict[str, Live] = {}
        self._worker: _Worker | None = None

    def join(
        self,
        *,
        renew: Callable[[str], Awaitable[None]],
        unpacked: Callable[[str], Awaitable[Path]],
        compiled: Callable[[Path, str], Awaitable[None]],
        in_use: Callable[[], Collection[str]],
    ) -> None:
        """The worker. ``renew`` is told of each function whose code has changed: its idle environments are of no use any
        more. ``unpacked`` says where deployed code lies by its digest, ``compiled`` waits until that is compiled for a
        runtime, ``in_use`` says which directories environments see.
        """
        self._worker = _Worker(renew, unpacked, compiled, in_use)

    async def unpacked(self, digest: str) -> Path:
        """Raises the artifact store's errors, and RuntimeError before a worker has joined."""
        return await self._joined().unpacked(digest)

    async def compiled(self, tree: Path, runtime: str) -> None:
        """Wait until unpacked code has been compiled for a runtime, as far as it can be. Raises RuntimeError as above."""
        await self._joined().compiled(tree, runtime)

    def in_use(self) -> Collection[str]:
        """The directories that living environments see."""
        return self._joined().in_use()

    async def show(self, function: str, live: Live) -> None:
        """From now on new environments of the function see this."""
        self._shown[function] = live
        await self._joined().renew(function)

    async def forget(self, function: str) -> None:
        """From now on new environments of the function see what is deployed."""
        if self._shown.pop(function, None) is not None:
            await self._joined().renew(function)

    def of(self, function: Function) -> Live | None:
        live = self._shown.get(function.name)
        if live is None or function.version != limits.LATEST or live.digest != function.code.digest:
            return None
        return live

    def _joined(self) -> _Worker:
        if self._worker is None:
            raise RuntimeError("no worker has joined")
        return self._worker
