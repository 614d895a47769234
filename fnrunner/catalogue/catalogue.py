"""The catalogue: every change in one transaction, every look-up from memory.

A change is checked, committed, read back into the snapshot of this process, and announced to the others by whoever
listens (:mod:`fnrunner.catalogue.changes`). Code is an artifact before the catalogue names it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import Connection

from fnrunner.catalogue import (
    buckets,
    code_signing,
    concurrency,
    constraint,
    equipment,
    event_invoke,
    functions,
    layers,
    package,
    stacks,
    triggers,
    versions,
)
from fnrunner.catalogue.artifacts import Artifacts
from fnrunner.catalogue.errors import ArtifactError, InvalidParameterValue, ValidationFailed
from fnrunner.catalogue.functions import Page
from fnrunner.catalogue.snapshot import Change, Snapshot, compare, count_change, load
from fnrunner.catalogue.validation import check_tags
from fnrunner.model import limits
from fnrunner.model.arn import Home
from fnrunner.model.function import Bucket, Code, EventInvokeConfig, Function, Notification
from fnrunner.model.image import ImageCode
from fnrunner.model.layer import LayerVersion
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreError

log = logging.getLogger(__name__)

T = TypeVar("T")
OnChange = Callable[[Change], None]
"""Called on the event loop after the snapshot has changed, whoever changed it; must not block."""

NO_CODE = Code(digest="", size_bytes=0)
"""For the draft of a function, whose code is given beside it."""


class Catalogue:
    """``clock`` answers aware UTC. Call :meth:`refresh` before the first look-up.

    Methods take plain function names. All raise StoreUnavailable; names that do not exist raise FunctionNotFound.
    """

    def __init__(
        self,
        store: Store,
        artifacts: Artifacts,
        home: Home,
        clock: Callable[[], datetime],
        *,
        account_concurrency: int = limits.ACCOUNT_CONCURRENCY,
    ) -> None:
        self._store = store
        self._account_concurrency = account_concurrency
        self._artifacts = artifacts
        self._home = home
        self._clock = clock
        self._snapshot = Snapshot()
        self._refreshing = asyncio.Lock()
        self._on_change: list[OnChange] = []
        self._on_commit: list[Callable[[int], None]] = []

    # Look-ups in memory.

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    @property
    def artifacts(self) -> Artifacts:
        return self._artifacts

    @property
    def account_concurrency(self) -> int:
        """How much may run at once of all functions together, over all workers."""
        return self._account_concurrency

    def lookup(self, name: str, version: str = limits.LATEST) -> Function | None:
        """As of the last refresh."""
        return self._snapshot.function(name, version)

    def resolve(self, name: str, qualifier: str, ticket: str = "") -> Function | None:
        """What this qualifier of the function runs, as of the last refresh; see :meth:`Snapshot.resolve`."""
        return self._snapshot.resolve(name, qualifier, ticket)

    async def refresh(self) -> None:
        """Make the snapshot current: one cheap query when it is."""
        async with self._refreshing:
            before = self._snapshot
            after = await self._store.read(lambda connection: load(connection, before))
            self._snapshot = after
        # Before the first refresh there was nothing to differ from, and yet everything is new to the listeners.
        if after is not before and (change := compare(before, after)):
            for callback in tuple(self._on_change):
                _call(callback, change)

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Be told of changes until the returned function is called."""
        self._on_change.append(callback)
        return lambda: self._on_change.remove(callback)

    def on_commit(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Be told the counter of each change that this process made, until the returned function is called."""
        self._on_commit.append(callback)
        return lambda: self._on_commit.remove(callback)

    # Work in one transaction, by the modules of each resource.

    async def change(self, work: Callable[[Connection], T]) -> T:
        """Carry out ``work`` as one change. What it raises undoes it."""

        def transaction(connection: Connection) -> tuple[T, int]:
            counter = count_change(connection, self._store, self._clock())
            return work(connection), counter

        result, counter = await self._store.write(transaction)
        # It is committed: what fails from here on does not undo it, and the watcher makes up for it.
        for callback in tuple(self._on_commit):
            _call(callback, counter)
        try:
            await self.refresh()
        except StoreError:
            log.warning("the catalogue changed but could not be read back", exc_info=True)
        return result

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Carry out ``work``, which changes nothing, on what is in the store now."""
        return await self._store.read(work)

    # Functions.

    async def create_function(
        self,
        draft: Function,
        code: bytes,
        *,
        publish: bool = False,
        layer_arns: Sequence[str] = (),
        code_signing_config: str = "",
        largest: int = limits.ZIP_BYTES,
    ) -> Function:
        """``draft`` says everything but code, layers, revision, state and time (see :data:`NO_CODE`); ``code`` is a zip of at
        most ``largest`` bytes, and is not looked at where the draft has an image.

        With ``publish`` the answer is version 1, which is made in the same transaction.
        Raises FunctionExists, ValidationFailed, InvalidParameterValue, ZipTooLarge, BadArchive, ArtifactError,
        CodeSigningConfigNotFound, InvalidCodeSignature, CodeVerificationFailed.
        """
        now = self._clock()
        drafted = functions.drafted(draft, NO_CODE, now)
        signed = None
        if draft.image is not None:
            drafted = replace(drafted, code=Code(draft.image.digest, 0))
        else:
            seen = await asyncio.to_thread(package.inspect, code, largest)
            drafted, signed = replace(drafted, code=await self._kept(code, seen)), seen.signed

        def work(connection: Connection) -> Function:
            functions.check_absent(connection, draft.name)
            if code_signing_config:
                code_signing.attach(connection, self._home, draft.name, code_signing_config)
            function = equipment.with_layers(connection, self._home, drafted, layer_arns, now)
            if function.image is None:
                function = equipment.with_code(connection, self._home, function, signed, now)
            functions.add(connection, function)
            if draft.reserved_concurrency is not None:
                reserved_number = draft.reserved_concurrency
                concurrency.check_reservation(connection, function.name, reserved_number, self._account_concurrency)
                reserved = replace(function, reserved_concurrency=draft.reserved_concurrency)
                functions.save(connection, reserved)
            if publish:
                return versions.publish(connection, self._home, function.name)
            return functions.fetch(connection, self._home, function.name)

        return await self.change(work)

    async def get_function(self, name: str, qualifier: str = "") -> Function:
        """As it is in the store now; of an alias the first version."""
        return await self._store.read(lambda connection: versions.fetch(connection, self._home, name, qualifier))

    async def list_functions(
        self, marker: str = "", max_items: int = functions.PAGE, *, all_versions: bool = False
    ) -> Page:
        """By name; ``marker`` is the ``next_marker`` of the page before.

        Raises ValidationFailed, and InvalidParameterValue for a marker of another kind of list.
        """
        if problems := constraint.between("maxItems", max_items, 1, 10_000):
            raise ValidationFailed(problems)
        page = functions.page_of_versions if all_versions else functions.page
        return await self._store.read(lambda connection: page(connection, marker, max_items))

    async def update_code(
        self,
        name: str,
        code: bytes,
        *,
        architecture: str | None = None,
        expected_revision: str | None = None,
        dry_run: bool = False,
        publish: bool = False,
        largest: int = limits.ZIP_BYTES,
    ) -> Function:
        """``dry_run`` checks everything and answers the function as it stays. ``publish`` answers the new version. The zip has
        at most ``largest`` bytes.

        Raises PreconditionFailed, ValidationFailed, InvalidParameterValue, ZipTooLarge, BadArchive, ArtifactError,
        InvalidCodeSignature, CodeVerificationFailed.
        """
        now = self._clock()
        functions.guard(await self.get_function(name), expected_revision)
        seen = await asyncio.to_thread(package.inspect, code, largest)
        if dry_run:
            return await self._store.read(lambda connection: self._dry_run(connection, name, seen, architecture, now))
        artifact = await self._kept(code, seen)
        before = NO_CODE

        def work(connection: Connection) -> Function:
            nonlocal before
            current = functions.fetch(connection, self._home, name)
            functions.guard(current, expected_revision)
            before = current.code
            function = functions.recoded(current, artifact, architecture, now)
            function = equipment.with_code(connection, self._home, function, seen.signed, now)
            functions.save(connection, function)
            return versions.publish(connection, self._home, name) if publish else function

        function = await self.change(work)
        await self._keep_a_while({before.digest})
        return function

    async def update_image(
        self,
        name: str,
        image: ImageCode,
        *,
        architecture: str | None = None,
        expected_revision: str | None = None,
        dry_run: bool = False,
        publish: bool = False,
    ) -> Function:
        """As ``update_code``, for a function that is an image. Raises PreconditionFailed, ValidationFailed,
        InvalidParameterValue.
        """
        now, code = self._clock(), Code(image.digest, 0)

        def work(connection: Connection) -> Function:
            current = functions.fetch(connection, self._home, name)
            functions.guard(current, expected_revision)
            function = functions.recoded(current, code, architecture, now, image)
            if dry_run:
                return current
            functions.save(connection, function)
            return versions.publish(connection, self._home, name) if publish else function

        return await (self._store.read(work) if dry_run else self.change(work))

    async def update_configuration(
        self, name: str, changes: Mapping[str, Any], expected_revision: str | None = None
    ) -> Function:
        """``changes`` maps fields of Function that are :data:`~fnrunner.catalogue.functions.CONFIGURABLE`; ``layers``
        are ARNs.

        Raises PreconditionFailed, ValidationFailed, InvalidParameterValue, InvalidCodeSignature, CodeVerificationFailed.
        """
        now, plain = self._clock(), {field: value for field, value in changes.items() if field != "layers"}
        before: frozenset[str] = frozenset()

        def work(connection: Connection) -> Function:
            nonlocal before
            current = functions.fetch(connection, self._home, name)
            functions.guard(current, expected_revision)
            before = functions.digests_of(current)
            function = functions.changed(current, plain, now)
            if "layers" in changes:
                function = equipment.with_layers(connection, self._home, function, changes["layers"], now)
            layers.check_together(function)
            functions.save(connection, function)
            return function

        function = await self.change(work)
        await self._keep_a_while(before - functions.digests_of(function))
        return function

    async def set_concurrency(self, name: str, reserved: int | None) -> Function:
        """None removes the cap. The revision stays, as on Lambda: environments do not depend on it.

        Raises UnreservedConcurrencyTooLow, ValidationFailed, InvalidParameterValue (less than is provisioned).
        """
        if reserved is not None and reserved < 0:
            raise ValidationFailed(constraint.between("reservedConcurrentExecutions", reserved, 0, 1))

        def work(connection: Connection) -> Function:
            function = replace(functions.fetch(connection, self._home, name), reserved_concurrency=reserved)
            if reserved is not None:
                concurrency.check_reservation(connection, name, reserved, self._account_concurrency)
            functions.save(connection, function)
            return function

        return await self.change(work)

    async def delete_function(self, name: str) -> None:
        """With its versions, aliases, event-invoke configurations and notifications. Its code stays as long as others
        refer to it.
        """
        await self._keep_a_while(await self.change(lambda connection: functions.remove(connection, self._home, name)))

    async def publish_version(
        self,
        name: str,
        *,
        description: str | None = None,
        code_sha256: str = "",
        expected_revision: str | None = None,
    ) -> Function:
        """A new version of what the function is now; see :func:`fnrunner.catalogue.versions.publish`."""
        return await self.change(
            lambda connection: versions.publish(
                connection,
                self._home,
                name,
                description=description,
                code_sha256=code_sha256,
                expected_revision=expected_revision,
            )
        )

    async def delete_version(self, name: str, version: str) -> None:
        """The published one; its code stays as long as others refer to it. Raises VersionInUse."""
        await self._keep_a_while(
            await self.change(lambda connection: versions.remove(connection, self._home, name, version))
        )

    async def tag(self, name: str, tags: Mapping[str, str]) -> None:
        """Add tags, or change their values. The revision stays. Raises InvalidParameterValue."""
        if not tags:
            raise InvalidParameterValue("An error occurred and the request cannot be processed.")
        await self._retag(name, lambda current: {**current, **tags})

    async def untag(self, name: str, keys: Sequence[str]) -> None:
        """Keys that are not there are passed over."""
        await self._retag(name, lambda current: {key: value for key, value in current.items() if key not in keys})

    async def tags(self, name: str) -> Mapping[str, str]:
        return (await self.get_function(name)).tags

    async def publish_layer(
        self, draft: LayerVersion, content: bytes, *, largest: int = limits.ZIP_BYTES
    ) -> LayerVersion:
        """``draft`` says everything but content, number and time; ``content`` is a zip of at most ``largest`` bytes.

        Raises ValidationFailed, ZipTooLarge, BadArchive, ArtifactError.
        """
        layers.check(draft)
        now, seen = self._clock(), await asyncio.to_thread(package.inspect, content, largest)
        kept = replace(draft, code=await self._kept(content, seen))

        def work(connection: Connection) -> LayerVersion:
            signed = replace(kept, signature=code_signing.weighed(connection, seen.signed))
            return layers.publish(connection, signed, now)

        return await self.change(work)

    async def delete_layer_version(self, name: str, version: int) -> None:
        """Functions that have it keep it; one that is not there is deleted already. Raises InvalidParameterValue."""
        if digest := await self.change(lambda connection: layers.remove(connection, name, version)):
            await self._keep_a_while({digest})

    async def collect_artifacts(self) -> int:
        """Delete code that no function, layer or stack refers to and that is older than an hour; how many zips.

        Raises ArtifactError.
        """
        return await self._artifacts.collect(await self._store.read(lambda c: functions.digests(c) | stacks.digests(c)))

    # What follows asynchronous events.

    async def put_event_invoke_config(self, config: EventInvokeConfig) -> EventInvokeConfig:
        """Replaces all of it. Raises EventInvokeConfigNotFound (no function), ValidationFailed, InvalidParameterValue."""
        saved = replace(config, last_modified=self._clock())

        def work(connection: Connection) -> EventInvokeConfig:
            event_invoke.check_function_exists(connection, config.function, config.qualifier)
            event_invoke.check(saved, self._home)
            event_invoke.save(connection, saved)
            return saved

        return await self.change(work)

    async def update_event_invoke_config(
        self, name: str, qualifier: str, changes: Mapping[str, Any]
    ) -> EventInvokeConfig:
        """``changes`` maps :data:`~fnrunner.catalogue.event_invoke.CHANGEABLE`; the rest stays.

        Raises EventInvokeConfigNotFound, ValidationFailed, InvalidParameterValue.
        """

        def work(connection: Connection) -> EventInvokeConfig:
            current = event_invoke.fetch(connection, self._home, name, qualifier)
            config = event_invoke.merged(current, changes, self._clock())
            event_invoke.check(config, self._home)
            event_invoke.save(connection, config)
            return config

        return await self.change(work)

    async def get_event_invoke_config(self, name: str, qualifier: str = limits.LATEST) -> EventInvokeConfig:
        """Raises EventInvokeConfigNotFound."""
        return await self._store.read(lambda connection: event_invoke.fetch(connection, self._home, name, qualifier))

    async def delete_event_invoke_config(self, name: str, qualifier: str = limits.LATEST) -> None:
        """Raises EventInvokeConfigNotFound."""
        await self.change(lambda connection: event_invoke.remove(connection, self._home, name, qualifier))

    async def list_event_invoke_configs(self, name: str) -> tuple[EventInvokeConfig, ...]:
        """By qualifier."""

        def work(connection: Connection) -> tuple[EventInvokeConfig, ...]:
            functions.fetch(connection, self._home, name)
            return event_invoke.every(connection, name)

        return await self._store.read(work)

    # Buckets.

    async def put_bucket(self, bucket: Bucket) -> None:
        """Make it, or point it elsewhere. Raises InvalidParameterValue."""
        buckets.check_bucket(bucket)
        if bucket not in await self.list_buckets():
            await self.change(lambda connection: buckets.save_bucket(connection, bucket))

    async def list_buckets(self) -> tuple[Bucket, ...]:
        """By name."""
        return await self._store.read(buckets.every_bucket)

    async def delete_bucket(self, name: str) -> None:
        """The directory stays as it is. Raises BucketNotFound, and BucketInUse while notifications refer to it."""
        await self.change(lambda connection: buckets.remove_bucket(connection, name))

    async def put_notifications(self, function: str, notifications: Sequence[Notification]) -> None:
        """These and no others invoke the function from now on.

        Raises BucketNotFound, InvalidParameterValue; FunctionNotFound for a qualifier that does not exist, too.
        """
        buckets.check_notifications(function, notifications)

        def work(connection: Connection) -> None:
            functions.fetch(connection, self._home, function)
            for notification in notifications:
                versions.fetch(connection, self._home, function, notification.qualifier)
            buckets.replace_notifications(connection, function, notifications)

        await self.change(work)

    async def list_notifications(self, bucket: str = "", function: str = "") -> tuple[Notification, ...]:
        """By bucket, function and id; those of one ``bucket`` or one ``function`` where given."""
        found = await self._store.read(buckets.every_notification)
        return tuple(one for one in found if bucket in ("", one.bucket) and function in ("", one.function))

    # Event source mappings, function URLs, schedules, topic subscriptions, HTTP routes.

    async def get_trigger(self, type_: type[triggers.T], key: str) -> triggers.T:
        """As it is in the store now. Raises NotFound."""
        return await self._store.read(lambda connection: triggers.fetch(connection, type_, key))

    async def list_triggers(self, type_: type[triggers.T]) -> list[triggers.T]:
        """By id, as they are in the store now."""
        return await self._store.read(lambda connection: triggers.of_type(connection, type_))

    async def _kept(self, zipped: bytes, seen: package.Package) -> Code:
        """Raises ArtifactError."""
        return replace(await self._artifacts.put(zipped), unzipped_bytes=seen.unzipped_bytes)

    def _dry_run(
        self, connection: Connection, name: str, seen: package.Package, architecture: str | None, now: datetime
    ) -> Function:
        """The function as it stays, where this code could be its own."""
        current = functions.fetch(connection, self._home, name)
        code = replace(current.code, unzipped_bytes=seen.unzipped_bytes)
        would_be = functions.recoded(current, code, architecture, now)
        equipment.with_code(connection, self._home, would_be, seen.signed, now)
        return current

    async def _retag(self, name: str, change: Callable[[Mapping[str, str]], dict[str, str]]) -> None:
        def work(connection: Connection) -> None:
            function = functions.fetch(connection, self._home, name)
            tags = MappingProxyType(change(function.tags))
            check_tags(tags)
            functions.save(connection, replace(function, tags=tags))

        await self.change(work)

    async def _keep_a_while(self, digests: Collection[str]) -> None:
        for digest in digests:
            try:
                await self._artifacts.keep(digest)
            except ArtifactError:
                log.warning("artifact %s may be deleted before workers have heard of its end", digest, exc_info=True)


def _call(callback: Callable[[T], None], value: T) -> None:
    try:
        callback(value)
    except Exception:
        log.exception("a listener of the catalogue failed")
