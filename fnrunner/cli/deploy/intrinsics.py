"""CloudFormation's intrinsic functions, as far as a deployment here can mean them: Ref, GetAtt, Sub and Join.

>>> scope = Scope({"Stage": "prod"}, {"Photos": Names("photos", {"Arn": "arn:aws:s3:::photos"})})
>>> faults = Faults("t.yaml")
>>> resolve(Node(1, Call("Fn::Sub", Node(1, "${Stage}-${Photos.Arn}", "${Stage}-${Photos.Arn}"))), scope, faults, "X").text
'prod-arn:aws:s3:::photos'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.source import Call, Node

_HOLE = re.compile(r"\$\{(!?)([^}]*)\}")
_FAULTY = ""


@dataclass(frozen=True, slots=True)
class Names:
    """What a resource answers: ``ref`` to Ref (None: Ref means nothing here), ``attributes`` to GetAtt."""

    ref: str | None
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scope:
    """What names mean: parameters and pseudo parameters, and resources by logical id."""

    parameters: Mapping[str, str]
    resources: Mapping[str, Names] = field(default_factory=dict)


class _NoValue(Exception):
    """The node is ``AWS::NoValue``: whatever holds it is as if it were not there."""


def resolve(node: Node, scope: Scope, faults: Faults, where: str) -> Node:
    """The node without calls. What cannot be resolved becomes a fault and an empty text."""
    try:
        return _resolve(node, scope, faults, where)
    except _NoValue:
        return Node(node.line, None)


def _resolve(node: Node, scope: Scope, faults: Faults, where: str) -> Node:
    match node.value:
        case dict() as entries:
            kept = {}
            for key, child in entries.items():
                try:
                    kept[key] = _resolve(child, scope, faults, f"{where}.{key}")
                except _NoValue:
                    continue
            return Node(node.line, kept)
        case tuple() as elements:
            return Node(node.line, tuple(_present(elements, scope, faults, where)))
        case Call(name, argument):
            text = _call(name, argument, scope, faults, where)
            return Node(node.line, text, text)
        case _:
            return node


def _present(elements: tuple[Node, ...], scope: Scope, faults: Faults, where: str) -> list[Node]:
    kept = []
    for index, element in enumerate(elements):
        try:
            kept.append(_resolve(element, scope, faults, f"{where}[{index}]"))
        except _NoValue:
            continue
    return kept


def _call(name: str, argument: Node, scope: Scope, faults: Faults, where: str) -> str:
    match name:
        case "Ref":
            return _ref(argument.text, argument.line, scope, faults, where)
        case "Fn::GetAtt":
            parts = [e.text for e in argument.elements()] or [argument.text]
            return _attribute(".".join(parts), argument.line, scope, faults, where)
        case "Fn::Sub":
            return _sub(argument, scope, faults, where)
        case "Fn::Join":
            return _join(argument, scope, faults, where)
        case _:
            faults.add(argument.line, where, f"uses {name}, which is not supported: Ref, GetAtt, Sub and Join are")
            return _FAULTY


def _ref(name: str, line: int, scope: Scope, faults: Faults, where: str) -> str:
    if name == "AWS::NoValue":
        raise _NoValue
    if name in scope.parameters:
        return scope.parameters[name]
    if not (resource := scope.resources.get(name)):
        faults.add(
            line, where, f"refers to {name or 'nothing'}, which is no parameter or resource that can be named here"
        )
        return _FAULTY
    if resource.ref is None:
        known = ", ".join(f"{name}.{attribute}" for attribute in resource.attributes)
        faults.add(line, where, f"refers to {name}, which has no such value here: use !GetAtt with one of {known}")
        return _FAULTY
    return resource.ref


def _attribute(path: str, line: int, scope: Scope, faults: Faults, where: str) -> str:
    name, _, attribute = path.partition(".")
    resource = scope.resources.get(name)
    if resource is None:
        faults.add(line, where, f"refers to {path}, but {name} is no resource that can be named here")
        return _FAULTY
    if attribute not in resource.attributes:
        known = ", ".join(resource.attributes)
        faults.add(line, where, f"refers to {path}, which is not supported: {name} has {known}")
        return _FAULTY
    return resource.attributes[attribute]


def _sub(argument: Node, scope: Scope, faults: Faults, where: str) -> str:
    template, variables = argument, dict[str, str]()
    if elements := argument.elements():
        if len(elements) != 2 or not elements[0].is_scalar or not isinstance(elements[1].value, dict):
            faults.add(argument.line, where, "uses Sub with something else than a text, or a text and a mapping")
            return _FAULTY
        template = elements[0]
        given = _resolve(elements[1], scope, faults, where)
        variables = {name: child.text for name, child in given.entries().items()}
    elif not argument.is_scalar:
        faults.add(argument.line, where, "uses Sub with something else than a text, or a text and a mapping")
        return _FAULTY

    def fill(match: re.Match[str]) -> str:
        name = match[2].strip()
        if match[1]:
            return f"${{{match[2]}}}"
        if name in variables:
            return variables[name]
        if "." in name:
            return _attribute(name, template.line, scope, faults, where)
        return _ref(name, template.line, scope, faults, where)

    return _HOLE.sub(fill, template.text)


def _join(argument: Node, scope: Scope, faults: Faults, where: str) -> str:
    elements = argument.elements()
    if len(elements) != 2 or not elements[0].is_scalar or not isinstance(elements[1].value, tuple):
        faults.add(argument.line, where, "uses Join with something else than a delimiter and a list")
        return _FAULTY
    parts = _present(elements[1].elements(), scope, faults, where)
    return elements[0].text.join(part.text for part in parts)
