"""Requests out of bytes: whatever comes, in whatever pieces."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnrunner.runtimes.runtime_api.parser import HEAD_BYTES, MOST_HEADERS, End, Head, Malformed, Parser

Seen = list[tuple[object, ...]]


def read(*pieces: bytes) -> Seen:
    """What a parser makes of the pieces: each head, each whole body, each end, and the refusal that stops it."""
    parser, seen = Parser(), Seen()
    try:
        for piece in pieces:
            parser.feed(piece)
            while (event := parser.next()) is not None:
                if isinstance(event, Head):
                    seen.append(("head", event.method, event.path, event.headers, event.length))
                elif isinstance(event, End):
                    seen.append(("end", event.trailers))
                elif seen[-1][0] == "body":
                    seen[-1] = ("body", bytes(seen[-1][1]) + event)  # type: ignore[call-overload]
                else:
                    seen.append(("body", event))
    except Malformed as error:
        seen.append(("malformed", error.status))
    return seen


names = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=12).filter(
    lambda name: name.lower() not in ("content-length", "transfer-encoding")
)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
headers = st.dictionaries(names.map(str.lower), values, max_size=5)
line_end = st.sampled_from([b"\r\n", b"\n"])


def lines(fields: dict[str, str], end: bytes) -> bytes:
    return b"".join(f"{name}: {value}".encode() + end for name, value in fields.items())


@st.composite
def request(draw: st.DrawFn) -> tuple[bytes, Seen]:
    """A request on the wire, and what it means."""
    method, path = (
        draw(st.sampled_from(["GET", "POST", "PUT"])),
        "/" + draw(st.text(string.ascii_letters + "/", max_size=9)),
    )
    fields, end, body = draw(headers), draw(line_end), draw(st.binary(max_size=200))
    head = f"{method} {path} HTTP/1.1".encode() + end + lines(fields, end)
    if draw(st.booleans()):
        size = {"content-length": str(len(body))}
        expected: Seen = [("head", method, path, fields | size, len(body))]
        wire, trailers = head + lines(size, end) + end + body, dict[str, str]()
    else:
        coding, trailers = {"transfer-encoding": "chunked"}, draw(headers)
        cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True) if a != b]
        chunks = b"".join(b"%X%s" % (len(piece), end) + piece + end for piece in pieces)
        expected = [("head", method, path, fields | coding, None)]
        wire = head + lines(coding, end) + end + chunks + b"0" + end + lines(trailers, end) + end
    return wire, expected + ([("body", body)] if body else []) + [("end", trailers)]


@settings(max_examples=40)
@given(st.lists(request(), min_size=1, max_size=3), st.data())
def test_requests_are_the_same_in_whatever_pieces_they_come(
    requests: list[tuple[bytes, Seen]], data: st.DataObject
) -> None:
    wire = b"".join(one for one, _ in requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert read(*pieces) == [event for _, expected in requests for event in expected]


@settings(max_examples=40)
@given(request())
def test_requests_may_come_byte_for_byte(one: tuple[bytes, Seen]) -> None:
    wire, expected = one
    assert read(*(wire[at : at + 1] for at in range(len(wire)))) == expected


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_whatever_bytes_come_they_are_a_request_or_refused(pieces: list[bytes]) -> None:
    together, apart = read(b"".join(pieces)), read(*pieces)
    # a fault may be seen sooner in small pieces, never later
    assert apart == together or ("malformed" in {event[0] for event in together})


@settings(max_examples=40)
@given(request(), st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
def test_a_request_with_a_damaged_byte_is_read_or_refused(one: tuple[bytes, Seen], at: int, damage: bytes) -> None:
    wire, _ = one
    at %= len(wire)
    read(wire[:at] + damage + wire[at + 1 :])


@settings(max_examples=40)
@given(request(), st.integers(0, 10_000))
def test_a_truncated_request_never_ends(one: tuple[bytes, Seen], at: int) -> None:
    wire, _ = one
    assert all(event[0] != "end" for event in read(wire[: at % len(wire)]))


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"\0\1\2\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"G=T / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 9999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 300, 400),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MOST_HEADERS + 1) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * HEAD_BYTES, 431),
    ],
)
def test_what_is_no_request_is_refused_with_its_status(wire: bytes, status: int) -> None:
    assert read(wire)[-1] == ("malformed", status)


@pytest.mark.parametrize(
    ("more", "keep"),
    [
        (b"HTTP/1.1\r\n", True),
        (b"HTTP/1.0\r\n", False),
        (b"HTTP/1.1\r\nConnection: close\r\n", False),
        (b"HTTP/1.0\r\nConnection: Keep-Alive\r\n", True),
    ],
)
def test_connections_are_kept_as_the_version_and_the_client_say(more: bytes, keep: bool) -> None:
    parser = Parser()
    parser.feed(b"GET / " + more + b"Expect: 100-Continue\r\n\r\n")
    head = parser.next()
    assert isinstance(head, Head)
    assert (head.keep_alive, head.expects_continue) == (keep, b"1.1" in more)


@pytest.mark.parametrize("target", ["/a", "/a?b=c", "http://127.0.0.1:9001/a", "http://h/a?b=http://c/d"])
def test_a_target_in_any_form_is_a_path(target: str) -> None:
    parser = Parser()
    parser.feed(f"GET {target} HTTP/1.1\r\n\r\n".encode())
    head = parser.next()
    assert isinstance(head, Head)
    assert head.path == "/a"
