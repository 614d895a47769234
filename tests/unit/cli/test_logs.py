"""Following a log goes on through a restart of the server, from where it was, without missing or doubling a line."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from fnrunner.cli.client import Client
from fnrunner.cli.error import ServerRefused, ServerUnreachable, UsageFault
from fnrunner.cli.logs import PAUSE_FIRST_S, PAUSE_MOST_S, age, following, until_now


class Scripted(Client):
    """Each call takes the next step of the script: a page to answer, or an error to raise."""

    def __init__(self, *script: dict[str, Any] | Exception) -> None:
        super().__init__("http://test")
        self.script = list(script)
        self.cursors: list[Any] = []

    def get(self, path: str, **query: Any) -> Any:
        self.cursors.append(query.get("cursor"))
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def page(cursor: str, *lines: int) -> dict[str, Any]:
    return {"lines": [{"text": str(line)} for line in lines], "cursor": cursor}


AWAY = ServerUnreachable("away")
STARTING = ServerRefused("starting", http_status=503)


def test_a_restart_is_waited_for_and_the_cursor_is_kept() -> None:
    client = Scripted(page("1.0", 1), AWAY, STARTING, AWAY, page("2.0", 2), page("3.0", 3))
    said, slept = list[str](), list[float]()
    pages = list(islice(following(client, "/x", {}, said.append, slept.append), 3))
    assert [line["text"] for lines in pages for line in lines] == ["1", "2", "3"]
    assert client.cursors == [None, "1.0", "1.0", "1.0", "1.0", "2.0"]
    assert said == ["The server is away; trying again until it is back.", "The server is back."]
    assert slept == [PAUSE_FIRST_S, 2 * PAUSE_FIRST_S, 4 * PAUSE_FIRST_S]


def test_the_pauses_grow_to_a_limit() -> None:
    client = Scripted(page("1.0"), *[AWAY] * 10, page("1.0"))
    slept: list[float] = []
    list(islice(following(client, "/x", {}, lambda _: None, slept.append), 2))
    assert slept[-1] == PAUSE_MOST_S


def test_a_server_that_was_never_there_is_an_error() -> None:
    with pytest.raises(ServerUnreachable):
        next(following(Scripted(AWAY), "/x", {}, lambda _: None, lambda _: None))


def test_a_refusal_that_does_not_pass_is_an_error() -> None:
    pages = following(
        Scripted(page("1.0"), ServerRefused("no", http_status=400)), "/x", {}, lambda _: None, lambda _: None
    )
    next(pages)
    with pytest.raises(ServerRefused):
        next(pages)


def test_reading_to_now_goes_past_pages_where_the_filter_hid_everything() -> None:
    client = Scripted(page("1.0", 1), page("2.0"), page("3.0", 3), page("3.0"))
    assert [line["text"] for lines in until_now(client, "/x", {}) for line in lines] == ["1", "3"]


@pytest.mark.parametrize("text", ["10", "m", "-1m", "10 m", "10y"])
def test_an_age_needs_a_number_and_a_unit(text: str) -> None:
    with pytest.raises(UsageFault, match="--since"):
        age(text)
