"""A SAM template as what it wants: every section read, every name resolved, everything else refused with its line.

A resource that is not named has its logical id as name; buckets and HTTP APIs have it in lower case. What is known only when
a template has been deployed (a bucket's directory, a function's URL, where an API answers) is known when it is read again.
"""

from __future__ import annotations

from typing import Any

from fnrunner.cli.deploy import parameter, resource, schema, source
from fnrunner.cli.deploy.assembly import http_apis, with_mappings
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.function import Context, function_spec
from fnrunner.cli.deploy.intrinsics import Scope, resolve
from fnrunner.cli.deploy.naming import Resource, Situation, all_names, local, name_of
from fnrunner.cli.deploy.resource import BUCKET, FUNCTION, NAMES, QUEUE, STREAM, TOPIC
from fnrunner.cli.deploy.source import Node
from fnrunner.cli.deploy.spec import Stack

FILES = ("template.yaml", "template.yml", "template.json")
_TOP = ("AWSTemplateFormatVersion", "Transform", "Description", "Globals", "Parameters", "Resources", "Outputs")
_TRANSFORM = "AWS::Serverless-2016-10-31"
_HIDDEN = "****"


def read_template(text: str, situation: Situation) -> Stack:
    """What the template wants. Raises TemplateFault with every fault, UsageFault for wrong parameters."""
    faults = Faults(str(situation.path.name))
    root = source.read(text, faults)
    sections = root.entries()
    _check_top(root, faults)
    values, hidden = parameter.read(sections.get("Parameters"), situation.parameters, faults)
    values |= parameter.pseudo(situation.home, situation.path.absolute().parent.name)
    resources = _resources(sections.get("Resources"), Scope(values), faults)
    scope = Scope(values, all_names(resources, situation))
    common = _globals(sections.get("Globals"), scope, faults)
    context = Context(situation.path.absolute().parent, situation.home, scope, faults, common)
    functions = [function_spec(r.logical, r.name, r.properties, context) for r in resources if r.type == FUNCTION]
    read = {r.logical: _read(r, scope, faults) for r in resources if r.type in resource.READERS}
    functions = with_mappings(functions, resources, read, faults)
    apis = http_apis(functions, resources, read, faults)
    masked = Scope({**values, **dict.fromkeys(hidden, _HIDDEN)}, scope.resources)
    outputs = _outputs(sections.get("Outputs"), masked, faults)
    queues = [
        resource.queue(r.name, read[r.logical], r.line, f"Resources.{r.logical}", faults)
        for r in resources
        if r.type == QUEUE
    ]
    _check_doubles(resources, root, faults)
    faults.check()
    return Stack(
        functions=tuple(functions),
        buckets=tuple(r.name for r in resources if r.type == BUCKET),
        queues=resource.in_order(queues),
        streams=tuple(resource.stream(r.name, read[r.logical]) for r in resources if r.type == STREAM),
        topics=tuple(r.name for r in resources if r.type == TOPIC),
        apis=apis,
        outputs={name: local(value, situation) for name, value in outputs.items()},
        warnings=tuple(context.warnings),
    )


def _read(found: Resource, scope: Scope, faults: Faults) -> dict[str, Any]:
    where = f"Resources.{found.logical}.Properties"
    values: dict[str, Any] = resource.READERS[found.type](
        resolve(found.properties, scope, faults, where), where, faults
    )
    return values


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


def _resources(section: Node | None, scope: Scope, faults: Faults) -> list[Resource]:
    entries = section.entries() if section else {}
    return [
        resource
        for logical, node in entries.items()
        if (resource := _resource(logical, node, set(entries), scope, faults)) is not None
    ]


def _resource(logical: str, node: Node, all_ids: set[str], scope: Scope, faults: Faults) -> Resource | None:
    where = f"Resources.{logical}"
    parts = node.entries()
    kind = parts.get("Type", Node(node.line, None, "nothing"))
    if kind.text not in NAMES:
        why = resource.REFUSED.get(kind.text, f"is not supported ({', '.join(NAMES)} are)")
        faults.add(kind.line, where, f"Type {kind.text} {why}")
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
    return Resource(logical, kind.text, name_of(logical, kind.text, properties, scope, faults), properties, node.line)


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


def _check_doubles(resources: list[Resource], root: Node, faults: Faults) -> None:
    seen: dict[tuple[str, str], str] = {}
    section = root.entries().get("Resources", Node(1, {}))
    for found in resources:
        first = seen.setdefault((found.type, found.name), found.logical)
        if first != found.logical:
            line = section.entries()[found.logical].line
            faults.add(line, f"Resources.{found.logical}", f"has the name {found.name}, as {first} has")
