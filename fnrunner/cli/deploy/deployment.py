"""One deployment from beginning to end. Nothing is changed before everything was read and packaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fnrunner.cli.deploy import dependency, local, parameter
from fnrunner.cli.deploy.apply import Journal, Resources, apply_functions, apply_resources
from fnrunner.cli.deploy.build import Builder
from fnrunner.cli.deploy.plan import FunctionPlan, plan_function
from fnrunner.cli.deploy.server import Server
from fnrunner.cli.deploy.spec import Stack
from fnrunner.cli.deploy.template import Situation, read_template
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
        parameters = parameter.overrides(overrides)
        home = self.server.home()
        there = Resources(frozenset(self.server.queues()), self.server.directories())
        stack = read_template(text, Situation(file, home, parameters, there.directories))
        _check_buckets(stack, there)
        packages = self._builder().build_all(stack.functions)
        journal = Journal()
        made = apply_resources(stack, self.server, there, journal)
        directories = {**there.directories, **{item["name"]: item["directory"] for item in made["buckets"]}}
        # Read again: only now are the directories of new buckets known, which variables and outputs may name.
        stack = read_template(text, Situation(file, home, parameters, directories))
        warnings = [*stack.warnings, *_hidden(made["buckets"])]
        for warning in warnings:
            self.output.note(f"warning: {warning}")
        plans = tuple(plan_function(s, packages[s.name], self.server.current(s.name)) for s in stack.functions)
        functions = self._apply(plans, journal)
        return {**functions, **made, "outputs": dict(stack.outputs), "warnings": warnings}

    def function(self, path: Path, options: local.Options) -> dict[str, Any]:
        """Deploy a folder or file with a handler. Raises UsageFault, BrokeOff."""
        current = self.server.current(local.function_name(path, options))
        spec = local.function_spec(path, options, current, self.server.home())
        plan = plan_function(spec, self._builder().build(spec), current)
        return {**self._apply((plan,), Journal()), "queues": [], "buckets": [], "outputs": {}, "warnings": []}

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
