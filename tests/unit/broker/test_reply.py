"""Replies: what goes in comes out, and releases that know less or more can read each other."""

from __future__ import annotations

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import reply
from broker.errors import EnvelopeError, EnvelopeMalformed, EnvelopeTooNew
from broker.reply import Reply, ReplyKind, decode, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
REPLIES = st.builds(
    Reply,
    payload=st.binary(max_size=200),
    kind=st.sampled_from(ReplyKind),
    version=TEXT,
    code=TEXT,
    message=TEXT,
    log_tail=st.binary(max_size=50),
    content_type=TEXT,
)


@given(REPLIES)
def test_a_reply_is_decoded_to_what_was_encoded(answer: Reply) -> None:
    assert decode(encode(answer)) == answer


@given(st.binary(max_size=300))
def test_any_bytes_are_a_reply_or_an_envelope_error(body: bytes) -> None:
    with contextlib.suppress(EnvelopeError):
        assert isinstance(decode(body), Reply)


def test_what_is_usual_is_left_out_so_that_an_answer_looks_as_it_did_before_there_were_streams() -> None:
    assert msgpack.unpackb(encode(Reply(b"1", version="7"))) == {
        "v": reply.VERSION, "kind": "answer", "payload": b"1", "version": "7",
    }  # fmt: skip


def test_a_field_of_a_newer_release_is_passed_over() -> None:
    wire = msgpack.packb({"v": 1, "kind": "chunk", "payload": b"x", "later": 1})
    assert decode(wire) == Reply(b"x", ReplyKind.CHUNK)


@pytest.mark.parametrize("more", [{"kind": "other"}, {"content_type": 1}, {"v": "1"}])
def test_a_reply_with_a_wrong_field_is_malformed(more: dict[str, object]) -> None:
    with pytest.raises(EnvelopeMalformed):
        decode(msgpack.packb({"v": 1, "kind": "chunk", **more}))


def test_a_newer_version_is_refused_as_such() -> None:
    with pytest.raises(EnvelopeTooNew):
        decode(msgpack.packb({"v": 2, "kind": "chunk"}))
