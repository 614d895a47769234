"""What has to change is the difference of what is wanted and what is there, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fnrunner.cli.deploy.package import Entry, Package, pack
from fnrunner.cli.deploy.plan import Change, Current, FunctionPlan, configuration_changes, plan_function
from fnrunner.cli.deploy.spec import CodeSource, FunctionSpec, NotificationSpec

PACKAGE = pack({"app.py": Entry(b"def handler(event, context): ...")})
SPEC = FunctionSpec(
    "f",
    CodeSource(),
    {"MemorySize": 128, "Environment": {"Variables": {"KEY": "v"}}, "DeadLetterConfig": {"TargetArn": ""}},
    architecture="x86_64",
    tags={"team": "a"},
    notifications=(NotificationSpec("E", "photos", ("s3:ObjectCreated:*",), "", ".jpg"),),
    event_invoke={"MaximumRetryAttempts": 1, "DestinationConfig": {"OnFailure": {"Destination": "arn:q"}}},
    reserved_concurrency=2,
    whole=True,
)
THERE = Current(
    {
        "FunctionArn": "arn:f",
        "CodeSha256": PACKAGE.code_sha256,
        "MemorySize": 128,
        "Environment": {"Variables": {"KEY": "v"}},
        "Architectures": ["x86_64"],
    },
    tags={"team": "a"},
    reserved_concurrency=2,
    event_invoke={
        "FunctionArn": "arn:f:$LATEST",
        "LastModified": 1.5,
        "MaximumRetryAttempts": 1,
        "DestinationConfig": {"OnSuccess": {}, "OnFailure": {"Destination": "arn:q"}},
    },
    notifications=(
        {
            "id": "f-E",
            "bucket": "photos",
            "function": "f",
            "events": ["s3:ObjectCreated:*"],
            "prefix": "",
            "suffix": ".jpg",
        },
    ),
)


def plan(spec: FunctionSpec = SPEC, current: Current = THERE, package: Package = PACKAGE) -> FunctionPlan:
    return plan_function(spec, package, current)


def changed(**fields: Any) -> list[str]:
    return [str(change) for change in plan(replace(SPEC, **fields)).changes]


def test_what_is_as_wanted_is_unchanged() -> None:
    assert (plan().action, plan().changes) == ("unchanged", ())


def test_a_function_that_is_not_there_is_created_with_all_that_belongs_to_it() -> None:
    created = plan(current=Current())
    assert (created.action, created.code, created.configuration, created.tags) == ("created", (), (), ())
    assert created.event_invoke
    assert created.concurrency == (Change("ReservedConcurrentExecutions", None, "2"),)
    assert created.notifications == (Change("Events.f-E", None, "photos s3:ObjectCreated:* *.jpg"),)


def test_other_code_is_a_change_of_its_digest() -> None:
    other = pack({"app.py": Entry(b"x = 1")})
    assert plan(package=other).code == (Change("CodeSha256", PACKAGE.code_sha256, other.code_sha256),)


def test_each_changed_key_is_named_with_old_and_new() -> None:
    wanted = {**SPEC.configuration, "MemorySize": 256}
    assert changed(configuration=wanted) == ["MemorySize: 128 -> 256"]


def test_values_of_variables_are_never_shown() -> None:
    before = {"Environment": {"Variables": {"KEPT": "1", "GONE": "secret", "OTHER": "secret"}}}
    wanted = {"Environment": {"Variables": {"KEPT": "1", "OTHER": "s2", "NEW": "s3"}}}
    changes = configuration_changes(wanted, before)
    assert {change.key.rpartition(".")[2] for change in changes} == {"GONE", "OTHER", "NEW"}
    assert all(text in (None, "(not shown)") for change in changes for text in (change.old, change.new))


def test_a_template_takes_away_what_it_does_not_name() -> None:
    fields: dict[str, Any] = {"reserved_concurrency": None, "event_invoke": None, "tags": {}, "notifications": ()}
    assert changed(**fields) == [
        "Tags.team: a -> -",
        "EventInvokeConfig.MaximumRetryAttempts: 1 -> -",
        "EventInvokeConfig.DestinationConfig.OnFailure.Destination: arn:q -> -",
        "ReservedConcurrentExecutions: 2 -> -",
        "Events.f-E: photos s3:ObjectCreated:* *.jpg -> -",
    ]


def test_the_command_line_leaves_alone_what_it_does_not_name() -> None:
    nothing: dict[str, Any] = {"reserved_concurrency": None, "event_invoke": None, "tags": None, "notifications": None}
    assert changed(**nothing, whole=False, configuration={}, architecture="") == []


def test_a_dead_letter_queue_that_goes_is_a_change_and_none_at_all_is_not() -> None:
    wanted = {"DeadLetterConfig": {"TargetArn": ""}}
    assert configuration_changes(wanted, {}) == ()
    assert configuration_changes(wanted, {"DeadLetterConfig": {"TargetArn": "arn:q"}}) == (
        Change("DeadLetterConfig.TargetArn", "arn:q", None),
    )


def test_reserved_concurrency_zero_is_not_the_same_as_none() -> None:
    assert changed(reserved_concurrency=0) == ["ReservedConcurrentExecutions: 2 -> 0"]
