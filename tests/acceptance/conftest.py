"""Installations for the tests of the product from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.installation import Installation


@pytest.fixture(params=["embedded", "rabbitmq"])
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """One process on the embedded broker; or api, worker and sources on RabbitMQ."""
    with TemporaryDirectory() as directory:
        if request.param == "embedded":
            with Installation(Path(directory)) as found:
                found.start("dev")
                yield found
            return
        with Installation(Path(directory), request.getfixturevalue("rabbitmq_url")) as found:
            for role in ("api", "worker", "sources"):
                found.start(role, wait=False)
            found.wait_ready(found.processes["api"], "api", f"{found.url}/readyz")
            yield found


@pytest.fixture
def dev() -> Iterator[Installation]:
    """One process on the embedded broker."""
    with TemporaryDirectory() as directory, Installation(Path(directory)) as found:
        found.start("dev")
        yield found
