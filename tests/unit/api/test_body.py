"""Bodies are read under a limit and parsed without trusting them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from fnrunner.api import body
from fnrunner.api.errors import BodyTooLarge, ClientGone, InvalidRequestContent


class Incoming:
    """A body in chunks; counts how many were asked for."""

    def __init__(self, chunks: Iterable[bytes], *, broken: bool = False) -> None:
        self._chunks = list(chunks)
        self._broken = broken
        self.taken = 0

    async def __call__(self) -> Message:
        if self.taken == len(self._chunks):
            return {"type": "http.disconnect"}
        chunk = self._chunks[self.taken]
        self.taken += 1
        return {"type": "http.request", "body": chunk, "more_body": self._broken or self.taken < len(self._chunks)}


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8))
async def test_a_body_within_the_limit_is_whole_and_a_larger_one_is_drained(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    assert await body.read(Incoming(chunks), len(whole)) == whole
    if whole:
        incoming = Incoming(chunks)
        with pytest.raises(body.TooLong) as caught:
            await body.read(incoming, len(whole) - 1)
        assert caught.value.size == len(whole)
        assert incoming.taken == len(chunks)


async def test_draining_ends() -> None:
    incoming = Incoming([b"x" * 1024] * 2000, broken=True)
    limit, body_drain = 10, body.DRAIN_BYTES
    body.DRAIN_BYTES = 100_000
    try:
        with pytest.raises(body.TooLong):
            await body.read(incoming, limit)
    finally:
        body.DRAIN_BYTES = body_drain
    assert incoming.taken < 110


async def test_too_large_says_so_in_lambdas_words() -> None:
    with pytest.raises(BodyTooLarge, match="Request must be smaller than 2 bytes for the CreateFunction operation"):
        await body.read_limited(Incoming([b"abc"]), 2, "CreateFunction")


async def test_a_client_that_goes_away_in_the_middle_is_noticed() -> None:
    with pytest.raises(ClientGone):
        await body.read(Incoming([b"abc"], broken=True), 100)
    with pytest.raises(ClientGone):
        await body.read(Incoming([]), 100)


def test_an_empty_body_is_an_empty_object() -> None:
    assert body.parse(b"") == {}


@pytest.mark.parametrize(
    "text",
    [
        b"{", b"{'a': 1}", b"NaN", b"[Infinity]", b"\xff\xfe{\x00}\x00", b'"\xff"', b'"\\ud800"', b'{"a": "\\udc00"}',
        b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5_000, b"\xef\xbb\xbf{}",
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused_and_breaks_nothing(text: bytes) -> None:
    with pytest.raises(InvalidRequestContent, match=r"^Could not parse request body into json: "):
        body.parse(text)


@pytest.mark.parametrize("text", [b"[]", b"1", b"null", b'"a"'])
def test_an_object_is_an_object(text: bytes) -> None:
    with pytest.raises(InvalidRequestContent):
        body.parse_object(text)


def test_a_surrogate_pair_is_one_character() -> None:
    assert body.parse(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


@pytest.mark.parametrize("text", ["a", "****", "é", 3, None, "YQ==\n"])
def test_a_blob_is_strict_base64(text: object) -> None:
    with pytest.raises(InvalidRequestContent):
        body.blob(text, "ZipFile")
    assert body.blob("YQ==", "ZipFile") == b"a"
