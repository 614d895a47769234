"""Resource policies in the catalogue, on both databases."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fnrunner.catalogue import NO_CODE, Artifacts, Catalogue, aliases, policies
from fnrunner.catalogue.errors import (
    NotFound,
    PolicyNotFound,
    PolicyRevisionDiffers,
    PolicyTooLong,
    StatementExists,
)
from fnrunner.catalogue.policies import FUNCTION, LAYER, Place
from fnrunner.model.alias import Alias
from fnrunner.model.arn import Home
from fnrunner.model.function import Function
from fnrunner.store.engine import Store
from tests.layer_zip import zip_of

HOME = Home()
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
F = Place(FUNCTION, "f")


@pytest.fixture
async def catalogue(store: Store, tmp_path: Path) -> Catalogue:
    made = Catalogue(store, Artifacts(tmp_path / "artifacts"), HOME, lambda: NOW)
    draft = Function(name="f", runtime="python3.12", handler="a.b", code=NO_CODE, role=HOME.role())
    await made.create_function(draft, zip_of({"a.py": ""}), publish=True)
    await made.change(lambda c: aliases.create(c, HOME, Alias("f", "live", "1")))
    return made


async def add(catalogue: Catalogue, place: Place, sid: str, revision: str = "") -> policies.Policy:
    return await catalogue.change(lambda c: policies.add(c, place, {"Sid": sid}, revision))


async def test_statements_stay_in_the_order_of_their_coming_and_the_last_takes_the_policy_along(
    catalogue: Catalogue,
) -> None:
    first, second = await add(catalogue, F, "b"), await add(catalogue, F, "a")
    assert first.revision_id != second.revision_id
    assert [one["Sid"] for one in second.statements] == ["b", "a"]
    await catalogue.change(lambda c: policies.take_away(c, F, "b"))
    left = await catalogue.read(lambda c: policies.fetch(c, F))
    assert json.loads(left.document) == {"Version": "2012-10-17", "Id": "default", "Statement": [{"Sid": "a"}]}
    await catalogue.change(lambda c: policies.take_away(c, F, "a"))
    with pytest.raises(PolicyNotFound, match="The resource you requested does not exist"):
        await catalogue.read(lambda c: policies.fetch(c, F))


async def test_each_qualifier_has_a_policy_of_its_own(catalogue: Catalogue) -> None:
    for qualifier in ("", "1", "live"):
        await add(catalogue, Place(FUNCTION, "f", qualifier), f"sid-{qualifier}")
    found = {key: json.loads(text)["Statement"][0]["Sid"] for key, text in catalogue.snapshot.policies.items()}
    assert found == {("f", ""): "sid-", ("f", "1"): "sid-1", ("f", "live"): "sid-live"}
    await catalogue.change(lambda c: aliases.remove(c, HOME, "f", "live"))
    assert set(catalogue.snapshot.policies) == {("f", ""), ("f", "1")}
    await catalogue.delete_version("f", "1")
    assert set(catalogue.snapshot.policies) == {("f", "")}
    await add(catalogue, Place(LAYER, "f", "1"), "layer")
    await catalogue.delete_function("f")
    assert catalogue.snapshot.policies == {}
    assert await catalogue.read(lambda c: policies.find(c, Place(LAYER, "f", "1"))) is not None


async def test_what_cannot_be_changes_nothing(catalogue: Catalogue) -> None:
    with pytest.raises(NotFound, match="No policy is associated with the given resource"):
        await catalogue.change(lambda c: policies.take_away(c, F, "a"))
    with pytest.raises(PolicyRevisionDiffers):
        await add(catalogue, F, "a", "another")
    made = await add(catalogue, F, "a")
    with pytest.raises(StatementExists, match=r"The statement id \(a\) provided already exists"):
        await add(catalogue, F, "a")
    with pytest.raises(NotFound, match="Statement b is not found in resource policy"):
        await catalogue.change(lambda c: policies.take_away(c, F, "b"))
    with pytest.raises(PolicyRevisionDiffers, match="Call the GetPolicy API"):
        await catalogue.change(lambda c: policies.take_away(c, F, "a", "another"))
    with pytest.raises(PolicyTooLong):
        await catalogue.change(lambda c: policies.put(c, F, "x" * 20_481))
    assert await catalogue.read(lambda c: policies.fetch(c, F)) == made
    assert (await add(catalogue, F, "b", made.revision_id)).revision_id != made.revision_id


async def test_of_two_that_add_at_once_both_are_kept(catalogue: Catalogue) -> None:
    await asyncio.gather(*(add(catalogue, F, f"s{number}") for number in range(8)))
    found = await catalogue.read(lambda c: policies.fetch(c, F))
    assert {one["Sid"] for one in found.statements} == {f"s{number}" for number in range(8)}
