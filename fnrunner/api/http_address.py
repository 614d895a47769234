"""Which function URL or HTTP API a request is addressed to, by its Host or by its path, and how each is written.

>>> address_of("abc.lambda-url.us-east-1.localhost:9000", "/x")
UrlAddress(url_id='abc', raw_path='/x', domain_name='abc.lambda-url.us-east-1.localhost')
>>> address_of("127.0.0.1:9000", "/function-url/abc/x")
UrlAddress(url_id='abc', raw_path='/x', domain_name='')
>>> address_of("shop.execute-api.us-east-1.localhost", "/prod/x")
ApiAddress(api='shop', raw_path='/prod/x', domain_name='shop.execute-api.us-east-1.localhost')
>>> address_of("localhost:9000", "/2015-03-31/functions") is None
True

A request with such a Host goes nowhere else, whatever its path is: nobody reaches the administration by a name of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from starlette.types import Scope

from fnrunner.api.guard import local_host, without_port

URL_LABEL, API_LABEL = "lambda-url", "execute-api"
URL_PATH, API_PATH = "/function-url/", "/http-api/"


@dataclass(frozen=True, slots=True)
class UrlAddress:
    """``raw_path`` is the function's, without what led to it. ``domain_name`` is the Host's; empty when a path led here."""

    url_id: str
    raw_path: str
    domain_name: str = ""


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """``raw_path`` begins with the stage, unless that is ``$default``. ``domain_name`` as for URLs."""

    api: str
    raw_path: str
    domain_name: str = ""


Address = UrlAddress | ApiAddress


def address_of(host: str, raw_path: str) -> Address | None:
    """None for what is neither."""
    name = without_port(host).lower().rstrip(".")
    labels = name.split(".")
    if len(labels) > 2 and labels[1] == URL_LABEL:
        return UrlAddress(labels[0], raw_path, name)
    if len(labels) > 2 and labels[1] == API_LABEL:
        return ApiAddress(labels[0], raw_path, name)
    for prefix, kind in ((URL_PATH, UrlAddress), (API_PATH, ApiAddress)):
        if raw_path.startswith(prefix):
            first, slash, rest = raw_path[len(prefix) :].partition("/")
            return kind(unquote(first).lower(), slash + rest or "/")
    return None


def within(stage: str, address: ApiAddress) -> str | None:
    """The path below the stage; None when the path does not begin with it.

    >>> within("prod", ApiAddress("shop", "/prod/items")), within("prod", ApiAddress("shop", "/items"))
    ('/items', None)
    >>> within("$default", ApiAddress("shop", "/items")), within("$default", ApiAddress("shop", "/%24default/items"))
    ('/items', '/items')
    """
    first, slash, rest = address.raw_path[1:].partition("/")
    if unquote(first) == stage and not (stage == "$default" and address.domain_name):
        return slash + rest or "/"
    return address.raw_path if stage == "$default" else None


def base_url_of(scope: Scope) -> str:
    """How the client reached this server, whatever it wrote into its Host header.

    >>> base_url_of({"scheme": "http", "headers": [(b"host", b"localhost:9000")]})
    'http://localhost:9000'
    """
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return f"{scope['scheme']}://{hosts[0].decode('latin-1') if hosts else 'localhost'}"


def url_of(url_id: str, region: str, base_url: str) -> str:
    """Where a function URL answers, for a client that reached this server at ``base_url``.

    Every name under ``localhost`` leads to this machine. A server of another name is called by path: nobody may have
    given it a name for each URL.

    >>> url_of("abc", "us-east-1", "http://127.0.0.1:9000"), url_of("abc", "us-east-1", "http://faas.internal")
    ('http://abc.lambda-url.us-east-1.localhost:9000/', 'http://faas.internal/function-url/abc/')
    """
    return _written(f"{url_id}.{URL_LABEL}.{region}.localhost", f"{URL_PATH}{url_id}/", base_url)


def api_of(api: str, region: str, base_url: str) -> str:
    """Where an HTTP API answers, without its stage, as :func:`url_of`."""
    return _written(f"{api}.{API_LABEL}.{region}.localhost", f"{API_PATH}{api}/", base_url)


def _written(name: str, path: str, base_url: str) -> str:
    scheme, _, host = base_url.partition("://")
    try:
        port = urlsplit(f"//{host}").port
    except ValueError:
        port = None  # clients may write anything into a Host header
    if not local_host(host):
        return f"{scheme}://{host}{path}"
    return f"{scheme}://{name}:{port}/" if port else f"{scheme}://{name}/"
