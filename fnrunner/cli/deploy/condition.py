"""A template's Conditions, each true or false. They depend on parameters, mappings and one another only.

>>> faults = Faults("t.yaml")
>>> from fnrunner.cli.deploy.source import read
>>> section = read("{IsProd: !Equals [!Ref Stage, prod], Not: !Not [!Condition IsProd]}", faults)
>>> evaluate(section, Scope({"Stage": "prod"}), faults)
{'IsProd': True, 'Not': False}
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.intrinsics import NoValue, Resolver, Scope
from fnrunner.cli.deploy.source import Call, Node


def evaluate(section: Node | None, scope: Scope, faults: Faults) -> dict[str, bool]:
    """Every condition by its name; what is wrong with one is a fault, and the condition false."""
    evaluator = _Evaluator(section.entries() if section else {}, Resolver(scope, faults))
    return {name: evaluator.named(name, node.line, f"Conditions.{name}") for name, node in evaluator.entries.items()}


@dataclass(slots=True)
class _Evaluator:
    entries: dict[str, Node]
    resolver: Resolver
    known: dict[str, bool] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)

    def named(self, name: str, line: int, where: str) -> bool:
        if name in self.known:
            return self.known[name]
        if name not in self.entries or name in self.open:
            what = "refers to itself" if name in self.open else f"refers to {name or 'nothing'}, which is no condition"
            self.resolver.faults.add(line, where, what)
            return False
        self.open.add(name)
        self.known[name] = self.truth(self.entries[name], f"Conditions.{name}")
        self.open.discard(name)
        return self.known[name]

    def truth(self, node: Node, where: str) -> bool:
        match node.value:
            case Call("Fn::Equals", argument):
                return self._equals(argument, where)
            case Call("Fn::Not", argument) if len(argument.elements()) == 1:
                return not self.truth(argument.elements()[0], where)
            case Call("Fn::And" | "Fn::Or" as name, argument) if 2 <= len(argument.elements()) <= 10:
                # all of them are looked at, so that the faults of all are found
                truths = [self.truth(one, where) for one in argument.elements()]
                return all(truths) if name == "Fn::And" else any(truths)
            case Call("Condition", argument):
                return self.named(argument.text, argument.line, where)
            case {"Condition": Node() as name} if len(node.entries()) == 1:
                return self.named(name.text, name.line, where)
            case Call(name, _):
                what = f"uses {name} in a way that is no condition: Equals, And, Or, Not and Condition are"
                self.resolver.faults.add(node.line, where, what)
            case _:
                self.resolver.faults.add(
                    node.line, where, f"is {node.kind}: it takes Equals, And, Or, Not or Condition"
                )
        return False

    def _equals(self, argument: Node, where: str) -> bool:
        elements = argument.elements()
        if len(elements) != 2:
            self.resolver.faults.add(argument.line, where, "uses Equals with something else than two values")
            return False
        try:
            first, second = (self.resolver.node(one, where) for one in elements)
        except NoValue:
            return False
        return _plain(first) == _plain(second)


def _plain(node: Node) -> object:
    return tuple(_plain(one) for one in node.elements()) if isinstance(node.value, tuple) else node.text
