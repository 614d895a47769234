"""The process that connects environments: it makes the uplink, a network namespace, and lays a cable from it into each.

::

     environment                            uplink                            host
    ┌───────────────────────────────┐      ┌──────────────────────────┐
    │ lo 127.0.0.1, ::1             │      │ rules: who is denied     │
    │ eth0 198.19.x.y ══════════════╪══════╪═ f1 … fn ──► tap0 ═══════╪══ slirp4netns ──► sockets
    └───────────────────────────────┘      └──────────────────────────┘

Started as ``python -I -S plumber.py CONTROL REQUESTS [NETWORK USER]`` by :mod:`~fnrunner.sandbox.uplink`; standard library
only. The last two are descriptors of an uplink that there is already, ``USER`` -1 where it has no user namespace of its own.
First it sends, through the socket CONTROL, ``.`` and with it a routing socket of the uplink, its namespace and its user
namespace; or a sentence that says what went wrong. What it receives there are messages ``(denied, exempt)``: networks with
their bits, addresses with a TCP port, as bytes and numbers. When the worker closes CONTROL it ends.

A request is ``n`` with two descriptors: a network namespace, and a pipe for the answer, ``+`` or what went wrong. A network
is used once and ends, with its cable, when the last process in it does: no environment finds connections of another one, and
nothing has to be removed. What is denied is refused by the environment's own routes, at once; the uplink refuses it too, and
is the one that counts.
"""

from __future__ import annotations

import errno
import marshal
import os
import select
import socket
import struct
import sys

# run alone, it finds what belongs to it
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from fnrunner.sandbox.kernel import CLONE_NEWNET, CLONE_NEWUSER, check, join, libc, write
from fnrunner.sandbox.network import CONNECTED
from fnrunner.sandbox.rtnetlink import (
    LOCAL,
    Channel,
    Message,
    address,
    pair,
    remove,
    route,
    rule,
    switch_on,
    without,
    without_ipv6,
)

GATEWAY = socket.inet_aton("198.18.0.1")
"""The addresses are of those set aside for measurements (RFC 2544): nobody's network is out of reach because of them."""

NAME_SERVER = socket.inet_aton("198.18.0.3")
FIRST, MOST = struct.unpack("!I", socket.inet_aton("198.19.0.1"))[0], 65_000
HARDWARE = b"\x02\x66\x6e\x00\x00\x01"
MTU = 65_520
INDEX = 1000
"""The numbers of the uplink's ends of cables begin here; those of its other links are small."""

TO_ENVIRONMENTS = 100
"""The uplink's table with a route to each."""

AROUND_DENIED = 100
"""An environment's table for what may be reached although it is denied."""

EXEMPT, LOCALS = 10, 1000
"""Priorities of rules in an environment."""

TCP = 6
IPV6 = "/proc/sys/net/ipv6"
SETTINGS = {
    "ipv4/ip_forward": "1",
    # the host's may be inherited: what comes back from outside is for many
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    # environments are one machine for who is outside
    "ipv4/conf/all/proxy_arp": "1",
    # exceptions on the host's loopback; rules refuse the rest
    "ipv4/conf/all/route_localnet": "1",
    # who is denied is told so each time
    "ipv4/icmp_ratelimit": "0",
    "ipv6/conf/default/disable_ipv6": "1",
}


class Plumber:
    """In the uplink. Raises OSError where the kernel refuses what it needs."""

    def __init__(self) -> None:
        self._channel = Channel()
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._last = os.getpid() * 101 % MOST
        self._inner: list[Message] = []
        self._local = False

    def learn(self, denied: list[tuple[bytes, int]], exempt: list[tuple[bytes, int]]) -> None:
        """What those that are connected from now on refuse, and the exceptions. One of them may be on the host's loopback:
        there it covers the environment's own."""
        self._local = any(to[0] == 127 for to, _ in exempt)
        self._inner = inner(denied, exempt)

    def connect(self, network: int) -> None:
        """Raises OSError."""
        number = self._lay(network)
        try:
            self._furnish(network, struct.pack("!I", FIRST + number))
        except OSError:
            self._channel.change(remove(INDEX + number))
            raise

    def _lay(self, network: int) -> int:
        """The number of a cable to the namespace."""
        for _ in range(MOST):
            self._last = number = (self._last + 1) % MOST
            try:
                self._channel.change(
                    pair(INDEX + number, f"f{number}", (2, "eth0", network), hardware=HARDWARE, mtu=MTU)
                )
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.EBUSY):
                    continue  # a living environment has it
                if error.errno == errno.EOPNOTSUPP:
                    raise OSError(error.errno, "the kernel has no virtual links: modprobe veth") from error
                raise
            try:
                to = struct.pack("!I", FIRST + number)
                self._channel.change(route(to, 32, index=INDEX + number, table=TO_ENVIRONMENTS))
            except OSError:
                self._channel.change(remove(INDEX + number))
                raise
            return number
        raise OSError(errno.EADDRNOTAVAIL, f"there are {MOST} environments, and no more addresses")

    def _furnish(self, network: int, own: bytes) -> None:
        join(network, CLONE_NEWNET)
        try:
            channel = Channel()
            try:
                if self._local:
                    # answers from the host's loopback come by a link, and are not what they usually are there: forged
                    write("/proc/sys/net/ipv4/conf/all/route_localnet", "1")
                channel.change(
                    switch_on(1),
                    *([without_ipv6(2)] if os.path.isdir(IPV6) else []),
                    switch_on(2),
                    address(2, own),
                    route(b"", 0, index=2, gateway=GATEWAY),
                    *self._inner,
                )
            finally:
                channel.close()
        finally:
            join(self._own, CLONE_NEWNET)


def inner(denied: list[tuple[bytes, int]], exempt: list[tuple[bytes, int]]) -> list[Message]:
    """What an environment itself refuses, and the exceptions."""
    messages = [route(*network, refused=True) for network in denied]
    messages.append(route(NAME_SERVER, 32, index=2, gateway=GATEWAY))
    if not exempt:
        return messages
    messages.append(route(b"", 0, index=2, gateway=GATEWAY, table=AROUND_DENIED))
    if any(to[0] == 127 for to, _ in exempt):
        messages += [rule(LOCALS, table=LOCAL), without(rule(0, table=LOCAL))]
    return messages + [rule(EXEMPT, to=(to, 32), port=(TCP, port), table=AROUND_DENIED) for to, port in exempt]


def make_uplink() -> bool:
    """Enter a new network namespace; whether it took a user namespace. Raises OSError."""
    own = False
    if libc.unshare(CLONE_NEWNET) < 0:
        user, group = os.geteuid(), os.getegid()
        check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNET), "a network namespace")
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{user} {user} 1")
        write("/proc/self/gid_map", f"{group} {group} 1")
        own = True
    for name, value in SETTINGS.items():
        if os.path.exists(path := f"/proc/sys/net/{name}"):
            write(path, value)
    return own


def present(control: socket.socket, own: bool) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as routes:
        routes.bind((0, 0))
        names = ["net", "user"] if own else ["net"]
        opened = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in names]
        socket.send_fds(control, [b"."], [routes.fileno(), *opened])
        for descriptor in opened:
            os.close(descriptor)


def serve(control: socket.socket, requests: socket.socket) -> None:
    """Until the worker is gone."""
    plumber = Plumber()
    watched = [control]
    while True:
        readable, _, _ = select.select(watched, [], [])
        if control in readable:
            message = control.recv(1 << 20)
            if not message:
                return
            plumber.learn(*marshal.loads(message))  # noqa: S302 - the worker wrote it
            # nobody is connected before it is known what is denied
            watched = [control, requests]
        if requests in readable:
            _, descriptors, _, _ = socket.recv_fds(requests, 1, 2)
            answer(plumber, descriptors)


def answer(plumber: Plumber, descriptors: list[int]) -> None:
    said = CONNECTED
    try:
        network, pipe = descriptors
        try:
            plumber.connect(network)
        except OSError as error:
            said = (error.strerror or str(error)).encode()
        os.write(pipe, said)
    except (ValueError, BrokenPipeError):
        pass  # it is not needed any more
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def main() -> None:
    control, requests = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    try:
        if len(sys.argv) > 3:
            network, user = int(sys.argv[3]), int(sys.argv[4])
            if user >= 0:
                join(user, CLONE_NEWUSER)
            join(network, CLONE_NEWNET)
            control.send(b".")
        else:
            present(control, make_uplink())
    except OSError as error:
        control.send(str(error).encode())
        return
    serve(control, requests)


if __name__ == "__main__":
    main()
