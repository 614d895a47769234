"""CloudFormation's intrinsic functions over texts and lists, and those that choose: a table of name to function.

Source: AWS CloudFormation, intrinsic function reference. What is not in :data:`TABLE` is refused by name.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping

from fnrunner.cli.deploy.intrinsics import Resolver, text_node
from fnrunner.cli.deploy.source import Node

Function = Callable[[Resolver, Node, str], Node]
REFUSED: Mapping[str, str] = {
    "Fn::Transform": "there are no macros here",
    "Fn::ForEach": "AWS::LanguageExtensions is not supported: write out what the loop makes",
    "Fn::Cidr": "there are no networks here",
}
_EXTENSION = "AWS::LanguageExtensions is not supported"


def refusal(name: str) -> str:
    """What there is to say of a function that is not in the table."""
    kind = name.split("::ForEach", 1)[0] + "::ForEach" if "::ForEach" in name else name
    if kind in REFUSED:
        return f"uses {name}, which is not supported: {REFUSED[kind]}"
    known = ", ".join(one.removeprefix("Fn::") for one in ("Ref", "GetAtt", "Sub", *TABLE))
    return f"uses {name}, which is not supported: {known} are"


def _base64(resolver: Resolver, argument: Node, where: str) -> Node:
    given = resolver.node(argument, where)
    if not given.is_scalar:
        return _wrong(resolver, argument, where, "Base64 with something else than a text")
    return text_node(argument.line, b64encode(given.text.encode()).decode())


def _find_in_map(resolver: Resolver, argument: Node, where: str) -> Node:
    keys = [node.text for node in resolver.present(argument, where)]
    if len(keys) != 3:
        return _wrong(resolver, argument, where, "FindInMap with something else than a map's name and two keys")
    name, first, second = keys
    found = resolver.scope.mappings.get(name, {}).get(first, {}).get(second)
    if found is None:
        return _wrong(resolver, argument, where, f"FindInMap with {name}.{first}.{second}, which no mapping has")
    return found


def _get_azs(resolver: Resolver, argument: Node, where: str) -> Node:
    """One zone: an installation is one place as far as a template can tell."""
    region = resolver.node(argument, where).text or str(resolver.scope.parameters.get("AWS::Region", ""))
    return Node(argument.line, (text_node(argument.line, f"{region}a"),))


def _if(resolver: Resolver, argument: Node, where: str) -> Node:
    elements = argument.elements()
    if len(elements) != 3 or not elements[0].is_scalar:
        return _wrong(resolver, argument, where, "If with something else than a condition and two values")
    name = elements[0].text
    if name not in resolver.scope.conditions:
        return _wrong(resolver, argument, where, f"If with {name or 'nothing'}, which is no condition")
    return resolver.node(elements[1 if resolver.scope.conditions[name] else 2], where)


def _import_value(resolver: Resolver, argument: Node, where: str) -> Node:
    """What another stack exports. It is looked for where nothing else is wrong with the name."""
    name = resolver.node(argument, where)
    if not name.is_scalar or not name.text:
        return _wrong(resolver, argument, where, "ImportValue with something else than a name")
    resolver.scope.imported.add(name.text)
    if name.text in resolver.scope.exports:
        return text_node(argument.line, resolver.scope.exports[name.text])
    known = ", ".join(sorted(resolver.scope.exports)) or "nothing"
    return _wrong(
        resolver, argument, where, f"ImportValue with {name.text}, which no other stack exports: {known} is exported"
    )


def _join(resolver: Resolver, argument: Node, where: str) -> Node:
    elements = argument.elements()
    if len(elements) == 2 and elements[0].is_scalar:
        given = resolver.node(elements[1], where)
        if isinstance(given.value, tuple) and all(part.is_scalar for part in given.value):
            return text_node(argument.line, elements[0].text.join(part.text for part in given.value))
    return _wrong(resolver, argument, where, "Join with something else than a delimiter and a list of texts")


def _select(resolver: Resolver, argument: Node, where: str) -> Node:
    elements = argument.elements()
    if len(elements) != 2:
        return _wrong(resolver, argument, where, "Select with something else than an index and a list")
    index, given = resolver.node(elements[0], where).text, resolver.node(elements[1], where)
    if not index.isdecimal() or not isinstance(given.value, tuple) or int(index) >= len(given.value):
        count = len(given.elements())
        return _wrong(resolver, argument, where, f"Select with the index {index or 'nothing'} of a list of {count}")
    return given.value[int(index)]


def _split(resolver: Resolver, argument: Node, where: str) -> Node:
    elements = argument.elements()
    if len(elements) == 2 and elements[0].is_scalar and elements[0].text:
        given = resolver.node(elements[1], where)
        if given.is_scalar:
            parts = given.text.split(elements[0].text)
            return Node(argument.line, tuple(text_node(argument.line, part) for part in parts))
    return _wrong(resolver, argument, where, "Split with something else than a delimiter and a text")


def _wrong(resolver: Resolver, argument: Node, where: str, what: str) -> Node:
    resolver.faults.add(argument.line, where, f"uses {what}")
    return text_node(argument.line, "")


TABLE: Mapping[str, Function] = {
    "Fn::Base64": _base64,
    "Fn::FindInMap": _find_in_map,
    "Fn::GetAZs": _get_azs,
    "Fn::If": _if,
    "Fn::ImportValue": _import_value,
    "Fn::Join": _join,
    "Fn::Select": _select,
    "Fn::Split": _split,
}
