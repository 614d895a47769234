"""What a template comes to, as facts that can be compared: from what SAM's translator makes of it, and from what is planned.

A fact is a tuple that begins with its kind. Names are those that things have here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fnrunner.cli.deploy.spec import FunctionSpec, Stack
from fnrunner.cli.deploy.trigger import Kind, TriggerSpec

Fact = tuple[Any, ...]
REGION, ACCOUNT = "us-east-1", "000000000000"
PSEUDO = {"AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::Partition": "aws", "AWS::StackName": "app",
          "AWS::URLSuffix": "amazonaws.com"}  # fmt: skip
_ARN = re.compile(rf"arn:aws:lambda:{REGION}:{ACCOUNT}:function:([\w-]+)(?::([\w$-]+))?")
_NAMED = {
    "AWS::Lambda::Function": "FunctionName", "AWS::SQS::Queue": "QueueName", "AWS::Kinesis::Stream": "Name",
    "AWS::SNS::Topic": "TopicName", "AWS::S3::Bucket": "BucketName", "AWS::IAM::Role": "RoleName",
    "AWS::Lambda::LayerVersion": "LayerName", "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
}  # fmt: skip


class Made:
    """CloudFormation's resources, as SAM's translator makes them."""

    def __init__(self, resources: Mapping[str, Any]) -> None:
        self._resources = resources

    def facts(self) -> Iterator[Fact]:
        for logical, resource in self._resources.items():
            properties = resource.get("Properties", {})
            match resource["Type"]:
                case "AWS::Lambda::Function":
                    yield self._function(logical, properties)
                case "AWS::Lambda::Version" if logical.startswith(f"{self._raw(properties)}Version"):
                    yield ("version", self._names(properties["FunctionName"])[0])
                case "AWS::Lambda::Alias":
                    yield ("alias", self._names(properties["FunctionName"])[0], self.text(properties["Name"]))
                case "AWS::Lambda::LayerVersion":
                    yield ("layer", self._name(logical))
                case "AWS::Lambda::EventSourceMapping":
                    yield self._mapping(properties)
                case "AWS::SNS::Subscription":
                    topic = self.text(properties["TopicArn"]).rpartition(":")[2]
                    yield (
                        "subscription",
                        *self._names(properties["Endpoint"]),
                        topic,
                        bool(properties.get("FilterPolicy")),
                    )
                case "AWS::Events::Rule":
                    (target,) = properties["Targets"]
                    enabled = properties.get("State", "ENABLED") == "ENABLED"
                    yield ("schedule", *self._names(target["Arn"]), properties["ScheduleExpression"], enabled)
                case "AWS::Scheduler::Schedule":
                    enabled = properties.get("State", "ENABLED") == "ENABLED"
                    target = properties["Target"]["Arn"]
                    yield ("schedule", *self._names(target), properties["ScheduleExpression"], enabled)
                    # a role of the scheduler's stands for the permission that a rule has
                    yield ("permission", *self._names(target), "events")
                case "AWS::S3::Bucket":
                    yield from self._notifications(logical, properties)
                case "AWS::Lambda::Url":
                    function, qualifier = self._names(properties["TargetFunctionArn"])
                    qualifier = qualifier or properties.get("Qualifier", "")
                    yield ("url", function, qualifier, properties["AuthType"])
                case "AWS::ApiGateway::RestApi" | "AWS::ApiGatewayV2::Api":
                    yield from self._routes(logical, properties["Body"]["paths"])
                case "AWS::Lambda::Permission":
                    yield self._permission(properties)
                case "AWS::Lambda::EventInvokeConfig":
                    function, qualifier = self._names(properties["FunctionName"])[0], self.text(properties["Qualifier"])
                    yield ("event invoke", function, qualifier.replace("$LATEST", ""))

    def _function(self, logical: str, properties: Mapping[str, Any]) -> Fact:
        variables = properties.get("Environment", {}).get("Variables", {})
        return (
            "function", self._name(logical), properties.get("Handler"), properties.get("Runtime"),
            int(properties.get("MemorySize", 128)), int(properties.get("Timeout", 3)), tuple(sorted(variables)),
            properties.get("TracingConfig", {}).get("Mode", "PassThrough"), len(properties.get("Layers", ())),
            properties.get("ReservedConcurrentExecutions"),
        )  # fmt: skip

    def _mapping(self, properties: Mapping[str, Any]) -> Fact:
        source = self.text(properties.get("EventSourceArn", ""))
        places = [*properties.get("Queues", ()), *properties.get("Topics", ())]
        patterns = [one["Pattern"] for one in properties.get("FilterCriteria", {}).get("Filters", ())]
        return (
            "mapping", *self._names(properties["FunctionName"]), source, tuple(map(self.text, places)),
            int(properties.get("BatchSize", 0)), str(properties.get("Enabled", True)).lower() == "true",
            properties.get("StartingPosition"), tuple(patterns),
        )  # fmt: skip

    def _notifications(self, logical: str, properties: Mapping[str, Any]) -> Iterator[Fact]:
        for one in properties.get("NotificationConfiguration", {}).get("LambdaConfigurations", ()):
            rules = one.get("Filter", {}).get("S3Key", {}).get("Rules", ())
            filters = {rule["Name"].lower(): rule["Value"] for rule in rules}
            yield ("notification", *self._names(one["Function"]), self._name(logical), one["Event"],
                   filters.get("prefix", ""), filters.get("suffix", ""))  # fmt: skip

    def _routes(self, logical: str, paths: Mapping[str, Any]) -> Iterator[Fact]:
        for path, methods in paths.items():
            for method, said in methods.items():
                integration = said.get("x-amazon-apigateway-integration")
                # an answer to preflights invokes nothing
                if not integration or "uri" not in integration or integration.get("type", "").upper() == "MOCK":
                    continue
                verb = "" if path == "$default" else method.upper().replace("X-AMAZON-APIGATEWAY-ANY-METHOD", "ANY")
                whole = "" if path == "$default" else path
                yield ("route", logical.lower(), verb, whole, *self._names(integration["uri"]))

    def _permission(self, properties: Mapping[str, Any]) -> Fact:
        principal = self.text(properties["Principal"]).partition(".")[0]
        if "FunctionUrlAuthType" in properties or "InvokedViaFunctionUrl" in properties:
            principal = "url"
        return ("permission", *self._names(properties["FunctionName"]), principal)

    def _raw(self, properties: Mapping[str, Any]) -> str:
        name = properties["FunctionName"]
        return str(name.get("Ref", "")) if isinstance(name, dict) else str(name)

    def _names(self, value: Any) -> tuple[str, str]:
        """The function and the qualifier that a value names."""
        text = self.text(value)
        if found := _ARN.search(text):
            return found[1], (found[2] or "").replace("$LATEST", "")
        function, _, qualifier = text.partition(":")
        return function, qualifier

    def _name(self, logical: str) -> str:
        resource = self._resources[logical]
        given = resource.get("Properties", {}).get(_NAMED.get(resource["Type"], ""))
        return self.text(given) if given else logical.lower() if resource["Type"] == "AWS::S3::Bucket" else logical

    def text(self, value: Any) -> str:
        """A value without its calls."""
        match value:
            case {"Ref": str(name)}:
                return PSEUDO.get(name) or self._ref(name)
            case {"Fn::GetAtt": [str(name), str(attribute)]}:
                return self._attribute(name, attribute)
            case {"Fn::Sub": str(text)}:
                return self._filled(text, {})
            case {"Fn::Sub": [str(text), dict(given)]}:
                return self._filled(text, given)
            case {"Fn::Join": [str(between), list(parts)]}:
                return between.join(map(self.text, parts))
            case {"Fn::If": [_, value, _]}:
                return self.text(value)
            case _:
                return str(value)

    def _filled(self, text: str, given: Mapping[str, Any]) -> str:
        def fill(match: re.Match[str]) -> str:
            name = match[1]
            if name in given:
                return self.text(given[name])
            first, dot, attribute = name.partition(".")
            return self._attribute(first, attribute) if dot else self.text({"Ref": name})

        return re.sub(r"\$\{([\w:.]+)\}", fill, text)

    def _ref(self, name: str) -> str:
        if (resource := self._resources.get(name)) is None:
            return name
        match resource["Type"]:
            case "AWS::Lambda::Alias":
                function = self._names(resource["Properties"]["FunctionName"])[0]
                return _arn(function, self.text(resource["Properties"]["Name"]))
            case "AWS::SNS::Topic":
                return f"arn:aws:sns:{REGION}:{ACCOUNT}:{self._name(name)}"
        return self._name(name)

    def _attribute(self, name: str, attribute: str) -> str:
        resource = self._resources.get(name, {"Type": ""})
        own = self._name(name) if name in self._resources else name
        arns = {
            "AWS::Lambda::Function": _arn(own), "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{own}",
            "AWS::Kinesis::Stream": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{own}",
            "AWS::SNS::Topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:{own}", "AWS::S3::Bucket": f"arn:aws:s3:::{own}",
        }  # fmt: skip
        if attribute in ("Arn", "TopicArn"):
            return arns.get(resource["Type"], own)
        return f"{own}.{attribute}" if attribute not in ("QueueName", "TopicName") else own


def _arn(function: str, qualifier: str = "") -> str:
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}" + (f":{qualifier}" if qualifier else "")


def planned(stack: Stack) -> Iterator[Fact]:
    """The facts of what is deployed."""
    yield from (("layer", layer.name) for layer in stack.layers)
    for api in stack.apis:
        for route in api.routes:
            yield ("route", api.name, route.method, route.path, route.function, route.qualifier)
            yield ("permission", route.function, route.qualifier, "apigateway")
    for spec in stack.functions:
        yield _planned_function(spec)
        yield from _planned_releases(spec)
        for trigger in spec.triggers or ():
            yield from _planned_trigger(spec.name, trigger)
        for one in spec.notifications or ():
            for event in one.events:
                yield ("notification", spec.name, one.qualifier, one.bucket, event, one.prefix, one.suffix)
            yield ("permission", spec.name, one.qualifier, "s3")
        for permission in spec.permissions:
            yield ("permission", spec.name, permission.qualifier, permission.parameters["Principal"].partition(".")[0])


def _planned_function(spec: FunctionSpec) -> Fact:
    said = spec.configuration
    return (
        "function", spec.name, said.get("Handler"), said.get("Runtime"), said["MemorySize"], said["Timeout"],
        tuple(sorted(said["Environment"]["Variables"])), said["TracingConfig"]["Mode"], len(said.get("Layers", ())),
        spec.reserved_concurrency,
    )  # fmt: skip


def _planned_releases(spec: FunctionSpec) -> Iterator[Fact]:
    if spec.alias:
        yield ("version", spec.name)
        yield ("alias", spec.name, spec.alias.name)
    yield from (("alias", spec.name, alias.name) for alias in spec.aliases)
    if spec.event_invoke is not None:
        yield ("event invoke", spec.name, spec.qualifier)


def _planned_trigger(function: str, trigger: TriggerSpec) -> Iterator[Fact]:
    body, to = trigger.body, (function, trigger.qualifier)
    match trigger.kind:
        case Kind.MAPPING:
            source, _, place = trigger.key.partition(" ")
            patterns = tuple(one["Pattern"] for one in body["FilterCriteria"]["Filters"])
            yield ("mapping", *to, source if source.startswith("arn:") else "", (place,) if place else (),
                   body["BatchSize"], body["Enabled"], trigger.fixed.get("StartingPosition"), patterns)  # fmt: skip
        case Kind.SUBSCRIPTION:
            yield ("subscription", *to, trigger.key, bool(body["filter_policy"]))
            yield ("permission", *to, "sns")
        case Kind.SCHEDULE:
            yield ("schedule", *to, body["expression"], body["enabled"])
            yield ("permission", *to, "events")
        case Kind.URL:
            yield ("url", *to, body["AuthType"])
            # where it is a resource of its own, the permission is one too
            if body["AuthType"] == "NONE" and trigger.name == "FunctionUrl":
                yield ("permission", *to, "url")
