"""Which route takes a request, and which are no routes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.http.route import Pattern, RouteTable, problem

DOCUMENTED = [
    Pattern("GET", "/pets/dog/1"),
    Pattern("GET", "/pets/dog/{id}"),
    Pattern("GET", "/pets/{proxy+}"),
    Pattern("ANY", "/{proxy+}"),
    Pattern(),
]


@pytest.mark.parametrize("order", [DOCUMENTED, DOCUMENTED[::-1]])
@pytest.mark.parametrize(
    ("method", "path", "taken", "parameters"),
    [
        ("GET", "/pets/dog/1", 0, {}),
        ("GET", "/pets/dog/2", 1, {"id": "2"}),
        ("GET", "/pets/cat/1", 2, {"proxy": "cat/1"}),
        ("POST", "/test/5", 3, {"proxy": "test/5"}),
        ("POST", "/pets/dog/1", 3, {"proxy": "pets/dog/1"}),
        ("GET", "/", 4, {}),
        ("GET", "/pets/dog/a%2Fb", 1, {"id": "a/b"}),
        ("GET", "/pets/dog/%C3%A4", 1, {"id": "ä"}),
        ("GET", "/pets/a//b/", 2, {"proxy": "a//b/"}),
        ("GET", "/pets/%64og/1", 0, {}),
        ("GET", "//pets/dog/1", 3, {"proxy": "/pets/dog/1"}),
    ],
)
def test_the_most_specific_route_takes_a_request(
    order: list[Pattern], method: str, path: str, taken: int, parameters: dict[str, str]
) -> None:
    matched = RouteTable(order).match(method, path)
    assert matched is not None
    assert (matched.route, matched.parameters) == (DOCUMENTED[taken], parameters)


def test_a_method_comes_before_any_and_a_literal_before_a_parameter() -> None:
    table = RouteTable(
        [Pattern("ANY", "/a/{x}"), Pattern("GET", "/a/{x}"), Pattern("GET", "/{y}/b"), Pattern("ANY", "/a/b")]
    )
    assert table.match("GET", "/a/c").route == Pattern("GET", "/a/{x}")  # type: ignore[union-attr]
    assert table.match("POST", "/a/c").route == Pattern("ANY", "/a/{x}")  # type: ignore[union-attr]
    assert table.match("GET", "/a/b").route == Pattern("ANY", "/a/b")  # type: ignore[union-attr]
    assert table.match("GET", "/z/b").route == Pattern("GET", "/{y}/b")  # type: ignore[union-attr]


@pytest.mark.parametrize("path", ["/", "/items/", "/items/1/2", "/ITEMS/1", "/items/..", "/x/../items/1"])
def test_what_no_route_takes_is_nobodys(path: str) -> None:
    table = RouteTable([Pattern("GET", "/items/{id}")])
    found = table.match("GET", path)
    assert found is None or (path, found.parameters) == ("/items/..", {"id": ".."})


def test_a_greedy_parameter_takes_at_least_one_segment() -> None:
    table = RouteTable([Pattern("GET", "/a/{rest+}")])
    assert table.match("GET", "/a/") is None
    assert table.match("GET", "/a") is None
    assert table.match("GET", "/a/b/c").parameters == {"rest": "b/c"}  # type: ignore[union-attr]


def test_a_route_without_a_greedy_parameter_comes_before_one_with() -> None:
    table = RouteTable([Pattern("GET", "/a/{rest+}"), Pattern("ANY", "/{x}/b")])
    assert table.match("GET", "/a/b").route == Pattern("ANY", "/{x}/b")  # type: ignore[union-attr]
    assert table.match("GET", "/a/c").route == Pattern("GET", "/a/{rest+}")  # type: ignore[union-attr]


def test_the_root_is_a_path_like_any_other() -> None:
    assert RouteTable([Pattern("GET", "/")]).match("GET", "/") is not None


@pytest.mark.parametrize(
    ("method", "path", "says"),
    [("GET", "items", "does not begin with /"), ("FETCH", "/items", "none of"), ("get", "/items", "none of"),
     ("GET", "/{a+}/b", "not the last segment"), ("GET", "/{a}/{a}", "two parameters of one name"),
     ("GET", "/a{b}", "neither a text nor one parameter"), ("GET", "/a//b", "empty segment"), ("GET", "/a/", "empty segment"),
     ("GET", "/a?b", "neither"), ("GET", "/a b", "neither"), ("GET", "/{}", "neither"), ("GET", "/%2F", "neither"),
     ("GET", "/" + "a" * 400, "more than 400"), ("GET", "", "without a path")],
)  # fmt: skip
def test_what_is_no_route_is_told_why(method: str, path: str, says: str) -> None:
    assert says in (problem(method, path) or "")


@given(st.text(max_size=40))
def test_no_path_breaks_the_table(path: str) -> None:
    table = RouteTable(DOCUMENTED)
    matched = table.match("GET", "/" + path)
    assert matched is not None
    assert all(matched.parameters.values())
