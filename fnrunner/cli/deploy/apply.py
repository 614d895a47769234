"""Carrying out a plan, in an order that leaves nothing dangling, and saying exactly how far it came.

Queues and buckets come before what names them; a function's asynchronous configuration before its notifications, so that
its first event already has somewhere to fail to. Every step can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fnrunner.cli.client import Progress
from fnrunner.cli.deploy.plan import Change, FunctionPlan
from fnrunner.cli.deploy.server import Server
from fnrunner.cli.deploy.spec import Stack
from fnrunner.cli.error import CliError


class BrokeOff(CliError):
    """A step failed after others had been taken. Running it again completes it."""


@dataclass(slots=True)
class Journal:
    """What has been done so far, for the report and for the message when it breaks off."""

    steps: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Raises BrokeOff, naming the step and all before it."""
        try:
            yield
        except CliError as error:
            done = ", ".join(self.steps) or "nothing"
            broke = BrokeOff(
                f"{name}: {error}\nDone before that: {done}", f"{error.remedy} Running it again completes it."
            )
            broke.status = error.status
            raise broke from error
        self.steps.append(name)


def apply_resources(stack: Stack, server: Server, there: Resources, journal: Journal) -> dict[str, Any]:
    """Create the queues and buckets that are not there. Gives what became of each, in the shape of the report."""
    queues = []
    for name in stack.queues:
        if name not in there.queues:
            with journal.step(f"queue {name}"):
                server.create_queue(name)
        queues.append({"name": name, "action": "unchanged" if name in there.queues else "created"})
    buckets = []
    for name in stack.buckets:
        directory = there.directories.get(name)
        if directory is None:
            with journal.step(f"bucket {name}"):
                directory = server.create_bucket(name)
        action = "unchanged" if name in there.directories else "created"
        buckets.append({"name": name, "action": action, "directory": directory})
    return {"queues": queues, "buckets": buckets}


@dataclass(frozen=True, slots=True)
class Resources:
    """Queues and buckets that the server has."""

    queues: frozenset[str]
    directories: dict[str, str]


def apply_functions(
    plans: tuple[FunctionPlan, ...], server: Server, journal: Journal, progress: Callable[[str], Any]
) -> None:
    """Create and update functions, then what belongs to them. ``progress`` makes a context manager for an upload."""
    for plan in plans:
        with progress(plan.spec.name) as uploading:
            _function(plan, server, journal, uploading)
    for plan in plans:
        if plan.event_invoke:
            with journal.step(f"asynchronous configuration of {plan.spec.name}"):
                server.put_event_invoke(plan.spec.name, plan.spec.event_invoke)
    for plan in plans:
        if plan.concurrency:
            with journal.step(f"reserved concurrency of {plan.spec.name}"):
                server.put_concurrency(plan.spec.name, plan.spec.reserved_concurrency)
    for plan in plans:
        if plan.notifications:
            with journal.step(f"notifications of {plan.spec.name}"):
                server.put_notifications(plan.spec.name, plan.spec.notifications or ())


def _function(plan: FunctionPlan, server: Server, journal: Journal, uploading: Progress) -> None:
    spec = plan.spec
    if plan.creates:
        with journal.step(f"function {spec.name}"):
            server.create(spec, plan.package, uploading)
        return
    if plan.code:
        with journal.step(f"code of {spec.name}"):
            server.update_code(spec, plan.package, uploading)
    if plan.configuration:
        with journal.step(f"configuration of {spec.name}"):
            server.update_configuration(spec)
    if plan.tags:
        with journal.step(f"tags of {spec.name}"):
            server.update_tags(plan.arn, spec.tags or {}, [_tag(c) for c in plan.tags if c.new is None])


def _tag(change: Change) -> str:
    return change.key.removeprefix("Tags.")
