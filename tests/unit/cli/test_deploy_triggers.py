"""What invokes a function is compared by kind and key; steps have an order, and what cannot change is refused."""

from __future__ import annotations

from typing import Any

import pytest

from fnrunner.cli.deploy.api import plan_apis
from fnrunner.cli.deploy.conversion import mapping_key, mapping_parameters
from fnrunner.cli.deploy.spec import ApiSpec, RouteSpec
from fnrunner.cli.deploy.trigger import CannotChange, Kind, TriggerSpec, TriggerThere, plan_triggers


def spec(
    name: str, key: str, kind: Kind = Kind.MAPPING, fixed: dict[str, Any] | None = None, **body: Any
) -> TriggerSpec:
    return TriggerSpec(kind, name, key, body, fixed or {})


def there(key: str, kind: Kind = Kind.MAPPING, fixed: dict[str, Any] | None = None, **body: Any) -> TriggerThere:
    return TriggerThere(kind, key, f"id-{key}", body, fixed or {})


def test_what_is_as_wanted_takes_no_step() -> None:
    assert plan_triggers([spec("E", "a", size=1)], [there("a", size=1)]) == ()


def test_what_has_left_goes_first_and_what_is_new_comes_in_the_order_of_kinds() -> None:
    steps = plan_triggers(
        [spec("S", "s", Kind.SCHEDULE), spec("M", "m", size=2), spec("U", "", Kind.URL), spec("N", "n", size=1)],
        [there("m", size=1), there("old", Kind.SUBSCRIPTION)],
    )
    assert [(step.action, step.about) for step in steps] == [
        ("remove", "topic subscription old"),
        ("create", "function URL"),
        ("update", "event source mapping m"),
        ("create", "event source mapping n"),
        ("create", "schedule s"),
    ]
    assert [str(change) for change in steps[2].changes] == ["Events.M.size: 1 -> 2"]


def test_the_same_key_of_another_kind_is_another_trigger() -> None:
    steps = plan_triggers([spec("S", "a", Kind.SCHEDULE)], [there("a", Kind.SUBSCRIPTION)])
    assert [step.action for step in steps] == ["remove", "create"]


def test_where_to_start_cannot_change_and_the_message_says_what_to_do() -> None:
    with pytest.raises(CannotChange) as caught:
        plan_triggers(
            [spec("E", "a", fixed={"StartingPosition": "LATEST"})],
            [there("a", fixed={"StartingPosition": "TRIM_HORIZON"})],
        )
    assert "StartingPosition of the event source mapping id-a is TRIM_HORIZON and cannot become LATEST" in str(
        caught.value
    )
    assert "fnrunner mapping rm id-a" in caught.value.remedy


def test_a_window_that_was_given_cannot_go_back_to_half_a_second() -> None:
    with pytest.raises(CannotChange, match="cannot become its default"):
        plan_triggers([spec("E", "a", window=None)], [there("a", window=5)])
    assert plan_triggers([spec("E", "a", window=None)], [there("a", window=None)]) == ()


@pytest.mark.parametrize(
    "parameters",
    [
        {"EventSourceArn": "arn:aws:sqs:r:a:q"},
        {"EventSourceArn": "arn:aws:mq:r:a:broker:b:1", "Queues": ["a queue"]},
        {"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a:1", "b:2"]}}, "Topics": ["t"]},
    ],
)
def test_a_key_gives_back_the_parameters_it_was_made_of(parameters: dict[str, Any]) -> None:
    assert mapping_parameters(mapping_key(parameters)) == parameters


ROUTE = RouteSpec("E", "shop", "f", "GET", "/items")
SERVED: dict[str, Any] = {
    "name": "shop", "stage": "$default", "endpoint": "http://shop/", "cors": None,
    "routes": [{"route_key": "GET /items", "method": "GET", "path": "/items", "function": "f"}],
}  # fmt: skip


def test_an_api_is_put_as_a_whole_when_anything_differs() -> None:
    (made,) = plan_apis([ApiSpec("shop", routes=(ROUTE,))], [], {"f"})
    assert (made.action, made.changes) == ("created", ())
    (same,) = plan_apis([ApiSpec("shop", routes=(ROUTE,))], [SERVED], {"f"})
    assert same.action == "unchanged"
    more = RouteSpec("G", "shop", "f")
    (changed,) = plan_apis([ApiSpec("shop", "prod", {"allow_origins": ["*"]}, (ROUTE, more))], [SERVED], {"f"})
    assert [str(change) for change in changed.changes] == [
        "StageName: $default -> prod", 'CorsConfiguration.allow_origins: - -> ["*"]', "Routes.$default: - -> f",
    ]  # fmt: skip
    assert changed.document is not None
    assert changed.document["cors"]["allow_methods"] == []


def test_routes_that_left_the_template_go_and_those_of_others_stay() -> None:
    (gone,) = plan_apis([], [SERVED], {"f"})
    assert (gone.action, gone.document) == ("removed", None)
    other = {"route_key": "GET /other", "method": "GET", "path": "/other", "function": "g"}
    (kept,) = plan_apis([], [{**SERVED, "routes": [*SERVED["routes"], other]}], {"f"})
    left = {"method": "GET", "path": "/other", "function": "g"}
    assert kept.document == {"type": "http", "stage": "$default", "routes": [left]}
    assert plan_apis([], [SERVED], {"g"}) == []
