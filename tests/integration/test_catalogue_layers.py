"""Layers in the catalogue, on both databases: numbers, what functions may have, and what stays when a version goes."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fnrunner.catalogue import NO_CODE, Artifacts, Catalogue, layers, policies
from fnrunner.catalogue.artifacts import KEEP
from fnrunner.catalogue.errors import (
    ArtifactMissing,
    BadArchive,
    InvalidParameterValue,
    LayerVersionNotFound,
    PolicyNotFound,
    ValidationFailed,
)
from fnrunner.catalogue.policies import LAYER, Place
from fnrunner.model import limits
from fnrunner.model.arn import Home
from fnrunner.model.function import Function
from fnrunner.model.layer import LayerVersion
from fnrunner.store.engine import Store
from tests.layer_zip import zip_of

HOME = Home()
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CODE = zip_of({"app.py": "code"})


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")


@pytest.fixture
def catalogue(store: Store, artifacts: Artifacts) -> Catalogue:
    return Catalogue(store, artifacts, HOME, lambda: NOW)


def draft(name: str = "f", **more: Any) -> Function:
    return replace(
        Function(name=name, runtime="python3.12", handler="app.handler", code=NO_CODE, role=HOME.role()), **more
    )


async def published(catalogue: Catalogue, name: str = "lib", **files: str) -> LayerVersion:
    return await catalogue.publish_layer(LayerVersion(name, NO_CODE), zip_of(files or {"python/lib.py": name}))


def arn(layer: LayerVersion) -> str:
    return HOME.layer(layer.name, layer.version)


async def test_each_publication_has_the_next_number_and_none_is_given_twice(catalogue: Catalogue) -> None:
    assert [(await published(catalogue)).version for _ in range(2)] == [1, 2]
    await catalogue.delete_layer_version("lib", 1)
    await catalogue.delete_layer_version("lib", 2)
    assert (await published(catalogue)).version == 3
    assert (await published(catalogue, "other")).version == 1
    found = await catalogue.read(layers.every)
    assert [(layer.name, layer.version) for layer in found] == [("lib", 3), ("other", 1)]


async def test_what_is_said_of_a_version_is_kept(catalogue: Catalogue) -> None:
    said = LayerVersion(
        "lib",
        NO_CODE,
        description="d",
        license_info="MIT",
        runtimes=("python3.12", "nodejs22.x"),
        architectures=("x86_64",),
    )
    made = await catalogue.publish_layer(said, zip_of({"a": "12345"}))
    assert made == await catalogue.read(lambda c: layers.fetch(c, HOME, "lib", 1))
    assert (made.code.unzipped_bytes, made.created) == (5, NOW)
    assert replace(made, code=NO_CODE, version=0, created=said.created) == said


async def test_a_layer_that_is_no_zip_or_says_too_much_leaves_nothing(catalogue: Catalogue) -> None:
    with pytest.raises(BadArchive):
        await catalogue.publish_layer(LayerVersion("lib", NO_CODE), b"no zip")
    for wrong in ({"description": "d" * 257}, {"license_info": "l" * 513}, {"architectures": ("mips",)}):
        with pytest.raises(ValidationFailed):
            await catalogue.publish_layer(replace(LayerVersion("lib", NO_CODE), **wrong), CODE)
    assert (await published(catalogue)).version == 1


async def test_a_version_that_is_not_there_is_told_by_its_arn(catalogue: Catalogue) -> None:
    with pytest.raises(LayerVersionNotFound, match=f"Layer version {HOME.layer('lib', 1)} does not exist"):
        await catalogue.read(lambda c: layers.fetch(c, HOME, "lib", 1))
    with pytest.raises(LayerVersionNotFound):
        await catalogue.read(lambda c: layers.fetch(c, HOME, "lib", 2**70))
    with pytest.raises(InvalidParameterValue, match="Layer Version Cannot be less than 1"):
        await catalogue.delete_layer_version("lib", 0)
    await catalogue.delete_layer_version("lib", 7)
    await catalogue.delete_layer_version("lib", 2**70)


async def test_a_function_has_its_layers_in_the_order_in_which_it_lists_them(catalogue: Catalogue) -> None:
    one, two = await published(catalogue, "one"), await published(catalogue, "two")
    made = await catalogue.create_function(draft(), CODE, layer_arns=[arn(two), arn(one)])
    assert [layer.arn for layer in made.layers] == [arn(two), arn(one)]
    assert catalogue.lookup("f") == made
    other = await catalogue.update_configuration("f", {"layers": [arn(one)]})
    assert [layer.code for layer in other.layers] == [one.code]
    assert other.revision_id != made.revision_id
    assert (await catalogue.update_configuration("f", {"description": "d"})).layers == other.layers
    assert (await catalogue.update_configuration("f", {"layers": []})).layers == ()


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (["one:1", "two:1", "three:1", "four:1", "five:1", "six:1"], "Cannot reference more than 5 layers."),
        (["missing:1"], "Layer version {arn} does not exist."),
        (["one:0"], "Layer Version Cannot be less than 1"),
        (["one:1", "one:2"], "Two different versions of the same layer are not allowed to be referenced in the same "),
        (["one"], "Layer Version Cannot be less than 1"),
    ],
)
async def test_what_a_function_may_not_have_is_said_in_lambdas_words(
    catalogue: Catalogue, listed: list[str], message: str
) -> None:
    for name in ("one", "one", "two", "three", "four", "five", "six"):
        await published(catalogue, name)
    arns = [f"{HOME.layer('')}{one}" for one in listed]
    await catalogue.create_function(draft(), CODE)
    with pytest.raises(InvalidParameterValue) as caught:
        await catalogue.update_configuration("f", {"layers": arns})
    assert str(caught.value).startswith(message.format(arn=arns[0]))
    with pytest.raises(InvalidParameterValue):
        await catalogue.create_function(draft("g"), CODE, layer_arns=arns)
    assert catalogue.lookup("g") is None
    assert (await catalogue.get_function("f")).layers == ()


async def test_layers_of_other_regions_and_accounts_are_refused(catalogue: Catalogue) -> None:
    elsewhere, foreign = Home(region="eu-west-1").layer("lib", 1), Home(account="111111111111").layer("lib", 1)
    with pytest.raises(InvalidParameterValue, match=r"Layers are expected to be in region us-east-1\."):
        await catalogue.create_function(draft(), CODE, layer_arns=[elsewhere])
    for other in (foreign, "arn:aws:lambda:::awslayer:AmazonLinux1803"):
        with pytest.raises(InvalidParameterValue, match="does not exist"):
            await catalogue.create_function(draft(), CODE, layer_arns=[other])


async def test_code_and_layers_together_have_250_mb_at_most(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = await published(catalogue, "big", a="x" * 600)
    monkeypatch.setattr(limits, "UNZIPPED_BYTES", 1000)
    await catalogue.create_function(draft(), zip_of({"app.py": "x" * 400}), layer_arns=[arn(big)])
    with pytest.raises(InvalidParameterValue, match=r"maximum allowed size of 1000 bytes\. The actual size is 1001"):
        await catalogue.update_code("f", zip_of({"app.py": "x" * 401}))
    await catalogue.create_function(draft("g"), zip_of({"app.py": "x" * 401}))
    with pytest.raises(InvalidParameterValue, match="Function code combined with layers exceeds"):
        await catalogue.update_configuration("g", {"layers": [arn(big)]})


async def test_a_deleted_version_stays_with_the_functions_that_have_it(
    catalogue: Catalogue, artifacts: Artifacts, tmp_path: Path
) -> None:
    layer = await published(catalogue)
    await catalogue.create_function(draft(), CODE, layer_arns=[arn(layer)])
    await catalogue.publish_version("f")
    await catalogue.delete_layer_version("lib", 1)
    with pytest.raises(InvalidParameterValue, match="does not exist"):
        await catalogue.update_configuration("f", {"layers": [arn(layer)]})
    _age(tmp_path)
    assert await catalogue.collect_artifacts() == 0
    await catalogue.update_configuration("f", {"layers": []})
    _age(tmp_path)
    assert await catalogue.collect_artifacts() == 0, "version 1 still has it"
    assert await artifacts.read(layer.code.digest)
    await catalogue.delete_version("f", "1")
    assert await catalogue.collect_artifacts() == 0, "workers may not have heard of it"
    _age(tmp_path)
    assert await catalogue.collect_artifacts() == 1
    with pytest.raises(ArtifactMissing):
        await artifacts.read(layer.code.digest)


async def test_a_version_of_a_function_keeps_its_layers(catalogue: Catalogue) -> None:
    one, two = await published(catalogue, "one"), await published(catalogue, "two")
    await catalogue.create_function(draft(), CODE, layer_arns=[arn(one)], publish=True)
    await catalogue.update_configuration("f", {"layers": [arn(two)]})
    assert [layer.arn for layer in (await catalogue.get_function("f", "1")).layers] == [arn(one)]
    assert (await catalogue.publish_version("f")).version == "2"


async def test_the_policy_of_a_version_goes_with_it(catalogue: Catalogue) -> None:
    await published(catalogue)
    place = Place(LAYER, "lib", "1")
    await catalogue.change(lambda c: policies.add(c, place, {"Sid": "all"}))
    await catalogue.delete_layer_version("lib", 1)
    with pytest.raises(PolicyNotFound):
        await catalogue.read(lambda c: policies.fetch(c, place))


def _age(directory: Path) -> None:
    old = time.time() - KEEP.total_seconds() - 1
    for path in (directory / "artifacts").iterdir():
        os.utime(path, (old, old))
