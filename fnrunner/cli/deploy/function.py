"""One ``AWS::Serverless::Function`` of a template as a :class:`~fnrunner.cli.deploy.spec.FunctionSpec`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fnrunner.cli.deploy import conversion, event, image, schema
from fnrunner.cli.deploy.event import Event
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.intrinsics import Scope, resolve
from fnrunner.cli.deploy.naming import Situation, role_of
from fnrunner.cli.deploy.source import Node
from fnrunner.cli.deploy.spec import AliasSpec, CodeSource, FunctionSpec, NotificationSpec
from fnrunner.cli.deploy.transform import Roleless
from fnrunner.cli.deploy.trigger import TriggerSpec

IMAGE_NEEDS, ZIP_NEEDS = ("ImageUri",), ("Handler", "Runtime")
IMAGE_ALONE, ZIP_ALONE = ("ImageUri", "ImageConfig"), ("Handler", "Runtime", "CodeUri", "InlineCode", "Layers")
FUNCTION = schema.section(
    {
        **schema.SHARED,
        "FunctionName": schema.text(r"[a-zA-Z0-9-_]{1,64}", takes="1 to 64 of a-z A-Z 0-9 - _"),
        "InlineCode": schema.text(takes="the source of index.py"),
        "Events": event.events,
        "FunctionUrlConfig": event.FUNCTION_URL,
        "DeadLetterConfig": schema.arn_of("sqs", "sns"),
        "VersionDescription": schema.SHARED["Description"],
    }
)
NOT_ENFORCED = "permissions are not enforced with FNRUNNER_AUTH=off"
NO_POLICY = "{where}: Policies have no effect: " + NOT_ENFORCED


@dataclass(frozen=True, slots=True)
class Context:
    """What every function of a template is read with. ``warnings`` collects."""

    situation: Situation
    scope: Scope
    faults: Faults
    common: Node
    warnings: list[str] = field(default_factory=list)
    roleless: list[Roleless] = field(default_factory=list)


def function_spec(logical: str, name: str, properties: Node, context: Context) -> FunctionSpec:
    """The function; faults are added to the context's."""
    where = f"Resources.{logical}.Properties"
    faults = context.faults
    entries = dict(properties.entries())
    policies = entries.pop("Policies", None)
    if context.situation.enforces and "Role" not in entries:
        with_policies = {**entries, **({"Policies": policies} if policies else {})}
        resolved = resolve(Node(properties.line, with_policies), context.scope, faults, where)
        role = role_of(logical, context.situation)
        context.roleless.append(Roleless(logical, merged(context.common, resolved), role))
    elif policies is not None:
        context.warnings.append(NO_POLICY.format(where=f"{faults.file}: Resources.{logical}"))
    own = resolve(Node(properties.line, entries), context.scope, faults, where)
    FUNCTION(own, where, faults)
    # Faults of the globals were added when they were read, those of the function just now.
    values = FUNCTION(merged(context.common, own), where, Faults(faults.file))
    _check_package(logical, values, own, faults)
    events: Mapping[str, Event] = values.get("Events", {})
    alias = _alias(values, properties.line, f"Resources.{logical}", faults)
    qualifier = alias.name if alias else ""
    home = context.situation.home
    default_role = home.role(role_of(logical, context.situation)) if context.situation.enforces else home.role()
    return FunctionSpec(
        name=name,
        code=_code(values, own, where, context),
        configuration=_configuration(name, values, default_role),
        architecture=(values.get("Architectures") or ["x86_64"])[0] or "x86_64",
        reserved_concurrency=values.get("ReservedConcurrentExecutions"),
        event_invoke=_event_invoke(values.get("EventInvokeConfig")),
        tags=values.get("Tags", {}),
        notifications=_notifications(events, qualifier),
        triggers=(*_url(values.get("FunctionUrlConfig"), qualifier), *conversion.triggers(events, name, qualifier)),
        routes=tuple(conversion.routes(events, name, context.situation.implicit_api, qualifier)),
        whole=True,
        alias=alias,
    )


def merged(common: Node, own: Node) -> Node:
    """Globals under a function's own properties, by SAM's rules: maps are merged, lists joined, the rest replaced.

    Source: SAM specification, Globals, Overrideable.
    """
    if isinstance(common.value, dict) and isinstance(own.value, dict):
        entries = dict(common.value)
        for key, child in own.value.items():
            entries[key] = merged(entries[key], child) if key in entries else child
        return Node(own.line, entries)
    if isinstance(common.value, tuple) and isinstance(own.value, tuple):
        return Node(own.line, (*common.value, *own.value))
    return own


def _check_package(logical: str, values: Mapping[str, Any], own: Node, faults: Faults) -> None:
    """An image says itself what it runs, and only an image has one."""
    kind = "Image" if values.get("PackageType") == "Image" else "Zip"
    for needed in IMAGE_NEEDS if kind == "Image" else ZIP_NEEDS:
        if needed not in values:
            faults.add(own.line, f"Resources.{logical}", f"has no {needed}, which it needs")
    for key in ZIP_ALONE if kind == "Image" else IMAGE_ALONE:
        if key in own.entries():
            line = own.entries()[key].line
            faults.add(line, f"Resources.{logical}.Properties.{key}", f"has no effect with PackageType {kind}")


def _code(values: Mapping[str, Any], own: Node, where: str, context: Context) -> CodeSource:
    if values.get("PackageType") == "Image":
        return CodeSource(image=values.get("ImageUri") or "")
    line = own.entries().get("CodeUri", own).line
    if "InlineCode" in values:
        if "CodeUri" in own.entries():
            context.faults.add(line, f"{where}.CodeUri", "stands beside InlineCode: one of them is the code")
        return CodeSource(inline=values["InlineCode"] or "")
    if not (uri := values.get("CodeUri")):
        context.faults.add(own.line, where.removesuffix(".Properties"), "has neither CodeUri nor InlineCode")
        return CodeSource()
    path = context.situation.path.absolute().parent / str(uri)
    if "://" in str(uri):
        context.faults.add(line, f"{where}.CodeUri", f"{uri} is not supported (a local folder or file is)")
    elif not path.exists() and not context.situation.packaged:
        context.faults.add(line, f"{where}.CodeUri", f"{uri} is not there")
    return CodeSource(path=path)


def _configuration(name: str, values: Mapping[str, Any], role: str) -> dict[str, Any]:
    if values.get("PackageType") == "Image":
        code: dict[str, Any] = {"ImageConfig": {**image.UNCHANGED, **(values.get("ImageConfig") or {})}}
    else:
        layers = list(values.get("Layers") or ())
        code = {"Runtime": values.get("Runtime"), "Handler": values.get("Handler"), "Layers": layers}
    return {
        **code,
        "Role": values.get("Role") or role,
        "Description": values.get("Description", ""),
        "Timeout": values.get("Timeout", 3),
        "MemorySize": values.get("MemorySize", 128),
        "EphemeralStorage": {"Size": (values.get("EphemeralStorage") or {}).get("Size", 512)},
        "Environment": {"Variables": (values.get("Environment") or {}).get("Variables", {})},
        "DeadLetterConfig": {"TargetArn": values.get("DeadLetterQueue") or values.get("DeadLetterConfig") or ""},
        "LoggingConfig": _logging(name, values.get("LoggingConfig") or {}),
        "TracingConfig": {"Mode": values.get("Tracing") or "PassThrough"},
    }


def _logging(name: str, given: Mapping[str, str]) -> dict[str, str]:
    logging = {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}", **given}
    if logging["LogFormat"] == "JSON":
        logging = {"ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO", **logging}
    return logging


def _event_invoke(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not given:
        return None
    body = {key: given[key] for key in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds") if key in given}
    destinations = {name: {"Destination": target} for name, target in (given.get("DestinationConfig") or {}).items()}
    return {**body, "DestinationConfig": destinations} if destinations else body


def _alias(values: Mapping[str, Any], line: int, where: str, faults: Faults) -> AliasSpec | None:
    """Source: SAM, AutoPublishAlias; what belongs to it means nothing without it."""
    held = (values.get("ProvisionedConcurrencyConfig") or {}).get("ProvisionedConcurrentExecutions")
    if name := values.get("AutoPublishAlias"):
        everything = bool(values.get("AutoPublishAliasAllProperties"))
        return AliasSpec(str(name), values.get("VersionDescription") or "", everything, held)
    for key in (
        "ProvisionedConcurrencyConfig",
        "AutoPublishAliasAllProperties",
        "VersionDescription",
        "DeploymentPreference",
    ):
        if key in values:
            faults.add(line, where, f"has {key}, which needs AutoPublishAlias")
    return None


def _url(given: Mapping[str, Any] | None, qualifier: str) -> tuple[TriggerSpec, ...]:
    if not given:
        return ()
    return (replace(conversion.url(given), qualifier=qualifier),)


def _notifications(events: Mapping[str, Event], qualifier: str) -> tuple[NotificationSpec, ...]:
    return tuple(notification(name, one.properties, qualifier) for name, one in events.items() if one.type == "S3")


def notification(name: str, properties: Mapping[str, Any], qualifier: str) -> NotificationSpec:
    """From the properties of an event of a bucket."""
    rules = ((properties.get("Filter") or {}).get("S3Key") or {}).get("Rules", [])
    filters = {rule["Name"]: rule["Value"] for rule in rules if rule and rule.get("Name")}
    return NotificationSpec(
        id=name,
        bucket=properties.get("Bucket") or "",
        events=tuple(event for event in properties.get("Events", ()) if event),
        prefix=filters.get("prefix") or "",
        suffix=filters.get("suffix") or "",
        qualifier=qualifier,
    )
