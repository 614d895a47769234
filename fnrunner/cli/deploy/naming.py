"""What the resources of a template are called, and what each answers to Ref and GetAtt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fnrunner.cli.deploy.event import IMPLICIT_API
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.intrinsics import Names, Scope, resolve
from fnrunner.cli.deploy.resource import BUCKET, FUNCTION, HTTP_API, MAPPING, NAMES, QUEUE, STREAM, TOPIC
from fnrunner.cli.deploy.source import Node
from fnrunner.model.arn import Home


@dataclass(frozen=True, slots=True)
class Situation:
    """What a template is read against: where it lies, what the server is, and what the server says of buckets' directories,
    of functions' URLs and of where HTTP APIs answer, each by name."""

    path: Path
    home: Home = field(default_factory=Home)
    parameters: Mapping[str, str] = field(default_factory=dict)
    directories: Mapping[str, str] = field(default_factory=dict)
    urls: Mapping[str, str] = field(default_factory=dict)
    apis: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource with its name; its properties as they were written."""

    logical: str
    type: str
    name: str
    properties: Node
    line: int = 1


def name_of(logical: str, kind: str, properties: Node, scope: Scope, faults: Faults) -> str:
    """Names can depend on parameters only: the names of resources are not known before this."""
    key, entries = NAMES[kind], properties.entries()
    if key and key in entries:
        given = resolve(entries[key], scope, faults, f"Resources.{logical}.Properties.{key}").text
        if given:
            return given
    if kind in (BUCKET, HTTP_API):
        return logical.lower()
    fifo = kind == QUEUE and "FifoQueue" in entries and entries["FifoQueue"].text.lower() == "true"
    return f"{logical}.fifo" if fifo else logical


def all_names(resources: list[Resource], situation: Situation) -> dict[str, Names]:
    """With those of resources that SAM makes: a function's URL, and the API of routes that name none."""
    names = {r.logical: _names(r, situation) for r in resources}
    for r in resources:
        if r.type == FUNCTION and "FunctionUrlConfig" in r.properties.entries():
            url = situation.urls.get(r.name, f"<the URL of function {r.name}>")
            names.setdefault(f"{r.logical}Url", Names(None, {"FunctionUrl": url}))
    names.setdefault(IMPLICIT_API, _api_names(IMPLICIT_API.lower(), situation))
    return names


def _api_names(name: str, situation: Situation) -> Names:
    return Names(name, {"ApiEndpoint": situation.apis.get(name, f"<where HTTP API {name} answers>").rstrip("/")})


def _names(found: Resource, situation: Situation) -> Names:
    home, name = situation.home, found.name
    topic = f"arn:aws:sns:{home.region}:{home.account}:{name}"
    directory = situation.directories.get(name, f"<the directory of bucket {name}>")
    answers = {
        BUCKET: Names(name, {"Arn": home.bucket(name), "Directory": directory}),
        # Ref gives a queue's URL on AWS, and no URL leads to a queue here.
        QUEUE: Names(None, {"Arn": home.queue(name), "QueueName": name}),
        STREAM: Names(name, {"Arn": f"arn:aws:kinesis:{home.region}:{home.account}:stream/{name}"}),
        TOPIC: Names(topic, {"TopicArn": topic, "TopicName": name}),
        HTTP_API: _api_names(name, situation),
        FUNCTION: Names(name, {"Arn": home.function(name)}),
        MAPPING: Names(None, {}),
    }
    return answers[found.type]


def local(value: str, situation: Situation) -> str:
    """An output with the addresses that APIs have here instead of those that they would have on AWS."""

    def here(match: re.Match[str]) -> str:
        return situation.apis.get(match[1].lower(), match[0]).rstrip("/")

    region = re.escape(situation.home.region)
    return re.sub(rf"https://([A-Za-z0-9-]+)\.execute-api\.{region}\.amazonaws\.com", here, value)
