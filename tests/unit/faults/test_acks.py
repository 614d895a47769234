"""Whatever the pieces that frames arrive in: acknowledgements vanish when they are to, and nothing else ever does."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.acks import BASIC_ACK, HEADER, Acks


def frame(kind: int, payload: bytes) -> bytes:
    return bytes([kind]) + b"\x00\x01" + len(payload).to_bytes(4) + payload + b"\xce"


ACK = frame(1, BASIC_ACK + bytes(9))
# a body may hold the very bytes of an acknowledgement, and a nack is none
OTHERS = (frame(8, b""), frame(3, BASIC_ACK + bytes(9)), frame(1, b"\x00\x3c\x00\x78" + bytes(9)), frame(3, bytes(300)))
FRAMES = st.lists(st.sampled_from((ACK, *OTHERS)), max_size=12)


@settings(deadline=None)
@given(frames=FRAMES, cuts=st.lists(st.integers(0, 1500), max_size=20), keep=st.booleans())
def test_only_acknowledgements_vanish_and_only_when_asked(frames: list[bytes], cuts: list[int], keep: bool) -> None:
    stream = HEADER + b"".join(frames)
    places = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    acks = Acks()
    passed = b"".join(acks.through(stream[start:end], keep=keep) for start, end in itertools.pairwise(places))
    assert passed == HEADER + b"".join(each for each in frames if keep or each != ACK)
    assert acks.lost == (0 if keep else frames.count(ACK))


def test_what_has_not_come_whole_waits_for_its_end() -> None:
    acks = Acks()
    assert acks.through(HEADER[:5], keep=True) == b""
    assert acks.through(HEADER[5:] + OTHERS[3][:100], keep=True) == HEADER
    assert acks.through(OTHERS[3][100:], keep=True) == OTHERS[3]
