"""CloudFormation's intrinsic functions that name things: Ref, GetAtt and Sub; the others are in :mod:`function_table`.

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
Value = str | tuple[str, ...]
"""A parameter's: a text, or the texts of a list."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a resource answers: ``ref`` to Ref (None: Ref means nothing here), ``attributes`` to GetAtt."""

    ref: str | None
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scope:
    """What names mean: parameters and pseudo parameters, resources by logical id, conditions, and maps of maps.

    ``absent`` are the resources whose condition is false, ``exports`` the values that other stacks export; ``imported``
    collects the names of those that are asked for.
    """

    parameters: Mapping[str, Value]
    resources: Mapping[str, Names] = field(default_factory=dict)
    conditions: Mapping[str, bool] = field(default_factory=dict)
    mappings: Mapping[str, Mapping[str, Mapping[str, Node]]] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    exports: Mapping[str, str] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)


class NoValue(Exception):
    """The node is ``AWS::NoValue``: whatever holds it is as if it were not there."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """Resolves within one scope; faults are collected. ``where`` is the path in the template."""

    scope: Scope
    faults: Faults

    def node(self, node: Node, where: str) -> Node:
        """The node without calls. Raises NoValue."""
        match node.value:
            case dict() as entries:
                kept = {}
                for key, child in entries.items():
                    try:
                        kept[key] = self.node(child, f"{where}.{key}")
                    except NoValue:
                        continue
                return Node(node.line, kept)
            case tuple():
                return Node(node.line, tuple(self.present(node, where)))
            case Call(name, argument):
                return self._call(name, Node(argument.line or node.line, argument.value, argument.text), where)
            case _:
                return node

    def present(self, node: Node, where: str) -> list[Node]:
        """The elements of a list that have a value."""
        kept = []
        for index, element in enumerate(node.elements()):
            try:
                kept.append(self.node(element, f"{where}[{index}]"))
            except NoValue:
                continue
        return kept

    def _call(self, name: str, argument: Node, where: str) -> Node:
        from fnrunner.cli.deploy import function_table

        match name:
            case "Ref":
                return self._ref(argument.text, argument.line, where)
            case "Fn::GetAtt":
                parts = [e.text for e in argument.elements()] or [argument.text]
                return text_node(argument.line, self._attribute(".".join(parts), argument.line, where))
            case "Fn::Sub":
                return text_node(argument.line, self._sub(argument, where))
            case _ if name in function_table.TABLE:
                return function_table.TABLE[name](self, argument, where)
            case _:
                self.faults.add(argument.line, where, function_table.refusal(name))
                return text_node(argument.line, _FAULTY)

    def _ref(self, name: str, line: int, where: str) -> Node:
        if name == "AWS::NoValue":
            raise NoValue
        if name in self.scope.parameters:
            value = self.scope.parameters[name]
            if isinstance(value, tuple):
                return Node(line, tuple(text_node(line, text) for text in value))
            return text_node(line, value)
        return text_node(line, self._resource(name, line, where))

    def _resource(self, name: str, line: int, where: str) -> str:
        if not (resource := self.scope.resources.get(name)):
            self.faults.add(line, where, f"refers to {name or 'nothing'}, {self._unknown(name)}")
            return _FAULTY
        if resource.ref is None:
            known = ", ".join(f"{name}.{attribute}" for attribute in resource.attributes)
            self.faults.add(
                line, where, f"refers to {name}, which has no such value here: use !GetAtt with one of {known}"
            )
            return _FAULTY
        return resource.ref

    def _attribute(self, path: str, line: int, where: str) -> str:
        name, _, attribute = path.partition(".")
        resource = self.scope.resources.get(name)
        if resource is None:
            why = "whose Condition is false" if name in self.scope.absent else ""
            self.faults.add(
                line,
                where,
                f"refers to {path}, {why}"
                if why
                else f"refers to {path}, but {name} is no resource that can be named here",
            )
            return _FAULTY
        if attribute not in resource.attributes:
            known = ", ".join(resource.attributes)
            self.faults.add(line, where, f"refers to {path}, which is not supported: {name} has {known or 'none'}")
            return _FAULTY
        return resource.attributes[attribute]

    def _unknown(self, name: str) -> str:
        if name in self.scope.absent:
            return "whose Condition is false"
        return "which is no parameter or resource that can be named here"

    def _sub(self, argument: Node, where: str) -> str:
        template, variables = argument, dict[str, str]()
        if elements := argument.elements():
            if len(elements) != 2 or not elements[0].is_scalar or not isinstance(elements[1].value, dict):
                self.faults.add(
                    argument.line, where, "uses Sub with something else than a text, or a text and a mapping"
                )
                return _FAULTY
            template = elements[0]
            given = self.node(elements[1], where)
            variables = {name: child.text for name, child in given.entries().items()}
        elif not argument.is_scalar:
            self.faults.add(argument.line, where, "uses Sub with something else than a text, or a text and a mapping")
            return _FAULTY

        def fill(match: re.Match[str]) -> str:
            name = match[2].strip()
            if match[1]:
                return f"${{{match[2]}}}"
            if name in variables:
                return variables[name]
            if "." in name:
                return self._attribute(name, template.line, where)
            value = self._ref(name, template.line, where)
            if value.elements():
                self.faults.add(template.line, where, f"uses Sub with {name}, which is a list")
            return value.text

        return _HOLE.sub(fill, template.text)


def text_node(line: int, text: str) -> Node:
    return Node(line, text, text)


def resolve(node: Node, scope: Scope, faults: Faults, where: str) -> Node:
    """The node without calls. What cannot be resolved becomes a fault and an empty text."""
    try:
        return Resolver(scope, faults).node(node, where)
    except NoValue:
        return Node(node.line, None)
