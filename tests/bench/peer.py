"""What the four other systems have in common: one command that starts two workers, and no HTTP door."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.processes import Workers
from tests.bench.subject import WORKERS, CallPath, Ground


class Peer:
    """A part of :class:`~tests.bench.subject.Subject`; subclasses say the command, publish and call."""

    name: str
    consumers = WORKERS

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self._workers: Workers | None = None

    def command(self) -> Sequence[str]:
        """The words after ``python -m``."""
        raise NotImplementedError

    def start(self) -> None:
        log = self.ground.directory / f"{self.name}.log"
        self._workers = Workers(self.command(), self.ground.variables, log)

    def alive(self) -> bool:
        return self._workers is not None and self._workers.alive()

    def pause(self) -> None:
        assert self._workers is not None
        self._workers.pause()

    def resume(self) -> None:
        assert self._workers is not None
        self._workers.resume()

    def paths(self) -> tuple[CallPath, ...]:
        raise NotImplementedError

    def accept(self, count: int, concurrency: int) -> float | None:
        return None

    def log(self) -> str:
        return self._workers.log.read_text(errors="replace")[-2000:] if self._workers else ""

    def stop_workers(self) -> None:
        if self._workers is not None:
            self._workers.close()

    def close(self) -> None:
        self.stop_workers()
