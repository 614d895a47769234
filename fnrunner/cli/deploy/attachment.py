"""What invokes a function, or belongs to it, and is a resource of its own in a template: one row a type.

Each becomes part of the function that it names, which is one of the template's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fnrunner.cli.deploy import conversion, event, schema
from fnrunner.cli.deploy.event import Event
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.naming import Resource
from fnrunner.cli.deploy.resource import INVOKE_CONFIG, PERMISSION, RULE, SCHEDULE, SUBSCRIPTION, URL
from fnrunner.cli.deploy.schema import Reader, items, one_of, section, text, whole
from fnrunner.cli.deploy.spec import FunctionSpec, PermissionSpec
from fnrunner.model import limits
from fnrunner.model.arn import FunctionRef, InvalidArn

_FUNCTION = text(takes="a function, as !Ref or !GetAtt gives it")
_QUALIFIER = text(r"[a-zA-Z0-9$_-]{1,128}", takes="a version or an alias")
_TARGET = section({"Destination": schema.arn_of("sqs", "sns", "lambda")}, required=("Destination",))
READERS: Mapping[str, Reader] = {
    URL: section(
        {
            "TargetFunctionArn": _FUNCTION, "Qualifier": _QUALIFIER, "AuthType": one_of("NONE", "AWS_IAM"),
            "Cors": event.CORS, "InvokeMode": one_of("BUFFERED", "RESPONSE_STREAM"),
        },
        required=("TargetFunctionArn", "AuthType"),
    ),
    INVOKE_CONFIG: section(
        {
            "FunctionName": _FUNCTION, "Qualifier": _QUALIFIER,
            "MaximumEventAgeInSeconds": whole(*limits.EVENT_AGE_S), "MaximumRetryAttempts": whole(*limits.MAX_RETRIES),
            "DestinationConfig": section({"OnSuccess": _TARGET, "OnFailure": _TARGET}),
        },
        required=("FunctionName", "Qualifier"),
    ),
    SUBSCRIPTION: section(
        {
            "Protocol": one_of("lambda"), "TopicArn": schema.arn_of("sns"), "Endpoint": _FUNCTION,
            "FilterPolicy": event.document, "FilterPolicyScope": one_of("MessageAttributes", "MessageBody"),
        },
        required=("Protocol", "TopicArn", "Endpoint"),
    ),
    RULE: section(
        {
            "Name": event.NAME, "Description": text(), "ScheduleExpression": event.expression("rate", "cron"),
            "State": one_of("ENABLED", "DISABLED"),
            "Targets": items(
                section({"Arn": _FUNCTION, "Id": text(), "Input": event.json_text}, required=("Arn", "Id"))
            ),
        },
        required=("ScheduleExpression", "Targets"),
    ),
    SCHEDULE: section(
        {
            **{key: reader for key, reader in event.SCHEDULE_V2.items() if key != "Input"},
            "Target": section(
                {"Arn": _FUNCTION, "RoleArn": schema.arn_of("iam"), "Input": event.json_text}, required=("Arn",)
            ),
        },
        required=("ScheduleExpression", "Target"),
    ),
    PERMISSION: section(
        {
            "FunctionName": _FUNCTION, "Action": text(r"lambda:\S+", takes="an action of lambda"),
            "Principal": text(), "SourceArn": text(), "SourceAccount": text(), "PrincipalOrgID": text(),
            "EventSourceToken": text(), "FunctionUrlAuthType": one_of("NONE", "AWS_IAM"),
            "InvokedViaFunctionUrl": event.boolean,
        },
        required=("FunctionName", "Action", "Principal"),
    ),
}  # fmt: skip


def attach(spec: FunctionSpec, found: Resource, values: Mapping[str, Any]) -> FunctionSpec:
    """The function with what the resource says of it."""
    return _ONTO[found.type](spec, found.logical, values)


def function_of(found: Resource, values: Mapping[str, Any]) -> str:
    """The function that a resource is about, as the template says it."""
    match found.type:
        case "AWS::Lambda::Url":
            return str(values.get("TargetFunctionArn") or "")
        case "AWS::SNS::Subscription":
            return str(values.get("Endpoint") or "")
        case "AWS::Events::Rule":
            return str(((values.get("Targets") or [{}])[0] or {}).get("Arn") or "")
        case "AWS::Scheduler::Schedule":
            return str((values.get("Target") or {}).get("Arn") or "")
        case _:
            return str(values.get("FunctionName") or "")


def check(spec: FunctionSpec, found: Resource, values: Mapping[str, Any], faults: Faults) -> None:
    """Faults that no single property has."""
    if found.type == INVOKE_CONFIG and qualifier_of("", values) != spec.qualifier:
        what = f"is about {values.get('Qualifier')}: here it is about the AutoPublishAlias of the function, or about $LATEST"
        faults.add(found.line, f"Resources.{found.logical}", what)
    if found.type == RULE and len(values.get("Targets") or [None]) > 1:
        line = found.properties.entries()["Targets"].line
        what = "have more than one target: a rule here invokes one function, so make a rule for each"
        faults.add(line, f"Resources.{found.logical}.Properties.Targets", what)


def qualifier_of(name: str, values: Mapping[str, Any]) -> str:
    """As a property, or in the function's ARN; ``$LATEST`` is the function itself."""
    given = values.get("Qualifier")
    if not given:
        try:
            given = FunctionRef.parse(name).qualifier
        except InvalidArn:
            given = ""
    return "" if given == "$LATEST" else str(given)


def _url(spec: FunctionSpec, logical: str, values: Mapping[str, Any]) -> FunctionSpec:
    qualifier = qualifier_of(str(values.get("TargetFunctionArn") or ""), values)
    trigger = replace(conversion.url(values), name=logical, qualifier=qualifier)
    return replace(spec, triggers=(*(spec.triggers or ()), trigger))


def _invoke_config(spec: FunctionSpec, logical: str, values: Mapping[str, Any]) -> FunctionSpec:
    keys = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")
    return replace(spec, event_invoke={key: values[key] for key in keys if key in values})


def _event(kind: str, spec: FunctionSpec, logical: str, properties: Mapping[str, Any], target: str) -> FunctionSpec:
    made = conversion.triggers({logical: Event(kind, properties)}, spec.name, qualifier_of(target, {}))
    return replace(spec, triggers=(*(spec.triggers or ()), *made))


def subscribe(spec: FunctionSpec, logical: str, values: Mapping[str, Any]) -> FunctionSpec:
    """With a subscription, from the properties of an AWS::SNS::Subscription."""
    properties = {
        "Topic": values.get("TopicArn"),
        **{k: values[k] for k in ("FilterPolicy", "FilterPolicyScope") if k in values},
    }
    return _event("SNS", spec, logical, properties, str(values.get("Endpoint") or ""))


def _rule(spec: FunctionSpec, logical: str, values: Mapping[str, Any]) -> FunctionSpec:
    target = (values.get("Targets") or [{}])[0] or {}
    kept = {key: values[key] for key in ("Description", "State") if key in values}
    properties = {
        **kept, "Schedule": values.get("ScheduleExpression"), "Input": target.get("Input"),
        "Name": values.get("Name") or logical,
    }  # fmt: skip
    return _event("Schedule", spec, logical, properties, str(target.get("Arn") or ""))


def _schedule(spec: FunctionSpec, logical: str, values: Mapping[str, Any]) -> FunctionSpec:
    target = values.get("Target") or {}
    rest = {key: value for key, value in values.items() if key != "Target"}
    properties = {**rest, "Input": target.get("Input"), "Name": values.get("Name") or logical}
    return _event("ScheduleV2", spec, logical, properties, str(target.get("Arn") or ""))


def _permission(spec: FunctionSpec, logical: str, values: Mapping[str, Any]) -> FunctionSpec:
    given = {key: value for key, value in values.items() if key != "FunctionName" and value is not None}
    qualifier = qualifier_of(str(values.get("FunctionName") or ""), {})
    return replace(spec, permissions=(*spec.permissions, PermissionSpec.of(logical, given, qualifier)))


_ONTO: Mapping[str, Callable[[FunctionSpec, str, Mapping[str, Any]], FunctionSpec]] = {
    URL: _url, INVOKE_CONFIG: _invoke_config, SUBSCRIPTION: subscribe, RULE: _rule, SCHEDULE: _schedule,
    PERMISSION: _permission,
}  # fmt: skip
