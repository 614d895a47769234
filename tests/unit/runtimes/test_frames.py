"""The frames, and that both ends mean the same by them."""

from __future__ import annotations

import doctest
import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.model.invocation import Invocation
from fnrunner.model.limits import RESPONSE_PAYLOAD_BYTES
from fnrunner.runtimes import frames, python
from fnrunner.runtimes.frames import BadFrame, Kind

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(frames).failed == 0


@given(st.sampled_from(Kind), *[st.integers(0, 2**32 - 1)] * 3)
def test_a_header_survives_the_wire(kind: Kind, sequence: int, fields: int, payload: int) -> None:
    assert frames.split_header(frames.header(kind, sequence, fields, payload)) == (kind, sequence, fields, payload)


@pytest.mark.parametrize("number", [0, 16, 255])
def test_an_unknown_kind_is_a_bad_frame(number: int) -> None:
    with pytest.raises(BadFrame, match=f"kind {number} is unknown"):
        frames.split_header(bytes([number]) + bytes(12))


@given(TEXT, TEXT, st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.binary(max_size=20))
def test_an_invocation_keeps_its_fields(request_id: str, xray: str, client: str, payload: bytes) -> None:
    head = frames.invoke_head(Invocation(request_id, payload, 42, "arn", client_context=client, xray=xray), 7)
    kind, sequence, fields, size = frames.split_header(head)
    assert (kind, sequence, size) == (Kind.INVOKE, 7, len(payload))
    text = head[frames.HEADER.size :]
    assert len(text) == fields
    assert text.decode().split("\0", 6) == [request_id, "42", "arn", xray, "", "", client]


def test_the_bootstrap_uses_the_same_numbers() -> None:
    bootstrap = Path(python.__file__).with_name(python.BOOTSTRAP)
    program = runpy.run_path(str(bootstrap))
    # it is never asked for what it has not begun: it has no extensions that others could wait for, or that could fail
    theirs = [kind for kind in Kind if kind not in (Kind.NOT_STARTED, Kind.RESTED, Kind.FAULT)]
    assert [program[kind.name] for kind in theirs] == theirs
    assert program["HEADER"].format == frames.HEADER.format
    assert program["LARGEST_RESPONSE"] == RESPONSE_PAYLOAD_BYTES
