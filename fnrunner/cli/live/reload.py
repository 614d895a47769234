"""Deploy a path, then let its functions run what is saved; deploy again when more than code was saved."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from fnrunner.cli.deploy.command import template_of
from fnrunner.cli.error import CliError
from fnrunner.cli.live.deploying import Deployed, deploy
from fnrunner.cli.live.source import ANEW, Source
from fnrunner.cli.live.watch import SourceWatch
from fnrunner.worker.live import Live, LiveCode
from fnrunner.worker.working_copy import WorkingCopies

if TYPE_CHECKING:
    from fnrunner.app.node import Beside, Development

log = logging.getLogger(__name__)

CLOCK_SLACK_NS = 10_000_000
"""The kernel stamps files with a clock that is a few milliseconds behind. Less than what settles before a deployment."""

AGAIN = timedelta(seconds=2)
"""After what no change of a file explains."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a running server offers: where it answers, its worker's live code, and a directory for copies on the disk where
    unpacked code lies.
    """

    endpoint_url: str
    live: LiveCode
    directory: Path
    announce: Callable[[str], None]


@dataclass(slots=True)
class Reload:
    """One path of `fnrunner dev`. ``run`` until it is cancelled; ``close`` afterwards."""

    ground: Ground
    path: Path
    _following: list[asyncio.Task[None]] = field(default_factory=list)
    _copies: list[WorkingCopies] = field(default_factory=list)
    _due: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Deploy, follow, and deploy again when it is due."""
        while True:
            self._due.clear()
            began_ns = time.time_ns() - CLOCK_SLACK_NS
            try:
                deployed = await asyncio.to_thread(deploy, self.path, self.ground.endpoint_url, self.ground.announce)
                if deployed is not None or not self._following:
                    await self._follow(deployed, began_ns)
            except Exception:
                log.exception("%s could not be deployed; it is tried again", self.path)
                await asyncio.sleep(AGAIN.total_seconds())
                continue
            await self._due.wait()

    async def close(self) -> None:
        """What functions run on with stays. Idempotent."""
        await self._unfollow()

    async def _follow(self, deployed: tuple[Deployed, ...] | None, began_ns: int) -> None:
        """Of a path that could not be deployed yet, every change is a reason to try again."""
        await self._unfollow()
        for path in {self._template() or self.path} if deployed is None or self._template() else ():
            self._begin(self._wait_for_any(path, began_ns))
        by_path: dict[Path, list[Deployed]] = defaultdict(list)
        for each in deployed or ():
            await self.ground.live.forget(each.function)
            by_path[each.path].append(each)
        for path, functions in by_path.items():
            watch = self._watch(path)
            await watch.start()
            self._begin(self._reload(watch, functions, watch.changed_since(began_ns)))

    def _template(self) -> Path | None:
        with contextlib.suppress(CliError):
            return template_of(self.path)
        return None

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        self._following.append(asyncio.create_task(work))

    async def _unfollow(self) -> None:
        following, self._following = self._following, []
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        copies, self._copies = self._copies, []
        for each in copies:
            await each.close()

    def _watch(self, path: Path) -> SourceWatch:
        return SourceWatch(Source.of(path), self.ground.announce)

    async def _wait_for_any(self, path: Path, began_ns: int) -> None:
        """Each change is a reason to deploy again."""
        watch = self._watch(path)
        try:
            await watch.start()
            changed = watch.changed_since(began_ns)
            while True:
                if changed:
                    self._due.set()
                changed = await watch.changes()
        finally:
            await watch.close()

    async def _reload(self, watch: SourceWatch, functions: list[Deployed], changed: set[str]) -> None:
        """The functions of one folder: those with the same package share the copies of it."""
        names: dict[str, list[str]] = defaultdict(list)
        for each in functions:
            names[each.digest].append(each.function)
        try:
            copies = {digest: await self._copies_of(digest, watch.source) for digest in names}
            self._begin(self._improve(copies, functions))
            while True:
                if changed & ANEW:
                    self._due.set()
                for digest, of_digest in copies.items():
                    await self._update(of_digest, digest, names[digest], changed)
                changed = await watch.changes()
        except Exception:
            log.exception("%s is not followed any more; it is deployed again", watch.source.path)
            await asyncio.sleep(AGAIN.total_seconds())
            self._due.set()
        finally:
            await watch.close()

    async def _copies_of(self, digest: str, source: Source) -> WorkingCopies:
        origin = await self.ground.live.unpacked(digest)
        copies = WorkingCopies(self.ground.directory / uuid4().hex[:12], origin, source.read, self.ground.live.in_use)
        self._copies.append(copies)
        copies.prepare()
        return copies

    async def _improve(self, copies: dict[str, WorkingCopies], functions: list[Deployed]) -> None:
        """Once what was deployed is compiled, copies that have that too: a save then costs no compilation of the rest."""
        for each in functions:
            await copies[each.digest].prepared()
        self.ground.announce(f"following {', '.join(each.function for each in functions)}: saved code runs at once")
        for each in functions:
            await self.ground.live.compiled(await self.ground.live.unpacked(each.digest), each.runtime)
        for of_digest in copies.values():
            await of_digest.make_anew()

    async def _update(self, copies: WorkingCopies, digest: str, names: list[str], changed: set[str]) -> None:
        if not changed:
            return
        began = time.monotonic()
        try:
            differing = await copies.update(changed)
        except OSError as error:
            self.ground.announce(f"{', '.join(names)}: what was saved could not be taken over: {error}. Save it again")
            return
        if not differing:
            return
        live = Live(str(copies.shown), copies.generation, digest)
        for name in names:
            await self.ground.live.show(name, live)
        what = differing[0] if len(differing) == 1 else f"{differing[0]} and {len(differing) - 1} more"
        self.ground.announce(f"reloaded {', '.join(names)}: {what} ({(time.monotonic() - began) * 1000:.0f} ms)")


def following(paths: tuple[str, ...]) -> Beside:
    """What runs beside `fnrunner dev` to follow these paths."""

    absolute = [Path(path).absolute() for path in paths]

    @asynccontextmanager
    async def beside(place: Development) -> AsyncIterator[None]:
        ground = Ground(_from_here(place.url), place.live, place.directory, place.announce)
        reloads = [Reload(ground, path) for path in absolute]
        tasks = [asyncio.create_task(reload.run(), name=f"follow {reload.path}") for reload in reloads]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for reload in reloads:
                await reload.close()

    return beside


def _from_here(url: str) -> str:
    """Where this machine reaches a server that listens on every address.

    >>> _from_here("http://0.0.0.0:9000"), _from_here("http://127.0.0.1:9000")
    ('http://127.0.0.1:9000', 'http://127.0.0.1:9000')
    """
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//:::", "//[::1]:")
