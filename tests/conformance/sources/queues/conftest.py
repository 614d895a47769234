"""Every adapter on everything it runs on: the embedded broker, RabbitMQ, moto's server."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sources.inbox import Inbox
from sources.queue_poller import QueuePoller
from tests.conformance.sources.queues.play import Claims, Letterbox, Stage
from tests.conformance.sources.queues.rig import QueueRig, RabbitMQRig, Rig, SqsRig, embedded, open_inbox, rabbitmq
from tests.conftest import missing

WORLDS = ("queue-embedded", "queue-rabbitmq", "rmq-embedded", "rmq-rabbitmq", "sqs-moto")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """An SQS that answers over HTTP, shared by the session."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        missing("moto (pip install 'moto[server]')")
    port = free_port()
    with tempfile.TemporaryFile() as output:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, "moto's server ended"
            assert time.monotonic() < until, "moto's server does not listen"
            time.sleep(0.05)


@pytest.fixture(scope="session")
def moto_client(moto_url: str) -> Iterator[Any]:
    import boto3

    session = boto3.session.Session("test", "test", region_name="us-east-1")
    client = session.client("sqs", endpoint_url=moto_url)
    yield client
    client.close()


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def rig(
    world: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Rig]:
    """Not started: the test says what queue it wants."""
    adapter, _, place = world.partition("-")
    made: Rig
    if adapter == "sqs":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        made = SqsRig(request.getfixturevalue("moto_url"), request.getfixturevalue("moto_client"))
    else:
        where = embedded(tmp_path / "broker") if place == "embedded" else None
        where = where or rabbitmq(request.getfixturevalue("rabbitmq").url)
        made = QueueRig(where) if adapter == "queue" else RabbitMQRig(where)
    yield made
    await made.close()


@pytest.fixture
async def make(rig: Rig) -> AsyncIterator[Callable[..., Any]]:
    """Open an inbox and start it; whatever was made is closed after the test."""
    made: list[Inbox] = []

    async def make(**more: Any) -> Inbox:
        inbox = open_inbox(rig, **more)
        made.append(inbox)
        await inbox.start()
        return inbox

    yield make
    for inbox in made:
        await inbox.close()


@pytest.fixture
async def stage() -> Stage:
    return Stage()


@pytest.fixture
async def claims() -> Claims:
    return Claims()


@pytest.fixture
async def letters() -> Letterbox:
    return Letterbox()


@pytest.fixture
async def poll(rig: Rig, stage: Stage, claims: Claims, letters: Letterbox) -> AsyncIterator[Callable[..., Any]]:
    """Start a poller; whatever was started is closed after the test."""
    made: list[QueuePoller] = []

    async def poll(**more: Any) -> QueuePoller:
        services = replace(rig.services, invoker=stage, claims=claims, letters=letters)
        made.append(QueuePoller(rig.mapping(**more), services, rig.adapter))
        await made[-1].start()
        return made[-1]

    yield poll
    for poller in made:
        await poller.close()
