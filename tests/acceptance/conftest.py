"""Installations for the tests of the product from outside: one a module, in which each test has a ``name`` of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from tests.installation import Installation
from tests.rabbitmq_server import RabbitMQServer


@pytest.fixture(scope="module")
def dev() -> Iterator[Installation]:
    """One process on the embedded broker. Whoever stops it starts it again."""
    with TemporaryDirectory() as directory, Installation(Path(directory)) as found:
        found.start("dev")
        yield found


@pytest.fixture(scope="module")
def apart(rabbitmq: RabbitMQServer) -> Iterator[Installation]:
    """An api, a worker and sources on RabbitMQ."""
    with TemporaryDirectory() as directory, Installation(Path(directory), rabbitmq.make_vhost()) as found:
        for role in ("api", "worker", "sources"):
            found.start(role, wait=False)
        found.wait_ready(found.processes["api"], "api", f"{found.url}/readyz")
        yield found


@pytest.fixture(params=["embedded", "rabbitmq"])
def installation(request: pytest.FixtureRequest) -> Installation:
    """One process on the embedded broker; or api, worker and sources on RabbitMQ."""
    found: Installation = request.getfixturevalue("dev" if request.param == "embedded" else "apart")
    return found


@pytest.fixture
def name() -> str:
    """What nothing in an installation is called yet."""
    return f"n{uuid4().hex[:12]}"
