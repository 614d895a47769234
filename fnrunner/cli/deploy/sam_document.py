"""A template as SAM's own translator takes it: parameters, maps and conditions resolved, the names of resources left in place.

The translator makes other resources of these names, so that they must still be names. Where it knows no place but AWS, it is
told another story: code that lies here lies in a bucket, what reads a broker whose credentials are the installation's has some,
and the installation's own buckets invoke nobody. Pure.

>>> from fnrunner.cli.deploy.source import read
>>> faults = Faults("t.yaml")
>>> kept(read("[!Ref Stage, !Ref Q, !Sub '${Stage}-${Q.Arn}']", faults), Scope({"Stage": "prod"}))
['prod', {'Ref': 'Q'}, {'Fn::Sub': 'prod-${Q.Arn}'}]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fnrunner.cli.deploy import function_table
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.intrinsics import NoValue, Resolver, Scope, text_node
from fnrunner.cli.deploy.resource import BUCKET
from fnrunner.cli.deploy.source import Call, Node, walk

_HOLE = re.compile(r"\$\{(!?)([^}]*)\}")
_CODE = {"CodeUri", "ContentUri"}
_SERVERLESS = "AWS::Serverless::"
SOMEWHERE = "s3://local/code"
"""Where code lies for the translator."""
CREDENTIALS: Mapping[str, str] = {"MQ": "BASIC_AUTH", "SelfManagedKafka": "SASL_SCRAM_512_AUTH"}
"""What an event that reads a broker has to name."""
_SECRET = "arn:aws:secretsmanager:us-east-1:000000000000:secret:local"  # noqa: S105
SECTIONS = ("AWSTemplateFormatVersion", "Transform", "Description", "Globals")


def document(root: Node, scope: Scope) -> dict[str, Any]:
    """The template's sections that the translator reads. ``scope`` has no resources, but knows which are absent."""
    entries = root.entries()
    found = {name: kept(entries[name], scope) for name in SECTIONS if name in entries}
    if isinstance(common := found.get("Globals", {}).get("Function"), dict):
        _elsewhere(common)
    resources = {}
    for logical, node in entries.get("Resources", Node(1, {})).entries().items():
        if logical not in scope.absent:
            resources[logical] = _resource(kept(node, scope))
    buckets = {name for name, one in resources.items() if isinstance(one, dict) and one.get("Type") == BUCKET}
    for one in resources.values():
        if isinstance(one, dict) and isinstance(properties := one.get("Properties"), dict):
            properties |= _without_others(properties, buckets)
    return {**found, "Resources": resources}


def _without_others(properties: Mapping[str, Any], buckets: set[str]) -> dict[str, Any]:
    """Events, without those of buckets that are not the template's."""
    if not isinstance(events := properties.get("Events"), dict):
        return {}
    return {"Events": {name: event for name, event in events.items() if not _is_others(event, buckets)}}


def _is_others(event: Any, buckets: set[str]) -> bool:
    if not isinstance(event, dict) or event.get("Type") != "S3":
        return False
    bucket = (event.get("Properties") or {}).get("Bucket")
    return not isinstance(bucket, dict) or bucket.get("Ref") not in buckets


def _resource(found: Any) -> Any:
    if not isinstance(found, dict):
        return found
    made = {key: value for key, value in found.items() if key != "Condition"}
    if str(made.get("Type")).startswith(_SERVERLESS) and isinstance(made.get("Properties"), dict):
        _elsewhere(made["Properties"])
    return made


def _elsewhere(properties: dict[str, Any]) -> None:
    for key in _CODE & set(properties):
        properties[key] = SOMEWHERE
    events = properties.get("Events")
    for event in events.values() if isinstance(events, dict) else ():
        said = event.get("Properties") if isinstance(event, dict) else None
        if isinstance(said, dict) and (kind := CREDENTIALS.get(event.get("Type", ""))):
            said.setdefault("SourceAccessConfigurations", [{"Type": kind, "URI": _SECRET}])


def kept(node: Node, scope: Scope) -> Any:
    """As JSON, with calls that name resources. What is wrong has been found by whoever reads the template."""
    try:
        return _json(_Keeper(scope, Faults("")).node(node, ""))
    except NoValue:
        return None


def _json(node: Node) -> Any:
    match node.value:
        case dict() as entries:
            return {name: _json(child) for name, child in entries.items()}
        case tuple() as elements:
            return [_json(child) for child in elements]
        case Call("Fn::GetAtt", argument) if argument.is_scalar:
            return {"Fn::GetAtt": argument.text.split(".", 1)}
        case Call(name, argument):
            return {name: _json(argument)}
        case value:
            return value


@dataclass(frozen=True, slots=True)
class _Keeper(Resolver):
    """Resolves all but what names a resource."""

    def _call(self, name: str, argument: Node, where: str) -> Node:
        match name:
            case "Ref" if argument.text == "AWS::NoValue" or argument.text in self.scope.parameters:
                return self._ref(argument.text, argument.line, where)
            case "Ref" | "Fn::GetAtt":
                return Node(argument.line, Call(name, argument))
            case "Fn::Sub":
                return self._kept_sub(argument, where)
            case "Fn::If":
                return function_table.TABLE[name](self, argument, where)
        inner = self.node(argument, where)
        if any(isinstance(one.value, Call) for one in walk(inner)):
            return Node(argument.line, Call(name, inner))
        return Resolver._call(self, name, inner, where)

    def _kept_sub(self, argument: Node, where: str) -> Node:
        """A text where nothing in it names a resource."""
        template, given = argument, dict[str, Node]()
        if elements := argument.elements():
            template = elements[0]
            given = self.node(elements[1], where).entries() if len(elements) > 1 else {}

        def fill(match: re.Match[str]) -> str:
            name = match[2].strip()
            if match[1]:
                return match[0]
            if name in given:
                return given[name].text if given[name].is_scalar else match[0]
            value = self.scope.parameters.get(name)
            return value if isinstance(value, str) else match[0]

        filled = _HOLE.sub(fill, template.text)
        left = {match[2].strip() for match in _HOLE.finditer(filled) if not match[1]}
        if not left:
            return text_node(template.line, _HOLE.sub(lambda match: f"${{{match[2]}}}", filled))
        names = {name: node for name, node in given.items() if name in left}
        text = text_node(template.line, filled)
        whole = Node(template.line, (text, Node(template.line, names))) if names else text
        return Node(template.line, Call("Fn::Sub", whole))


def lines(root: Node) -> Mapping[str, int]:
    """Of each resource, by logical id; of the section under an empty one."""
    section = root.entries().get("Resources", Node(1, {}))
    return {"": section.line, **{logical: node.line for logical, node in section.entries().items()}}
