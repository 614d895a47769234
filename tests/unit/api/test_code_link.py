"""A link to code opens one zip for ten minutes, and only the link that was given out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from fnrunner.api.code_link import LIFETIME, CodeLinks
from fnrunner.api.errors import LinkExpired

DIGEST, OTHER = "ab" * 32, "cd" * 32


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def parts(link: str) -> tuple[str, str, str]:
    query = parse_qs(urlsplit(link).query)
    return urlsplit(link).path.rsplit("/", 1)[1], query["expires"][0], query["signature"][0]


def test_a_link_is_good_for_ten_minutes() -> None:
    clock = Clock()
    links = CodeLinks(clock)
    link = links.make("http://127.0.0.1:9000", DIGEST)
    assert link.startswith("http://127.0.0.1:9000/fnrunner/v1/code/")
    links.check(*parts(link))
    clock.now += LIFETIME
    links.check(*parts(link))
    clock.now += timedelta(seconds=1)
    with pytest.raises(LinkExpired):
        links.check(*parts(link))


def test_a_link_opens_nothing_else_and_lives_no_longer() -> None:
    links = CodeLinks(Clock())
    digest, expires, signature = parts(links.make("", DIGEST))
    for forged in (
        (OTHER, expires, signature),
        (digest, str(int(expires) + 1), signature),
        (digest, expires, signature[:-1]),
        (digest, expires, ""),
        (digest, "", signature),
        (digest, "9" * 5000, signature),
        (digest, "²", signature),
        (digest, expires, "é"),
    ):
        with pytest.raises(LinkExpired):
            links.check(*forged)


def test_a_link_of_another_process_is_not_good_here() -> None:
    with pytest.raises(LinkExpired):
        CodeLinks(Clock()).check(*parts(CodeLinks(Clock()).make("", DIGEST)))
