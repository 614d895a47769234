"""The catalogue on both databases."""

from __future__ import annotations

import asyncio
import io
import os
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fnrunner.catalogue import NO_CODE, Artifacts, Catalogue, Change
from fnrunner.catalogue.artifacts import KEEP
from fnrunner.catalogue.errors import (
    BadArchive,
    BucketInUse,
    BucketNotFound,
    EventInvokeConfigNotFound,
    FunctionExists,
    FunctionNotFound,
    InvalidParameterValue,
    PreconditionFailed,
    UnreservedConcurrencyTooLow,
    ValidationFailed,
)
from fnrunner.model.arn import Home
from fnrunner.model.function import Bucket, EventInvokeConfig, Function, Notification
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreClosed

HOME = Home()
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def draft(name: str = "f", **more: object) -> Function:
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


async def test_a_function_is_created_found_and_looked_up(catalogue: Catalogue, artifacts: Artifacts) -> None:
    made = await catalogue.create_function(draft(environment={"KEY": "v"}, tags={"team": "a"}), code())
    assert (made.log_group, made.last_modified) == ("/aws/lambda/f", NOW)
    assert await artifacts.read(made.code.digest) == code()
    assert await catalogue.get_function("f") == made
    assert catalogue.lookup("f") == made
    assert catalogue.lookup("g") is None
    assert dict(await catalogue.tags("f")) == {"team": "a"}


async def test_a_second_function_of_that_name_is_a_conflict(catalogue: Catalogue) -> None:
    first = await catalogue.create_function(draft(), code())
    with pytest.raises(FunctionExists, match=r"^Function already exist: f$") as caught:
        await catalogue.create_function(draft(handler="other.handler"), code("other"))
    assert (caught.value.status, caught.value.message_key) == (409, "message")
    assert await catalogue.get_function("f") == first


async def test_of_many_that_create_the_same_function_one_succeeds(catalogue: Catalogue) -> None:
    results = await asyncio.gather(
        *(catalogue.create_function(draft(), code(str(number))) for number in range(8)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Function"] + ["FunctionExists"] * 7


async def test_what_does_not_exist_is_not_found(catalogue: Catalogue) -> None:
    arn = "arn:aws:lambda:us-east-1:000000000000:function:f"
    with pytest.raises(FunctionNotFound, match=f"^Function not found: {arn}$") as caught:
        await catalogue.get_function("f")
    assert (caught.value.code, caught.value.status, caught.value.message_key) == (
        "ResourceNotFoundException", 404, "Message",
    )  # fmt: skip
    with pytest.raises(FunctionNotFound, match=f"^Function not found: {arn}:3$"):
        await catalogue.get_function("f", "3")
    for change in (
        catalogue.update_code("f", code()),
        catalogue.update_configuration("f", {}),
        catalogue.set_concurrency("f", 1),
        catalogue.delete_function("f"),
        catalogue.tag("f", {"k": "v"}),
        catalogue.untag("f", ["k"]),
        catalogue.put_notifications("f", []),
        catalogue.list_event_invoke_configs("f"),
    ):
        with pytest.raises(FunctionNotFound):
            await change


async def test_functions_are_listed_by_name_in_pages(catalogue: Catalogue) -> None:
    for name in ("b", "B", "a_1", "a-1", "a1"):
        await catalogue.create_function(draft(name), code())
    seen, marker = [], ""
    while True:
        page = await catalogue.list_functions(marker, 2)
        assert len(page.functions) <= 2
        seen += [function.name for function in page.functions]
        if not (marker := page.next_marker):
            break
    assert seen == sorted(["b", "B", "a_1", "a-1", "a1"])
    with pytest.raises(ValidationFailed, match="maxItems"):
        await catalogue.list_functions("", 0)


async def test_new_code_changes_the_digest_and_the_revision(catalogue: Catalogue, artifacts: Artifacts) -> None:
    before = await catalogue.create_function(draft(), code())
    after = await catalogue.update_code("f", code("new"), architecture="arm64", expected_revision=before.revision_id)
    assert after.code.digest != before.code.digest
    assert after.revision_id != before.revision_id
    assert after.architecture == "arm64"
    assert await artifacts.read(before.code.digest) == code()
    assert catalogue.lookup("f") == after


async def test_a_dry_run_checks_and_changes_nothing(catalogue: Catalogue) -> None:
    before = await catalogue.create_function(draft(), code())
    assert await catalogue.update_code("f", code("new"), dry_run=True) == before
    with pytest.raises(BadArchive):
        await catalogue.update_code("f", b"no zip", dry_run=True)
    assert await catalogue.get_function("f") == before


async def test_a_stale_revision_changes_nothing(catalogue: Catalogue) -> None:
    before = await catalogue.create_function(draft(), code())
    after = await catalogue.update_configuration("f", {"memory_mb": 256}, before.revision_id)
    for change in (
        catalogue.update_configuration("f", {"memory_mb": 512}, before.revision_id),
        catalogue.update_code("f", code("new"), expected_revision=before.revision_id),
    ):
        with pytest.raises(
            PreconditionFailed, match=r"^The Revision Id provided does not match the latest Revision Id"
        ):
            await change
    assert await catalogue.get_function("f") == after


async def test_of_many_updates_from_one_revision_one_succeeds(catalogue: Catalogue) -> None:
    before = await catalogue.create_function(draft(), code())
    results = await asyncio.gather(
        *(catalogue.update_configuration("f", {"memory_mb": 128 + n}, before.revision_id) for n in range(8)),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["Function"] + ["PreconditionFailed"] * 7


async def test_configuration_is_changed_in_part(catalogue: Catalogue) -> None:
    before = await catalogue.create_function(draft(environment={"KEY": "v"}, description="d"), code())
    after = await catalogue.update_configuration("f", {"timeout": timedelta(seconds=9), "environment": {}})
    assert after == replace(
        before, timeout=timedelta(seconds=9), environment={}, has_environment=True, revision_id=after.revision_id
    )
    with pytest.raises(ValidationFailed):
        await catalogue.update_configuration("f", {"timeout": timedelta(0)})
    assert await catalogue.get_function("f") == after


async def test_reserved_concurrency_leaves_a_hundred_for_the_others(catalogue: Catalogue) -> None:
    function = await catalogue.create_function(draft("f"), code())
    await catalogue.create_function(draft("g"), code())
    reserved = await catalogue.set_concurrency("f", 900)
    assert (reserved.reserved_concurrency, reserved.revision_id) == (900, function.revision_id)
    with pytest.raises(UnreservedConcurrencyTooLow) as caught:
        await catalogue.set_concurrency("g", 1)
    assert str(caught.value) == (
        "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below "
        "its minimum value of [100]."
    )
    assert (caught.value.code, caught.value.type) == ("InvalidParameterValueException", "")
    await catalogue.set_concurrency("g", 0)
    await catalogue.set_concurrency("f", 899)
    await catalogue.set_concurrency("g", 1)
    assert (await catalogue.set_concurrency("f", None)).reserved_concurrency is None
    with pytest.raises(ValidationFailed, match="reservedConcurrentExecutions"):
        await catalogue.set_concurrency("f", -1)


async def test_processes_that_reserve_at_once_cannot_overdraw_the_account(
    catalogue: Catalogue, artifacts: Artifacts, store_url: str
) -> None:
    for number in range(6):
        await catalogue.create_function(draft(f"f{number}"), code())
    # A store writes with one thread; several of them race as several processes do.
    stores = [Store(store_url) for _ in range(6)]
    for store in stores:
        await store.start()
    others = [Catalogue(store, artifacts, HOME, lambda: NOW) for store in stores]
    for _ in range(3):
        results = await asyncio.gather(
            *(other.set_concurrency(f"f{number}", 300) for number, other in enumerate(others)), return_exceptions=True
        )
        assert sum(isinstance(result, Function) for result in results) == 3
        for number in range(6):
            await catalogue.set_concurrency(f"f{number}", None)
    for store in stores:
        await store.close()


async def test_tags_are_added_and_removed_without_a_new_revision(catalogue: Catalogue) -> None:
    before = await catalogue.create_function(draft(tags={"a": "1"}), code())
    await catalogue.tag("f", {"a": "2", "b": "3"})
    await catalogue.untag("f", ["a", "missing"])
    after = await catalogue.get_function("f")
    assert (dict(after.tags), after.revision_id) == ({"b": "3"}, before.revision_id)
    with pytest.raises(InvalidParameterValue, match="Number of tags exceeds resource tag limit"):
        await catalogue.tag("f", {str(number): "" for number in range(50)})
    with pytest.raises(InvalidParameterValue, match="An error occurred"):
        await catalogue.tag("f", {})


async def test_deleting_a_function_takes_what_belongs_to_it_and_spares_shared_code(
    catalogue: Catalogue, artifacts: Artifacts, tmp_path: Path
) -> None:
    made = await catalogue.create_function(draft("f"), code())
    other = await catalogue.create_function(draft("g"), code("other"))
    shared = await catalogue.create_function(draft("h"), code())
    await catalogue.put_bucket(Bucket("photos", "/srv/photos"))
    await catalogue.put_event_invoke_config(EventInvokeConfig("f", max_retries=0))
    await catalogue.put_notifications("f", [Notification("n", "photos", "f")])
    await catalogue.delete_function("f")
    assert catalogue.lookup("f") is None
    assert catalogue.snapshot.notifications_of("photos") == ()
    await catalogue.create_function(draft("f"), code())
    assert await catalogue.list_event_invoke_configs("f") == ()

    await catalogue.delete_function("f")
    await catalogue.delete_function("g")
    assert made.code == shared.code
    assert await catalogue.collect_artifacts() == 0
    for path in (tmp_path / "artifacts").iterdir():
        os.utime(path, (time.time() - KEEP.total_seconds() - 60,) * 2)
    assert await catalogue.collect_artifacts() == 1
    assert await artifacts.read(shared.code.digest) == code()
    assert not (tmp_path / "artifacts" / other.code.digest).exists()


async def test_event_invoke_configurations_are_put_merged_listed_and_deleted(catalogue: Catalogue) -> None:
    arn = HOME.function("f", "$LATEST")
    with pytest.raises(EventInvokeConfigNotFound, match=r"^The function doesn't exist\.$"):
        await catalogue.put_event_invoke_config(EventInvokeConfig("f", max_retries=1))
    await catalogue.create_function(draft(), code())
    for missing in (
        catalogue.get_event_invoke_config("f"),
        catalogue.delete_event_invoke_config("f"),
        catalogue.update_event_invoke_config("f", "$LATEST", {"max_retries": 1}),
    ):
        with pytest.raises(EventInvokeConfigNotFound) as caught:
            await missing
        assert str(caught.value) == f"The function {arn} doesn't have an EventInvokeConfig"
    assert catalogue.snapshot.event_invoke_config("f").retries == 2

    put = await catalogue.put_event_invoke_config(EventInvokeConfig("f", max_retries=1, on_success=HOME.queue("q")))
    assert put.last_modified == NOW
    merged = await catalogue.update_event_invoke_config("f", "$LATEST", {"max_age": timedelta(minutes=5)})
    assert (merged.max_retries, merged.max_age, merged.on_success) == (1, timedelta(minutes=5), HOME.queue("q"))
    assert await catalogue.get_event_invoke_config("f") == merged
    assert await catalogue.list_event_invoke_configs("f") == (merged,)
    assert catalogue.snapshot.event_invoke_config("f") == merged
    replaced = await catalogue.put_event_invoke_config(EventInvokeConfig("f", max_retries=0))
    assert (replaced.max_age, replaced.on_success) == (None, "")
    with pytest.raises(EventInvokeConfigNotFound, match="doesn't exist"):
        await catalogue.put_event_invoke_config(EventInvokeConfig("f", "prod", max_retries=0))
    await catalogue.delete_event_invoke_config("f")
    assert await catalogue.list_event_invoke_configs("f") == ()


async def test_notifications_of_a_function_are_replaced_all_or_none(catalogue: Catalogue) -> None:
    for name in ("f", "g"):
        await catalogue.create_function(draft(name), code())
    for name in ("photos", "texts"):
        await catalogue.put_bucket(Bucket(name, f"/srv/{name}"))
    await catalogue.put_notifications("g", [Notification("same", "photos", "g", suffix=".jpg")])
    await catalogue.put_notifications("f", [Notification("same", "photos", "f"), Notification("2", "texts", "f")])
    with pytest.raises(BucketNotFound, match="videos"):
        await catalogue.put_notifications("f", [Notification("3", "texts", "f"), Notification("4", "videos", "f")])
    with pytest.raises(InvalidParameterValue, match="events that do not exist"):
        await catalogue.put_notifications("f", [Notification("3", "texts", "f", events=("s3:ObjectEaten",))])
    assert [(one.function, one.id) for one in await catalogue.list_notifications("photos")] == [
        ("f", "same"), ("g", "same"),
    ]  # fmt: skip
    await catalogue.put_notifications("f", [Notification("5", "texts", "f")])
    assert [one.id for one in await catalogue.list_notifications(function="f")] == ["5"]
    assert [one.function for one in catalogue.snapshot.notifications_of("photos")] == ["g"]
    with pytest.raises(BucketInUse, match="The bucket photos invokes g"):
        await catalogue.delete_bucket("photos")
    assert Bucket("photos", "/srv/photos") in await catalogue.list_buckets()
    await catalogue.delete_function("g")
    await catalogue.delete_bucket("photos")
    assert await catalogue.list_notifications() == (Notification("5", "texts", "f"),)
    assert await catalogue.list_buckets() == (Bucket("texts", "/srv/texts"),)
    with pytest.raises(BucketNotFound):
        await catalogue.delete_bucket("photos")


async def test_a_bucket_moves_and_bad_ones_are_refused(catalogue: Catalogue) -> None:
    await catalogue.put_bucket(Bucket("photos", "/srv/old"))
    await catalogue.put_bucket(Bucket("photos", "/srv/new"))
    change = catalogue.snapshot.change
    await catalogue.put_bucket(Bucket("photos", "/srv/new"))
    assert (catalogue.snapshot.buckets, catalogue.snapshot.change) == ((Bucket("photos", "/srv/new"),), change)
    for bucket in (Bucket("Photos", "/srv"), Bucket("ph", "/srv"), Bucket("photos", "srv")):
        with pytest.raises(InvalidParameterValue):
            await catalogue.put_bucket(bucket)


async def test_listeners_are_told_what_changed_and_a_broken_one_harms_nobody(catalogue: Catalogue) -> None:
    heard: list[Change] = []

    def broken(change: Change) -> None:
        raise RuntimeError("listener")

    catalogue.on_change(broken)
    forget: Callable[[], None] = catalogue.on_change(heard.append)
    await catalogue.create_function(draft("f"), code())
    await catalogue.put_event_invoke_config(EventInvokeConfig("f", max_retries=0))
    await catalogue.put_bucket(Bucket("photos", "/srv"))
    await catalogue.delete_function("f")
    assert heard == [
        Change(frozenset({"f"}), buckets=False),
        Change(frozenset({"f"}), buckets=False),
        Change(frozenset(), buckets=True),
        Change(frozenset({"f"}), buckets=False),
    ]
    await catalogue.refresh()
    forget()
    await catalogue.create_function(draft("g"), code())
    assert len(heard) == 4


async def test_look_ups_go_on_when_the_store_is_gone(catalogue: Catalogue, store: Store) -> None:
    made = await catalogue.create_function(draft(), code())
    await store.close()
    with pytest.raises(StoreClosed):
        await catalogue.get_function("f")
    assert catalogue.lookup("f") == made


async def test_a_refused_change_is_not_counted(catalogue: Catalogue) -> None:
    await catalogue.create_function(draft(), code())
    before = catalogue.snapshot.change
    with pytest.raises(FunctionExists):
        await catalogue.create_function(draft(), code())
    await catalogue.refresh()
    assert catalogue.snapshot.change == before
