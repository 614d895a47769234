"""A SAM template as what it wants: every section read, every name resolved, everything else refused with its line.

Functions without FunctionName, queues without QueueName have their logical id as name; buckets have it in lower case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fnrunner.cli.deploy import parameter, schema, source
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.function import Context, function_spec
from fnrunner.cli.deploy.intrinsics import Names, Scope, resolve
from fnrunner.cli.deploy.source import Node
from fnrunner.cli.deploy.spec import Stack
from fnrunner.model.arn import Home

FILES = ("template.yaml", "template.yml", "template.json")
FUNCTION = "AWS::Serverless::Function"
BUCKET = "AWS::S3::Bucket"
QUEUE = "AWS::SQS::Queue"
_NAMES = {FUNCTION: "FunctionName", BUCKET: "BucketName", QUEUE: "QueueName"}
_READERS = {BUCKET: schema.BUCKET, QUEUE: schema.QUEUE}
_TOP = ("AWSTemplateFormatVersion", "Transform", "Description", "Globals", "Parameters", "Resources", "Outputs")
_TRANSFORM = "AWS::Serverless-2016-10-31"
_HIDDEN = "****"


@dataclass(frozen=True, slots=True)
class Situation:
    """What a template is read against: where it lies, what the server is, what it says of buckets' directories."""

    path: Path
    home: Home = field(default_factory=Home)
    parameters: Mapping[str, str] = field(default_factory=dict)
    directories: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Resource:
    logical: str
    type: str
    name: str
    properties: Node


def read_template(text: str, situation: Situation) -> Stack:
    """What the template wants. Raises TemplateFault with every fault, UsageFault for wrong parameters."""
    faults = Faults(str(situation.path.name))
    root = source.read(text, faults)
    sections = root.entries()
    _check_top(root, faults)
    values, hidden = parameter.read(sections.get("Parameters"), situation.parameters, faults)
    values |= parameter.pseudo(situation.home, situation.path.absolute().parent.name)
    resources = _resources(sections.get("Resources"), Scope(values), faults)
    scope = Scope(values, {r.logical: _names(r, situation) for r in resources})
    common = _globals(sections.get("Globals"), scope, faults)
    context = Context(situation.path.absolute().parent, situation.home, scope, faults, common)
    functions = tuple(function_spec(r.logical, r.name, r.properties, context) for r in resources if r.type == FUNCTION)
    for resource in resources:
        if reader := _READERS.get(resource.type):
            where = f"Resources.{resource.logical}.Properties"
            reader(resolve(resource.properties, scope, faults, where), where, faults)
    masked = Scope({**values, **dict.fromkeys(hidden, _HIDDEN)}, scope.resources)
    outputs = _outputs(sections.get("Outputs"), masked, faults)
    _check_doubles(resources, root, faults)
    faults.check()
    return Stack(
        functions,
        tuple(r.name for r in resources if r.type == BUCKET),
        tuple(r.name for r in resources if r.type == QUEUE),
        outputs,
        tuple(context.warnings),
    )


def _check_top(root: Node, faults: Faults) -> None:
    if not isinstance(root.value, dict):
        faults.add(root.line, "", f"the template is {root.kind}: it takes a mapping")
        faults.check()
    for name, node in root.entries().items():
        if name not in _TOP:
            faults.add(node.line, name, "is not supported")
    if (transform := root.entries().get("Transform")) and transform.text != _TRANSFORM:
        for item in transform.elements() or (transform,):
            if item.text != _TRANSFORM:
                faults.add(item.line, "Transform", f"{item.text or item.kind} is not supported ({_TRANSFORM} is)")
    if not root.entries().get("Resources", Node(1, None)).entries():
        faults.add(root.line, "Resources", "are missing: there is nothing to deploy")


def _resources(section: Node | None, scope: Scope, faults: Faults) -> list[_Resource]:
    entries = section.entries() if section else {}
    return [
        resource
        for logical, node in entries.items()
        if (resource := _resource(logical, node, set(entries), scope, faults)) is not None
    ]


def _resource(logical: str, node: Node, all_ids: set[str], scope: Scope, faults: Faults) -> _Resource | None:
    where = f"Resources.{logical}"
    parts = node.entries()
    kind = parts.get("Type", Node(node.line, None, "nothing"))
    if kind.text not in _NAMES:
        faults.add(kind.line, where, f"Type {kind.text} is not supported ({', '.join(_NAMES)} are)")
        return None
    for name, child in parts.items():
        if name == "DependsOn":
            # The order of applying satisfies every dependency; what is left to check is that the names are right.
            for item in child.elements() or (child,):
                if item.text not in all_ids:
                    faults.add(item.line, f"{where}.DependsOn", f"names {item.text}, which is no resource")
        elif name not in ("Type", "Properties"):
            faults.add(child.line, f"{where}.{name}", "is not supported")
    properties = parts.get("Properties", Node(node.line, {}))
    if not isinstance(properties.value, dict):
        faults.add(properties.line, f"{where}.Properties", f"is {properties.kind}: it takes a mapping")
        properties = Node(properties.line, {})
    key = _NAMES[kind.text]
    name = logical.lower() if kind.text == BUCKET else logical
    if key in properties.entries():
        # Names can depend on parameters only: the names of resources are not known before this.
        name = resolve(properties.entries()[key], scope, faults, f"{where}.Properties.{key}").text or name
    return _Resource(logical, kind.text, name, properties)


def _names(resource: _Resource, situation: Situation) -> Names:
    home, name = situation.home, resource.name
    match resource.type:
        case "AWS::S3::Bucket":
            directory = situation.directories.get(name, f"<the directory of bucket {name}>")
            return Names(name, {"Arn": home.bucket(name), "Directory": directory})
        case "AWS::SQS::Queue":
            # Ref gives a queue's URL on AWS, and no URL leads to a queue here.
            return Names(None, {"Arn": home.queue(name), "QueueName": name})
        case _:
            return Names(name, {"Arn": home.function(name)})


def _globals(section: Node | None, scope: Scope, faults: Faults) -> Node:
    entries = section.entries() if section else {}
    for name, node in entries.items():
        if name != "Function":
            faults.add(node.line, f"Globals.{name}", "is not supported (Function is)")
    common = resolve(entries.get("Function", Node(1, {})), scope, faults, "Globals.Function")
    schema.section(schema.SHARED)(common, "Globals.Function", faults)
    return common


def _outputs(section: Node | None, scope: Scope, faults: Faults) -> dict[str, str]:
    outputs = {}
    for name, node in (section.entries() if section else {}).items():
        where = f"Outputs.{name}"
        outputs[name] = schema.OUTPUT(resolve(node, scope, faults, where), where, faults).get("Value", "")
    return outputs


def _check_doubles(resources: list[_Resource], root: Node, faults: Faults) -> None:
    seen: dict[tuple[str, str], str] = {}
    section = root.entries().get("Resources", Node(1, {}))
    for resource in resources:
        first = seen.setdefault((resource.type, resource.name), resource.logical)
        if first != resource.logical:
            line = section.entries()[resource.logical].line
            faults.add(line, f"Resources.{resource.logical}", f"has the name {resource.name}, as {first} has")
