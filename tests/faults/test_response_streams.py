"""A large response streams through a function URL with flat memory, and a client that stalls holds back only its own function.

``FNRUNNER_TEST_STREAM_MB`` sets how much is streamed; the default keeps the suite quick.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.installation import Installation, eventually

pytestmark = pytest.mark.slow

MEGABYTES = int(os.environ.get("FNRUNNER_TEST_STREAM_MB", "48"))
MB = 1024 * 1024
GROWTH_MB = 64
"""How much more memory a process may have afterwards, however much was streamed: buffers, and the allocator's habits."""

STREAMER = """
    PIECE = bytes(range(256)) * 1024

    def handler(event, context):
        for _ in range(int(event["rawQueryString"].partition("=")[2]) * 4):
            yield PIECE
"""
QUICK = """
    def handler(event, context):
        return "quick"
"""


@pytest.fixture
def installation(rabbitmq_url: str, tmp_path: Path) -> Iterator[Installation]:
    with Installation(tmp_path, rabbitmq_url) as found:
        for role in ("api", "worker"):
            found.start(role)
        yield found


def url_of(installation: Installation, name: str, source: str, mode: str) -> httpx.URL:
    """Deploy with a function URL; its path form, which needs no name to be resolved."""
    # a snapshot would count as memory of the worker
    variables = {"FNRUNNER_SNAPSHOT": "off"}
    installation.deploy(name, source, Timeout=900, MemorySize=256, Environment={"Variables": variables})
    made = installation.client().create_function_url_config(FunctionName=name, AuthType="NONE", InvokeMode=mode)
    url_id = made["FunctionUrl"].split("//")[1].split(".")[0]
    return httpx.URL(f"{installation.url}/function-url/{url_id}/")


def tree(pid: int) -> Iterator[int]:
    """The process and all below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from tree(int(child))


def resident_mb(installation: Installation) -> dict[str, int]:
    """Memory of each role with its children, the functions."""
    found = {}
    for name, process in installation.processes.items():
        pages = 0
        for pid in tree(process.pid):
            try:
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except OSError:
                continue
        found[name] = pages * 4096 // MB
    return found


def test_a_large_response_streams_with_flat_memory(installation: Installation) -> None:
    url = url_of(installation, "streamer", STREAMER, "RESPONSE_STREAM")
    client = installation.http  # connected already, as a client is that asks more than once
    client.get(url, params={"mb": 8}, timeout=60).raise_for_status()
    before = resident_mb(installation)
    most = dict(before)
    started = time.monotonic()
    first_byte_ms, received, digest = 0.0, 0, hashlib.sha256()
    with client.stream("GET", url, params={"mb": MEGABYTES}, timeout=120) as answer:
        assert answer.status_code == 200
        for chunk in answer.iter_raw():
            if not received:
                first_byte_ms = (time.monotonic() - started) * 1000
            before_mb, received = received // (64 * MB), received + len(chunk)
            digest.update(chunk)
            if received // (64 * MB) != before_mb:
                most = {name: max(most[name], now) for name, now in resident_mb(installation).items()}
    took = time.monotonic() - started
    after = resident_mb(installation)
    expected = hashlib.sha256()
    for _ in range(MEGABYTES * 4):
        expected.update(bytes(range(256)) * 1024)
    print(
        f"\n{received / MB:.0f} MB in {took:.1f} s ({received / MB / took:.0f} MB/s), first byte after {first_byte_ms:.1f} ms; "
        f"resident MB before {before}, at most {most}, after {after}"
    )
    assert received == MEGABYTES * MB
    assert digest.digest() == expected.digest()
    assert all(most[name] - before[name] <= GROWTH_MB for name in before), (before, most)


def test_a_client_that_stalls_holds_back_only_its_own_function(installation: Installation) -> None:
    slow = url_of(installation, "streamer", STREAMER, "RESPONSE_STREAM")
    quick = url_of(installation, "quick", QUICK, "BUFFERED")
    client = installation.http
    assert client.get(quick, timeout=60).text == "quick"
    with socket.create_connection(("127.0.0.1", installation.port), timeout=60) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        path = f"{slow.path}?mb={max(MEGABYTES, 64)}"
        stalled.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{installation.port}\r\n\r\n".encode())
        assert stalled.recv(1000).startswith(b"HTTP/1.1 200")
        before = resident_mb(installation)
        times = []
        for _ in range(200):
            began = time.monotonic()
            assert client.get(quick, timeout=30).text == "quick"
            times.append((time.monotonic() - began) * 1000)
        other = client.get(slow, params={"mb": 16}, timeout=60)
        assert len(other.content) == 16 * MB
        after = resident_mb(installation)
        print(
            f"\nbeside a stalled stream: p50 {sorted(times)[100]:.1f} ms, p99 {sorted(times)[197]:.1f} ms; {before} -> {after}"
        )
        assert all(after[name] - before[name] <= GROWTH_MB for name in before)
    # the client is gone: the function's work stops, which its log says
    eventually(lambda: "Runtime.ClientDisconnected" in installation.command("logs", "streamer").stdout, within_s=30)
