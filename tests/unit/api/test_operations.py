"""The page of operations is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import botocore

from fnrunner.api import operations, shape
from fnrunner.api.operations import Entry, Extent

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
ANEW = "make it anew: python -m fnrunner.api.operations > docs/operations.md"
ROW = re.compile(r"^\| (\w+) \| `[A-Z]+ /[^`]+` \| ([a-z ]+) \| (.*) \| (.*) \|$", re.MULTILINE)


def rows(page: str) -> dict[str, tuple[str, set[str], set[str]]]:
    """By operation: state, parameters, refused parameters."""
    found = {}
    for name, state, taken, refused in ROW.findall(page):
        found[name] = state, set(re.findall(r"`([^`]+)`", taken)), set(re.findall(r"`([^`]+)`", refused))
    return found


def entries() -> dict[str, Entry]:
    return {one.operation.name: one for one in operations.entries(shape.load(), operations.supports())}


def test_the_page_says_what_the_code_does() -> None:
    text = PAGE.read_text()
    if f"botocore {botocore.__version__}." in text:
        assert text == operations.current(), ANEW
        return
    # another model may have operations and parameters that the page cannot know
    said, now = rows(text), entries()
    for name, one in now.items():
        if name not in said:
            assert one.extent is Extent.REFUSED, ANEW
            continue
        _, taken, refused = said[name]
        assert set(one.supported) == taken, ANEW
        if one.extent is not Extent.REFUSED:
            assert not refused & set(one.supported), ANEW


def test_every_operation_of_the_model_has_a_row() -> None:
    said = rows(operations.current())
    assert set(said) == {operation.name for operation in shape.load()}
    assert {name for name, (state, _, _) in said.items() if state != "refused by name"} == set(operations.supports())


def test_the_rows_tell_what_is_refused_of_an_operation() -> None:
    state, taken, refused = rows(operations.current())["CreateFunction"]
    assert state == "without some parameters"
    assert {"FunctionName", "Code.ZipFile", "Environment"} <= taken
    assert "VpcConfig" in refused
    assert not taken & refused
