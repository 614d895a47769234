"""The head of a streamed answer, however its bytes are cut."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.http.prelude import DELIMITER, MAX_BYTES, PreludeReader, Started, plain_head, wants_prelude
from sources.http.response import InvalidAnswer, Response

OCTETS = ("content-type", "application/octet-stream")


def read(*pieces: bytes) -> Started:
    reader = PreludeReader()
    for index, piece in enumerate(pieces):
        if (started := reader.feed(piece)) is not None:
            return Started(started.head, started.body + b"".join(pieces[index + 1 :]))
    raise reader.end()


def test_status_headers_and_cookies_come_first() -> None:
    head = {"statusCode": 201, "headers": {"Content-Type": "text/html", "X-A": "1"}, "cookies": ["a=1"]}
    started = read(json.dumps(head).encode() + DELIMITER + b"<p>")
    assert started.head == Response(201, (("content-type", "text/html"), ("x-a", "1"), ("set-cookie", "a=1")))
    assert started.body == b"<p>"


def test_what_a_prelude_does_not_say_has_a_default() -> None:
    assert read(b"{}" + DELIMITER) == Started(Response(200, (OCTETS,)), b"")


@given(st.binary(max_size=40), st.lists(st.integers(0, 80), max_size=6))
def test_pieces_may_be_cut_anywhere(body: bytes, cuts: list[int]) -> None:
    whole = b'{"statusCode": 404}' + DELIMITER + body
    places = [0, *sorted(cuts), len(whole)]
    pieces = [whole[a:b] for a, b in pairwise(places)]
    assert read(*pieces) == Started(Response(404, (OCTETS,)), body)


def test_a_body_may_begin_with_nul_bytes() -> None:
    assert read(b"{}" + DELIMITER + bytes(3)).body == bytes(3)


def test_a_prelude_ends_within_its_first_16_kilobytes() -> None:
    room = MAX_BYTES - len(DELIMITER) - len(b'{"headers":{"x":""}}')
    fits = b'{"headers":{"x":"%s"}}' % (b"v" * room)
    assert read(fits + DELIMITER).head.has("x")
    with pytest.raises(InvalidAnswer, match="within 16384 bytes"):
        read(b'{"headers":{"x":"%s"}}' % (b"v" * (room + 1)) + DELIMITER)
    reader = PreludeReader()
    for _ in range(MAX_BYTES - 1):
        assert reader.feed(b"x") is None
    with pytest.raises(InvalidAnswer):
        reader.feed(b"x")


@pytest.mark.parametrize(
    "head", [b"", b"{", b"[]", b"5", b"\xff", b'{"statusCode": "x"}', b'{"headers": {"a": "b\\n"}}']
)
def test_a_wrong_prelude_is_refused(head: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        read(head + DELIMITER + b"body")


def test_an_answer_that_ends_within_its_prelude_is_refused() -> None:
    with pytest.raises(InvalidAnswer, match="ended within its prelude, after 9 bytes"):
        read(b"{}" + bytes(7))


def test_an_answer_of_another_type_has_no_prelude() -> None:
    assert not wants_prelude("")
    assert wants_prelude("Application/Vnd.AwsLambda.Http-Integration-Response")
    assert plain_head("") == Response(200, (OCTETS,))
    assert plain_head("text/event-stream") == Response(200, (("content-type", "text/event-stream"),))
    with pytest.raises(InvalidAnswer):
        plain_head("text/html\r\nx-evil: 1")
