"""Take the acknowledgements out of what an AMQP client sends, frame by frame."""

from __future__ import annotations

HEADER = b"AMQP\x00\x00\x09\x01"
FRAME_HEAD, FRAME_END = 7, 1
METHOD = 1
BASIC_ACK = b"\x00\x3c\x00\x50"


class Acks:
    """Fed with one connection's bytes from its first on; whole frames come out. ``lost`` counts what was taken out.

    >>> acks, frame = Acks(), b"\\x01\\x00\\x01\\x00\\x00\\x00\\x0d" + BASIC_ACK + bytes(9) + b"\\xce"
    >>> acks.through(HEADER + frame, keep=True) == HEADER + frame, acks.through(frame, keep=False), acks.lost
    (True, b'', 1)
    """

    def __init__(self) -> None:
        self.lost = 0
        self._rest = b""
        self._greeted = False

    def through(self, data: bytes, *, keep: bool) -> bytes:
        """What of it is to be sent on; with ``keep`` off, without acknowledgements."""
        data = self._rest + data
        at, kept = 0, bytearray()
        if not self._greeted:
            if len(data) < len(HEADER):
                self._rest = data
                return b""
            self._greeted = True
            at = len(HEADER)
            kept += data[:at]
        while len(data) - at >= FRAME_HEAD:
            end = at + FRAME_HEAD + int.from_bytes(data[at + 3 : at + FRAME_HEAD]) + FRAME_END
            if end > len(data):
                break
            is_ack = data[at] == METHOD and data[at + FRAME_HEAD : at + FRAME_HEAD + 4] == BASIC_ACK
            if keep or not is_ack:
                kept += data[at:end]
            else:
                self.lost += 1
            at = end
        self._rest = data[at:]
        return bytes(kept)
