"""What has to change, as the difference of what is wanted and what is there. Pure.

>>> configuration_changes({"MemorySize": 256, "Timeout": 3}, {"MemorySize": 128, "Timeout": 3})
(Change(key='MemorySize', old='128', new='256'),)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fnrunner.cli.deploy.package import Package
from fnrunner.cli.deploy.release import AliasState, AliasStep, plan_aliases, plan_versions
from fnrunner.cli.deploy.spec import FunctionSpec, NotificationSpec, PermissionSpec
from fnrunner.cli.deploy.trigger import Change, TriggerStep, TriggerThere, flat, plan_triggers, shown

VARIABLES = "Environment.Variables"
NOT_SHOWN = "(not shown)"
DEFAULTS: Mapping[str, Any] = {
    "DeadLetterConfig": {"TargetArn": ""},
    "Environment": {"Variables": {}},
    "Layers": [],
    "TracingConfig": {"Mode": "PassThrough"},
}
"""What a configuration has where it names nothing."""


@dataclass(frozen=True, slots=True)
class AliasThere:
    """The alias that a deployment is to publish, as it is: the version it names, that version's code, what is prepared."""

    version: str
    code_sha256: str
    provisioned: int | None = None


@dataclass(frozen=True, slots=True)
class PermissionThere:
    """A statement that a template has made, by its id."""

    id: str
    qualifier: str


@dataclass(frozen=True, slots=True)
class Current:
    """A function as the server has it. All empty: it is not there. ``notifications`` are in the server's shape."""

    configuration: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tags: Mapping[str, str] = field(default_factory=dict)
    reserved_concurrency: int | None = None
    event_invoke: Mapping[str, Any] | None = None
    notifications: tuple[Mapping[str, Any], ...] = ()
    triggers: tuple[TriggerThere, ...] = ()
    alias: AliasThere | None = None
    permissions: tuple[PermissionThere, ...] = ()
    aliases: Mapping[str, AliasState] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        return bool(self.configuration)


@dataclass(frozen=True, slots=True)
class FunctionPlan:
    """The steps one function needs, each with the changes that it makes; an empty step is not taken. ``version`` is the
    one that the alias is to name; empty: one that is published first."""

    spec: FunctionSpec
    package: Package = field(repr=False)
    arn: str
    creates: bool
    code: tuple[Change, ...] = ()
    configuration: tuple[Change, ...] = ()
    tags: tuple[Change, ...] = ()
    event_invoke: tuple[Change, ...] = ()
    concurrency: tuple[Change, ...] = ()
    notifications: tuple[Change, ...] = ()
    triggers: tuple[TriggerStep, ...] = ()
    alias: tuple[Change, ...] = ()
    provisioned: tuple[Change, ...] = ()
    version: str = ""
    permissions: tuple[Change, ...] = ()
    permitted: tuple[PermissionSpec, ...] = ()
    forbidden: tuple[PermissionThere, ...] = ()
    versions: tuple[Change, ...] = ()
    aliases: tuple[AliasStep, ...] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        return (
            *self.code, *self.configuration, *self.tags, *self.alias, *self.versions,
            *(change for step in self.aliases for change in step.changes), *self.event_invoke, *self.concurrency,
            *self.provisioned, *self.notifications, *self.permissions,
            *(change for step in self.triggers for change in step.changes),
        )  # fmt: skip

    @property
    def action(self) -> str:
        """``created``, ``updated`` or ``unchanged``: what there is to say when it is done."""
        return "created" if self.creates else "updated" if self.changes else "unchanged"


def plan_function(spec: FunctionSpec, package: Package, current: Current, *, version: str = "") -> FunctionPlan:
    """What makes ``current`` into ``spec``. ``version``: the alias is to name this one again. Raises CannotChange."""
    configuration = configuration_changes(spec.configuration, current.configuration) if current.exists else ()
    permitted, forbidden = _permissions(spec, current)
    return FunctionPlan(
        spec=spec,
        package=package,
        arn=str(current.configuration.get("FunctionArn", "")),
        creates=not current.exists,
        code=_code(spec, package, current) if current.exists else (),
        configuration=configuration,
        tags=_tags(spec, current) if current.exists else (),
        event_invoke=_event_invoke(spec, current),
        concurrency=_concurrency(spec, current),
        notifications=_notifications(spec, current),
        triggers=() if spec.triggers is None else plan_triggers(spec.triggers, current.triggers),
        alias=_alias(spec, package, current, version, bool(configuration)),
        provisioned=_provisioned(spec, current),
        version=version,
        permissions=(
            *(Change(f"Permission.{one.id}", None, str(one.parameters.get("Principal"))) for one in permitted),
            *(Change(f"Permission.{one.id}", "granted", None) for one in forbidden),
        ),
        permitted=permitted,
        forbidden=forbidden,
        versions=plan_versions(spec.versions),
        aliases=plan_aliases(spec.aliases, current.aliases),
    )


def _permissions(
    spec: FunctionSpec, current: Current
) -> tuple[tuple[PermissionSpec, ...], tuple[PermissionThere, ...]]:
    """What to add and what to take away."""
    if not spec.whole:
        return (), ()
    there = {(one.id, one.qualifier) for one in current.permissions}
    wanted = {(one.id, one.qualifier) for one in spec.permissions}
    return (
        tuple(one for one in spec.permissions if (one.id, one.qualifier) not in there),
        tuple(one for one in current.permissions if (one.id, one.qualifier) not in wanted),
    )


def _alias(
    spec: FunctionSpec, package: Package, current: Current, version: str, configured: bool
) -> tuple[Change, ...]:
    """A new version is published when the one that the alias names has other code. Source: SAM, AutoPublishAlias."""
    if spec.alias is None:
        return ()
    there = current.alias
    key, old = f"Alias.{spec.alias.name}", f"version {there.version}" if there else None
    if version:
        return () if there and there.version == version else (Change(key, old, f"version {version}"),)
    new_code = there is None or there.code_sha256 != package.code_sha256
    if new_code or (spec.alias.all_properties and configured):
        return (Change(key, old, "a new version"),)
    return ()


def _provisioned(spec: FunctionSpec, current: Current) -> tuple[Change, ...]:
    if spec.alias is None:
        return ()
    old, new = current.alias.provisioned if current.alias else None, spec.alias.provisioned
    return () if old == new else (Change("ProvisionedConcurrentExecutions", shown(old), shown(new)),)


def configuration_changes(wanted: Mapping[str, Any], current: Mapping[str, Any]) -> tuple[Change, ...]:
    """Keys of ``wanted`` that differ; an environment is compared as a whole, so that variables can go."""
    new = dict(flat(wanted))
    old = dict(flat({**DEFAULTS, **current}))
    keys = list(new)
    if "Environment" in wanted:
        keys += [key for key in old if key.startswith(f"{VARIABLES}.") and key not in new]
    changed = [key for key in keys if new.get(key) != old.get(key)]
    return tuple(_change(key, old.get(key), new.get(key)) for key in changed)


def _change(key: str, old: object, new: object) -> Change:
    if key.startswith(f"{VARIABLES}."):
        return Change(key, None if old is None else NOT_SHOWN, None if new is None else NOT_SHOWN)
    return Change(key, shown(old), shown(new))


def _code(spec: FunctionSpec, package: Package, current: Current) -> tuple[Change, ...]:
    changes = []
    if (old := current.configuration.get("CodeSha256")) != package.code_sha256:
        changes.append(Change("CodeSha256", shown(old), package.code_sha256))
    there = (current.configuration.get("Architectures") or ["x86_64"])[0]
    if spec.architecture and spec.architecture != there:
        changes.append(Change("Architectures", there, spec.architecture))
    return tuple(changes)


def _tags(spec: FunctionSpec, current: Current) -> tuple[Change, ...]:
    if spec.tags is None:
        return ()
    keys = [*spec.tags, *(key for key in current.tags if key not in spec.tags)]
    pairs = [(key, current.tags.get(key), spec.tags.get(key)) for key in keys]
    return tuple(Change(f"Tags.{key}", old, new) for key, old, new in pairs if old != new)


def _event_invoke(spec: FunctionSpec, current: Current) -> tuple[Change, ...]:
    if spec.event_invoke is None and not spec.whole:
        return ()
    new = {f"EventInvokeConfig.{key}": value for key, value in flat(spec.event_invoke or {})}
    told = ("FunctionArn", "LastModified")
    relevant = {key: value for key, value in (current.event_invoke or {}).items() if key not in told}
    old = {f"EventInvokeConfig.{key}": value for key, value in flat(relevant)}
    keys = [*new, *(key for key in old if key not in new)]
    return tuple(Change(key, shown(old.get(key)), shown(new.get(key))) for key in keys if old.get(key) != new.get(key))


def _concurrency(spec: FunctionSpec, current: Current) -> tuple[Change, ...]:
    if spec.reserved_concurrency is None and not spec.whole:
        return ()
    old, new = current.reserved_concurrency, spec.reserved_concurrency
    return () if old == new else (Change("ReservedConcurrentExecutions", shown(old), shown(new)),)


def _notifications(spec: FunctionSpec, current: Current) -> tuple[Change, ...]:
    if spec.notifications is None:
        return ()
    documents = [notification_document(spec.name, item) for item in spec.notifications]
    new = {str(item["id"]): _described(item) for item in documents}
    old = {str(item["id"]): _described(item) for item in current.notifications}
    keys = [*new, *(key for key in old if key not in new)]
    return tuple(Change(f"Events.{key}", old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key))


def notification_document(function: str, item: NotificationSpec) -> dict[str, Any]:
    """A notification in the server's shape."""
    return {
        "id": item.full_id or f"{function}-{item.id}",
        "bucket": item.bucket,
        "qualifier": item.qualifier,
        "events": list(item.events),
        "prefix": item.prefix,
        "suffix": item.suffix,
    }


def _described(item: Mapping[str, Any]) -> str:
    """``photos s3:ObjectCreated:* *.jpg``"""
    pattern = f"{item.get('prefix') or ''}*{item.get('suffix') or ''}"
    to = f" to {item['qualifier']}" if item.get("qualifier") else ""
    return f"{item['bucket']} {','.join(item['events'])} {pattern}{to}"
