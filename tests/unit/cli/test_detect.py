"""The handler is found by reading the source, and never guessed where more than one could be meant."""

from __future__ import annotations

import pytest

from fnrunner.cli.deploy.detect import find, handlers
from fnrunner.cli.error import UsageFault

HANDLER = "def handler(event, context): ..."


@pytest.mark.parametrize("file", ["app.py", "lambda_function.py", "main.py", "index.py", "handler.py"])
@pytest.mark.parametrize("name", ["handler", "lambda_handler", "main"])
def test_known_files_and_names_are_found_beside_other_files(file: str, name: str) -> None:
    sources = {file: f"def {name}(event, context): ...", "other.py": HANDLER}
    assert find(sources) == f"{file.removesuffix('.py')}.{name}"


def test_the_only_file_may_have_any_name() -> None:
    assert find({"thumbs.py": HANDLER}) == "thumbs.handler"


@pytest.mark.parametrize(
    "source",
    [
        "def handler(event): ...",
        "def handler(event, context, more): ...",
        "def handler(event, context, *, needed): ...",
        "async def handler(event, context): ...",
        "class A:\n    def handler(self, event): ...",
        "handler = print",
    ],
)
def test_what_cannot_be_called_with_two_arguments_is_no_handler(source: str) -> None:
    assert handlers(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "def handler(event, context=None): ...",
        "def handler(*args): ...",
        "def handler(event, context, more=1): ...",
        "def handler(event, context, /, **kw): ...",
    ],
)
def test_what_can_be_called_with_two_arguments_is_one(source: str) -> None:
    assert handlers(source) == ["handler"]


def test_several_candidates_are_refused_and_named() -> None:
    with pytest.raises(UsageFault, match=r"app\.handler, main\.main") as caught:
        find({"app.py": HANDLER, "main.py": "def main(e, c): ..."})
    assert "--handler app.handler" in caught.value.remedy


@pytest.mark.parametrize("sources", [{}, {"a.py": HANDLER, "b.py": HANDLER}, {"app.py": "x = 1"}])
def test_no_candidate_is_refused_with_the_option_to_use(sources: dict[str, str]) -> None:
    with pytest.raises(UsageFault, match="No handler found") as caught:
        find(sources)
    assert "--handler" in caught.value.remedy


def test_a_syntax_error_is_named_with_file_and_line() -> None:
    with pytest.raises(UsageFault, match=r"app\.py:2: "):
        find({"app.py": "x = 1\ndef ("})
