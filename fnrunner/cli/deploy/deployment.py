"""One deployment from beginning to end. Nothing is changed before everything was read and packaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fnrunner.cli.deploy import dependency, local, parameter
from fnrunner.cli.deploy.api import ApiPlan, plan_apis
from fnrunner.cli.deploy.apply import (
    Journal,
    Resources,
    apply_apis,
    apply_functions,
    apply_resources,
    check_resources,
)
from fnrunner.cli.deploy.build import Builder
from fnrunner.cli.deploy.naming import Situation
from fnrunner.cli.deploy.package import Package
from fnrunner.cli.deploy.plan import FunctionPlan, plan_function
from fnrunner.cli.deploy.server import Server
from fnrunner.cli.deploy.spec import Stack
from fnrunner.cli.deploy.template import read_template
from fnrunner.cli.deploy.trigger import plan_triggers
from fnrunner.cli.error import UsageFault
from fnrunner.cli.output import Output


@dataclass(frozen=True, slots=True)
class Deployment:
    """``environ`` says where the cache is. Both methods give the report that ``--json`` prints."""

    server: Server
    output: Output
    environ: Mapping[str, str]
    use_cache: bool = True

    def template(self, file: Path, overrides: Sequence[str]) -> dict[str, Any]:
        """Deploy a SAM template. Raises TemplateFault, UsageFault, BrokeOff."""
        text = file.read_text()
        situation = self._situation(Situation(file, self.server.home(), parameter.overrides(overrides)))
        there = Resources(
            self.server.queues(), situation.directories, self.server.streams(), frozenset(self.server.topics())
        )
        stack = read_template(text, situation)
        _check_buckets(stack, there)
        check_resources(stack, there)
        packages = self._builder().build_all(stack.functions)
        for spec in stack.functions:
            plan_triggers(spec.triggers or (), self.server.current(spec.name, triggers=True).triggers)
        journal = Journal()
        made = apply_resources(stack, self.server, there, journal)
        warnings = [*stack.warnings, *_hidden(made["buckets"])]
        for warning in warnings:
            self.output.note(f"warning: {warning}")
        # Read again: only now are the directories of new buckets known, which variables and outputs may name.
        situation = self._situation(situation)
        plans = self._plans(read_template(text, situation), packages)
        functions = self._apply(plans, journal)
        apis = plan_apis(stack.apis, self.server.apis(), {spec.name for spec in stack.functions})
        apply_apis(apis, self.server, journal)
        # And again: only now are URLs known.
        situation = self._situation(situation)
        stack = read_template(text, situation)
        if {spec.name: spec for spec in stack.functions} != {plan.spec.name: plan.spec for plan in plans}:
            self._apply(self._plans(stack, packages), journal)
        answers = situation.apis
        return {
            **functions,
            **made,
            "http_apis": [_reported_api(plan, answers.get(plan.name, "")) for plan in apis],
            "outputs": dict(stack.outputs),
            "warnings": warnings,
        }

    def _situation(self, before: Situation) -> Situation:
        """With what the server says now."""
        apis = {api["name"]: api["endpoint"].removesuffix(f"{api['stage']}/") for api in self.server.apis()}
        return replace(before, directories=self.server.directories(), urls=self.server.urls(), apis=apis)

    def _plans(self, stack: Stack, packages: Mapping[str, Package]) -> tuple[FunctionPlan, ...]:
        return tuple(
            plan_function(spec, packages[spec.name], self.server.current(spec.name, triggers=True))
            for spec in stack.functions
        )

    def function(self, path: Path, options: local.Options) -> dict[str, Any]:
        """Deploy a folder or file with a handler. Raises UsageFault, BrokeOff."""
        current = self.server.current(local.function_name(path, options))
        spec = local.function_spec(path, options, current, self.server.home())
        plan = plan_function(spec, self._builder().build(spec), current)
        nothing: dict[str, Any] = {
            kind: [] for kind in ("streams", "queues", "topics", "buckets", "http_apis", "warnings")
        }
        return {**self._apply((plan,), Journal()), **nothing, "outputs": {}}

    def _builder(self) -> Builder:
        return Builder(dependency.cache_folder(self.environ), self.use_cache)

    def _apply(self, plans: tuple[FunctionPlan, ...], journal: Journal) -> dict[str, Any]:
        apply_functions(plans, self.server, journal, self.output.progress)
        return {"functions": [self._reported(plan) for plan in plans]}

    def _reported(self, plan: FunctionPlan) -> dict[str, Any]:
        return {
            "name": plan.spec.name,
            "action": plan.action,
            "arn": plan.arn or self.server.arn(plan.spec.name),
            "code_sha256": plan.package.code_sha256,
            "changes": [asdict(change) for change in plan.changes],
        }


def _reported_api(plan: ApiPlan, url: str) -> dict[str, Any]:
    changes = [asdict(change) for change in plan.changes]
    return {"name": plan.name, "action": plan.action, "url": url, "changes": changes}


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
