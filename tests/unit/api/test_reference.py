"""A function is named in six ways, and a name that leads elsewhere is refused as on Lambda."""

from __future__ import annotations

import pytest

from fnrunner.api.errors import Forbidden, InvalidParameter, ResourceNotFound
from fnrunner.api.reference import derive
from fnrunner.model.arn import Home

HOME = Home()
ARN = HOME.function("f")


@pytest.mark.parametrize(
    "name", ["f", ARN, "function:f", "000000000000:function:f", "000000000000:f", "us-east-1:000000000000:f"]
)
@pytest.mark.parametrize("qualifier", ["", "prod", "7", "$LATEST"])
def test_every_form_names_the_same_function(name: str, qualifier: str) -> None:
    within = derive({"FunctionName": f"{name}:{qualifier}" if qualifier else name}, HOME)
    beside = derive({"FunctionName": name, **({"Qualifier": qualifier} if qualifier else {})}, HOME)
    assert (within.name, within.qualifier) == (beside.name, beside.qualifier) == ("f", qualifier)


def test_the_same_qualifier_twice_is_fine_and_another_is_not() -> None:
    assert derive({"FunctionName": "f:1", "Qualifier": "1"}, HOME).qualifier == "1"
    with pytest.raises(
        InvalidParameter, match=r"^The derived qualifier from the function name does not match the specified"
    ):
        derive({"FunctionName": "f:1", "Qualifier": "2"}, HOME)


def test_another_region_is_not_reachable() -> None:
    text = r"^Functions from 'eu-west-1' are not reachable in this region \('us-east-1'\)$"
    with pytest.raises(ResourceNotFound, match=text):
        derive({"FunctionName": "arn:aws:lambda:eu-west-1:000000000000:function:f"}, HOME)


def test_another_account_is_not_accessible() -> None:
    with pytest.raises(Forbidden):
        derive({"FunctionName": "arn:aws:lambda:us-east-1:111111111111:function:f"}, HOME)


def test_a_name_of_65_characters_is_too_long() -> None:
    with pytest.raises(InvalidParameter, match=r"at 'functionName' failed .* length less than or equal to 64$"):
        derive({"FunctionName": "f" * 65}, HOME)


def test_a_name_that_no_function_has_is_not_found() -> None:
    with pytest.raises(
        ResourceNotFound, match=r"^Function not found: arn:aws:lambda:us-east-1:000000000000:function:a\.b$"
    ):
        derive({"FunctionName": "a.b"}, HOME)
