"""The system under test: its broker, its store and its processes, each of which a fault can strike and be undone.

A process that ends by itself is started again, as a service manager does, and remarked on in the history.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests import installation
from tests.faults.proxy import Proxy
from tests.faults.soak import function
from tests.faults.soak.mount import Mount
from tests.faults.soak.operation import CAP
from tests.faults.soak.plan import Terms
from tests.installation import Installation, eventually
from tests.postgres_server import PostgresServer
from tests.rabbitmq_server import RabbitMQServer

PROGRAM = (*installation.PROGRAM, "--traceback")
SHIFTED = "tests.faults.soak.shifted_clock"
WATCH_S = 0.25
LAST_WORDS = 1500
VISIBILITY_S = 5
"""How long a message that failed stays away from its queue: no less than its function may take."""
START_S = 300.0
QUEUE_ARN = "arn:aws:sqs:us-east-1:000000000000:" + function.QUEUE


class NotStarted(Exception):
    """A process ended before it was ready. The message has the end of its log."""


def abilities(terms: Terms) -> tuple[str, ...]:
    """What this host and a system of these terms can bear."""
    on_rabbitmq, timed = terms.broker == "rabbitmq", not terms.flood
    found = {
        "rabbitmq": on_rabbitmq,
        "doomed": on_rabbitmq and timed,
        "proxy": on_rabbitmq and timed,
        "clock": timed,
        "root": os.geteuid() == 0,
        "mounts": timed and Mount.possible(),
        "postgresql": terms.store == "postgresql",
    }
    return tuple(sorted(name for name, there in found.items() if there))


@dataclass(slots=True)
class Part:
    """A process: how it is started, and whether a fault has it down on purpose."""

    name: str
    role: str
    program: tuple[str, ...]
    settings: dict[str, str]
    proxy: Proxy | None = None
    clock: Path | None = None
    down: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)


class System:
    """Started on entering. ``remark`` hears what happens by itself. ``worker_program`` replaces what runs as a worker."""

    def __init__(
        self,
        directory: Path,
        terms: Terms,
        remark: Callable[..., None],
        *,
        rabbitmq: RabbitMQServer | None = None,
        worker_program: Sequence[str] = PROGRAM,
    ) -> None:
        self.directory = directory
        self.terms = terms
        self.runs = directory / "runs"
        self.rabbitmq = rabbitmq
        self.database: PostgresServer | None = None
        self.mounts: dict[str, Mount] = {}
        self.parts: dict[str, Part] = {}
        self._remark = remark
        self._worker_program = tuple(worker_program)
        self._stack = ExitStack()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stack.close()

    @property
    def pids(self) -> dict[str, int]:
        """Of the processes that are there."""
        found = {name: process.pid for name, process in list(self.installation.processes.items())}
        if self.rabbitmq is not None and (pid := _beam_of(self.rabbitmq)):
            found["rabbitmq"] = pid
        return found

    def kill(self, part: Part) -> None:
        """At once, and it stays down until ``revive``."""
        with part.lock:
            part.down = True
            self.installation.kill(part.name)

    def revive(self, part: Part) -> None:
        with part.lock:
            self._launch(part)
            part.down = False

    def all_ready(self, within_s: float) -> None:
        """Wait until everything is there and answers. Raises NotInTime."""
        eventually(lambda: all(p.poll() is None for p in self.installation.processes.values()), within_s=within_s)
        eventually(lambda: all(map(self.installation.is_ready, self.parts)), within_s=within_s, every_s=1.0)

    def _start(self) -> None:
        terms = self.terms
        (self.runs / function.MARKS).mkdir(parents=True)
        place = self.directory / "system"
        place.mkdir()
        if "mounts" in terms.abilities:
            self.mounts["logs"] = self._stack.enter_context(Mount(place, 64))
            (place / "data").mkdir()
            self.mounts["store"] = self._stack.enter_context(Mount(place / "data", 1024))
        settings = {"FNRUNNER_DRAIN_TIMEOUT_S": "20"}
        if terms.store == "postgresql":
            self.database = self._stack.enter_context(PostgresServer())
            settings["FNRUNNER_STORE_URL"] = self.database.create_database()
        if terms.broker == "rabbitmq" and self.rabbitmq is None:
            self.rabbitmq = self._stack.enter_context(RabbitMQServer(self.directory / "rabbitmq"))
        url = self.rabbitmq.url if self.rabbitmq else "embedded:"
        self.installation = self._stack.enter_context(Installation(place, url, **settings))
        self._start_processes()
        self._deploy()
        watch = threading.Thread(target=self._watch, name="service manager", daemon=True)
        watch.start()
        self._stack.callback(watch.join)
        self._stack.callback(self._over.set)

    def _start_processes(self) -> None:
        for name in self.terms.processes:
            part = self._part(name)
            self.parts[name] = part
            self._launch(part)
        eventually(self._has_started, within_s=START_S, every_s=0.5)

    def _has_started(self) -> bool:
        for part in self.parts.values():
            if (status := self.installation.processes[part.name].poll()) is not None:
                raise NotStarted(f"{part.name} ended with {status}: {self._last_words(part)}")
        return all(map(self.installation.is_ready, self.parts))

    def _part(self, name: str) -> Part:
        role = name.partition("-")[0]
        part = Part(name, role, self._worker_program if role == "worker" else PROGRAM, {})
        if "proxy" in self.terms.abilities and self.rabbitmq is not None:
            part.proxy = Proxy(self.rabbitmq.port, amqp=True)
            self._stack.callback(part.proxy.close)
            part.settings["FNRUNNER_BROKER_URL"] = self.rabbitmq.url.replace(
                f":{self.rabbitmq.port}", f":{part.proxy.port}"
            )
        if "clock" in self.terms.abilities and part.program == PROGRAM:
            part.clock = self.directory / f"{name}.clock"
            part.clock.write_text("0\n")
            part.program = (sys.executable, "-m", SHIFTED, str(part.clock), "--traceback")
        return part

    def _launch(self, part: Part) -> None:
        self.installation.start(part.role, part.name, wait=False, program=part.program, **part.settings)

    def _deploy(self) -> None:
        deploy, client = self.installation.deploy, self.installation.client()
        more: dict[str, Any] = {
            "Environment": {"Variables": {"HOME_OF_RUNS": str(self.runs), "FSYNC": "0" if self.terms.flood else "1"}}
        }
        deploy("plain", function.CODE, Timeout=20, **more)
        deploy("brief", function.CODE, Timeout=1, **more)
        deploy("doomed", function.CODE, Timeout=20, **more)
        deploy("batched", function.CODE, Timeout=VISIBILITY_S, **more)
        deploy("capped", function.CODE, Timeout=20, **more)
        client.put_function_concurrency(FunctionName="capped", ReservedConcurrentExecutions=CAP)
        queue = f"/fnrunner/v1/queues/{function.QUEUE}"
        self.installation.http.put(queue, json={"visibility_timeout_s": VISIBILITY_S}).raise_for_status()
        client.create_event_source_mapping(
            FunctionName="batched",
            EventSourceArn=QUEUE_ARN,
            FunctionResponseTypes=["ReportBatchItemFailures"],
        )

    def _watch(self) -> None:
        while not self._over.wait(WATCH_S):
            for part in self.parts.values():
                with part.lock:
                    process = self.installation.processes[part.name]
                    if part.down or process.poll() is None or self._over.is_set():
                        continue
                    self._remark(
                        "ended by itself", process=part.name, status=process.returncode, said=self._last_words(part)
                    )
                    self._launch(part)

    def _last_words(self, part: Part) -> str:
        return self.installation.log(part.name)[-LAST_WORDS:]


def _beam_of(server: RabbitMQServer) -> int | None:
    """The Erlang machine of this server, which the script that started it has replaced itself with or started."""
    try:
        return int((server.directory / "pid").read_text())
    except (OSError, ValueError):
        return None
