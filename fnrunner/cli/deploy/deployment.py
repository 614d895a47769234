"""One deployment from beginning to end. Nothing is changed before everything was read, packaged, compared and agreed to."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from fnrunner.cli.client import Client
from fnrunner.cli.deploy import dependency, export, interpreter, judge, local
from fnrunner.cli.deploy.apply import Journal, apply_functions
from fnrunner.cli.deploy.build import Builder
from fnrunner.cli.deploy.convergence import LAYER_CODE, LISTS, Convergence, Preview
from fnrunner.cli.deploy.conversion import implicit_rest_api
from fnrunner.cli.deploy.event import IMPLICIT_API
from fnrunner.cli.deploy.judge import Judge
from fnrunner.cli.deploy.package import Package
from fnrunner.cli.deploy.plan import FunctionPlan, plan_function
from fnrunner.cli.deploy.rollout import Rollout, leaving, retained_before
from fnrunner.cli.deploy.server import Server
from fnrunner.cli.deploy.spec import Stack
from fnrunner.cli.deploy.stack_record import Owned, Record, Revision, Status, owned_by
from fnrunner.cli.deploy.stack_server import StackServer
from fnrunner.cli.error import INTERRUPTED, CliError, UsageFault
from fnrunner.cli.output import Output

Agree = Callable[[Mapping[str, Any]], bool]
"""Asked with the report of what would be done; False: leave everything as it is."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A template to deploy, and how. ``stack`` empty: the folder's name. ``yes``: what holds data may go too."""

    file: Path
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    stack: str = ""
    dry_run: bool = False
    yes: bool = False

    @property
    def name(self) -> str:
        return self.stack or self.file.absolute().parent.name or "root"

    @property
    def origin(self) -> str:
        """Where the template lies, for whoever comes from elsewhere."""
        return f"{socket.gethostname()}:{self.file.absolute()}"


class Declined(CliError):
    """Nothing was changed."""


class Interrupted(CliError):
    """A deployment was interrupted between two steps."""


class MeanwhileChanged(CliError):
    """Somebody else has deployed the stack while this was being prepared."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """``environ`` says where the cache is. The report that ``template`` and ``function`` give is what ``--json`` prints.

    ``on_plans`` is told what is deployed now, with each function's package and where that was made from.
    """

    server: Server
    stacks: StackServer
    output: Output
    environ: Mapping[str, str]
    use_cache: bool = True
    agree: Agree = lambda report: True
    on_plans: Callable[[tuple[FunctionPlan, ...]], None] = lambda plans: None

    @classmethod
    def at(cls, endpoint_url: str, output: Output, environ: Mapping[str, str], **rest: Any) -> Deployment:
        """With the server at a URL."""
        client = Client(endpoint_url)
        return cls(Server(client), StackServer(client), output, environ, **rest)

    def template(self, wish: Wish, prepared: Judge | None = None) -> dict[str, Any]:
        """Deploy a SAM template; a judge that is ``prepared`` is closed. Raises TemplateFault, UsageFault, JudgeFailed,
        StackInUse, WentBack, NotCleaned."""
        text = wish.file.read_text()
        with closing(prepared or Judge(judge.cache_folder(self.environ), text, use_cache=self.use_cache)) as asked:
            if self.server.enforces():
                # roles are made, for which the translator is imported here anyway
                asked.close()
            return self._template(wish, text, asked)

    def _template(self, wish: Wish, text: str, asked: Judge) -> dict[str, Any]:
        record = self._settled(wish)
        owners = self.stacks.owners()
        target = Revision(
            text, wish.file.name, wish.parameters, origin=wish.origin,
            implicit_api=implicit_api_of(record, owners), published=record.current.published if record.current else {},
        )  # fmt: skip
        convergence = self._convergence(record, wish.name)
        stack = convergence.read(target, wish.file)
        assert stack.case is not None
        asked.ask(stack.case)
        _check_owners(owned_by(stack), owners, wish.name)
        builder = Builder(dependency.cache_folder(self.environ), self.use_cache)
        functions, layers = builder.build_all(stack.functions), builder.build_layers(stack.layers)
        packages = {**functions, **{f"{LAYER_CODE}{name}": package for name, package in layers.items()}}
        target = replace(
            target, code={name: one.digest for name, one in functions.items()},
            layers={name: one.digest for name, one in layers.items()},
            imports=tuple(sorted(stack.imports)), exports=tuple(sorted(stack.exports)),
        )  # fmt: skip
        if layers:
            # Read again: only now is it known which version of a layer has the content.
            stack = convergence.read(target, wish.file)
        if stack.exports or stack.imports or record.exports:
            export.check(record, stack.exports, stack.imports, self.stacks.others(wish.name))
        gone = leaving(record.owned, stack, retained_before(record, convergence))
        preview = convergence.preview(stack, packages.__getitem__, tuple(gone))
        workers = self.server.workers()
        interpreter.check_known(stack.functions, workers)
        asked.check()
        preview = _warned(preview, interpreter.warnings(stack.functions, workers))
        _check_gone(gone, wish, record)
        if not wish.yes and not wish.dry_run:
            interpreter.check_kept(preview.report["functions"], workers)
        nothing = preview.changes_nothing and record.current is not None
        if wish.dry_run or (nothing and target.same_as(record.current)):
            self._tell(stack, packages)
            return self._report(preview.report, wish, changed=False)
        for warning in preview.report["warnings"]:
            self.output.note(f"warning: {warning}")
        if not nothing and not self.agree(preview.report):
            raise Declined("Nothing was changed.")
        report = self._roll_out(wish, record, target, packages, preview, convergence)
        self._tell(stack, packages)
        return report

    def _tell(self, stack: Stack, packages: Mapping[str, Package]) -> None:
        self.on_plans(tuple(FunctionPlan(spec, packages[spec.name], "", False) for spec in stack.functions))

    def _roll_out(
        self,
        wish: Wish,
        planned: Record,
        target: Revision,
        packages: Mapping[str, Package],
        preview: Preview,
        convergence: Convergence,
    ) -> dict[str, Any]:
        with self.stacks.held(wish.name) as (hold, record):
            if record.revision != planned.revision:
                raise MeanwhileChanged(f"The stack {wish.name} has been deployed meanwhile", "Run it again.")
            for package in packages.values():
                hold.check()
                self.stacks.upload(package)
            rollout = Rollout(convergence, self.stacks, hold)
            with _interrupted(wish.name):
                _, report = rollout.deploy(record, target, packages.__getitem__, preview.stack)
        for warning in set(report["warnings"]) - set(preview.report["warnings"]):
            self.output.note(f"warning: {warning}")
        warnings = list(dict.fromkeys((*report["warnings"], *preview.report["warnings"])))
        return self._report({**report, "warnings": warnings}, wish, changed=True)

    def _settled(self, wish: Wish) -> Record:
        """The stack's record, after what broke off has been brought to an end."""
        record = self.stacks.find(wish.name)
        if record.status is Status.COMPLETE or wish.dry_run:
            return record
        self.recover(wish.name)
        return self.stacks.find(wish.name)

    def recover(self, name: str) -> Record | None:
        """Bring a deployment that broke off to an end: back to what was there before it, or, where it had come further
        than that, to its own. None: nothing is left. Raises StackInUse, BrokeOff.
        """
        with self.stacks.held(name) as (hold, record):
            if record.status is Status.COMPLETE:
                return record
            self.output.note(
                f"stack {name}: a deployment broke off while {record.status.value}; bringing it to an end first"
            )
            with _interrupted(name):
                return Rollout(self._convergence(record, name), self.stacks, hold).recover(record)

    def delete(self, name: str, agree: Callable[[Record], bool]) -> list[Owned]:
        """Take away everything that the stack made, and forget it; what went. Raises Declined, StackInUse, BrokeOff."""
        record = self.stacks.find(name)
        if record.revision == 0:
            raise UsageFault(f"There is no stack {name}", "`fnrunner stack ls` lists them.")
        if record.status is Status.DEPLOYING and (back := self.recover(name)) is None:
            return []
        if not agree(back if record.status is Status.DEPLOYING and back else record):
            raise Declined("Nothing was changed.")
        with self.stacks.held(name) as (hold, now):
            Rollout(self._convergence(now, name), self.stacks, hold).delete(now)
        return list(now.owned)

    def _convergence(self, record: Record, name: str) -> Convergence:
        functions = [one.name for one in (*record.owned, *record.creating) if one.kind == "function"]
        others = partial(self.stacks.others, name)
        return Convergence(self.server.owning(functions), self.output, name, others)

    def _report(self, report: Mapping[str, Any], wish: Wish, *, changed: bool) -> dict[str, Any]:
        return {**{kind: report[kind] for kind in LISTS}, "outputs": report["outputs"], "warnings": report["warnings"],
                "stack": wish.name, "changed": changed, "dry_run": wish.dry_run}  # fmt: skip

    def function(self, path: Path, options: local.Options, *, yes: bool = False) -> dict[str, Any]:
        """Deploy a folder or file with a handler, or a zip. ``yes``: also where no worker has its new runtime.

        Raises UsageFault, BrokeOff.
        """
        current, workers = self.server.current(local.function_name(path, options)), self.server.workers()
        local.check_zip(path, options, current)
        usual = interpreter.chosen(local.this_runtime(), workers)
        spec = local.function_spec(path, options, current, self.server.home(), usual)
        interpreter.check_known((spec,), workers)
        builder = Builder(dependency.cache_folder(self.environ), self.use_cache)
        plan = plan_function(spec, builder.build(spec), current)
        convergence = Convergence(self.server, self.output, "")
        if not yes:
            interpreter.check_kept([convergence.reported(plan)], workers)
        if usual != local.this_runtime() and not (options.runtime or current.exists):
            self.output.note(f"{spec.name} gets {usual}: the workers do not have {local.this_runtime()}, which this is")
        warnings = interpreter.warnings((spec,), workers)
        for warning in warnings:
            self.output.note(f"warning: {warning}")
        apply_functions((plan,), self.server, Journal(), self.output.progress, removing=False)
        self.on_plans((plan,))
        nothing: dict[str, Any] = {kind: [] for kind in LISTS}
        return {**nothing, "functions": [convergence.reported(plan)], "outputs": {}, "warnings": warnings}


@contextmanager
def _interrupted(name: str) -> Iterator[None]:
    """Raises Interrupted for what was interrupted between two steps; a step tells that itself."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"Interrupted while the stack {name} was deployed",
            f"Run it again, or `fnrunner stack recover {name}`: either brings it to an end first.",
            status=INTERRUPTED,
        ) from error


def _warned(preview: Preview, more: list[str]) -> Preview:
    return replace(preview, report={**preview.report, "warnings": [*preview.report["warnings"], *more]})


def implicit_api_of(record: Record, owners: Mapping[Owned, str]) -> str:
    """The name of the API of routes that name none: SAM's, but that another stack may have it already, or its REST API's."""
    usual = Owned("http_api", IMPLICIT_API.lower())
    both = (usual, Owned(usual.kind, implicit_rest_api(usual.name)))
    if record.current is not None and record.current.implicit_api:
        return record.current.implicit_api
    if all(owners.get(one, record.name) == record.name for one in both):
        return usual.name
    label = "".join(char if char.isalnum() else "-" for char in record.name.lower())
    return f"{label[: 62 - len(usual.name)]}-{usual.name}".strip("-")


def _check_owners(wanted: Sequence[Owned], owners: Mapping[Owned, str], name: str) -> None:
    taken = [(one, owners[one]) for one in wanted if owners.get(one, name) != name]
    if taken:
        said = "\n".join(
            f"The {one.kind.replace('_', ' ')} {one.name} belongs to the stack {owner}" for one, owner in taken
        )
        raise UsageFault(
            said,
            "Give it another name, such as !Sub ${AWS::StackName}-NAME, or delete that stack with `fnrunner stack rm`.",
        )


def _check_gone(gone: Sequence[Owned], wish: Wish, record: Record) -> None:
    """What is taken away by mistake cannot be had back: two folders of one name, a queue with messages."""
    if wish.yes or wish.dry_run or not gone:
        return
    names = ", ".join(f"{one.kind.replace('_', ' ')} {one.name}" for one in gone)
    if not wish.stack and record.current and record.current.origin != wish.origin:
        raise UsageFault(
            f"The stack {wish.name} was deployed from {record.current.origin}. Deploying this one in its place would take "
            f"away: {names}",
            "Is it another one? Give it a name of its own with --stack-name. Otherwise say --yes.",
        )
    if data := [one for one in gone if one.kind in ("queue", "stream")]:
        held = ", ".join(f"{one.kind} {one.name}" for one in data)
        raise UsageFault(
            f"Left the template, and would go with all that is in it: {held}",
            "Say --yes to take it away, or give it DeletionPolicy: Retain before it leaves.",
        )
