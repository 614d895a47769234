"""Making what is there into what a revision of a stack wants, wherever it starts from: deploying, and going back.

Every step looks at what is there and changes the difference, so that a way that broke off anywhere can be gone again,
forwards or backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fnrunner.cli.deploy.api import ApiPlan, plan_apis
from fnrunner.cli.deploy.apply import (
    Journal,
    Resources,
    apply_apis,
    apply_functions,
    apply_resources,
    check_resources,
    plan_resources,
)
from fnrunner.cli.deploy.event import IMPLICIT_API
from fnrunner.cli.deploy.naming import LayerThere, Situation
from fnrunner.cli.deploy.package import Package
from fnrunner.cli.deploy.plan import FunctionPlan, plan_function
from fnrunner.cli.deploy.role_server import changes
from fnrunner.cli.deploy.server import Server
from fnrunner.cli.deploy.spec import FunctionSpec, LayerSpec, Stack
from fnrunner.cli.deploy.stack_record import Owned, Revision
from fnrunner.cli.deploy.template import read_template
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
    """What was done, as it is reported. ``leftovers``: triggers or routes that are not wanted are still there."""

    report: dict[str, Any]
    leftovers: bool


LISTS = ("roles", "streams", "queues", "topics", "buckets", "layers", "functions", "http_apis")


@dataclass(frozen=True, slots=True)
class Convergence:
    """For one stack called ``name``."""

    server: Server
    output: Output
    name: str

    def read(self, revision: Revision, path: Path | None = None) -> Stack:
        """What a revision wants, with what the server says now. ``path``: the template lies there, and so does its code.

        Raises UsageFault, also for a revision whose parameters cannot be had.
        """
        if revision.sealed:
            raise UsageFault(
                f"The parameters of what is deployed as {self.name} are encrypted by a key that the server cannot use now",
                "`fnrunner key list` shows it: enable it with `fnrunner key enable`, or start with its master key.",
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
        return replace(before, directories=directories, urls=urls, apis=apis, layers=layers)

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
        roles = self._roles(stack)
        for spec, item in zip(stack.roles, roles, strict=True):
            if item["action"] != "unchanged":
                with journal.step(f"role {spec.name}"):
                    self.server.roles.put(spec)
        apply_resources(stack, made, self.server, journal)
        layers = self._layers(stack, code, journal)
        # Read again: only now are the directories of new buckets known, which variables and outputs may name.
        plans = self._functions(self.read(revision), revision, code, journal, removing)
        apis = self._apis(stack)
        apply_apis([plan for plan in apis if removing or not _takes_away(plan)], self.server, journal)
        # And again: only now are URLs known.
        stack = self.read(revision)
        if {spec.name: spec for spec in stack.functions} != {plan.spec.name: plan.spec for plan in plans}:
            self._functions(stack, revision, code, journal, removing)
        report = {
            **made,
            "roles": roles,
            "layers": layers,
            "functions": [self.reported(plan) for plan in plans],
            "http_apis": [_reported_api(plan, self.server.api_url(plan.name)) for plan in apis],
            "outputs": dict(stack.outputs),
            "warnings": [*stack.warnings, *_hidden(made["buckets"])],
        }
        stay = any(step.action == "remove" for plan in plans for step in plan.triggers)
        return Done(report, not removing and (stay or any(map(_takes_away, apis))))

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
        plans = tuple(
            self._plan(spec, code, revision.versions.get(spec.name, "").rpartition(":")[2]) for spec in stack.functions
        )
        apply_functions(plans, self.server, journal, self.output.progress, removing=removing)
        return plans

    def put_back(self, spec: FunctionSpec, package: Package, journal: Journal) -> None:
        """One function as it was before it belonged to a stack."""
        plan = plan_function(spec, package, self.server.current(spec.name, triggers=True))
        apply_functions((plan,), self.server, journal, self.output.progress, removing=True)

    def _plan(self, spec: FunctionSpec, code: Code, version: str) -> FunctionPlan:
        current = self.server.current(spec.name, triggers=True, alias=spec.qualifier)
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
    """What is to go, beside what is to be there."""
    for one in leaving:
        found, item = report[f"{one.kind}s"], removed(one)
        if not any(known["name"] == item["name"] for known in found):
            found.append(item)


def removed(one: Owned) -> dict[str, Any]:
    """What is said of something that goes."""
    item: dict[str, Any] = {"name": one.name, "action": "removed"}
    if one.kind == "function":
        item |= {"arn": "", "code_sha256": "", "changes": []}
    if one.kind == "layer":
        item |= {"name": one.name.partition(":")[0], "arn": ""}
    if one.kind in ("queue", "http_api", "role"):
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


def _hidden(buckets: list[dict[str, Any]]) -> list[str]:
    """Warnings about directories that functions may not see."""
    return [
        f"bucket {item['name']} lies in {item['directory']}: where functions have a /tmp of their own they do not see it. "
        "Start the server with a --data-dir or --bucket outside /tmp"
        for item in buckets
        if Path(item["directory"]).is_relative_to("/tmp")  # noqa: S108
    ]
