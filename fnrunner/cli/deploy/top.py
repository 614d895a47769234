"""A template's sections besides Resources: which there may be, and what each one says."""

from __future__ import annotations

from collections.abc import Mapping

from fnrunner.cli.deploy import resource, schema
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.intrinsics import Scope, resolve
from fnrunner.cli.deploy.source import Call, Node

SECTIONS = (
    "AWSTemplateFormatVersion", "Transform", "Description", "Metadata", "Globals", "Parameters", "Mappings", "Conditions",
    "Resources", "Outputs",
)  # fmt: skip
_REFUSED: Mapping[str, str] = {
    "Rules": "is not supported: an AllowedValues or AllowedPattern of the parameter checks its value",
    "Hooks": "is not supported: there is no CodeDeploy here",
}
_TRANSFORM = "AWS::Serverless-2016-10-31"
_GLOBALS = ("Function", "HttpApi", "Api")


def check(root: Node, faults: Faults) -> None:
    """The sections are ones that there are, and the transform is SAM's. Raises TemplateFault when it is no template."""
    if not isinstance(root.value, dict):
        faults.add(root.line, "", f"the template is {root.kind}: it takes a mapping")
        faults.check()
    entries = root.entries()
    for name, node in entries.items():
        if name not in SECTIONS:
            faults.add(node.line, name, _REFUSED.get(name, "is not supported"))
    if (transform := entries.get("Transform")) and transform.text != _TRANSFORM:
        for item in transform.elements() or (transform,):
            if item.text != _TRANSFORM:
                faults.add(item.line, "Transform", f"{item.text or item.kind} is not supported ({_TRANSFORM} is)")
    resources = entries.get("Resources", Node(1, None))
    if isinstance(resources.value, Call):
        from fnrunner.cli.deploy.function_table import refusal

        faults.add(resources.line, "Resources", refusal(resources.value.name))
    elif not resources.entries():
        faults.add(root.line, "Resources", "are missing: there is nothing to deploy")


def mappings(section: Node | None, faults: Faults) -> dict[str, dict[str, dict[str, Node]]]:
    """Two levels of keys over texts, or lists of texts."""
    found: dict[str, dict[str, dict[str, Node]]] = {}
    for name, node in (section.entries() if section else {}).items():
        levels: dict[str, dict[str, Node]] = {}
        for first, below in node.entries().items():
            levels[first] = below.entries()
            where = f"Mappings.{name}.{first}"
            if not isinstance(below.value, dict):
                faults.add(below.line, where, f"is {below.kind}: it takes a mapping of names to values")
            for second, value in levels[first].items():
                if not _is_plain(value):
                    faults.add(value.line, f"{where}.{second}", f"is {value.kind}: it takes a text or a list of texts")
        if not isinstance(node.value, dict):
            faults.add(node.line, f"Mappings.{name}", f"is {node.kind}: it takes a mapping of mappings")
        found[name] = levels
    return found


def _is_plain(node: Node) -> bool:
    return node.is_scalar or (all(child.is_scalar for child in node.elements()) and isinstance(node.value, tuple))


def commons(section: Node | None, scope: Scope, faults: Faults) -> dict[str, Node]:
    """What every function, and every HTTP API, has in common."""
    entries = section.entries() if section else {}
    for name, node in entries.items():
        if name not in _GLOBALS:
            faults.add(node.line, f"Globals.{name}", f"is not supported ({', '.join(_GLOBALS)} are)")
    found = {name: resolve(entries.get(name, Node(1, {})), scope, faults, f"Globals.{name}") for name in _GLOBALS}
    schema.section(schema.SHARED)(found["Function"], "Globals.Function", faults)
    schema.section({"CorsConfiguration": resource.cors})(found["HttpApi"], "Globals.HttpApi", faults)
    schema.section(resource.REST_COMMON)(found["Api"], "Globals.Api", faults)
    return found


def outputs(section: Node | None, scope: Scope, masked: Scope, faults: Faults) -> tuple[dict[str, str], dict[str, str]]:
    """The value of every output whose condition, if it has one, is true; and what is exported, by the export's name.

    ``masked`` hides what is not to be shown.
    """
    found, exports = dict[str, str](), dict[str, str]()
    for name, node in (section.entries() if section else {}).items():
        where = f"Outputs.{name}"
        if not present(node, scope, where, faults):
            continue
        said = Node(node.line, {key: child for key, child in node.entries().items() if key != "Condition"})
        if not isinstance(node.value, dict):
            said = node
        values = schema.OUTPUT(resolve(said, masked, faults, where), where, faults)
        found[name] = values.get("Value") or ""
        if exported := (values.get("Export") or {}).get("Name"):
            if _hides(said, scope, masked):
                faults.add(
                    node.line,
                    where,
                    "is exported and has a parameter with NoEcho, which would be shown: export another",
                )
            if exported in exports:
                faults.add(node.line, f"{where}.Export", f"has the name {exported}, as another output has")
            exports[exported] = found[name]
    return found, exports


def _hides(said: Node, scope: Scope, masked: Scope) -> bool:
    """Whether something in it is hidden; its faults have been added."""
    unheard = Faults("")
    return resolve(said, scope, unheard, "") != resolve(said, masked, unheard, "")


def present(node: Node, scope: Scope, where: str, faults: Faults) -> bool:
    """Whether what may have a Condition is there at all."""
    if (condition := node.entries().get("Condition")) is None:
        return True
    if condition.text not in scope.conditions:
        faults.add(condition.line, f"{where}.Condition", f"is {condition.kind}, which is no condition of the template")
        return True
    return scope.conditions[condition.text]
