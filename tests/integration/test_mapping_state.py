"""What the API hears of mappings is told by one process, follows what is wanted, and deletion leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fnrunner.app.mapping_state import MappingStates
from fnrunner.catalogue import Artifacts, Catalogue, triggers
from fnrunner.model.arn import Home
from fnrunner.store.engine import Store
from fnrunner.store.schema import checkpoint
from sources.claims import StoredClaims
from sources.errors import ClaimLost
from sources.mapping import EventSourceMapping

MAPPING = EventSourceMapping("u1", "f", source_arn="arn:aws:sqs:us-east-1:000000000000:jobs")


@pytest.fixture
async def claims(store: Store) -> AsyncIterator[StoredClaims]:
    claims = StoredClaims(store, checkpoint)
    await claims.start()
    yield claims
    await claims.close()


@pytest.fixture
async def catalogue(store: Store, tmp_path: Path) -> Catalogue:
    return Catalogue(store, Artifacts(tmp_path / "artifacts"), Home(), lambda: datetime.now(UTC))


@pytest.fixture
async def states(catalogue: Catalogue, claims: StoredClaims) -> AsyncIterator[MappingStates]:
    states = MappingStates(catalogue, claims)
    yield states
    await states.close()


async def put(catalogue: Catalogue, mapping: EventSourceMapping) -> None:
    await catalogue.change(lambda connection: triggers.save(connection, mapping))


async def test_the_revision_and_the_state_are_told(states: MappingStates, claims: StoredClaims) -> None:
    await states.tell({"u1": MAPPING}, {})
    assert await claims.load("esm-state:u1") == {"revision": 1, "state": "Enabled", "reason": ""}
    await states.tell({"u1": replace(MAPPING, enabled=False, revision=2)}, {})
    assert await claims.load("esm-state:u1") == {"revision": 2, "state": "Disabled", "reason": ""}


async def test_a_mapping_that_does_not_work_says_why(states: MappingStates, claims: StoredClaims) -> None:
    await states.tell({"u1": MAPPING}, {"u1": "there is no broker 'x'"})
    document = await claims.load("esm-state:u1")
    assert (document["state"], document["reason"]) == ("Disabled", "there is no broker 'x'")


async def test_a_deleted_mapping_goes_with_all_that_was_stored_for_it(
    states: MappingStates, claims: StoredClaims, catalogue: Catalogue
) -> None:
    await put(catalogue, replace(MAPPING, deleting=True))
    await states.tell({"u1": MAPPING}, {})
    position = await claims.acquire("esm:u1:queue")
    assert position is not None
    await position.save({"position": "7"})
    await states.tell({"u1": replace(MAPPING, deleting=True)}, {})
    assert await catalogue.list_triggers(EventSourceMapping) == []
    assert await claims.load("esm:u1:queue") == {}
    assert await claims.load("esm-state:u1") == {}
    with pytest.raises(ClaimLost):  # whoever still works on it finds out
        await position.save({"position": "8"})
    await states.tell({}, {})


async def test_what_one_process_tells_no_other_tells_too(
    states: MappingStates, claims: StoredClaims, catalogue: Catalogue, store: Store
) -> None:
    second = StoredClaims(store, checkpoint)
    await second.start()
    others = MappingStates(catalogue, second)
    async with asyncio.timeout(30):
        while not (told := await claims.load("esm-state:u1")):
            await states.tell({"u1": MAPPING}, {})
            await others.tell({"u1": replace(MAPPING, revision=2)}, {})
    silent = others if told["revision"] == 1 else states
    await silent.tell({"u1": replace(MAPPING, revision=9)}, {})
    assert await claims.load("esm-state:u1") == told
    await others.close()
    await second.close()
