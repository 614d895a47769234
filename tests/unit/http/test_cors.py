"""What browsers are told."""

from __future__ import annotations

import pytest

from fnrunner.model.trigger import Cors
from sources.http.cors import applied, is_preflight, preflight
from sources.http.request import Request
from sources.http.response import Response

SHOP = "https://shop.example"


def asking(origin: str = SHOP, method: str = "PUT", headers: str = "x-a") -> Request:
    return Request(
        "OPTIONS",
        headers=(
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", headers),
        ),
    )


def get(origin: str = SHOP) -> Request:
    return Request("GET", headers=(("origin", origin),) if origin else ())


def told(response: Response) -> dict[str, str]:
    assert len(dict(response.headers)) == len(response.headers)
    return dict(response.headers)


def test_only_an_options_request_of_a_browser_is_a_preflight() -> None:
    assert is_preflight(asking())
    assert not is_preflight(Request("OPTIONS"))
    assert not is_preflight(Request("OPTIONS", headers=(("origin", SHOP),)))
    assert not is_preflight(Request("POST", headers=asking().headers))


def test_a_preflight_is_told_all_that_is_configured() -> None:
    rules = Cors(True, ("x-a", "x-b"), ("GET", "PUT"), (SHOP, "https://other.example"), ("x-out",), 600)
    assert told(preflight(rules, asking(), 200)) == {
        "access-control-allow-origin": SHOP,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET,PUT",
        "access-control-allow-headers": "x-a,x-b",
        "access-control-max-age": "600",
        "vary": "Origin",
    }
    assert preflight(rules, asking(), 204).status == 204


def test_a_page_that_is_not_allowed_is_told_nothing() -> None:
    rules = Cors(allow_origins=("https://other.example",), allow_methods=("*",))
    assert told(preflight(rules, asking(), 200)) == {"vary": "Origin"}
    assert told(applied(rules, get(), Response(200, (("x", "1"),)))) == {"x": "1", "vary": "Origin"}
    assert told(preflight(Cors(allow_methods=("*",)), asking(), 200)) == {"vary": "Origin"}


def test_a_star_is_a_star_unless_credentials_are_allowed() -> None:
    rules = Cors(allow_origins=("*",), allow_methods=("*",), allow_headers=("*",))
    assert told(preflight(rules, asking(), 200)) == {
        "access-control-allow-origin": "*", "access-control-allow-methods": "*", "access-control-allow-headers": "*"
    }  # fmt: skip
    rules = Cors(True, ("*",), ("*",), ("*",))
    assert told(preflight(rules, asking(), 200)) == {
        "access-control-allow-origin": SHOP, "access-control-allow-credentials": "true",
        "access-control-allow-methods": "PUT", "access-control-allow-headers": "x-a", "vary": "Origin",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("allowed", "origin", "yes"),
    [(SHOP, SHOP, True), (SHOP, SHOP + ":8443", False), (SHOP, "http://shop.example", False), ("https://*", SHOP, True),
     ("https://*", "http://shop.example", False), (SHOP, SHOP + ".evil", False), ("null", "null", True)],
)  # fmt: skip
def test_an_origin_is_compared_as_a_whole(allowed: str, origin: str, yes: bool) -> None:
    headers = told(applied(Cors(allow_origins=(allowed,)), get(origin), Response()))
    assert headers.get("access-control-allow-origin") == (origin if yes else None)


def test_an_answer_has_what_pages_may_read_of_it() -> None:
    rules = Cors(True, allow_origins=(SHOP,), expose_headers=("x-a", "x-b"))
    assert told(applied(rules, get(), Response(500))) == {
        "access-control-allow-origin": SHOP,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "x-a,x-b",
        "vary": "Origin",
    }


def test_the_configured_value_wins_over_the_functions_and_is_not_doubled() -> None:
    own = Response(
        200, (("access-control-allow-origin", "https://own.example"), ("access-control-max-age", "1"), ("x", "1"))
    )
    assert told(applied(Cors(allow_origins=("*",)), get(), own)) == {"x": "1", "access-control-allow-origin": "*"}
    assert "access-control-allow-origin" not in told(applied(Cors(allow_origins=("https://b.example",)), get(), own))


def test_without_rules_the_function_says_what_it_wants() -> None:
    own = Response(200, (("access-control-allow-origin", "https://own.example"),))
    assert applied(None, get(), own) is own


def test_a_program_without_an_origin_is_told_nothing() -> None:
    assert told(applied(Cors(allow_origins=("*",)), get(""), Response())) == {}
