"""A SAM template as what it wants: every section read, every name resolved, everything else refused with its line.

A resource that is not named has its logical id as name; buckets and HTTP APIs have it in lower case. What is known only when
a template has been deployed (a bucket's directory, a function's URL, where an API answers) is known when it is read again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fnrunner.cli.deploy import (
    attachment,
    condition,
    parameter,
    plain,
    release,
    resource,
    sam_document,
    source,
    top,
    transform,
)
from fnrunner.cli.deploy.assembly import apis_of, with_mappings
from fnrunner.cli.deploy.conversion import implicit_rest_api
from fnrunner.cli.deploy.event import IMPLICIT_STAGE
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.function import NOT_ENFORCED, Context, function_spec, merged
from fnrunner.cli.deploy.function_table import refusal
from fnrunner.cli.deploy.intrinsics import Scope, resolve
from fnrunner.cli.deploy.naming import LayerThere, Resource, Situation, all_names, local, named, policy_arn
from fnrunner.cli.deploy.resource import (
    ALIAS,
    BUCKET,
    FUNCTION,
    HTTP_API,
    LAYER,
    LOG_GROUP,
    MANAGED_POLICY,
    NAMES,
    QUEUE,
    REST_API,
    ROLE,
    STREAM,
    TOPIC,
    VERSION,
)
from fnrunner.cli.deploy.schema import Reader
from fnrunner.cli.deploy.source import Node
from fnrunner.cli.deploy.spec import ApiSpec, Case, CodeSource, LayerSpec, PolicySpec, RoleSpec, Stack

_HIDDEN = "****"
_COMMON = {HTTP_API: "HttpApi", REST_API: "Api"}
_OWNED = {
    FUNCTION: "function",
    BUCKET: "bucket",
    ROLE: "role",
    QUEUE: "queue",
    STREAM: "stream",
    TOPIC: "topic",
    HTTP_API: "http_api",
    REST_API: "http_api",
    ALIAS: "alias",
    MANAGED_POLICY: "policy",
}
_POLICIES = ("Delete", "Retain", "RetainExceptOnCreate")


def read_template(text: str, situation: Situation) -> Stack:
    """What the template wants. Raises TemplateFault with every fault, UsageFault for wrong parameters."""
    faults = Faults(str(situation.path.name))
    root = source.read(text, faults)
    sections = root.entries()
    top.check(root, faults)
    values, hidden = parameter.read(sections.get("Parameters"), situation.parameters, faults)
    values |= parameter.pseudo(situation.home, situation.stack or situation.path.absolute().parent.name)
    mappings = top.mappings(sections.get("Mappings"), faults)
    conditions = condition.evaluate(sections.get("Conditions"), Scope(values, mappings=mappings), faults)
    scope = Scope(values, {}, conditions, mappings, exports=situation.exports)
    resources, absent = _resources(sections.get("Resources"), scope, faults)
    scope = bare = replace(scope, absent=absent)
    resources = named(resources, scope, situation, faults)
    scope = replace(scope, resources=all_names(resources, situation))
    commons = top.commons(sections.get("Globals"), scope, faults)
    context = Context(situation, scope, faults, commons["Function"])
    functions = [function_spec(r.logical, r.name, r.properties, context) for r in resources if r.type == FUNCTION]
    readers = {**resource.READERS, **attachment.READERS, **release.READERS}
    read = {r.logical: _read(r, readers[r.type], scope, commons, faults) for r in resources if r.type in readers}
    if outdated := release.outdated(read, situation.versions):
        # what names them has to name the versions that take their places
        kept = {logical: entry for logical, entry in situation.versions.items() if logical not in outdated}
        return read_template(text, replace(situation, versions=kept))
    functions = release.with_releases(functions, resources, read, situation.versions, faults)
    functions = with_mappings(functions, resources, read, faults)
    apis = apis_of(functions, resources, read, _implicit_apis(commons, situation), faults)
    masked = replace(scope, parameters={**values, **dict.fromkeys(hidden, _HIDDEN)})
    outputs, exports = top.outputs(sections.get("Outputs"), scope, masked, faults)
    queues = [
        resource.queue(r.name, read[r.logical], r.line, f"Resources.{r.logical}", faults)
        for r in resources
        if r.type == QUEUE
    ]
    layers = tuple(_layer(r, read[r.logical], situation, faults) for r in resources if r.type == LAYER)
    roles = (*transform.roles(context.roleless, scope, faults).values(), *_roles(resources, read, context))
    policies, roles = _policies(resources, read, roles, context)
    context.warnings.extend(_kept_logs(resources, read, faults.file))
    context.warnings.extend(_no_console(resources, read, faults.file))
    _check_doubles(resources, root, faults)
    faults.check()
    return Stack(
        functions=tuple(functions),
        buckets=tuple(r.name for r in resources if r.type == BUCKET),
        queues=resource.in_order(queues),
        streams=tuple(resource.stream(r.name, read[r.logical]) for r in resources if r.type == STREAM),
        topics=tuple(r.name for r in resources if r.type == TOPIC),
        apis=apis,
        layers=layers,
        roles=roles,
        policies=policies,
        exports={name: local(value, situation) for name, value in exports.items()},
        imports=frozenset(scope.imported),
        outputs={name: local(value, situation) for name, value in outputs.items()},
        warnings=tuple(context.warnings),
        retained=frozenset(
            (
                *((_OWNED[r.type], r.name) for r in resources if r.retained and r.type in _OWNED),
                *_retained_layers(layers, resources, read),
                *_retained_versions(resources, situation),
            )
        ),
        case=Case(faults.file, sam_document.document(root, bare), sam_document.lines(root), situation.home.region),
    )


def _read(found: Resource, reader: Reader, scope: Scope, commons: dict[str, Node], faults: Faults) -> dict[str, Any]:
    where = f"Resources.{found.logical}.Properties"
    properties = resolve(found.properties, scope, faults, where)
    if found.type in _COMMON:
        properties = merged(commons[_COMMON[found.type]], properties)
    values: dict[str, Any] = reader(properties, where, faults)
    return values


def _implicit_apis(commons: dict[str, Node], situation: Situation) -> tuple[ApiSpec, ...]:
    """The APIs of routes that name none, with what the globals say; faults of the globals have been added before."""
    http, rest = commons["HttpApi"].entries(), commons["Api"].entries()
    unheard = Faults("")
    cors = resource.cors(http["CorsConfiguration"], "", unheard) if "CorsConfiguration" in http else None
    rest_cors = resource.rest_cors(rest["Cors"], "", unheard) if "Cors" in rest else None
    name = situation.implicit_api
    return ApiSpec(name, cors=cors), ApiSpec(implicit_rest_api(name), IMPLICIT_STAGE, rest_cors, type="rest")


def _resources(section: Node | None, scope: Scope, faults: Faults) -> tuple[list[Resource], frozenset[str]]:
    """The resources that are there, and the logical ids of those whose condition is false."""
    entries = section.entries() if section else {}
    found, absent = [], set[str]()
    for logical, node in entries.items():
        if logical.startswith("Fn::"):
            faults.add(node.line, f"Resources.{logical}", refusal(logical))
        elif not top.present(node, scope, f"Resources.{logical}", faults):
            absent.add(logical)
        elif (read := _resource(logical, node, set(entries), faults)) is not None:
            found.append(read)
    return found, frozenset(absent)


def _resource(logical: str, node: Node, all_ids: set[str], faults: Faults) -> Resource | None:
    where = f"Resources.{logical}"
    parts = node.entries()
    kind = parts.get("Type", Node(node.line, None, "nothing"))
    said = parts.get("Properties", Node(node.line, {}))
    kind_text, rewritten = plain.as_serverless(kind.text, said, where, faults)
    if kind_text not in NAMES:
        why = resource.REFUSED.get(kind.text, f"is not supported ({', '.join((*NAMES, *plain.TYPES))} are)")
        faults.add(kind.line, where, f"Type {kind.text} {why}")
        return None
    for name, child in parts.items():
        _check_attribute(name, child, where, all_ids, faults)
    properties = rewritten
    if not isinstance(said.value, dict):
        faults.add(said.line, f"{where}.Properties", f"is {said.kind}: it takes a mapping")
        properties = Node(said.line, {})
    policies = ("DeletionPolicy", "UpdateReplacePolicy") if kind_text == VERSION else ("DeletionPolicy",)
    retained = any(parts.get(policy, node).text.startswith("Retain") for policy in policies)
    metadata = parts.get("Metadata", Node(node.line, {}))
    return Resource(logical, kind_text, "", properties, node.line, retained, metadata)


def _layer(found: Resource, values: dict[str, Any], situation: Situation, faults: Faults) -> LayerSpec:
    where, line = f"Resources.{found.logical}", found.properties.entries().get("ContentUri", found.properties).line
    uri, method = str(values.get("ContentUri") or "."), found.metadata.entries().get("BuildMethod")
    path = situation.path.absolute().parent / uri
    if "://" in uri:
        faults.add(line, f"{where}.Properties.ContentUri", f"{uri} is not supported (a local folder or file is)")
    elif not path.exists() and not situation.packaged:
        faults.add(line, f"{where}.Properties.ContentUri", f"{uri} is not there")
    if method and not method.text.startswith("python3."):
        what = f"is {method.kind}, which is not supported (python3.x is): build it first, with `sam build`"
        faults.add(method.line, f"{where}.Metadata.BuildMethod", what)
    named = ("Description", "CompatibleRuntimes", "CompatibleArchitectures", "LicenseInfo")
    parameters = {key: values[key] for key in named if values.get(key)}
    there = situation.layers.get(found.name, LayerThere(""))
    return LayerSpec(found.name, CodeSource(path), method.text if method else "", parameters, there.digest)


def _retained_layers(
    layers: tuple[LayerSpec, ...], resources: list[Resource], read: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, str]]:
    """A version stays when another follows it, unless the template says otherwise. Source: SAM, RetentionPolicy."""
    found = {r.name: r for r in resources if r.type == LAYER}
    for layer in layers:
        policy = str(read[found[layer.name].logical].get("RetentionPolicy") or "Retain").lower()
        if policy == "retain" or found[layer.name].retained:
            yield "layer", f"{layer.name}:{layer.digest}"


def _retained_versions(resources: list[Resource], situation: Situation) -> Iterator[tuple[str, str]]:
    for found in resources:
        if found.type == VERSION and found.retained and (entry := situation.versions.get(found.logical)):
            yield "version", f"{entry.function}:{entry.number}"


def _roles(resources: list[Resource], read: dict[str, dict[str, Any]], context: Context) -> Iterator[RoleSpec]:
    """The roles that are resources, where permissions are enforced; elsewhere they are names only."""
    for found in resources:
        if found.type != ROLE:
            continue
        where = f"Resources.{found.logical}"
        if context.situation.enforces:
            values = read[found.logical]
            if values.get("AssumeRolePolicyDocument"):
                yield transform.role(found.name, values, found.line, where, context.faults)
        else:
            context.warnings.append(f"{context.faults.file}: {where} has no effect: {NOT_ENFORCED}")


def _policies(
    resources: list[Resource], read: dict[str, dict[str, Any]], roles: tuple[RoleSpec, ...], context: Context
) -> tuple[tuple[PolicySpec, ...], tuple[RoleSpec, ...]]:
    """The managed policies, and the roles with those that say themselves which roles have them."""
    found, known = [], {role.name: role for role in roles}
    for one in (r for r in resources if r.type == MANAGED_POLICY):
        values, where = read[one.logical], f"Resources.{one.logical}"
        if not context.situation.enforces:
            context.warnings.append(f"{context.faults.file}: {where} has no effect: {NOT_ENFORCED}")
            continue
        arn = policy_arn(one.name, context.situation.home)
        document = values.get("PolicyDocument") or {}
        found.append(PolicySpec(one.name, arn, transform.versioned(document), values.get("Description") or ""))
        for name in filter(None, values.get("Roles") or ()):
            if name not in known:
                what = f"names {name}, which is no role of this template: attach the policy where that role is made"
                context.faults.add(one.line, f"{where}.Properties.Roles", what)
            else:
                known[name] = replace(known[name], managed=tuple(sorted({*known[name].managed, arn})))
    return tuple(found), tuple(known.values())


def _kept_logs(resources: list[Resource], read: dict[str, dict[str, Any]], file: str) -> Iterator[str]:
    for found in resources:
        if found.type == LOG_GROUP and "RetentionInDays" in read[found.logical]:
            yield (
                f"{file}: Resources.{found.logical}: RetentionInDays has no effect: logs are kept for as long as the server's "
                "FNRUNNER_HISTORY_S says"
            )


def _no_console(resources: list[Resource], read: dict[str, dict[str, Any]], file: str) -> Iterator[str]:
    """What a REST API is called in a console."""
    for found in resources:
        for key in ("Name", "Description"):
            if found.type == REST_API and key in read[found.logical]:
                yield f"{file}: Resources.{found.logical}: {key} has no effect: the API is called {found.name}"


def _check_attribute(name: str, child: Node, where: str, all_ids: set[str], faults: Faults) -> None:
    match name:
        case "DependsOn":
            # The order of applying satisfies every dependency; what is left to check is that the names are right.
            for item in child.elements() or (child,):
                if item.text not in all_ids:
                    faults.add(item.line, f"{where}.DependsOn", f"names {item.text}, which is no resource")
        case "DeletionPolicy" | "UpdateReplacePolicy":
            # Nothing but a version is ever replaced here, so that what an UpdateReplacePolicy keeps is kept anyway.
            if child.text not in _POLICIES:
                faults.add(child.line, f"{where}.{name}", f"is {child.kind}: it takes {' or '.join(_POLICIES)}")
        case "Type" | "Properties" | "Metadata" | "Condition":
            pass
        case _:
            faults.add(child.line, f"{where}.{name}", "is not supported")


def _check_doubles(resources: list[Resource], root: Node, faults: Faults) -> None:
    seen: dict[tuple[str, str], str] = {}
    section = root.entries().get("Resources", Node(1, {}))
    for found in resources:
        first = seen.setdefault((found.type, found.name), found.logical)
        if first != found.logical:
            line = section.entries()[found.logical].line
            faults.add(line, f"Resources.{found.logical}", f"has the name {found.name}, as {first} has")
