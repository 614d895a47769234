"""Versions and aliases in the catalogue, on both databases."""

from __future__ import annotations

import asyncio
import io
import os
import time
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fnrunner.catalogue import (
    NO_CODE,
    Artifacts,
    Catalogue,
    aliases,
    http_route,
    schedule,
    subscription,
    triggers,
    versions,
)
from fnrunner.catalogue.artifacts import KEEP
from fnrunner.catalogue.errors import (
    AliasExists,
    AliasNotFound,
    ArtifactMissing,
    CodeDiffers,
    EventInvokeConfigNotFound,
    FunctionNotFound,
    InvalidParameterValue,
    PreconditionFailed,
    VersionInUse,
)
from fnrunner.model.alias import Additional, Alias
from fnrunner.model.arn import Home
from fnrunner.model.function import Bucket, EventInvokeConfig, Function, Notification
from fnrunner.model.trigger import FunctionUrl, HttpRoute, Schedule, TopicSubscription
from fnrunner.store.engine import Store
from sources.mapping import EventSourceMapping

HOME = Home()
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ARN = HOME.function("f")


def draft(name: str = "f", **more: Any) -> Function:
    return replace(
        Function(name=name, runtime="python3.12", handler="app.handler", code=NO_CODE, role=HOME.role()), **more
    )


def code(text: str = "code") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo("app.py"), text)
    return buffer.getvalue()


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")


@pytest.fixture
def catalogue(store: Store, artifacts: Artifacts) -> Catalogue:
    return Catalogue(store, artifacts, HOME, lambda: NOW)


async def alias(catalogue: Catalogue, name: str = "live", version: str = "1", **more: Any) -> Alias:
    return await catalogue.change(lambda c: aliases.create(c, HOME, Alias("f", name, version, **more)))


async def numbers(catalogue: Catalogue) -> list[str]:
    page = await catalogue.read(lambda c: versions.page(c, HOME, "f"))
    return [version.version for version in page.functions]


async def test_a_version_stays_as_it_was_published(catalogue: Catalogue) -> None:
    made = await catalogue.create_function(draft(description="first", memory_mb=256), code("1"))
    version = await catalogue.publish_version("f")
    assert (version.version, version.code, version.description) == ("1", made.code, "first")
    await catalogue.update_code("f", code("2"))
    await catalogue.update_configuration("f", {"memory_mb": 512, "description": "second"})
    assert await catalogue.get_function("f", "1") == version == catalogue.resolve("f", "1")
    latest = await catalogue.get_function("f")
    assert (latest.version, latest.memory_mb, latest.code) != ("1", 256, made.code)


async def test_reserved_concurrency_and_tags_belong_to_all_versions(catalogue: Catalogue) -> None:
    await catalogue.create_function(draft(tags={"team": "a"}), code())
    await catalogue.publish_version("f")
    await alias(catalogue)
    await catalogue.set_concurrency("f", 3)
    await catalogue.tag("f", {"team": "b"})
    for qualifier in ("", "$LATEST", "1", "live"):
        found = catalogue.resolve("f", qualifier)
        assert found is not None
        assert (found.reserved_concurrency, dict(found.tags)) == (3, {"team": "b"})
        assert await catalogue.get_function("f", qualifier) == found
    await catalogue.set_concurrency("f", None)
    assert {found.reserved_concurrency for found in catalogue.snapshot.functions.values()} == {None}


async def test_publishing_twice_without_a_change_is_one_version(catalogue: Catalogue) -> None:
    await catalogue.create_function(draft(), code())
    first = await catalogue.publish_version("f", description="one")
    assert await catalogue.publish_version("f", description="another") == first
    await catalogue.tag("f", {"a": "b"})
    await catalogue.set_concurrency("f", 1)
    assert (await catalogue.publish_version("f")).version == "1", "neither is part of a version"
    await catalogue.update_configuration("f", {})
    assert (await catalogue.publish_version("f")).version == "2", "any update counts, also one that changes nothing"
    await catalogue.update_code("f", code())
    assert (await catalogue.publish_version("f")).version == "3"


async def test_a_number_is_never_given_twice(catalogue: Catalogue) -> None:
    await catalogue.create_function(draft(), code())
    await catalogue.publish_version("f")
    await catalogue.delete_version("f", "1")
    assert await numbers(catalogue) == ["$LATEST"]
    assert catalogue.resolve("f", "1") is None
    assert (await catalogue.publish_version("f")).version == "2", (
        "the last version is not there, so there is something new"
    )
    await catalogue.delete_function("f")
    await catalogue.create_function(draft(), code())
    assert (await catalogue.publish_version("f")).version == "3", "events of the former one may still be on their way"


async def test_publishing_at_the_same_time_gives_every_change_one_number(catalogue: Catalogue) -> None:
    await catalogue.create_function(draft(), code())
    made = await asyncio.gather(*(catalogue.publish_version("f") for _ in range(5)))
    assert [version.version for version in made] == ["1"] * 5
    both = [catalogue.update_code("f", code(str(number)), publish=True) for number in range(5)]
    assert sorted(version.version for version in await asyncio.gather(*both)) == ["2", "3", "4", "5", "6"]


async def test_creating_and_updating_publish_in_the_same_change(catalogue: Catalogue) -> None:
    made = await catalogue.create_function(draft(reserved_concurrency=4), code("1"), publish=True)
    assert (made.version, made.reserved_concurrency) == ("1", 4)
    updated = await catalogue.update_code("f", code("2"), publish=True)
    assert (updated.version, updated.code) == ("2", (await catalogue.get_function("f")).code)
    kept = await catalogue.update_code("f", code("3"), publish=True, dry_run=True)
    assert (kept.version, kept.code) == ("$LATEST", updated.code)
    assert await numbers(catalogue) == ["$LATEST", "1", "2"]


async def test_what_was_expected_must_be_there_to_be_published(catalogue: Catalogue) -> None:
    made = await catalogue.create_function(draft(), code("1"))
    with pytest.raises(PreconditionFailed):
        await catalogue.publish_version("f", expected_revision="other")
    with pytest.raises(
        CodeDiffers, match=r"^CodeSHA256 \(AAAA\) is different from current CodeSHA256 in \$LATEST \("
    ) as caught:
        await catalogue.publish_version("f", code_sha256="AAAA")
    assert (caught.value.status, made.code.sha256 in str(caught.value)) == (400, True)
    assert await numbers(catalogue) == ["$LATEST"]
    await catalogue.publish_version("f", code_sha256=made.code.sha256, expected_revision=made.revision_id)
    after = await catalogue.get_function("f")
    assert after.revision_id != made.revision_id, "publishing gives the unpublished function another revision"
    assert replace(after, revision_id=made.revision_id) == made
    with pytest.raises(FunctionNotFound):
        await catalogue.publish_version("g")


async def test_versions_are_listed_by_number_and_in_pages(catalogue: Catalogue) -> None:
    await catalogue.create_function(draft(), code())
    for _ in range(11):
        await catalogue.update_configuration("f", {})
        await catalogue.publish_version("f")
    await catalogue.create_function(draft("g"), code())
    expected = ["$LATEST", *(str(number) for number in range(1, 12))]
    assert await numbers(catalogue) == expected
    found, marker = list[str](), ""
    while True:
        page = await catalogue.read(lambda c, m=marker: versions.page(c, HOME, "f", marker=m, max_items=1))
        found += [version.version for version in page.functions]
        if not (marker := page.next_marker):
            break
    assert found == expected
    everything, marker = list[str](), ""
    while True:
        page = await catalogue.list_functions(marker, 4, all_versions=True)
        everything += [f"{one.name}:{one.version}" for one in page.functions]
        if not (marker := page.next_marker):
            break
    assert everything == [*(f"f:{version}" for version in expected), "g:$LATEST"]
    assert [one.name for one in (await catalogue.list_functions()).functions] == ["f", "g"]
    with pytest.raises(InvalidParameterValue, match="marker"):
        await catalogue.list_functions("f", all_versions=True)


async def test_the_code_of_a_version_outlives_updates_and_goes_with_the_version(
    catalogue: Catalogue, artifacts: Artifacts, tmp_path: Path
) -> None:
    made = await catalogue.create_function(draft(), code("1"), publish=True)
    await catalogue.update_code("f", code("2"))

    def age() -> None:
        long_ago = time.time() - 2 * KEEP.total_seconds()
        for file in (tmp_path / "artifacts").iterdir():
            os.utime(file, (long_ago, long_ago))

    age()
    assert await catalogue.collect_artifacts() == 0
    assert await artifacts.read(made.code.digest) == code("1")
    await catalogue.delete_version("f", "1")
    assert await catalogue.collect_artifacts() == 0, "workers may not have heard of it yet"
    age()
    assert await catalogue.collect_artifacts() == 1
    with pytest.raises(ArtifactMissing):
        await artifacts.read(made.code.digest)


async def test_a_version_that_an_alias_points_at_stays(catalogue: Catalogue) -> None:
    await catalogue.create_function(draft(), code("1"), publish=True)
    await catalogue.update_code("f", code("2"), publish=True)
    await alias(catalogue, "blue", "1")
    await alias(catalogue, "all", "2", additional=Additional("1", 0.1))
    with pytest.raises(VersionInUse, match=r"version arn:.*:function:f:1 .* reference it: \[all, blue\]") as caught:
        await catalogue.delete_version("f", "1")
    assert (caught.value.code, caught.value.status) == ("ResourceConflictException", 409)
    assert await numbers(catalogue) == ["$LATEST", "1", "2"]
    for name in ("blue", "all"):
        await catalogue.change(lambda c, n=name: aliases.remove(c, HOME, "f", n))
    await catalogue.delete_version("f", "1")
    with pytest.raises(FunctionNotFound, match=r"function:f:1$"):
        await catalogue.delete_version("f", "1")


async def test_an_alias_is_made_moved_and_deleted(catalogue: Catalogue) -> None:
    await catalogue.create_function(draft(), code("1"), publish=True)
    await catalogue.update_code("f", code("2"), publish=True)
    made = await alias(catalogue, description="what users get")
    assert await catalogue.read(lambda c: aliases.fetch(c, HOME, "f", "live")) == made
    assert catalogue.resolve("f", "live") == catalogue.resolve("f", "1")
    moved = await catalogue.change(
        lambda c: aliases.change(c, HOME, "f", "live", {"version": "2"}, expected_revision=made.revision_id)
    )
    assert (moved.version, moved.description) == ("2", "what users get")
    assert catalogue.resolve("f", "live") == catalogue.resolve("f", "2")
    with pytest.raises(PreconditionFailed):
        await catalogue.change(lambda c: aliases.change(c, HOME, "f", "live", {}, expected_revision=made.revision_id))
    shared = await catalogue.change(
        lambda c: aliases.change(c, HOME, "f", "live", {"additional": Additional("1", 1.0)})
    )
    assert shared.additional == Additional("1", 1.0)
    assert catalogue.resolve("f", "live", "any ticket") == catalogue.resolve("f", "1")
    cleared = await catalogue.change(lambda c: aliases.change(c, HOME, "f", "live", {"additional": None}))
    assert cleared.additional is None
    with pytest.raises(AliasExists, match=rf"^Alias already exists: {ARN}:live$"):
        await alias(catalogue)
    for _ in range(2):
        await catalogue.change(lambda c: aliases.remove(c, HOME, "f", "live"))
    assert catalogue.resolve("f", "live") is None
    with pytest.raises(AliasNotFound, match=rf"^Cannot find alias arn: {ARN}:live$"):
        await catalogue.read(lambda c: aliases.fetch(c, HOME, "f", "live"))
    with pytest.raises(AliasNotFound, match=rf"^Alias not found: {ARN}:live$"):
        await catalogue.change(lambda c: aliases.change(c, HOME, "f", "live", {}))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (Alias("f", "a", "9"), FunctionNotFound, rf"^Function not found: {ARN}:9$"),
        (Alias("g", "a", "1"), FunctionNotFound, r"^Function not found: .*:function:g:1$"),
        (Alias("f", "a", "1", additional=Additional("9", 0.5)), FunctionNotFound, rf"{ARN}:9$"),
        (
            Alias("f", "a", "1", additional=Additional("1", 0.5)), InvalidParameterValue,
            r"^Invalid function version 1\. Function version 1 is already included in routing configuration\.$",
        ),
        (
            Alias("f", "a", "$LATEST", additional=Additional("1", 0.5)), InvalidParameterValue,
            r"^\$LATEST is not supported for an alias pointing to more than 1 version$",
        ),
    ],
)  # fmt: skip
async def test_an_alias_points_at_what_exists(
    catalogue: Catalogue, given: Alias, error: type[Exception], message: str
) -> None:
    await catalogue.create_function(draft(), code(), publish=True)
    with pytest.raises(error, match=message):
        await catalogue.change(lambda c: aliases.create(c, HOME, given))
    assert catalogue.snapshot.aliases == {}


async def test_aliases_are_listed_by_name_and_by_version(catalogue: Catalogue) -> None:
    await catalogue.create_function(draft(), code("1"), publish=True)
    await catalogue.update_code("f", code("2"), publish=True)
    for name, version in (("c", "1"), ("a", "2"), ("b", "1")):
        await alias(catalogue, name, version)
    await alias(catalogue, "d", "2", additional=Additional("1", 0.1))

    async def listed(**which: Any) -> tuple[list[str], str]:
        page = await catalogue.read(lambda c: aliases.page(c, HOME, "f", **which))
        return [one.name for one in page.aliases], page.next_marker

    assert await listed() == (["a", "b", "c", "d"], "")
    assert await listed(version="1") == (["b", "c", "d"], "")
    assert await listed(max_items=3) == (["a", "b", "c"], "c")
    assert await listed(max_items=3, marker="c") == (["d"], "")
    with pytest.raises(FunctionNotFound):
        await catalogue.read(lambda c: aliases.page(c, HOME, "g"))


async def test_each_qualifier_has_an_event_invoke_configuration_of_its_own(catalogue: Catalogue) -> None:
    await catalogue.create_function(draft(), code(), publish=True)
    await alias(catalogue)
    for qualifier, retries in (("$LATEST", 2), ("1", 1), ("live", 0)):
        await catalogue.put_event_invoke_config(EventInvokeConfig("f", qualifier, max_retries=retries))
    assert [catalogue.snapshot.event_invoke_config("f", q).retries for q in ("", "1", "live")] == [2, 1, 0]
    assert [one.qualifier for one in await catalogue.list_event_invoke_configs("f")] == ["$LATEST", "1", "live"]
    for missing in ("2", "prod"):
        with pytest.raises(EventInvokeConfigNotFound, match=r"^The function doesn't exist\.$"):
            await catalogue.put_event_invoke_config(EventInvokeConfig("f", missing, max_retries=0))
    await catalogue.change(lambda c: aliases.remove(c, HOME, "f", "live"))
    await catalogue.delete_version("f", "1")
    assert [one.qualifier for one in await catalogue.list_event_invoke_configs("f")] == ["$LATEST"]


async def test_what_invokes_an_alias_goes_with_it_but_event_source_mappings(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    await catalogue.create_function(draft(), code(), publish=True)
    await alias(catalogue)
    queue = "arn:aws:sqs:us-east-1:000000000000:q"
    mapping = EventSourceMapping(uuid="m", function="f", qualifier="live", source_arn=queue)

    def work(connection: Any) -> None:
        for qualifier in ("", "live"):
            key = qualifier or "plain"
            triggers.save(connection, FunctionUrl(f"url-{key}", "f", qualifier))
            schedule.put(connection, Schedule(f"s-{key}", "f", "rate(1 day)", qualifier), HOME)
            subscription.put(connection, TopicSubscription(f"t-{key}", "topic", "f", qualifier), HOME)
        http_route.replace_api(
            connection, HOME, "api", [HttpRoute("api", "f"), HttpRoute("api", "f", "GET", "/a", "live")]
        )
        triggers.save(connection, mapping)

    await catalogue.change(work)
    await catalogue.put_bucket(Bucket("photos", str(tmp_path)))
    await catalogue.put_notifications("f", [Notification("a", "photos", "f"), Notification("b", "photos", "f", "live")])
    await catalogue.change(lambda c: aliases.remove(c, HOME, "f", "live"))
    left = catalogue.snapshot
    assert list(left.of_type(FunctionUrl)) == ["url-plain"]
    assert list(left.of_type(Schedule)) == ["s-plain"]
    assert list(left.of_type(TopicSubscription)) == ["t-plain"]
    assert [route.route_key for route in left.of_type(HttpRoute).values()] == ["$default"]
    assert list(left.of_type(EventSourceMapping).values()) == [mapping]
    assert [one.id for one in left.notifications_of("photos")] == ["a"]


async def test_what_would_invoke_a_qualifier_that_does_not_exist_is_refused(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    await catalogue.create_function(draft(), code())
    await catalogue.put_bucket(Bucket("photos", str(tmp_path)))
    gone = rf"^Function not found: {ARN}:live$"
    with pytest.raises(FunctionNotFound, match=gone):
        await catalogue.put_notifications("f", [Notification("b", "photos", "f", "live")])
    with pytest.raises(FunctionNotFound, match=gone):
        await catalogue.change(lambda c: schedule.put(c, Schedule("s", "f", "rate(1 day)", "live"), HOME))
    with pytest.raises(FunctionNotFound, match=gone):
        await catalogue.change(lambda c: subscription.put(c, TopicSubscription("t", "topic", "f", "live"), HOME))
    with pytest.raises(FunctionNotFound, match=gone):
        await catalogue.change(
            lambda c: http_route.replace_api(c, HOME, "api", [HttpRoute("api", "f", qualifier="live")])
        )


async def test_a_deleted_function_leaves_no_version_and_no_alias(catalogue: Catalogue) -> None:
    await catalogue.create_function(draft(), code(), publish=True)
    await alias(catalogue)
    await catalogue.delete_function("f")
    assert (catalogue.snapshot.functions, catalogue.snapshot.aliases) == ({}, {})
    await catalogue.create_function(draft(), code())
    assert catalogue.resolve("f", "live") is catalogue.resolve("f", "1") is None


async def test_another_process_sees_versions_and_aliases(
    catalogue: Catalogue, store: Store, artifacts: Artifacts
) -> None:
    other = Catalogue(store, artifacts, HOME, lambda: NOW)
    await other.refresh()
    await catalogue.create_function(draft(), code(), publish=True)
    await alias(catalogue, additional=None)
    await other.refresh()
    assert other.resolve("f", "live") == await catalogue.get_function("f", "1")
