"""What the resources of a template are called, and what each answers to Ref and GetAtt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fnrunner.cli.deploy.conversion import implicit_rest_api
from fnrunner.cli.deploy.event import IMPLICIT_API, IMPLICIT_REST_API, IMPLICIT_STAGE
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.intrinsics import Names, Scope, resolve
from fnrunner.cli.deploy.resource import (
    ALIAS,
    BUCKET,
    FUNCTION,
    HTTP_API,
    INVOKE_CONFIG,
    LAYER,
    LOG_GROUP,
    MANAGED_POLICY,
    MAPPING,
    NAMES,
    PERMISSION,
    QUEUE,
    REST_API,
    ROLE,
    RULE,
    SCHEDULE,
    STREAM,
    SUBSCRIPTION,
    TOPIC,
    URL,
    VERSION,
)
from fnrunner.cli.deploy.source import Call, Node
from fnrunner.cli.deploy.spec import PENDING
from fnrunner.model.arn import FunctionRef, Home, InvalidArn


@dataclass(frozen=True, slots=True)
class LayerThere:
    """The content that a layer is to have, as the SHA-256 in hex, and the version that has it; empty: none has, yet."""

    digest: str
    arn: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is remembered of a version that was published: of which function, its number, and what was said of it. As a
    text, FUNCTION:NUMBER:SAID."""

    function: str
    number: str
    said: str

    def __str__(self) -> str:
        return f"{self.function}:{self.number}:{self.said}"

    @classmethod
    def of(cls, text: str) -> Entry:
        return cls(*text.split(":"))


@dataclass(frozen=True, slots=True)
class Situation:
    """What a template is read against: where it lies, what the server is, and what the server says of buckets' directories,
    of functions' URLs and of where HTTP APIs answer, each by name.

    ``stack`` is its name; empty: the folder's. ``packaged``: the code has been packaged, and need not lie where the template
    says. ``implicit_api`` is the API of routes that name none. ``enforces``: the server enforces permissions. ``versions`` are
    those that are resources, by logical id, and have been published. ``exports`` are values that other stacks export.
    """

    path: Path
    home: Home = field(default_factory=Home)
    parameters: Mapping[str, str] = field(default_factory=dict)
    directories: Mapping[str, str] = field(default_factory=dict)
    urls: Mapping[str, str] = field(default_factory=dict)
    apis: Mapping[str, str] = field(default_factory=dict)
    stack: str = ""
    packaged: bool = False
    implicit_api: str = IMPLICIT_API.lower()
    layers: Mapping[str, LayerThere] = field(default_factory=dict)
    enforces: bool = False
    versions: Mapping[str, Entry] = field(default_factory=dict)
    exports: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource with its name; its properties as they were written. ``retained``: it stays when it leaves the template.
    ``stage`` is an API's, and a function's AutoPublishAlias."""

    logical: str
    type: str
    name: str
    properties: Node
    line: int = 1
    retained: bool = False
    metadata: Node = field(default_factory=lambda: Node(1, {}))
    stage: str = ""


def named(resources: list[Resource], scope: Scope, situation: Situation, faults: Faults) -> list[Resource]:
    """The resources with their names. A name may be made of other resources' names: these are found first."""
    found: dict[str, Resource] = {}
    while left := [one for one in resources if one.logical not in found]:
        known = replace(scope, resources=all_names(list(found.values()), situation))
        for one in left:
            trial = Faults(faults.file)
            name = _name_of(one.logical, one.type, one.properties, known, trial)
            stage = _stage_of(one, known, trial)
            if not trial.found:
                found[one.logical] = replace(one, name=name, stage=stage)
        if len(found) + len(left) == len(resources) and not any(one.logical in found for one in left):
            # nothing more can be named: what is wrong is said, and each has its logical id
            found |= {
                one.logical: replace(one, name=_name_of(one.logical, one.type, one.properties, known, faults))
                for one in left
            }
    return [found[one.logical] for one in resources]


def _stage_of(one: Resource, scope: Scope, faults: Faults) -> str:
    entries = one.properties.entries()
    key = {HTTP_API: "StageName", REST_API: "StageName", FUNCTION: "AutoPublishAlias"}.get(one.type, "")
    if key not in entries:
        return ""
    return resolve(entries[key], scope, faults, f"Resources.{one.logical}.Properties.{key}").text


def _name_of(logical: str, kind: str, properties: Node, scope: Scope, faults: Faults) -> str:
    key, entries = NAMES[kind], properties.entries()
    if key and key in entries:
        given = resolve(entries[key], scope, faults, f"Resources.{logical}.Properties.{key}").text
        if given:
            return given
    if kind in (BUCKET, HTTP_API, REST_API):
        return logical.lower()
    if kind in (VERSION, ALIAS):
        # what is wrong with its properties is said when they are read
        said = resolve(Node(properties.line, entries), scope, faults, f"Resources.{logical}.Properties").entries()
        function = function_named(said["FunctionName"].text if "FunctionName" in said else "")
        return f"{function}:{said['Name'].text if kind == ALIAS and 'Name' in said else logical}"
    fifo = kind == QUEUE and "FifoQueue" in entries and entries["FifoQueue"].text.lower() == "true"
    return f"{logical}.fifo" if fifo else logical


def all_names(resources: list[Resource], situation: Situation) -> dict[str, Names]:
    """With those of resources that SAM makes: a function's URL, and the APIs of routes that name none."""
    known = {r.logical: r.name for r in resources}
    names = {r.logical: _names(r, situation, known) for r in resources}
    for r in resources:
        if r.type == FUNCTION and "FunctionUrlConfig" in r.properties.entries():
            url = situation.urls.get(r.name, f"<the URL of function {r.name}>")
            names.setdefault(f"{r.logical}Url", Names(None, {"FunctionUrl": url}))
        if r.type == FUNCTION and "Role" not in r.properties.entries():
            role = role_of(r.logical, situation)
            arn = situation.home.role(role) if situation.enforces else situation.home.role()
            names.setdefault(f"{r.logical}Role", Names(role, {"Arn": arn}))
        if r.type in (HTTP_API, REST_API) and r.stage:
            # SAM's name for the stage that it makes
            names.setdefault(f"{r.logical}.Stage", Names(r.stage, {}))
        if r.type == FUNCTION and r.stage:
            # SAM's two names for the alias that it makes
            alias = Names(situation.home.function(r.name, r.stage), {})
            names.setdefault(f"{r.logical}.Alias", alias)
            names.setdefault(f"{r.logical}Alias{r.stage}", alias)
    names.setdefault(IMPLICIT_API, _api_names(situation.implicit_api, situation))
    rest = Names(implicit_rest_api(situation.implicit_api), {"Stage": IMPLICIT_STAGE})
    names.setdefault(IMPLICIT_REST_API, rest)
    names.setdefault(f"{IMPLICIT_REST_API}.Stage", Names(IMPLICIT_STAGE, {}))
    names.setdefault(f"{IMPLICIT_REST_API}{IMPLICIT_STAGE}Stage", Names(IMPLICIT_STAGE, {}))
    return names


def role_of(logical: str, situation: Situation) -> str:
    """The name of the role that is made for a function that names none."""
    return f"{situation.stack or situation.path.absolute().parent.name}-{logical}Role"[-64:]


def policy_arn(name: str, home: Home) -> str:
    """Of a managed policy."""
    return f"arn:aws:iam::{home.account}:policy/{name}"


def function_named(text: str) -> str:
    """The function's name in a text that names it, with or without a qualifier."""
    try:
        return FunctionRef.parse(text).name
    except InvalidArn:
        return text


def _api_names(name: str, situation: Situation) -> Names:
    return Names(name, {"ApiEndpoint": situation.apis.get(name, f"<where HTTP API {name} answers>").rstrip("/")})


def _names(found: Resource, situation: Situation, known: Mapping[str, str]) -> Names:
    home, name = situation.home, found.name
    topic = f"arn:aws:sns:{home.region}:{home.account}:{name}"
    layer = (situation.layers.get(name) or LayerThere("")).arn or f"<the version of layer {name}>"
    directory = situation.directories.get(name, f"<the directory of bucket {name}>")
    if found.type in (URL, INVOKE_CONFIG, PERMISSION, SUBSCRIPTION, RULE, SCHEDULE):
        return _attached(found, situation, known)
    if found.type in (VERSION, ALIAS):
        return _released(found, situation)
    if found.type == ROLE:
        return Names(name, {"Arn": home.role(name)})
    if found.type == MANAGED_POLICY:
        arn = policy_arn(name, home)
        return Names(arn, {"PolicyArn": arn})
    if found.type == LOG_GROUP:
        return Names(name, {"Arn": f"arn:aws:logs:{home.region}:{home.account}:log-group:{name}:*"})
    answers = {
        BUCKET: Names(name, {"Arn": home.bucket(name), "Directory": directory}),
        # Ref gives a queue's URL on AWS, and no URL leads to a queue here.
        QUEUE: Names(None, {"Arn": home.queue(name), "QueueName": name}),
        STREAM: Names(name, {"Arn": f"arn:aws:kinesis:{home.region}:{home.account}:stream/{name}"}),
        TOPIC: Names(topic, {"TopicArn": topic, "TopicName": name}),
        HTTP_API: _api_names(name, situation),
        REST_API: Names(name, {"Stage": found.stage}),
        FUNCTION: Names(name, {"Arn": home.function(name)}),
        MAPPING: Names(None, {}),
        LAYER: Names(layer, {"LayerVersionArn": layer}),
    }
    return answers[found.type]


def _attached(found: Resource, situation: Situation, known: Mapping[str, str]) -> Names:
    """What belongs to a function has few names; a URL is known by the function that it is of, once that is read."""
    home = situation.home
    if found.type == RULE:
        return Names(found.name, {"Arn": f"arn:aws:events:{home.region}:{home.account}:rule/{found.name}"})
    if found.type == SCHEDULE:
        return Names(
            found.name, {"Arn": f"arn:aws:scheduler:{home.region}:{home.account}:schedule/default/{found.name}"}
        )
    if found.type == URL:
        function = _named_by(found.properties.entries().get("TargetFunctionArn", found.properties), known)
        return Names(None, {"FunctionUrl": situation.urls.get(function, f"<the URL of function {function}>")})
    return Names(None, {})


def _released(found: Resource, situation: Situation) -> Names:
    """A version's number is known when it has been published."""
    function, _, name = found.name.partition(":")
    if found.type == ALIAS:
        arn = situation.home.function(function, name)
        return Names(arn, {"AliasArn": arn})
    entry = situation.versions.get(found.logical)
    number = entry.number if entry else f"{PENDING}{found.logical}"
    arn = situation.home.function(function, number)
    return Names(arn, {"Version": number, "FunctionArn": arn})


def _named_by(node: Node, known: Mapping[str, str]) -> str:
    """The name of the function that a Ref or GetAtt is about, or that a text names."""
    if isinstance(node.value, Call):
        argument = node.value.argument
        logical = argument.elements()[0].text if argument.elements() else argument.text.partition(".")[0]
        return known.get(logical, logical)
    return node.text.rpartition(":function:")[2].partition(":")[0]


def local(value: str, situation: Situation) -> str:
    """An output with the addresses that APIs have here instead of those that they would have on AWS."""

    def here(match: re.Match[str]) -> str:
        return situation.apis.get(match[1].lower(), match[0]).rstrip("/")

    region = re.escape(situation.home.region)
    return re.sub(rf"https://([A-Za-z0-9-]+)\.execute-api\.{region}\.amazonaws\.com", here, value)
