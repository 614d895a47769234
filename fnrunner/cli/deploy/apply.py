"""Carrying out a plan, in an order that leaves nothing dangling, and saying exactly how far it came.

Streams, queues, topics and buckets come before what names them; a function's asynchronous configuration before what
invokes it, so that its first event already has somewhere to fail to. Every step can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from fnrunner.cli.client import Progress
from fnrunner.cli.deploy import image
from fnrunner.cli.deploy.api import ApiPlan
from fnrunner.cli.deploy.naming import Entry
from fnrunner.cli.deploy.plan import FunctionPlan
from fnrunner.cli.deploy.server import Server
from fnrunner.cli.deploy.spec import QueueSpec, Stack
from fnrunner.cli.deploy.trigger import Change, shown
from fnrunner.cli.error import INTERRUPTED, CliError, UsageFault

QUEUE_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {"visibility_timeout_s": 30, "max_receive_count": None, "dead_letter_queue": "", "fifo": False}
)


class BrokeOff(CliError):
    """A step failed after others had been taken."""


@dataclass(slots=True)
class Journal:
    """What has been done so far, for the message when it breaks off."""

    check: Callable[[], None] = lambda: None
    steps: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Raises BrokeOff, naming the step and all before it, and what ``check`` raises before each step."""
        self.check()
        try:
            yield
        except CliError as error:
            raise self._broke_off(name, str(error), error.remedy, error.status) from error
        except KeyboardInterrupt as error:
            # as any other fault: whoever takes steps back does so
            remedy = "This step may have been done, or not. Run it again: what is done already is not done twice."
            raise self._broke_off(name, "interrupted", remedy, INTERRUPTED) from error
        self.steps.append(name)

    def _broke_off(self, name: str, why: str, remedy: str, status: int) -> BrokeOff:
        done = ", ".join(self.steps) or "nothing"
        return BrokeOff(f"{name}: {why}\nDone before that: {done}", remedy, status=status)


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


def plan_resources(stack: Stack, there: Resources) -> dict[str, list[dict[str, Any]]]:
    """What is to become of each, in the shape of the report."""

    def action(name: str, known: Collection[str]) -> str:
        return "unchanged" if name in known else "created"

    return {
        "streams": [{"name": one.name, "action": action(one.name, there.streams)} for one in stack.streams],
        "queues": [_planned(queue, there) for queue in stack.queues],
        "topics": [{"name": name, "action": action(name, there.topics)} for name in stack.topics],
        "buckets": [
            {"name": name, "action": action(name, there.directories), "directory": there.directories.get(name, "")}
            for name in stack.buckets
        ],
    }


def apply_resources(
    stack: Stack, planned: Mapping[str, list[dict[str, Any]]], server: Server, journal: Journal
) -> None:
    """Make what is not there, and describe queues anew that are to be different."""
    for stream, item in zip(stack.streams, planned["streams"], strict=True):
        if item["action"] == "created":
            with journal.step(f"stream {stream.name}"):
                server.create_stream(stream)
    for queue, item in zip(stack.queues, planned["queues"], strict=True):
        if item["action"] != "unchanged":
            with journal.step(f"queue {queue.name}"):
                server.put_queue(QueueSpec(queue.name, {**QUEUE_DEFAULTS, **queue.attributes}))
    for item in planned["topics"]:
        if item["action"] == "created":
            with journal.step(f"topic {item['name']}"):
                server.create_topic(item["name"])
    for item in planned["buckets"]:
        if item["action"] == "created":
            with journal.step(f"bucket {item['name']}"):
                item["directory"] = server.create_bucket(item["name"])


def _planned(spec: QueueSpec, there: Resources) -> dict[str, Any]:
    """A queue is described completely: attributes that the template does not give have their defaults."""
    known = there.queues.get(spec.name)
    new = {**QUEUE_DEFAULTS, **spec.attributes}
    old = new if known is None else {**QUEUE_DEFAULTS, **known}
    changes = [asdict(Change(key, shown(old.get(key)), shown(new[key]))) for key in new if old.get(key) != new[key]]
    action = "created" if known is None else "updated" if changes else "unchanged"
    return {"name": spec.name, "action": action, "changes": changes}


def apply_apis(plans: Iterable[ApiPlan], server: Server, journal: Journal) -> None:
    for plan in plans:
        if plan.action != "unchanged":
            with journal.step(f"HTTP API {plan.name}"):
                server.put_api(plan)


def publish_versions(
    plans: tuple[FunctionPlan, ...], server: Server, journal: Journal, progress: Callable[[str], Any]
) -> dict[str, str]:
    """Create and update functions, then publish those of their versions that have no number; what is remembered of these."""
    _functions(plans, server, journal, progress)
    published = {}
    for plan in plans:
        for version in (one for one in plan.spec.versions if not one.number):
            with journal.step(f"version {version.name} of {plan.spec.name}"):
                number = server.releases.publish(plan.spec.name, version)
            published[version.name] = str(Entry(plan.spec.name, number, version.said))
    return published


def apply_functions(
    plans: tuple[FunctionPlan, ...], server: Server, journal: Journal, progress: Callable[[str], Any], *, removing: bool
) -> None:
    """Create and update functions, then what belongs to them. ``progress`` makes a context manager for an upload.

    Without ``removing``, triggers that are not wanted stay: they go when the deployment can no longer fail.
    """
    _functions(plans, server, journal, progress)
    for phase in PHASES:
        for plan in plans:
            phase(plan, server, journal)
    for plan in plans:
        for step in plan.triggers:
            if step.action != "remove" or removing:
                with journal.step(f"{step.about} of {plan.spec.name}"):
                    server.apply_trigger(plan.spec.name, step)


def _functions(
    plans: tuple[FunctionPlan, ...], server: Server, journal: Journal, progress: Callable[[str], Any]
) -> None:
    for plan in plans:
        with progress(plan.spec.name) as uploading:
            _function(plan, server, journal, uploading)


def _alias(plan: FunctionPlan, server: Server, journal: Journal) -> None:
    if plan.alias and plan.spec.alias:
        with journal.step(f"alias {plan.spec.alias.name} of {plan.spec.name}"):
            code_sha256 = image.published_sha256(plan.package)
            server.releases.point_alias(plan.spec.name, plan.spec.alias, plan.version, code_sha256)


def _aliases(plan: FunctionPlan, server: Server, journal: Journal) -> None:
    for step in plan.aliases:
        with journal.step(f"alias {step.spec.name} of {plan.spec.name}"):
            server.releases.apply(plan.spec.name, step)


def _event_invoke(plan: FunctionPlan, server: Server, journal: Journal) -> None:
    if plan.event_invoke:
        with journal.step(f"asynchronous configuration of {plan.spec.name}"):
            server.put_event_invoke(plan.spec.name, plan.spec.event_invoke, plan.spec.qualifier)


def _concurrency(plan: FunctionPlan, server: Server, journal: Journal) -> None:
    if plan.concurrency:
        with journal.step(f"reserved concurrency of {plan.spec.name}"):
            server.put_concurrency(plan.spec.name, plan.spec.reserved_concurrency)


def _provisioned(plan: FunctionPlan, server: Server, journal: Journal) -> None:
    if plan.provisioned and plan.spec.alias:
        with journal.step(f"provisioned concurrency of {plan.spec.name}"):
            server.releases.put_provisioned(plan.spec.name, plan.spec.alias.name, plan.spec.alias.provisioned)


def _notifications(plan: FunctionPlan, server: Server, journal: Journal) -> None:
    if plan.notifications:
        with journal.step(f"notifications of {plan.spec.name}"):
            server.put_notifications(plan.spec.name, plan.spec.notifications or ())


def _permissions(plan: FunctionPlan, server: Server, journal: Journal) -> None:
    for wanted in plan.permitted:
        with journal.step(f"permission {wanted.id} of {plan.spec.name}"):
            server.add_permission(plan.spec.name, wanted)
    for gone in plan.forbidden:
        with journal.step(f"permission {gone.id} of {plan.spec.name}"):
            server.remove_permission(plan.spec.name, gone)


PHASES = (_alias, _aliases, _event_invoke, _concurrency, _provisioned, _notifications, _permissions)
"""What belongs to a function, in the order in which it is made: each for all functions before the next."""


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
