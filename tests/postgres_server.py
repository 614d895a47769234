"""A PostgreSQL of one's own: private data directory and port on loopback, for tests that stop and kill it.

The server refuses to run as root, so root starts it as the user ``postgres``.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from uuid import uuid4

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


class ServerFailed(Exception):
    """The server did not start or stop in time; the message has the end of its output."""


def binaries() -> Path | None:
    """The newest installed PostgreSQL's programs."""
    if named := os.environ.get("FNRUNNER_TEST_POSTGRES_BIN"):
        return Path(named)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else None


def available() -> bool:
    """PostgreSQL is installed, and there is a user who may run it."""
    return binaries() is not None and (os.geteuid() != 0 or shutil.which("runuser") is not None)


class PostgresServer:
    """One server in a temporary directory. Starting again after ``kill`` or ``stop`` keeps the port and the data."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fnrunner-postgres-"))
        self.port = _free_port()
        self._data = self.directory / "data"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> PostgresServer:
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres", "postgres")
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Returns when it takes connections. Raises ServerFailed."""
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "max_connections": 100,
            "shared_buffers": "32MB",
            # Killed processes leave the page cache whole; only a power cut needs fsync, which a busy disk makes minutes.
            "fsync": "off",
        }  # fmt: skip
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        output = (self.directory / "output").open("ab")
        with output:
            self._process = subprocess.Popen(
                _as_postgres([str(_program("postgres")), "-D", str(self._data), *options]),
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerFailed((self.directory / "output").read_text(errors="replace")[-4000:])
            time.sleep(0.02)

    def stop(self) -> None:
        """Cut every connection and stop in an orderly way."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """``kill -9`` of the postmaster and every session."""
        self._signal(signal.SIGKILL)

    def create_database(self, template: str = "template1") -> str:
        """The URL of a new database, empty or with what ``template`` has. Nobody may be connected to that."""
        name = f"test_{uuid4().hex}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def execute(self, statement: str) -> str:
        """What ``psql`` prints. Raises CalledProcessError."""
        return self._run("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url())

    def _is_ready(self) -> bool:
        command = [str(_program("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "2"]
        return subprocess.run(command, check=False, timeout=30).returncode == 0

    def _run(self, program: str, *arguments: str) -> str:
        command = _as_postgres([str(_program(program)), *arguments])
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, cwd="/").stdout

    def _signal(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        postmaster = self._postmaster()
        if number is signal.SIGKILL:
            # Sessions have process groups of their own: the postmaster's children are found before it dies. It dies first,
            # or it would begin to replace them, and the next start would find their shared memory in use.
            killed = [postmaster, *_children(postmaster)] if postmaster else []
            for pid in killed:
                _send(pid, number)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        elif postmaster:
            _send(postmaster, number)
        process.wait(STOP_TIMEOUT_S)
        if number is signal.SIGKILL:
            _until_gone(killed)
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _postmaster(self) -> int | None:
        try:
            return int((self._data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return None


def _as_postgres(command: Sequence[str]) -> list[str]:
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else list(command)


def _program(name: str) -> Path:
    directory = binaries()
    if directory is None:
        raise ServerFailed("PostgreSQL is not installed")
    return directory / name


def _until_gone(pids: Sequence[int]) -> None:
    """Memory that a killed process shared is in use until it has ended."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(child) for child in text.split()]


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
