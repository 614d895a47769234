"""Making what is there into what a revision of a stack wants, wherever it starts from: deploying, and going back.

Every step looks at what is there and changes the difference, so that a way that broke off anywhere can be gone again,
forwards or backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fnrunner.cli.deploy import export, policy_server
from fnrunner.cli.deploy.api import ApiPlan, plan_apis
from fnrunner.cli.deploy.apply import (
    Journal,
    Resources,
    apply_apis,
    apply_functions,
    apply_resources,
    check_resources,
    plan_resources,
    publish_versions,
)
from fnrunner.cli.deploy.event import IMPLICIT_API
from fnrunner.cli.deploy.naming import Entry, LayerThere, Situation
from fnrunner.cli.deploy.package import Package
from fnrunner.cli.deploy.plan import FunctionPlan, plan_function
from fnrunner.cli.deploy.release import entries
from fnrunner.cli.deploy.role_server import changes
from fnrunner.cli.deploy.server import Server
from fnrunner.cli.deploy.spec import FunctionSpec, LayerSpec, Stack
from fnrunner.cli.deploy.stack_record import Owned, Record, Revision
from fnrunner.cli.deploy.template import read_template
from fnrunner.cli.deploy.trigger import Change
from fnrunner.cli.error import UsageFault
from fnrunner.cli.output import Output

Code = Callable[[str], Package]
"""The package of a function by its name, and the content of a layer by its name behind :data:`LAYER_CODE`."""
LAYER_CODE = "layer:"


@dataclass(frozen=True, slots=True)
class Preview:
    """What a deployment would do, in the shape of its report, and what it wants."""

    stack: Stack
    report: Mapping[str, Any]

    @property
    def changes_nothing(self) -> bool:
        return all(item["action"] == "unchanged" for kind in LISTS for item in self.report[kind])


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, as it is reported. ``leftovers``: triggers or routes that are not wanted are still there. ``stack`` is
    what is there now, and ``published`` what is to be remembered of its versions."""

    report: dict[str, Any]
    leftovers: bool
    stack: Stack
    published: Mapping[str, str]


LISTS = ("policies", "roles", "streams", "queues", "topics", "buckets", "layers", "functions", "http_apis")


@dataclass(frozen=True, slots=True)
class Convergence:
    """For one stack called ``name``; ``others`` are the records of all others."""

    server: Server
    output: Output
    name: str
    others: Callable[[], list[Record]] = list

    def read(self, revision: Revision, path: Path | None = None) -> Stack:
        """What a revision wants, with what the server says now. ``path``: the template lies there, and so does its code.

        Raises UsageFault, also for a revision whose parameters cannot be had.
        """
        if revision.sealed:
            raise UsageFault(
                f"The parameters of what is deployed as {self.name} are encrypted by a key that the server cannot use now",
                "`fnrunner key ls` shows it: enable it with `fnrunner key enable`, or start with its master key.",
            )
        api = revision.implicit_api or IMPLICIT_API.lower()
        situation = Situation(
            path or Path(revision.file), self.server.home(), revision.parameters, stack=self.name, packaged=path is None,
            implicit_api=api, enforces=self.server.enforces(),
        )  # fmt: skip
        return read_template(revision.text, self._now(situation, revision))

    def _now(self, before: Situation, revision: Revision) -> Situation:
        """With what the server says now."""
        apis = {api["name"]: api["endpoint"].removesuffix(f"{api['stage']}/") for api in self.server.apis()}
        layers = {
            name: LayerThere(digest, self.server.layer_arn(name, digest)) for name, digest in revision.layers.items()
        }
        directories, urls = self.server.directories(), self.server.urls()
        # most import nothing, and need not ask
        exports = export.values(self.others()) if "ImportValue" in revision.text else {}
        return replace(
            before, directories=directories, urls=urls, apis=apis, layers=layers, versions=self._published(revision),
            exports=exports,
        )  # fmt: skip

    def _published(self, revision: Revision) -> dict[str, Entry]:
        """The versions that are there still: one that somebody has taken away is published anew."""
        entries = {logical: Entry.of(text) for logical, text in revision.published.items()}
        there = {name: self.server.releases.numbers(name) for name in {one.function for one in entries.values()}}
        return {logical: one for logical, one in entries.items() if one.number in there[one.function]}

    def preview(self, stack: Stack, code: Code, leaving: tuple[Owned, ...]) -> Preview:
        """Nothing is changed. Raises UsageFault, CannotChange for what cannot become as it is wanted."""
        there = self._resources()
        _check_buckets(stack, there)
        check_resources(stack, there)
        plans = [self._plan(spec, code, "") for spec in stack.functions]
        made = plan_resources(stack, there)
        layers = [self._layer(layer) for layer in stack.layers]
        report: dict[str, Any] = {
            **made,
            "policies": self._policies(stack),
            "roles": self._roles(stack),
            "layers": layers,
            "functions": [self.reported(plan) for plan in plans],
        }
        report["http_apis"] = [_reported_api(plan, self.server.api_url(plan.name)) for plan in self._apis(stack)]
        add_leaving(report, leaving)
        return Preview(stack, {**report, "outputs": dict(stack.outputs), "warnings": list(stack.warnings)})

    def run(self, revision: Revision, code: Code, journal: Journal, *, removing: bool) -> Done:
        """Carry it out. Without ``removing``, triggers and routes that are not wanted stay.

        Raises BrokeOff, UsageFault.
        """
        there = self._resources()
        stack = self.read(revision)
        made = plan_resources(stack, there)
        policies = self._policies(stack)
        for policy, item in zip(stack.policies, policies, strict=True):
            if item["action"] != "unchanged":
                with journal.step(f"policy {policy.name}"):
                    self.server.roles.policies.put(policy)
        roles = self._roles(stack)
        for spec, item in zip(stack.roles, roles, strict=True):
            if item["action"] != "unchanged":
                with journal.step(f"role {spec.name}"):
                    self.server.roles.put(spec)
        apply_resources(stack, made, self.server, journal)
        layers = self._layers(stack, code, journal)
        # Read again: only now are the directories of new buckets known, which variables and outputs may name.
        stack, first = self.read(revision), None
        if any(not version.number for spec in stack.functions for version in spec.versions):
            first = self._plans(stack, revision, code)
            published = publish_versions(first, self.server, journal, self.output.progress)
            # Now their numbers are known, which aliases and all that invokes name.
            revision = replace(revision, published={**revision.published, **published})
            stack = self.read(revision)
        plans = self._functions(stack, revision, code, journal, removing)
        apis = self._apis(stack)
        apply_apis([plan for plan in apis if removing or not _takes_away(plan)], self.server, journal)
        # And again: only now are URLs known.
        stack = self.read(revision)
        if {spec.name: spec for spec in stack.functions} != {plan.spec.name: plan.spec for plan in plans}:
            self._functions(stack, revision, code, journal, removing)
        report = {
            **made,
            "policies": policies,
            "roles": roles,
            "layers": layers,
            "functions": [self.reported(plan) for plan in first or plans],
            "http_apis": [_reported_api(plan, self.server.api_url(plan.name)) for plan in apis],
            "outputs": dict(stack.outputs),
            "warnings": list(stack.warnings),
        }
        stay = any(step.action == "remove" for plan in plans for step in plan.triggers)
        leftovers = not removing and (stay or any(map(_takes_away, apis)))
        return Done(report, leftovers, stack, entries(stack.functions))

    def _policies(self, stack: Stack) -> list[dict[str, Any]]:
        """What is to become of each managed policy. Raises DescriptionFixed."""
        items = []
        for spec in stack.policies:
            there = self.server.roles.policies.there(spec.arn)
            changed = () if there is None else policy_server.changes(spec, there)
            action = "created" if there is None else "updated" if changed else "unchanged"
            items.append({"name": spec.name, "action": action, "changes": [asdict(change) for change in changed]})
        return items

    def _roles(self, stack: Stack) -> list[dict[str, Any]]:
        """What is to become of each role."""
        items = []
        for spec in stack.roles:
            there = self.server.roles.there(spec.name)
            changed = () if there is None else changes(spec, there)
            action = "created" if there is None else "updated" if changed else "unchanged"
            items.append({"name": spec.name, "action": action, "changes": [asdict(change) for change in changed]})
        return items

    def _layer(self, spec: LayerSpec) -> dict[str, Any]:
        """What is to become of a layer: a version is made for content that none has."""
        there = self.server.layer_arn(spec.name, spec.digest)
        return {"name": spec.name, "action": "unchanged" if there else "created", "arn": there}

    def _layers(self, stack: Stack, code: Code, journal: Journal) -> list[dict[str, Any]]:
        done = []
        for spec in stack.layers:
            item = self._layer(spec)
            if item["action"] == "created":
                with journal.step(f"layer {spec.name}"), self.output.progress(spec.name) as uploading:
                    item["arn"] = self.server.publish_layer(spec, code(f"{LAYER_CODE}{spec.name}"), uploading)
            done.append(item)
        return done

    def _functions(
        self, stack: Stack, revision: Revision, code: Code, journal: Journal, removing: bool
    ) -> tuple[FunctionPlan, ...]:
        plans = self._plans(stack, revision, code)
        apply_functions(plans, self.server, journal, self.output.progress, removing=removing)
        return plans

    def _plans(self, stack: Stack, revision: Revision, code: Code) -> tuple[FunctionPlan, ...]:
        return tuple(
            self._plan(spec, code, revision.versions.get(spec.name, "").rpartition(":")[2]) for spec in stack.functions
        )

    def put_back(self, spec: FunctionSpec, package: Package, journal: Journal) -> None:
        """One function as it was before it belonged to a stack."""
        plan = plan_function(spec, package, self.server.current(spec.name, triggers=True))
        apply_functions((plan,), self.server, journal, self.output.progress, removing=True)

    def _plan(self, spec: FunctionSpec, code: Code, version: str) -> FunctionPlan:
        current = self.server.current(spec.name, triggers=True, wanted=spec)
        return plan_function(spec, code(spec.name), current, version=version)

    def _apis(self, stack: Stack) -> list[ApiPlan]:
        return plan_apis(stack.apis, self.server.apis(), {spec.name for spec in stack.functions})

    def _resources(self) -> Resources:
        server = self.server
        return Resources(server.queues(), server.directories(), server.streams(), frozenset(server.topics()))

    def reported(self, plan: FunctionPlan) -> dict[str, Any]:
        arn = plan.arn or self.server.home().function(plan.spec.name)
        changes = [asdict(change) for change in plan.changes]
        return {
            "name": plan.spec.name, "action": plan.action, "arn": arn, "code_sha256": plan.package.code_sha256,
            "changes": changes,
        }  # fmt: skip


def _takes_away(plan: ApiPlan) -> bool:
    """Whether it only takes away: what belongs to an API that the template does not name."""
    return bool(plan.changes) and all(change.new is None for change in plan.changes)


def _reported_api(plan: ApiPlan, url: str) -> dict[str, Any]:
    changes = [asdict(change) for change in plan.changes]
    return {"name": plan.name, "action": plan.action, "url": url, "changes": changes}


def add_leaving(report: dict[str, Any], leaving: Iterable[Owned]) -> None:
    """What is to go, beside what is to be there. Versions and aliases are changes of their functions."""
    for one in leaving:
        if one.kind in ("version", "alias"):
            _leaves_function(report["functions"], one)
            continue
        found, item = report["policies" if one.kind == "policy" else f"{one.kind}s"], removed(one)
        if not any(known["name"] == item["name"] for known in found):
            found.append(item)


def _leaves_function(functions: list[dict[str, Any]], one: Owned) -> None:
    function, _, name = one.name.partition(":")
    for item in functions:
        if item["name"] == function and item["action"] != "removed":
            change = Change(f"{one.kind.title()}.{name}", "there", None)
            item["changes"] = [*item["changes"], asdict(change)]
            item["action"] = "updated" if item["action"] == "unchanged" else item["action"]


def removed(one: Owned) -> dict[str, Any]:
    """What is said of something that goes."""
    item: dict[str, Any] = {"name": one.name, "action": "removed"}
    if one.kind == "function":
        item |= {"arn": "", "code_sha256": "", "changes": []}
    if one.kind == "layer":
        item |= {"name": one.name.partition(":")[0], "arn": ""}
    if one.kind in ("queue", "http_api", "role", "policy"):
        item["changes"] = []
    return item


def _check_buckets(stack: Stack, there: Resources) -> None:
    known = {*stack.buckets, *there.directories}
    missing = {item.bucket for spec in stack.functions for item in spec.notifications or () if item.bucket not in known}
    if missing:
        raise UsageFault(
            f"The template names buckets that are not there: {', '.join(sorted(missing))}",
            "Add an AWS::S3::Bucket, or start the server with --bucket NAME=DIR.",
        )
