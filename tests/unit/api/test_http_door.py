"""What keeps function URLs from being served is answered as theirs, whatever it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.types import Receive, Scope, Send

from fnrunner.api.http_door import HttpDoor
from fnrunner.auth.keyring import KeyDisabled
from fnrunner.model.arn import Home
from fnrunner.store.errors import StoreUnavailable
from tests.unit.api.asgi import ask


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("it is no request of the API")


@pytest.mark.parametrize("error", [KeyDisabled(), StoreUnavailable()])
async def test_a_secret_that_cannot_be_opened_is_like_a_store_that_is_away(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = SimpleNamespace(iam=None, home=Home(), settings=SimpleNamespace(credentials=None), now=None)
    door = HttpDoor(inner, services=cast(Any, services), check_host=False)

    async def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(door._urls, "serve", fails)
    host = "a" * 32 + ".lambda-url.us-east-1.localhost"
    answer = await ask(door, "GET", "/", headers={"host": host})
    assert answer.status == 503
