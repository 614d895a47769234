"""A whole fnrunner from outside: real processes of each role, and the clients that people use.

``Installation`` keeps its processes in one data directory. Everything it started is gone after ``close``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import httpx
from botocore.config import Config

from tests import program as programs
from tests.program import PROGRAM, Process
from tests.rabbitmq_server import free_port

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
ROLE = "arn:aws:iam::000000000000:role/r"
PATIENCE_S = 60.0


class NotInTime(AssertionError):
    """What was waited for did not happen."""


def eventually(what: Callable[[], Any], *, within_s: float = PATIENCE_S, every_s: float = 0.1) -> Any:
    """The first truthy answer. Raises NotInTime with the last answer or error."""
    end = time.monotonic() + within_s
    last: object = None
    while time.monotonic() < end:
        try:
            if last := what():
                return last
        except (httpx.HTTPError, AssertionError, OSError) as error:
            last = error
        time.sleep(every_s)
    raise NotInTime(f"not within {within_s} s; the last answer was {last!r}")


def zipped(files: Mapping[str, str]) -> bytes:
    """A zip of dedented texts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, textwrap.dedent(text))
    return buffer.getvalue()


class Installation:
    """Start roles with ``start``; the first one with an API answers at ``url``."""

    def __init__(self, directory: Path, broker_url: str = "embedded:", **settings: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("FNRUNNER_", "OTEL_"))},
            "PYTHONPATH": str(ROOT),
            "FNRUNNER_DATA_DIR": str(directory / "data"),
            "FNRUNNER_BROKER_URL": broker_url,
            "FNRUNNER_PORT": str(self.port),
            "FNRUNNER_ENDPOINT_URL": self.url,
            # where the functions of tests write down what they did
            "FNRUNNER_MOUNTS": "/var/tmp",
            "FNRUNNER_RETRY_DELAYS_S": "0.3,0.6",
            "FNRUNNER_BACKOFF_FIRST_S": "0.2",
            **settings,
        }
        self.http = httpx.Client(base_url=self.url, timeout=60)
        self.processes: dict[str, Process] = {}
        self._health: dict[str, str] = {}

    def start(
        self,
        role: str,
        name: str = "",
        *,
        wait: bool = True,
        program: Sequence[str] = PROGRAM,
        arguments: Sequence[str] = (),
        **settings: str,
    ) -> Process:
        """A process of this role under ``name``, ready unless ``wait`` is off. ``program`` runs in fnrunner's place."""
        name = name or role
        environ = {**self.environ, **settings}
        if role in ("worker", "sources"):
            environ["FNRUNNER_HEALTH_PORT"] = str(free_port())
        with (self.directory / f"{name}.log").open("ab") as output:
            process = programs.start(
                program, [role, *arguments], environ=environ, output=output, directory=self.directory
            )
        self.processes[name] = process
        self._health[name] = f"http://127.0.0.1:{environ.get('FNRUNNER_HEALTH_PORT') or self.port}"
        if wait:
            self.wait_ready(process, name, f"{self._health[name]}/readyz")
        return process

    def is_ready(self, name: str) -> bool:
        """Whether the process says so itself."""
        try:
            return httpx.get(f"{self._health[name]}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def wait_ready(self, process: Process, name: str, url: str) -> None:
        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}: {self.log(name)[-3000:]}")
            return httpx.get(url, timeout=5).status_code == 200

        try:
            eventually(ready)
        except NotInTime as error:
            raise NotInTime(f"{name}: {error}; its log ends {self.log(name)[-3000:]}") from error

    def health(self, name: str, path: str = "readyz") -> tuple[int, dict[str, Any]]:
        """What the process called so answers: the status, and the document."""
        answer = httpx.get(f"{self._health[name]}/{path}", timeout=10)
        return answer.status_code, answer.json()

    def codes(self, name: str) -> set[str]:
        """The codes of its problems."""
        return {problem["code"] for problem in self.health(name)[1]["problems"]}

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal; after SIGKILL the process is gone when this returns."""
        process = self.processes[name]
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait(timeout=30)

    def stop(self, name: str, *, within_s: float = 90) -> int:
        """SIGTERM, and wait; the exit status."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(timeout=within_s)

    def close(self) -> None:
        self.http.close()
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)
        self.processes.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    # what people do

    def client(self, **config: Any) -> Any:
        """boto3's Lambda client."""
        return boto3.client(
            "lambda",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 0}, max_pool_connections=64, read_timeout=120, **config),
        )

    def deploy(self, name: str, source: str, **more: Any) -> dict[str, Any]:
        """A function of one module, ``handler`` in it."""
        client = self.client()
        found: dict[str, Any] = client.create_function(
            FunctionName=name,
            Runtime=RUNTIME,
            Role=ROLE,
            Handler="app.handler",
            Code={"ZipFile": zipped({"app.py": source})},
            **more,
        )
        return found

    def send(self, name: str, event: object) -> str:
        """An asynchronous event; its request id."""
        answer = self.http.post(
            f"/2015-03-31/functions/{name}/invocations",
            content=json.dumps(event),
            headers={"X-Amz-Invocation-Type": "Event"},
        )
        assert answer.status_code == 202, answer.text
        return answer.headers["x-amzn-requestid"]

    def call(self, name: str, event: object) -> tuple[int, str, Any]:
        """A synchronous call: status, function error, body."""
        answer = self.http.post(f"/2015-03-31/functions/{name}/invocations", content=json.dumps(event))
        error = answer.headers.get("x-amz-function-error", "")
        return answer.status_code, error, json.loads(answer.content) if answer.content else None

    def admin(self, path: str, **query: Any) -> Any:
        answer = self.http.get(f"/fnrunner/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def story(self, event_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.admin(f"events/{event_id}")
        return found

    def dead_letters(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.admin(f"functions/{name}/dead-letters")["dead_letters"]
        return found

    def balance(self, name: str) -> dict[str, Any]:
        functions = self.admin("audit", function=name)["functions"]
        return functions[0] if functions else {}

    def settled(self, name: str, count: int, *, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """The balance, once ``count`` events have ended."""

        def ended() -> dict[str, Any] | None:
            found = self.balance(name)
            over = found.get("succeeded", 0) + found.get("dead_lettered", 0) + found.get("expired", 0)
            return found if over >= count else None

        try:
            return eventually(ended, within_s=within_s, every_s=0.3)
        except NotInTime as error:
            raise NotInTime(f"{error}; the balance is {self.balance(name)}") from error

    def command(
        self, *words: str, check: bool = True, program: Sequence[str] = PROGRAM
    ) -> subprocess.CompletedProcess[str]:
        """The command line, as a person types it."""
        done = programs.run(program, words, environ=self.environ, directory=self.directory, timeout_s=120)
        if check and done.returncode:
            raise AssertionError(f"fnrunner {' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done


def environments_of(process: Process) -> list[int]:
    """Process ids of the functions below it, by their control groups: other descendants only wait to become some."""
    found, frontier = [], [process.pid]
    while frontier:
        parent = frontier.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                children = [int(pid) for pid in task.read_text().split()]
                found += children
                frontier += children
    return [pid for pid in found if _is_a_function(pid)]


def _is_a_function(pid: int) -> bool:
    try:
        if Path(f"/proc/{pid}/comm").read_text().startswith("fnr-"):
            return False
        return "-functions/" in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
