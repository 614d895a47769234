"""One ``AWS::Serverless::Function`` of a template as a :class:`~fnrunner.cli.deploy.spec.FunctionSpec`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fnrunner.cli.deploy import conversion, event, schema
from fnrunner.cli.deploy.event import Event
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.intrinsics import Scope, resolve
from fnrunner.cli.deploy.source import Node
from fnrunner.cli.deploy.spec import CodeSource, FunctionSpec, NotificationSpec
from fnrunner.cli.deploy.trigger import Kind, TriggerSpec
from fnrunner.model.arn import Home

FUNCTION = schema.section(
    {
        **schema.SHARED,
        "FunctionName": schema.text(r"[a-zA-Z0-9-_]{1,64}", takes="1 to 64 of a-z A-Z 0-9 - _"),
        "InlineCode": schema.text(takes="the source of index.py"),
        "Events": event.events,
        "FunctionUrlConfig": event.FUNCTION_URL,
    }
)
NO_POLICY = "{where}: Policies have no effect: permissions are not enforced with FNRUNNER_AUTH=off"


@dataclass(frozen=True, slots=True)
class Context:
    """What every function of a template is read with. ``warnings`` collects."""

    folder: Path
    home: Home
    scope: Scope
    faults: Faults
    common: Node
    warnings: list[str] = field(default_factory=list)


def function_spec(logical: str, name: str, properties: Node, context: Context) -> FunctionSpec:
    """The function; faults are added to the context's."""
    where = f"Resources.{logical}.Properties"
    faults = context.faults
    entries = dict(properties.entries())
    if entries.pop("Policies", None) is not None:
        context.warnings.append(NO_POLICY.format(where=f"{faults.file}: Resources.{logical}"))
    own = resolve(Node(properties.line, entries), context.scope, faults, where)
    FUNCTION(own, where, faults)
    # Faults of the globals were added when they were read, those of the function just now.
    values = FUNCTION(merged(context.common, own), where, Faults(faults.file))
    for needed in ("Handler", "Runtime"):
        if needed not in values:
            faults.add(properties.line, f"Resources.{logical}", f"has no {needed}, which it needs")
    events: Mapping[str, Event] = values.get("Events", {})
    return FunctionSpec(
        name=name,
        code=_code(values, own, where, context),
        configuration=_configuration(name, values, context.home),
        architecture=(values.get("Architectures") or ["x86_64"])[0] or "x86_64",
        reserved_concurrency=values.get("ReservedConcurrentExecutions"),
        event_invoke=_event_invoke(values.get("EventInvokeConfig")),
        tags=values.get("Tags", {}),
        notifications=_notifications(events),
        triggers=(*_url(values.get("FunctionUrlConfig")), *conversion.triggers(events, name)),
        routes=tuple(conversion.routes(events, name)),
        whole=True,
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


def _code(values: Mapping[str, Any], own: Node, where: str, context: Context) -> CodeSource:
    line = own.entries().get("CodeUri", own).line
    if "InlineCode" in values:
        if "CodeUri" in own.entries():
            context.faults.add(line, f"{where}.CodeUri", "stands beside InlineCode: one of them is the code")
        return CodeSource(inline=values["InlineCode"] or "")
    if not (uri := values.get("CodeUri")):
        context.faults.add(own.line, where.removesuffix(".Properties"), "has neither CodeUri nor InlineCode")
        return CodeSource()
    path = context.folder / str(uri)
    if "://" in str(uri):
        context.faults.add(line, f"{where}.CodeUri", f"{uri} is not supported (a local folder or file is)")
    elif not path.exists():
        context.faults.add(line, f"{where}.CodeUri", f"{uri} is not there")
    return CodeSource(path=path)


def _configuration(name: str, values: Mapping[str, Any], home: Home) -> dict[str, Any]:
    return {
        "Runtime": values.get("Runtime"),
        "Handler": values.get("Handler"),
        "Role": values.get("Role") or home.role(),
        "Description": values.get("Description", ""),
        "Timeout": values.get("Timeout", 3),
        "MemorySize": values.get("MemorySize", 128),
        "EphemeralStorage": {"Size": (values.get("EphemeralStorage") or {}).get("Size", 512)},
        "Environment": {"Variables": (values.get("Environment") or {}).get("Variables", {})},
        "DeadLetterConfig": {"TargetArn": values.get("DeadLetterQueue") or ""},
        "LoggingConfig": _logging(name, values.get("LoggingConfig") or {}),
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


def _url(given: Mapping[str, Any] | None) -> tuple[TriggerSpec, ...]:
    if not given:
        return ()
    # what is off is not told by the server either
    cors = {key: value for key, value in (given.get("Cors") or {}).items() if value}
    body = {"AuthType": given.get("AuthType"), "InvokeMode": given.get("InvokeMode") or "BUFFERED", "Cors": cors}
    return (TriggerSpec(Kind.URL, "FunctionUrl", "", body),)


def _notifications(events: Mapping[str, Event]) -> tuple[NotificationSpec, ...]:
    return tuple(_notification(name, one.properties) for name, one in events.items() if one.type == "S3")


def _notification(name: str, properties: Mapping[str, Any]) -> NotificationSpec:
    rules = ((properties.get("Filter") or {}).get("S3Key") or {}).get("Rules", [])
    filters = {rule["Name"]: rule["Value"] for rule in rules if rule and rule.get("Name")}
    return NotificationSpec(
        id=name,
        bucket=properties.get("Bucket") or "",
        events=tuple(event for event in properties.get("Events", ()) if event),
        prefix=filters.get("prefix") or "",
        suffix=filters.get("suffix") or "",
    )
