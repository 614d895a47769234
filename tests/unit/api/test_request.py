"""From the parts of a request to parameters: numbers and booleans as text, and what an operation has not."""

from __future__ import annotations

from typing import Any

import pytest

from fnrunner.api import shape
from fnrunner.api.errors import InvalidParameter, InvalidRequestContent
from fnrunner.api.request import parameters

OPERATIONS = {operation.name: operation for operation in shape.load()}


def read(name: str, query: dict[str, list[str]] | None = None, body: bytes = b"") -> dict[str, Any]:
    return parameters(OPERATIONS[name], {}, query or {}, {}, body)


@pytest.mark.parametrize("text", ["", "x", "1.5", "1e3", " 1", "1_000", "\u0661", "+1", "0x1", "9" * 101])
def test_only_decimal_digits_are_a_number(text: str) -> None:
    with pytest.raises(InvalidRequestContent, match="MaxItems takes a whole number"):
        read("ListFunctions", {"MaxItems": [text]})


def test_a_number_may_have_a_sign_and_be_out_of_range_for_validation_to_say() -> None:
    assert read("ListFunctions", {"MaxItems": ["-1"]}) == {"MaxItems": -1}
    assert read("ListFunctions", {"MaxItems": ["1", "20"]}) == {"MaxItems": 20}


@pytest.mark.parametrize(
    "body",
    [
        b'{"FilterCriteria": {"Filters": [{"Pattern": "{}", "Nonsense": 1}]}}',
        b'{"FilterCriteria": {"Nonsense": 1}}',
        b'{"Nonsense": 1}',
    ],
)
def test_a_parameter_that_an_operation_has_not_is_refused_at_every_depth(body: bytes) -> None:
    with pytest.raises(InvalidParameter, match="has no parameter Nonsense"):
        read("CreateEventSourceMapping", body=body)
