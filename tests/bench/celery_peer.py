"""Celery: prefork pool, late acknowledgement, the rpc result backend for calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery  # type: ignore[import-untyped]

from tests.bench.completions import marker
from tests.bench.peer import Peer
from tests.bench.subject import EVENT, WORKERS, CallPath, Ground, timed_in_threads

NAME = "bench.work"
REPLY_WITHIN_S = 30


def make_app(url: str) -> Any:
    """The same application for the workers and for those who publish."""
    mark = marker()
    app = Celery("bench", broker=url, backend="rpc://")
    app.conf.update(
        task_acks_late=True, task_ignore_result=True, result_persistent=False, worker_hijack_root_logger=False
    )

    def work(event: dict[str, Any]) -> None:
        mark()

    app.task(work, name=NAME)
    return app


class CeleryPeer(Peer):
    name = "Celery"
    packages = ("celery", "kombu", "amqp")
    configuration = (
        f"one `celery worker`, prefork pool of {WORKERS} processes, task_acks_late, prefetch multiplier 4 (its default), "
        "durable classic queue (its default), results ignored while draining; calls by the rpc result backend"
    )
    queue = "celery"
    consumers = 1

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self._app = make_app(ground.broker_url)

    def command(self) -> Sequence[str]:
        app = "tests.bench.celery_app:app"
        return ("celery", "-A", app, "worker", f"--concurrency={WORKERS}", "--loglevel=WARNING")

    def publish(self, count: int) -> None:
        task = self._app.tasks[NAME]
        for _ in range(count):
            task.apply_async((EVENT,))

    def paths(self) -> tuple[CallPath, ...]:
        task = self._app.tasks[NAME]

        def call() -> None:
            task.apply_async((EVENT,), ignore_result=False).get(timeout=REPLY_WITHIN_S)

        return (CallPath("delay().get(), rpc result backend", lambda c, n: timed_in_threads(call, c, n)),)

    def close(self) -> None:
        super().close()
        self._app.close()
