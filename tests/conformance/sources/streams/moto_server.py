"""moto's server, in a process of its own on a free loopback port."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rabbitmq_server import accepts, free_port

START_TIMEOUT_S = 90.0


@contextmanager
def moto_server(directory: Path) -> Iterator[int]:
    """Its port; stopped at the end."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (directory / "moto.log").open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "PYTHONWARNINGS": "ignore"}
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((directory / "moto.log").read_text(errors="replace")[-4000:])
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(30)
