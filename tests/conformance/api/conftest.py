"""The API with one of everything in it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.api_server import ApiServer
from tests.conformance.api.world import World


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ApiServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as running:
        yield running


@pytest.fixture(scope="module")
def world(client: httpx.Client) -> World:
    made = World(client)
    made.make()
    return made
