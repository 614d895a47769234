"""The model is read as it is, and a request finds its operation."""

from __future__ import annotations

from collections import Counter

import pytest

from fnrunner.api import app, shape
from fnrunner.api.errors import UnknownOperation
from fnrunner.api.router import Router
from fnrunner.api.shape import Operation

OPERATIONS = shape.load()
ROUTER = Router(OPERATIONS)
LABEL = "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Aa%2Fb"


def path_of(operation: Operation) -> str:
    return "/" + "/".join(LABEL if part.startswith("{") else part for part in operation.path)


def query_of(operation: Operation) -> dict[str, list[str]]:
    return {key: [value] for key, value in operation.query.items()}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_of_the_model_is_found_by_its_own_path(operation: Operation) -> None:
    found, labels = ROUTER.match(operation.method, path_of(operation), query_of(operation))
    assert found.name == operation.name
    wanted = {part.strip("{}+") for part in operation.path if part.startswith("{")}
    assert set(labels) == wanted
    assert set(labels.values()) <= {"arn:aws:lambda:us-east-1:000000000000:function:a/b"}


def test_list_all_is_another_operation_on_the_same_path() -> None:
    path = "/2019-09-30/functions/f/provisioned-concurrency"
    assert ROUTER.match("GET", path, {"List": ["ALL"]})[0].name == "ListProvisionedConcurrencyConfigs"
    assert ROUTER.match("GET", path, {"Qualifier": ["1"]})[0].name == "GetProvisionedConcurrencyConfig"


def test_a_trailing_slash_is_passed_over_as_older_clients_send_one() -> None:
    assert ROUTER.match("GET", "/2015-03-31/functions/", {})[0].name == "ListFunctions"


def test_a_label_that_is_empty_within_the_path_is_the_operation_s_to_refuse() -> None:
    operation, labels = ROUTER.match("GET", "/2015-03-31/functions//configuration", {})
    assert (operation.name, labels) == ("GetFunctionConfiguration", {"FunctionName": ""})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/2015-03-31"),
        ("GET", "/2015-03-31/functions/f/nothing"),
        ("PATCH", "/2015-03-31/functions/f"),
        ("GET", "/2015-03-31/functions//code"),
        ("GET", "/1999-01-01/functions"),
        ("GET", "/"),
    ],
)
def test_what_no_operation_has_is_unknown(method: str, path: str) -> None:
    with pytest.raises(UnknownOperation):
        ROUTER.match(method, path, {})


def test_every_route_names_an_operation_and_parameters_of_the_model_once() -> None:
    by_name = {operation.name: operation for operation in OPERATIONS}
    counted = Counter(route.operation for route in app.LAMBDA_ROUTES)
    assert set(counted.values()) == {1}
    for route in app.LAMBDA_ROUTES:
        members = by_name[route.operation].input.members
        for parameter in route.supports:
            first, *rest = parameter.split(".")
            inner = members[first].shape
            for name in rest:
                inner = inner.members[name].shape


def test_lambda_limits_hold_where_the_model_has_wider_ones() -> None:
    by_name = {operation.name: operation for operation in OPERATIONS}
    members = by_name["CreateFunction"].input.members
    assert members["Timeout"].shape.maximum == 900
    assert members["MemorySize"].shape.maximum == 10_240
