"""HTTP APIs: how they are put, which route takes what, what functions are given and clients told. A script plays the
functions.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fnrunner.invoke import errors
from fnrunner.model.invocation import ThrottleReason
from tests.api_server import CODE, HOME, ROLE, ApiServer, Result

APIS = "/fnrunner/v1/http-apis"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api")) as running:
        for name in ("f", "g"):
            document = {
                "FunctionName": name, "Role": ROLE, "Runtime": "python3.12", "Handler": "app.handler",
                "Code": {"ZipFile": base64.b64encode(CODE).decode()},
            }  # fmt: skip
            assert httpx.post(running.url + "/2015-03-31/functions", json=document, timeout=60).status_code == 201
        yield running


@pytest.fixture
def http(server: ApiServer) -> Iterator[httpx.Client]:
    server.front.error = server.front.gate = None
    server.front.result = lambda payload: Result(json.dumps({"event": json.loads(payload)}).encode())
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client
        for one in client.get(APIS).json()["http_apis"]:
            client.delete(f"{APIS}/{one['name']}")


def put(http: httpx.Client, name: str = "shop", **document: Any) -> dict[str, Any]:
    answer = http.put(f"{APIS}/{name}", json=document)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def call(http: httpx.Client, method: str, path: str, name: str = "shop", **more: Any) -> httpx.Response:
    headers = {"host": f"{name}.execute-api.us-east-1.localhost:9000", **more.pop("headers", {})}
    return http.request(method, path, headers=headers, **more)


ROUTES = [
    {"method": "GET", "path": "/items", "function": "f"},
    {"method": "post", "path": "/items/{id}", "function": "f", "timeout_ms": 5000},
    {"method": "ANY", "path": "/files/{proxy+}", "function": "g"},
]


def test_an_api_is_put_shown_listed_replaced_and_removed(http: httpx.Client, server: ApiServer) -> None:
    rules = {"allow_origins": ["*"], "allow_methods": ["GET"], "max_age_s": 5}
    made = put(http, "Shop", routes=ROUTES, cors=rules)
    port = server.url.rpartition(":")[2]
    assert made == {
        "name": "shop",
        "type": "http",
        "stage": "$default",
        "endpoint": f"http://shop.execute-api.us-east-1.localhost:{port}/",
        "cors": {
            "allow_origins": ["*"], "allow_methods": ["GET"], "allow_headers": [], "expose_headers": [],
            "allow_credentials": False, "max_age_s": 5,
        },
        "routes": [
            {"route_key": "ANY /files/{proxy+}", "method": "ANY", "path": "/files/{proxy+}", "function": "g"},
            {"route_key": "GET /items", "method": "GET", "path": "/items", "function": "f"},
            {"route_key": "POST /items/{id}", "method": "POST", "path": "/items/{id}", "function": "f", "timeout_ms": 5000},
        ],
    }  # fmt: skip
    assert http.get(f"{APIS}/SHOP").json() == made
    put(http, "shop-2", routes=[{"function": "g"}], stage="prod")
    assert [one["name"] for one in http.get(APIS).json()["http_apis"]] == ["shop", "shop-2"]
    assert http.get(f"{APIS}/shop-2").json()["endpoint"].endswith("/prod/")
    replaced = put(http, "shop", routes=[{"path": "$default", "method": "ANY", "function": "g"}])
    assert replaced["routes"] == [{"route_key": "$default", "method": "", "path": "", "function": "g"}]
    assert replaced["cors"] is None
    assert http.get(f"{APIS}/shop").json() == replaced
    assert http.delete(f"{APIS}/shop").status_code == 204
    assert http.delete(f"{APIS}/shop").status_code == 404
    assert http.get(f"{APIS}/shop").json()["error"]["code"] == "ResourceNotFoundException"
    assert [one["name"] for one in http.get(APIS).json()["http_apis"]] == ["shop-2"]


@pytest.mark.parametrize(
    ("document", "status", "says"),
    [
        ({"routes": []}, 400, "1 to 300 routes"),
        ({"routes": [{"function": "f"}] * 301}, 400, "1 to 300 routes"),
        ({"routes": [{"function": "f"}, {"function": "g"}]}, 400, "same requests as another"),
        ({"routes": [{"path": "/{a}", "function": "f"}, {"path": "/{b}", "function": "g"}]}, 400, "same requests"),
        ({"routes": [{"path": "items", "function": "f"}]}, 400, "does not begin with /"),
        ({"routes": [{"path": "/a", "method": "FETCH", "function": "f"}]}, 400, "none of"),
        ({"routes": [{"method": "GET", "function": "f"}]}, 400, "without a path"),
        ({"routes": [{"path": "/a", "function": "f", "timeout_ms": 1}]}, 400, "between 50 ms and 900 s"),
        ({"routes": [{"path": "/a", "function": "f", "timeout_ms": 10**30}]}, 400, "between 50 ms and 900 s"),
        ({"routes": [{"path": "/a", "function": "f", "timeout_ms": "5"}]}, 400, "a whole number"),
        ({"routes": [{"path": "/a", "function": "nobody"}]}, 404, f"Function not found: {HOME.function('nobody')}"),
        ({"routes": [{"path": "/a"}]}, 400, "function takes"),
        ({"routes": [{"path": "/a", "function": "f", "auth": 1}]}, 400, "no member 'auth'"),
        ({"routes": ["/a"]}, 400, "routes[0] takes an object"),
        ({"routes": {}}, 400, "an array of routes"),
        ({}, 400, "routes takes"),
        ({"routes": [{"function": "f"}], "stage": "a/b"}, 400, "stage 'a/b'"),
        ({"routes": [{"function": "f"}], "cors": {"allow_origins": ["x"]}}, 400, "cors.allow_origins has 'x'"),
        ({"routes": [{"function": "f"}], "cors": {"allow_methods": ["FETCH"]}}, 400, "cors.allow_methods has 'FETCH'"),
        ({"routes": [{"function": "f"}], "cors": {"allow_headers": ["a\r\nb"]}}, 400, "cors.allow_headers"),
        ({"routes": [{"function": "f"}], "cors": {"allow_origins": [1]}}, 400, "an array of texts"),
        ({"routes": [{"function": "f"}], "cors": {"origins": ["*"]}}, 400, "no member 'origins'"),
        ({"routes": [{"function": "f"}], "cors": {"max_age_s": 86401}}, 400, "max_age_s"),
        ({"type": "soap", "routes": [{"function": "f"}]}, 400, "type takes http or rest"),
        ({"routes": [{"function": "f", "payload": "3.0"}]}, 400, "'3.0' is none of 1.0, 2.0"),
        ({"type": "rest", "stage": "p", "routes": [{"function": "f"}]}, 400, "a REST API has no route $default"),
        ({"type": "rest", "routes": [{"path": "/a", "function": "f"}]}, 400, "needs a stage with a name"),
        ({"type": "rest", "stage": "p", "routes": [{"path": "/a", "function": "f", "payload": "2.0"}]}, 400, "is 1.0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_changes_nothing(
    http: httpx.Client, document: dict[str, Any], status: int, says: str
) -> None:
    before = put(http, routes=ROUTES)
    answer = http.put(f"{APIS}/shop", json=document)
    assert (answer.status_code, says in answer.json()["error"]["message"]) == (status, True), answer.text
    assert http.get(f"{APIS}/shop").json() == before


@pytest.mark.parametrize("name", ["-a", "a_b", "a.b", "x" * 64, "%20"])
def test_a_name_is_a_label_of_a_host_name(http: httpx.Client, name: str) -> None:
    answer = http.put(f"{APIS}/{name}", json={"routes": [{"function": "f"}]})
    assert (answer.status_code, "no label of a host name" in answer.text) == (400, True)


def test_the_event_has_the_route_the_stage_and_the_parameters(http: httpx.Client) -> None:
    put(http, routes=ROUTES)
    event = call(
        http, "POST", "/items/a%20b%2Fc?x=1", content=b"{}", headers={"content-type": "application/json"}
    ).json()["event"]
    assert (event["routeKey"], event["rawPath"]) == ("POST /items/{id}", "/items/a%20b%2Fc")
    assert event["pathParameters"] == {"id": "a b/c"}
    assert (event["body"], event["version"]) == ("{}", "2.0")
    context = event["requestContext"]
    assert {key: context[key] for key in ("accountId", "apiId", "domainName", "domainPrefix", "routeKey", "stage")} == {
        "accountId": "000000000000", "apiId": "shop", "domainName": "shop.execute-api.us-east-1.localhost",
        "domainPrefix": "shop", "routeKey": "POST /items/{id}", "stage": "$default",
    }  # fmt: skip
    event = call(http, "DELETE", "/files/a/b").json()["event"]
    assert (event["routeKey"], event["pathParameters"]) == ("ANY /files/{proxy+}", {"proxy": "a/b"})


def test_a_named_stage_is_the_first_segment_of_the_path(http: httpx.Client) -> None:
    put(http, stage="prod", routes=ROUTES)
    event = call(http, "GET", "/prod/items").json()["event"]
    assert (event["rawPath"], event["requestContext"]["stage"], event["requestContext"]["http"]["path"]) == (
        "/prod/items", "prod", "/prod/items",
    )  # fmt: skip
    for path in ("/items", "/test/items", "/prod", "/"):
        assert call(http, "GET", path).status_code == 404
    event = http.get("/http-api/shop/prod/items").json()["event"]
    assert (event["rawPath"], event["requestContext"]["domainName"]) == (
        "/prod/items",
        "shop.execute-api.us-east-1.localhost",
    )


def test_a_path_leads_to_an_api_too(http: httpx.Client) -> None:
    put(http, routes=[*ROUTES, {"function": "g"}])
    for path in ("/http-api/shop/items", "/http-api/Shop/$default/items", "/http-api/shop/%24default/items"):
        answer = http.get(path)
        assert (answer.json()["event"]["rawPath"], "sandbox" in answer.headers["content-security-policy"]) == (
            "/items",
            True,
        )
    assert http.get("/http-api/shop").json()["event"]["routeKey"] == "$default"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("POST", "/items"), ("GET", "/items/"), ("GET", "//items"),
                         ("GET", "/files/"), ("GET", "/fnrunner/v1/status"), ("GET", "/2015-03-31/functions")]
)  # fmt: skip
def test_what_no_route_takes_is_not_found(http: httpx.Client, server: ApiServer, method: str, path: str) -> None:
    put(http, routes=ROUTES)
    asked = len(server.front.asked)
    answer = call(http, method, path)
    assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})
    assert len(server.front.asked) == asked


def test_an_unknown_api_is_not_found(http: httpx.Client) -> None:
    assert call(http, "GET", "/", name="none").json() == {"message": "Not Found"}
    assert http.get("/http-api/none/x").json() == {"message": "Not Found"}


def test_a_name_that_somebody_else_may_own_leads_to_no_api(http: httpx.Client) -> None:
    put(http, routes=[{"function": "f"}])
    answer = http.get("/", headers={"host": "shop.execute-api.us-east-1.evil.example"})
    assert (answer.status_code, "not a name of this machine" in answer.text) == (403, True)


def test_preflights_and_answers_follow_the_rules_of_the_api(http: httpx.Client, server: ApiServer) -> None:
    put(http, routes=ROUTES, cors={"allow_origins": ["https://a.example"], "allow_methods": ["*"], "max_age_s": 7})
    asked = len(server.front.asked)
    asking = {"origin": "https://a.example", "access-control-request-method": "PUT"}
    answer = call(http, "OPTIONS", "/whatever", headers=asking)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-methods"] == "*"
    assert len(server.front.asked) == asked
    for path, status in (("/items", 200), ("/none", 404)):
        answer = call(http, "GET", path, headers={"origin": "https://a.example"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, "https://a.example")
    put(http, routes=ROUTES)
    assert call(http, "OPTIONS", "/items", headers=asking).status_code == 404


@pytest.mark.parametrize(
    ("cause", "status", "message"),
    [
        (Result(b'{"errorMessage":"s3cret"}', "Unhandled"), 500, "Internal Server Error"),
        (Result(b'{"statusCode":"s3cret"}'), 500, "Internal Server Error"),
        (errors.ServiceFault("s3cret"), 500, "Internal Server Error"),
        (errors.Throttled(ThrottleReason.CAPACITY), 429, "Too Many Requests"),
        (errors.ServiceUnavailable("s3cret"), 503, "Service Unavailable"),
    ],
)
def test_failures_are_told_as_api_gateway_does(
    http: httpx.Client, server: ApiServer, cause: Result | Exception, status: int, message: str
) -> None:
    put(http, routes=ROUTES)
    if isinstance(cause, Exception):
        server.front.error = cause
    else:
        server.front.result = lambda _: cause
    answer = call(http, "GET", "/items")
    assert (answer.status_code, answer.json()) == (status, {"message": message})
    assert "s3cret" not in answer.text


def test_a_route_that_takes_longer_than_its_timeout_is_unavailable(http: httpx.Client, server: ApiServer) -> None:
    put(http, routes=[{"path": "/slow", "function": "f", "timeout_ms": 50}])
    server.front.gate = asyncio.Event()
    answer = call(http, "GET", "/slow")
    assert (answer.status_code, answer.json()) == (503, {"message": "Service Unavailable"})


def test_a_body_of_more_than_6_mb_is_too_large(http: httpx.Client) -> None:
    put(http, routes=[{"function": "f"}])
    answer = call(http, "POST", "/", content=b"x" * (6 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()) == (413, {"message": "Request Entity Too Large"})


def test_routes_go_with_their_function(http: httpx.Client) -> None:
    document = {
        "FunctionName": "gone", "Role": ROLE, "Runtime": "python3.12", "Handler": "app.handler",
        "Code": {"ZipFile": base64.b64encode(CODE).decode()},
    }  # fmt: skip
    assert http.post("/2015-03-31/functions", json=document).status_code == 201
    put(http, routes=[{"path": "/a", "function": "gone"}, {"path": "/b", "function": "f"}])
    assert http.delete("/2015-03-31/functions/gone").status_code == 204
    assert call(http, "GET", "/a").status_code == 404
    assert call(http, "GET", "/b").status_code == 200


async def test_a_store_that_is_away_leaves_what_is_known_and_is_503_for_the_rest(tmp_path: Any) -> None:
    from fnrunner.api.app import create_app
    from fnrunner.store.errors import StoreUnavailable
    from tests.api_server import services_in

    async with services_in(tmp_path) as services:

        async def away() -> None:
            raise StoreUnavailable

        services.catalogue.refresh = away  # type: ignore[method-assign]
        transport = httpx.ASGITransport(create_app(services))
        for host, key in (("x.lambda-url.r.localhost", "Message"), ("x.execute-api.r.localhost", "message")):
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
                answer = await client.get("/")
            assert (answer.status_code, answer.json()) == (503, {key: "Service Unavailable"})
