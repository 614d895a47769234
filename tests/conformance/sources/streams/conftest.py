from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sources.registry import adapters
from sources.stream import Stream, StreamAdapter
from tests.conformance.sources.streams.moto_server import moto_server
from tests.conformance.sources.streams.rig import World, worlds

EVERY = [(adapter, world) for adapter in sorted(adapters(StreamAdapter)) for world in worlds(adapter)]


@pytest.fixture(params=EVERY, ids=[f"{adapter}-on-{world}" for adapter, world in EVERY])
def chosen(request: pytest.FixtureRequest) -> tuple[str, str]:
    """An adapter, and a world it is tested in."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def moto_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of moto's server, shared by the session."""
    with moto_server(tmp_path_factory.mktemp("moto")) as port:
        yield port


@pytest.fixture
async def world(chosen: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A world in which there is no stream yet."""
    adapter, name = chosen
    world = worlds(adapter)[name](tmp_path, request.getfixturevalue)
    await world.start()
    yield world
    await world.close()


@pytest.fixture
async def stream(chosen: tuple[str, str], world: World) -> AsyncIterator[Stream]:
    """The adapter's stream; nothing has made one in the world yet."""
    adapter = adapters(StreamAdapter)[chosen[0]]
    assert adapter.serves(world.mapping(), world.services())
    stream = adapter.open(world.mapping(), world.services())
    await stream.start()
    yield stream
    await stream.close()
