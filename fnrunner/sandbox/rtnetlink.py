"""Links, addresses, routes and rules of a network namespace, by the kernel's own messages.

Standard library only, Python 3.9 and later: the spawner loads this file by its path. IPv4 only. Addresses are four bytes.
Sources: rtnetlink(7), netlink(7), and the kernel's linux/if_link.h, linux/rtnetlink.h, linux/fib_rules.h, linux/neighbour.h.
"""

from __future__ import annotations

import os
import socket
import struct

TYPE_CHECKING = False  # what type checkers take for True
if TYPE_CHECKING:
    from collections.abc import Iterator

NETLINK_ROUTE = 0
NEW_LINK, DELETE_LINK, NEW_ADDRESS, GET_ADDRESS, NEW_ROUTE = 16, 17, 20, 22, 24
NEW_RULE, DELETE_RULE, SET_NEIGHBOUR_TABLE = 32, 33, 67
REQUEST, ACKNOWLEDGE, DUMP, ADD = 0x1, 0x4, 0x300, 0x600
ERROR, DONE = 2, 3
NESTED = 0x8000

UP, NO_ARP = 0x1, 0x80
MAIN, LOCAL = 254, 255
UNICAST, PROHIBIT = 1, 8
TO_TABLE, REFUSE = 1, 8
ON_LINK = 4
LOOPBACK = 1
"""The number of the first link of every namespace."""

AT_ONCE = 50
"""More answers might not fit into a socket before they are read."""

ADDRESSES_CHANGED = 0x10
"""The group that hears of IPv4 addresses."""

_HEADER = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")


class Message:
    """What is to be changed, and how that is called where it is refused."""

    def __init__(self, kind: int, flags: int, body: bytes, what: str) -> None:
        self.kind, self.flags, self.body, self.what = kind, flags, body, what


class Channel:
    """A socket into the network namespace in which it was opened, wherever it is used."""

    def __init__(self, descriptor: int = -1, groups: int = 0) -> None:
        if descriptor >= 0:
            self.socket = socket.socket(fileno=descriptor)
        else:
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
            self.socket.bind((0, groups))
        self.number = 0

    def change(self, *messages: Message) -> None:
        """All of them, in this order. Raises OSError for the first that is refused; what came before it holds."""
        for first in range(0, len(messages), AT_ONCE):
            self._change(messages[first : first + AT_ONCE])

    def _change(self, messages: tuple[Message, ...]) -> None:
        wanted = {}
        data = b""
        for message in messages:
            self.number += 1
            wanted[self.number] = message
            flags = REQUEST | ACKNOWLEDGE | message.flags
            data += _HEADER.pack(_HEADER.size + len(message.body), message.kind, flags, self.number, 0) + message.body
        self.socket.send(data)
        refused = None
        while wanted:
            for kind, number, body in self._received():
                message = wanted.pop(number)
                code = -struct.unpack_from("=i", body)[0] if kind == ERROR else 0
                if code and refused is None:
                    refused = OSError(code, f"{message.what}: {os.strerror(code)}")
        if refused is not None:
            raise refused

    def addresses(self) -> list[bytes]:
        """Every IPv4 address of this namespace."""
        self.number += 1
        body = _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)
        size = _HEADER.size + len(body)
        self.socket.send(_HEADER.pack(size, GET_ADDRESS, REQUEST | DUMP, self.number, 0) + body)
        found: list[bytes] = []
        while True:
            for kind, _, body in self._received():
                if kind in (DONE, ERROR):
                    return found
                if kind == NEW_ADDRESS:
                    known = dict(attributes(body[_ADDRESS.size :]))
                    # that of this end, where it is told apart from the other end's
                    found.append(known.get(2, known.get(1, b"")))

    def forget(self) -> None:
        """What has been announced since."""
        try:
            while self.socket.recv(65536, socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            pass

    def _received(self) -> Iterator[tuple[int, int, bytes]]:
        data = self.socket.recv(65536)
        while data:
            length, kind, _, number, _ = _HEADER.unpack_from(data)
            yield kind, number, data[_HEADER.size : length]
            data = data[(length + 3) & ~3 :]

    def close(self) -> None:
        self.socket.close()


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(parts))


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """
    >>> list(attributes(attribute(1, b"abc") + number(2, 7)))
    [(1, b'abc'), (2, b'\\x07\\x00\\x00\\x00')]
    """
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & ~NESTED, data[4:length]
        data = data[(length + 3) & ~3 :]


def _link(index: int, flags: int, *parts: bytes) -> bytes:
    return struct.pack("=BBHiII", 0, 0, 0, index, flags, flags) + b"".join(parts)


def pair(index: int, name: str, other: tuple[int, str, int], *, hardware: bytes, mtu: int) -> Message:
    """Two links that are one cable. This end is up; the other one has a number and a name in the namespace of a descriptor.

    Both have the same hardware address and do not ask for others: what one sends is for the other.
    """
    its_index, its_name, netns = other
    common = (attribute(1, hardware), number(4, mtu))
    far = _link(its_index, NO_ARP, attribute(3, its_name.encode() + b"\0"), number(28, netns), *common)
    kind = nested(18, attribute(1, b"veth"), nested(2, attribute(1 | NESTED, far)))
    near = _link(index, UP | NO_ARP, attribute(3, name.encode() + b"\0"), *common, kind)
    return Message(NEW_LINK, ADD, near, "a pair of virtual links (veth)")


def switch_on(index: int) -> Message:
    return Message(NEW_LINK, 0, _link(index, UP), "a link")


def without_ipv6(index: int) -> Message:
    """The link takes no address of that family by itself; before it is switched on."""
    mode = nested(26, nested(socket.AF_INET6, attribute(8, b"\1")))
    return Message(NEW_LINK, 0, _link(index, 0, mode), "a link without IPv6")


def remove(index: int) -> Message:
    return Message(DELETE_LINK, 0, _link(index, 0), "the removal of a link")


def address(index: int, own: bytes) -> Message:
    """One alone: no network comes with it."""
    body = _ADDRESS.pack(socket.AF_INET, 32, 0, 0, index) + attribute(2, own) + attribute(1, own)
    return Message(NEW_ADDRESS, ADD, body, "an address")


def route(
    destination: bytes, bits: int, *, index: int = 0, gateway: bytes = b"", table: int = MAIN, refused: bool = False
) -> Message:
    """To a network, through a link or to a gateway on it; or into nothing, with an error for whoever asks."""
    kind = PROHIBIT if refused else UNICAST
    scope = 0 if gateway or refused else 253
    body = _ROUTE.pack(socket.AF_INET, bits, 0, 0, table, 4, scope, kind, ON_LINK if gateway else 0)
    if bits:
        body += attribute(1, destination)
    if gateway:
        body += attribute(5, gateway)
    if index:
        body += number(4, index)
    return Message(NEW_ROUTE, ADD, body, "a route")


def rule(
    priority: int, *, to: tuple[bytes, int] = (b"", 0), port: tuple[int, int] = (0, 0), link: str = "", table: int = 0
) -> Message:
    """What comes from ``link`` for ``to`` at ``port`` (protocol, number) looks into ``table``; without one it is refused."""
    network, bits = to
    protocol, at = port
    body = _ROUTE.pack(socket.AF_INET, bits, 0, 0, table, 0, 0, TO_TABLE if table else REFUSE, 0)
    if bits:
        body += attribute(1, network)
    if link:
        body += attribute(3, link.encode() + b"\0")
    body += number(6, priority)
    if protocol:
        body += attribute(22, bytes([protocol])) + attribute(24, struct.pack("=HH", at, at))
    return Message(NEW_RULE, ADD, body, "a rule for routes")


def without(made: Message) -> Message:
    """The removal of a rule."""
    return Message(DELETE_RULE, 0, made.body, "the removal of a rule for routes")


def answer_at_once(index: int) -> Message:
    """A link that answers for others does so without the usual random delay."""
    parameters = nested(6, number(1, index), attribute(13, struct.pack("=Q", 0)))
    body = struct.pack("=BBH", socket.AF_INET, 0, 0) + attribute(1, b"arp_cache\0") + parameters
    return Message(SET_NEIGHBOUR_TABLE, 0, body, "the parameters of a link")
