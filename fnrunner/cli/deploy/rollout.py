"""The life of a deployment as a stack's record tells it: every step is written down before it is taken.

```
complete ──► deploying ──► cleaning ──► complete          what fails, or is found broken off, while deploying goes back;
                 └──────────────────────────┘             while cleaning or deleting it goes on to the end.
```

Nothing is taken away before the new revision is in place and has been written down as the current one: until then the
way back is open, and loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fnrunner.cli.deploy import baseline, export
from fnrunner.cli.deploy.apply import Journal
from fnrunner.cli.deploy.convergence import LAYER_CODE, Code, Convergence, Done, add_leaving
from fnrunner.cli.deploy.package import Package
from fnrunner.cli.deploy.spec import Stack
from fnrunner.cli.deploy.stack_record import KINDS, Owned, Record, Revision, Status, owned_by
from fnrunner.cli.deploy.stack_server import Hold, StackServer
from fnrunner.cli.error import CliError, UsageFault


class WentBack(CliError):
    """A deployment failed, and everything is as it was before."""


class Stuck(CliError):
    """A deployment failed, and so did going back."""


class NotCleaned(CliError):
    """What was deployed is in place, and what has left the template could not be taken away."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One stack that is held."""

    convergence: Convergence
    stacks: StackServer
    hold: Hold

    def deploy(self, record: Record, target: Revision, code: Code, stack: Stack) -> tuple[Record, dict[str, Any]]:
        """The new record and the report. Raises WentBack, Stuck."""
        begun = self._begin(record, target, stack)
        try:
            # Looked at once more: now all others see what this one wants.
            export.check(begun, stack.exports, target.imports, self.stacks.others(record.name))
            ran = self.convergence.run(target, code, Journal(self.hold.check), removing=False)
        except CliError as error:
            self._went_back(begun, error)
        report = ran.report
        done = self._commit(begun, ran)
        try:
            finished, gone = self.clean(done, ran.stack, code, leftovers=ran.leftovers)
        except CliError as error:
            raise NotCleaned(
                f"{error}\nThe new revision is deployed; something that has left the template is still there.",
                f"{error.remedy} Then run it again, or `fnrunner stack recover {self.convergence.name}`.",
                status=error.status,
            ) from error
        add_leaving(report, gone)
        return finished, report

    def _begin(self, record: Record, target: Revision, stack: Stack) -> Record:
        there = self._there(stack)
        wanted = owned_by(stack)
        creating = tuple(one for one in wanted if one not in there and one not in record.owned)
        strangers = [one for one in wanted if one in there and one not in record.owned]
        if roles := [one.name for one in strangers if one.kind == "role"]:
            raise UsageFault(
                f"There is a role already that no stack has made: {', '.join(roles)}",
                "Name it as the Role of the function, or give this one another RoleName.",
            )
        if policies := [one.name for one in strangers if one.kind == "policy"]:
            raise UsageFault(
                f"There is a policy already that no stack has made: {', '.join(policies)}",
                "Name its ARN where it is needed, or give this one another ManagedPolicyName.",
            )
        adopted = baseline.remembered(self.convergence.server, strangers)
        begun = replace(
            record,
            status=Status.DEPLOYING,
            target=target,
            creating=creating,
            adopted=adopted,
            numbers=self._numbers(stack),
        )
        self.hold.save(begun)
        return begun

    def _there(self, stack: Stack) -> set[Owned]:
        server = self.convergence.server
        there = {Owned("function", spec.name) for spec in stack.functions if server.current(spec.name).exists}
        # versions that have a number are there
        there |= {one for one in owned_by(stack) if one.kind == "version"}
        there |= {
            Owned("alias", f"{spec.name}:{alias}")
            for spec in stack.functions
            for alias in server.releases.states(spec.name, (one.name for one in spec.aliases))
        }
        there |= {Owned("queue", name) for name in server.queues()} | {
            Owned("stream", name) for name in server.streams()
        }
        there |= {Owned("topic", name) for name in server.topics()}
        there |= {Owned("bucket", name) for name in server.directories()}
        there |= {Owned("role", role.name) for role in stack.roles if server.roles.there(role.name)}
        there |= {Owned("policy", one.name) for one in stack.policies if server.roles.policies.there(one.arn)}
        there |= {
            Owned("layer", f"{layer.name}:{layer.digest}")
            for layer in stack.layers
            if server.layer_arn(layer.name, layer.digest)
        }
        return there | {Owned("http_api", api["name"]) for api in server.apis()}

    def _numbers(self, stack: Stack) -> dict[str, tuple[str, ...]]:
        """Of the functions that versions are to be published of."""
        releasing = [spec.name for spec in stack.functions if any(not one.number for one in spec.versions)]
        return {name: self.convergence.server.releases.numbers(name) for name in releasing}

    def _commit(self, begun: Record, ran: Done) -> Record:
        assert begun.target is not None
        versions = {
            spec.name: f"{spec.alias.name}:{there.version}"
            for spec in ran.stack.functions
            if spec.alias and (there := self.convergence.server.releases.alias(spec.name, spec.alias.name))
        }
        made = (*begun.creating, *_published(begun, ran.stack), *baseline.taken_over(begun.adopted))
        done = replace(
            begun, status=Status.CLEANING, target=None, creating=(), adopted={}, numbers={},
            current=replace(begun.target, versions=versions, published=ran.published), previous=begun.current,
            owned=tuple(dict.fromkeys((*begun.owned, *made))), outputs=dict(ran.report["outputs"]),
            exports=dict(ran.stack.exports),
        )  # fmt: skip
        self.hold.save(done)
        return done

    def clean(self, record: Record, stack: Stack, code: Code, *, leftovers: bool = True) -> tuple[Record, list[Owned]]:
        """Take away what has left the template; what went. A step that fails is repeated by the next deployment.

        Without ``leftovers``, no triggers and routes have to go.
        """
        assert record.current is not None
        journal = Journal(self.hold.check)
        if leftovers:
            self.convergence.run(record.current, code, journal, removing=True)
        self._remove_aliases(record, stack, journal)
        gone = leaving(record.owned, stack, retained_before(record, self.convergence))
        kept = set(owned_by(stack))
        self._remove(gone, journal)
        finished = replace(
            record, status=Status.COMPLETE, owned=tuple(one for one in record.owned if one in kept), previous=None
        )
        self.hold.save(finished)
        return finished, gone

    def _remove_aliases(self, record: Record, stack: Stack, journal: Journal) -> None:
        """Those that the revision before published and this one does not want."""
        routed = {one.name for one in owned_by(stack) if one.kind == "alias"}
        before, now = (record.previous.versions if record.previous else {}), record.current and record.current.versions
        for function, text in before.items():
            alias = text.rpartition(":")[0]
            if alias != (now or {}).get(function, "").rpartition(":")[0] and f"{function}:{alias}" not in routed:
                with journal.step(f"alias {alias} of {function}"):
                    self.convergence.server.releases.remove_alias(function, alias)

    def _remove(self, gone: list[Owned], journal: Journal) -> None:
        for one in sorted(gone, key=lambda one: KINDS.index(one.kind)):
            with journal.step(f"{one.kind.replace('_', ' ')} {one.name}"):
                self.convergence.server.remove(one)

    def recover(self, record: Record) -> Record | None:
        """Bring what broke off to one of its ends; the record then, or None when nothing is left. Raises BrokeOff."""
        match record.status:
            case Status.DEPLOYING:
                return self.go_back(record)
            case Status.CLEANING:
                assert record.current is not None
                stack = self.convergence.read(record.current)
                return self.clean(record, stack, self.code_of(record.current))[0]
            case Status.DELETING:
                self.delete(record)
                return None
            case Status.COMPLETE:
                return record

    def go_back(self, record: Record) -> Record | None:
        """To the current revision. Raises BrokeOff."""
        journal = Journal(self.hold.check)
        if record.current is not None:
            self.convergence.run(record.current, self.code_of(record.current), journal, removing=True)
        baseline.put_back_resources(record.adopted, self.convergence.server, journal)
        for spec, digest in baseline.specs(record.adopted):
            self.convergence.put_back(spec, self._package(spec.name, digest), journal)
        self._remove(list(record.creating), journal)
        self._unpublish(record, journal)
        if record.current is None:
            self.hold.remove()
            return None
        back = replace(record, status=Status.COMPLETE, target=None, creating=(), adopted={}, numbers={})
        self.hold.save(back)
        return back

    def _unpublish(self, record: Record, journal: Journal) -> None:
        """The versions that the deployment has published: those of its code that were not there when it began."""
        releases = self.convergence.server.releases
        for name, before in record.numbers.items():
            ours = record.target.code_sha256(name) if record.target else ""
            for number in sorted({*releases.numbers(name)} - {*before}):
                if releases.code_sha256(name, number) == ours:
                    with journal.step(f"version {number} of {name}"):
                        releases.remove_version(name, number)

    def _went_back(self, begun: Record, error: CliError) -> None:
        name = self.convergence.name
        try:
            self.go_back(begun)
        except CliError as second:
            stuck = Stuck(
                f"{error}\nGoing back failed too: {second}",
                f"{error.remedy} Then run it again, or go back with `fnrunner stack recover {name}`.",
                status=error.status,
            )
            raise stuck from error
        raise WentBack(
            f"{error}\nEverything was put back as it was before.", error.remedy, status=error.status
        ) from error

    def delete(self, record: Record) -> None:
        """Everything that the stack made, and the stack. Raises BrokeOff."""
        if record.status is not Status.DELETING:
            export.check_unused(record.exports, self.stacks.others(record.name))
            before, record = record, replace(record, status=Status.DELETING)
            self.hold.save(record)
            try:
                # From now on nobody imports from it; somebody may have begun to just before.
                export.check_unused(record.exports, self.stacks.others(record.name))
            except UsageFault:
                self.hold.save(before)
                raise
        retained = retained_before(record, self.convergence)
        self._remove([one for one in record.owned if one not in retained], Journal(self.hold.check))
        self.hold.remove()

    def code_of(self, revision: Revision) -> Code:
        def package(name: str) -> Package:
            if name.startswith(LAYER_CODE):
                return self.stacks.download(self.convergence.name, revision.layers[name.removeprefix(LAYER_CODE)])
            return self._package(name, revision.code[name])

        return package

    def _package(self, function: str, digest: str) -> Package:
        """What the function has already need not be fetched."""
        sha256 = Revision("", "", code={function: digest}).code_sha256(function)
        if self.convergence.server.current(function).configuration.get("CodeSha256") == sha256:
            return Package(b"", sha256, frozenset())
        return self.stacks.download(self.convergence.name, digest)


def leaving(owned: tuple[Owned, ...], stack: Stack, retained: frozenset[Owned]) -> list[Owned]:
    """What a stack owns and does not want any more, but for what is to stay then."""
    wanted = set(owned_by(stack))
    # an alias of the same name that AutoPublishAlias makes takes its place
    wanted |= {Owned("alias", f"{spec.name}:{spec.alias.name}") for spec in stack.functions if spec.alias}
    return [one for one in owned if one not in wanted and one not in retained]


def _published(begun: Record, stack: Stack) -> list[Owned]:
    """The versions that were not there when the deployment began."""
    before = {Owned("version", f"{name}:{number}") for name, numbers in begun.numbers.items() for number in numbers}
    return [one for one in owned_by(stack) if one.kind == "version" and one not in before and one not in begun.owned
            and one.name.partition(":")[0] in begun.numbers]  # fmt: skip


def retained_before(record: Record, convergence: Convergence) -> frozenset[Owned]:
    """What the last template that had it says is to stay when it leaves."""
    revisions = [one for one in (record.previous, record.current) if one is not None]
    return frozenset(Owned(*one) for revision in revisions for one in convergence.read(revision).retained)
