"""Celery: prefork pool, late acknowledgement, the rpc result backend for calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery  # type: ignore[import-untyped]

from tests.bench.completions import marker
from tests.bench.measurement import Latency
from tests.bench.peer import Peer
from tests.bench.subject import EVENT, WORKERS, CallPath, Ground, timed_in_threads

NAME = "bench.work"
WARM_UP_CALLS = 4
REPLY_WITHIN_S = 60


def make_app(url: str) -> Any:
    """The same application for the workers and for those who publish."""
    mark = marker()
    app = Celery("bench", broker=url, backend="rpc://")
    app.conf.update(
        task_acks_late=True, task_ignore_result=True, result_persistent=False, worker_hijack_root_logger=False
    )

    def work(event: dict[str, Any]) -> None:
        mark()

    app.task(work, name=NAME, shared=False)
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
        return (CallPath("delay().get(), rpc result backend", self._measure),)

    def _measure(self, concurrency: int, calls: int) -> Latency:
        # A result backend hears the answers of one thread only, so each thread is a client of its own.
        clients = [make_app(self.ground.broker_url) for _ in range(concurrency)]

        def caller(client: Any) -> Callable[[], object]:
            task = client.tasks[NAME]
            return lambda: task.apply_async((EVENT,), ignore_result=False).get(timeout=REPLY_WITHIN_S)

        try:
            return timed_in_threads([caller(client) for client in clients], calls, warm_up=WARM_UP_CALLS)
        finally:
            for client in clients:
                client.close()

    def close(self) -> None:
        super().close()
        self._app.close()
