"""A noisy neighbour and its quiet one: functions that misuse their host, who calls them, and how long the quiet one takes.

Run as a program it is the caller: ``neighbour.py URL FUNCTION THREADS BYTES`` calls without pause, each time with so many
bytes of numbers (0: an empty event), until its stdin is closed. It is a process of its own so that what it receives costs
the one that measures nothing.
"""

from __future__ import annotations

import http.client
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Misuse:
    """What the noisy function does in each invocation, until it ends or is ended after ``timeout_s``.

    ``slack_ms`` is what the neighbour's latency may grow by on a machine that is busy with other things too.
    """

    code: str
    memory_mb: int = 128
    timeout_s: int = 2
    sent_bytes: int = 0
    slack_ms: float = 500


BEHIND_MEGABYTES_MS = 4_000
"""Small messages pass between large ones and not through them: all of a process share one connection to the broker."""

MISUSES = {
    "loops": Misuse("def handler(event, context):\n    while True: pass"),
    "forks": Misuse(
        """
        import os, time
        def handler(event, context):
            while True:
                try:
                    if os.fork() == 0:
                        while True: pass
                except OSError:
                    time.sleep(0.01)
        """,
        memory_mb=512,
    ),
    "eats memory": Misuse(
        """
        def handler(event, context):
            held = []
            while True:
                held.append(b"x" * (4 << 20))
        """
    ),
    "floods its log": Misuse(
        """
        import os, time
        def handler(event, context):
            end, line = time.monotonic() + 1, b"noise " * 9 + b"noise\\n"
            while time.monotonic() < end:
                os.write(1, line * 1000)
        """
    ),
    "returns 6 MB": Misuse(
        """
        ANSWER = "x" * (6 * 1024 * 1024 - 2)
        def handler(event, context):
            return ANSWER
        """,
        memory_mb=256,
        slack_ms=BEHIND_MEGABYTES_MS,
    ),
    "is sent 6 MB": Misuse(
        "def handler(event, context): return 1",
        memory_mb=512,
        timeout_s=10,
        sent_bytes=6_000_000,
        slack_ms=BEHIND_MEGABYTES_MS,
    ),
    "exits at import": Misuse("import os\nos._exit(1)"),
    "hoards files": Misuse(
        """
        import os, socket, tempfile
        def handler(event, context):
            held = []
            try:
                while True:
                    held += socket.socketpair()
                    number, _ = tempfile.mkstemp()
                    held.append(number)
                    os.write(number, b"x" * (2 << 20))
            except OSError as error:
                return str(error)
            finally:
                for one in held:
                    os.close(one) if isinstance(one, int) else one.close()
        """,
        timeout_s=4,
    ),
}


def percentile(latencies_ms: Sequence[float], share: float) -> float:
    """By the nearest rank.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5), percentile([1.0, 2.0, 3.0], 0.99)
    (2.0, 3.0)
    """
    return sorted(latencies_ms)[max(0, math.ceil(share * len(latencies_ms)) - 1)]


@dataclass(slots=True)
class Measured:
    """Latencies of one period in milliseconds, and what went wrong."""

    called_ms: list[float] = field(default_factory=list)
    queued_ms: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        shown = (
            f"{name} p50 {percentile(values, 0.5):6.1f} p99 {percentile(values, 0.99):7.1f} ms (n={len(values)})"
            for name, values in (("called", self.called_ms), ("queued", self.queued_ms))
        )
        return "   ".join(shown)


class QuietCaller:
    """Calls one function at a steady rate over a few kept connections. A call that had to wait for a connection counts
    from the moment it was due, so that a stall is seen by everybody who would have called meanwhile.
    """

    def __init__(self, url: str, function: str, *, rate: float, connections: int = 16) -> None:
        self._address = urlsplit(url)
        self._path = f"/2015-03-31/functions/{function}/invocations"
        self._rate = rate
        self._connections = connections

    def call(self, seconds: float) -> tuple[list[float], list[str]]:
        """Latencies in milliseconds, and answers that are none."""
        found, refused = list[float](), list[str]()
        first = time.monotonic()
        numbers = iter(range(math.ceil(seconds * self._rate)))
        lock = threading.Lock()

        def work() -> None:
            connection = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=60)
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    break
                due = first + number / self._rate
                time.sleep(max(0.0, due - time.monotonic()))
                connection.request("POST", self._path, b"{}")
                answer = connection.getresponse()
                body = answer.read()
                found.append((time.monotonic() - due) * 1000)
                if answer.status != 200 or body != b'"quiet"':
                    refused.append(f"{answer.status} {body[:200]!r}")
            connection.close()

        threads = [threading.Thread(target=work) for _ in range(self._connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found, refused


@contextmanager
def calling(url: str, function: str, *, threads: int, sent_bytes: int) -> Iterator[None]:
    """Somebody calls the function without pause."""
    command = [sys.executable, __file__, url, function, str(threads), str(sent_bytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as caller:
        try:
            yield
        finally:
            assert caller.stdin is not None
            caller.stdin.close()
            assert caller.wait(timeout=60) == 0


def _call_for_ever(url: str, function: str, event: bytes) -> None:
    address = urlsplit(url)
    path = f"/2015-03-31/functions/{function}/invocations"
    for _ in count():
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        try:
            while True:
                connection.request("POST", path, event)
                answer = connection.getresponse()
                answer.read()
                if answer.status == 429:
                    time.sleep(0.05)
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)


def main() -> None:
    url, function, threads, sent_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    event = json.dumps([0.25] * (sent_bytes // 6)).encode() if sent_bytes else b"{}"
    for _ in range(threads):
        threading.Thread(target=_call_for_ever, args=(url, function, event), daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
