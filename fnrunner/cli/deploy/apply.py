"""Carrying out a plan, in an order that leaves nothing dangling, and saying exactly how far it came.

Streams, queues, topics and buckets come before what names them; a function's asynchronous configuration before what
invokes it, so that its first event already has somewhere to fail to. Every step can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from fnrunner.cli.client import Progress
from fnrunner.cli.deploy.api import ApiPlan
from fnrunner.cli.deploy.plan import FunctionPlan
from fnrunner.cli.deploy.server import Server
from fnrunner.cli.deploy.spec import QueueSpec, Stack
from fnrunner.cli.deploy.trigger import Change, shown
from fnrunner.cli.error import CliError, UsageFault

QUEUE_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {"visibility_timeout_s": 30, "max_receive_count": None, "dead_letter_queue": "", "fifo": False}
)


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


@dataclass(frozen=True, slots=True)
class Resources:
    """What the server has: queues with their attributes, streams with the number of their partitions, topics, and buckets
    with their directories."""

    queues: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    directories: Mapping[str, str] = field(default_factory=dict)
    streams: Mapping[str, int] = field(default_factory=dict)
    topics: frozenset[str] = frozenset()


def check_resources(stack: Stack, there: Resources) -> None:
    """What cannot be changed is as the template wants it. Raises UsageFault."""
    for spec in stack.streams:
        if (partitions := there.streams.get(spec.name, spec.partitions)) != spec.partitions:
            raise UsageFault(
                f"The stream {spec.name} has {partitions} partitions and the template wants ShardCount {spec.partitions}: the "
                "number cannot change",
                "Leave ShardCount as it was, or give the stream another Name.",
            )


def apply_resources(stack: Stack, server: Server, there: Resources, journal: Journal) -> dict[str, Any]:
    """Create what is not there. Gives what became of each, in the shape of the report."""
    streams = []
    for stream in stack.streams:
        if stream.name not in there.streams:
            with journal.step(f"stream {stream.name}"):
                server.create_stream(stream)
        streams.append({"name": stream.name, "action": "unchanged" if stream.name in there.streams else "created"})
    queues = [_queue(queue, server, there, journal) for queue in stack.queues]
    topics = []
    for name in stack.topics:
        if name not in there.topics:
            with journal.step(f"topic {name}"):
                server.create_topic(name)
        topics.append({"name": name, "action": "unchanged" if name in there.topics else "created"})
    buckets = []
    for name in stack.buckets:
        directory = there.directories.get(name)
        if directory is None:
            with journal.step(f"bucket {name}"):
                directory = server.create_bucket(name)
        action = "unchanged" if name in there.directories else "created"
        buckets.append({"name": name, "action": action, "directory": directory})
    return {"streams": streams, "queues": queues, "topics": topics, "buckets": buckets}


def _queue(spec: QueueSpec, server: Server, there: Resources, journal: Journal) -> dict[str, Any]:
    """A queue is described completely: attributes that the template does not give have their defaults."""
    known = there.queues.get(spec.name)
    new = {**QUEUE_DEFAULTS, **spec.attributes}
    old = new if known is None else {**QUEUE_DEFAULTS, **known}
    changes = [asdict(Change(key, shown(old.get(key)), shown(new[key]))) for key in new if old.get(key) != new[key]]
    if known is None or changes:
        with journal.step(f"queue {spec.name}"):
            server.put_queue(QueueSpec(spec.name, new))
    action = "created" if known is None else "updated" if changes else "unchanged"
    return {"name": spec.name, "action": action, "changes": changes}


def apply_apis(plans: Iterable[ApiPlan], server: Server, journal: Journal) -> None:
    for plan in plans:
        if plan.action != "unchanged":
            with journal.step(f"HTTP API {plan.name}"):
                server.put_api(plan)


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
    for plan in plans:
        for step in plan.triggers:
            with journal.step(f"{step.about} of {plan.spec.name}"):
                server.apply_trigger(plan.spec.name, step)


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
