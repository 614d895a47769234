"""Services that several kinds of tests need: started once a session, on free loopback ports, and stopped after it.

A service that is missing skips on a laptop and fails where ``CI`` is set.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests import distribution, examples, program, rabbitmq_server
from tests.rabbitmq_cluster import RabbitMQCluster
from tests.rabbitmq_server import RabbitMQContainer, RabbitMQServer

RABBITMQ_4_URL = "FNRUNNER_TEST_RABBITMQ4_URL"
RABBITMQ_4_IMAGE = "rabbitmq:4-management"


def pytest_configure() -> None:
    examples.use()
    os.environ.setdefault(*program.FORKED)


@pytest.hookimpl(trylast=True)  # after they were put in random order
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: distribution.rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> distribution.LongFilesFirst | None:
    return distribution.LongFilesFirst(config, log) if config.getoption("dist") == "loadfile" else None


def missing(service: str, *, required: bool = True) -> None:
    """Skip, or fail in CI where the service is required."""
    if required and os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{service} is missing, and CI must test with it")
    pytest.skip(f"{service} is missing")


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQServer]:
    """The system's RabbitMQ, shared by the session: do not stop or kill it, see ``private_rabbitmq``."""
    if not rabbitmq_server.available():
        missing("rabbitmq-server (apt-get install rabbitmq-server)")
    with RabbitMQServer(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture
def rabbitmq_url(rabbitmq: RabbitMQServer) -> str:
    """A virtual host of one's own on the session's RabbitMQ."""
    return rabbitmq.make_vhost()


@pytest.fixture(scope="session")
def expendable_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQServer]:
    if not rabbitmq_server.available():
        missing("rabbitmq-server (apt-get install rabbitmq-server)")
    with RabbitMQServer(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture
def private_rabbitmq(expendable_rabbitmq: RabbitMQServer) -> RabbitMQServer:
    """A RabbitMQ with nothing in it for one test, to stop, kill and choke at will: the next one renews it."""
    expendable_rabbitmq.renew()
    return expendable_rabbitmq


@pytest.fixture(scope="session")
def rabbitmq_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQCluster]:
    """Three nodes, shared by the session: whoever kills one or cuts it off brings it back."""
    if not rabbitmq_server.available():
        missing("rabbitmq-server (apt-get install rabbitmq-server)")
    with RabbitMQCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def rabbitmq_4_url() -> Iterator[str]:
    """The URL of a RabbitMQ 4: the one the environment names, or a container."""
    if url := os.environ.get(RABBITMQ_4_URL):
        yield url
        return
    if not RabbitMQContainer.available(RABBITMQ_4_IMAGE):
        missing(f"{RABBITMQ_4_URL}, or Docker with {RABBITMQ_4_IMAGE}", required=shutil.which("docker") is not None)
    container = RabbitMQContainer(RABBITMQ_4_IMAGE)
    container.start()
    try:
        yield container.url
    finally:
        container.close()
