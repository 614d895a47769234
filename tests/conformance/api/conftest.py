"""The API with one of everything in it: open to everybody, and another one that wants signatures."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.api_server import HOME, ROLE, ApiServer
from tests.conformance.api.signing import Signature
from tests.conformance.api.world import World
from tests.iam_kit import TRUST_LAMBDA, Site, document, site


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


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An API with ``FNRUNNER_AUTH=iam``."""
    with site(tmp_path_factory.mktemp("guarded")) as running:
        name = ROLE.rpartition("/")[2]
        running.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document(TRUST_LAMBDA))
        yield running


@pytest.fixture(scope="module")
def administrator(guarded: Site) -> Iterator[httpx.Client]:
    """Whose requests are signed by somebody who may do everything."""
    signature = Signature(guarded.admin, HOME.region)
    with httpx.Client(base_url=guarded.url, timeout=60, auth=signature) as running:
        yield running


@pytest.fixture(scope="module")
def stranger(guarded: Site) -> Iterator[httpx.Client]:
    """Whose requests are signed by somebody who may do nothing."""
    signature = Signature(guarded.user("stranger"), HOME.region)
    with httpx.Client(base_url=guarded.url, timeout=60, auth=signature) as running:
        yield running


@pytest.fixture(scope="module")
def guarded_world(administrator: httpx.Client) -> World:
    made = World(administrator)
    made.make()
    return made
