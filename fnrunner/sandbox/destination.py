"""Where environments may connect to, and where not: decided from settings and from what the host is. Pure.

Everything outside is reachable but what is denied: cloud metadata, the host, the broker and the store, other environments,
and what the settings add. Exceptions are single TCP ports, and come first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from fnrunner.sandbox.plumber import NAME_SERVER, TCP, TO_ENVIRONMENTS
from fnrunner.sandbox.rtnetlink import LOCAL, MAIN, Message, rule

MODES: Final = ("auto", "private", "host", "none")
OWN: Final = IPv4Network("198.18.0.0/15")
"""What uplinks and environments are addressed by, see :mod:`~fnrunner.sandbox.plumber`."""

OUTSIDE: Final = "tap0"
EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - where something else listens
LOOPBACK: Final = IPv4Network("127.0.0.0/8")
METADATA: Final = tuple(
    IPv4Network(text)
    for text in (
        "169.254.0.0/16",  # AWS, Google, Azure, OpenStack, Oracle; credentials of tasks
        "168.63.129.16/32",  # Azure
        "100.100.100.200/32",  # Alibaba
        "192.0.0.192/32",  # Oracle
    )
)
UDP: Final = 17
DNS: Final = 53

EXEMPT, NAMES, ANSWERS, UPLINK, UPLINK_OUT, DENIED, LOCALS = 10, 20, 30, 31, 32, 50, 1000
"""Priorities of the uplink's rules."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP port of a host. ``host`` is a name or an IPv4 address."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class NetworkWish:
    """What the settings want. ``mode`` is one of MODES. ``services`` are hosts that are denied, names or addresses; ``deny``
    are networks. ``allow`` can be reached although it is denied; its host may be EVERYWHERE, every address of this host."""

    mode: str = "auto"
    allow: tuple[Endpoint, ...] = ()
    deny: tuple[IPv4Network, ...] = ()
    services: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host that is to be looked up."""
        allowed = (endpoint.host for endpoint in self.allow if endpoint.host not in EVERYWHERE)
        return tuple(dict.fromkeys((*self.services, *allowed)))


@dataclass(frozen=True, slots=True)
class Access:
    """The decision. ``exempt`` are TCP ports of addresses."""

    denied: tuple[IPv4Network, ...]
    exempt: tuple[tuple[IPv4Address, int], ...]

    def packed(self) -> tuple[list[tuple[bytes, int]], list[tuple[bytes, int]]]:
        """As the plumber takes them. The host's loopback is none of an environment's: it has its own."""
        denied = [(net.network_address.packed, net.prefixlen) for net in self.denied if not net.subnet_of(LOOPBACK)]
        return denied, [(address.packed, port) for address, port in self.exempt]


def decide(wish: NetworkWish, own: Iterable[IPv4Address], found: dict[str, tuple[IPv4Address, ...]]) -> Access:
    """``own`` are the host's addresses, ``found`` those of ``wish.hosts``.

    >>> access = decide(NetworkWish(services=("broker",)), [], {"broker": (IPv4Address("10.1.1.1"),)})
    >>> IPv4Network("10.1.1.1/32") in access.denied, IPv4Network("169.254.0.0/16") in access.denied
    (True, True)
    """
    own = list(own)
    single = [*own, *(address for host in wish.services for address in found.get(host, ()))]
    networks = [OWN, LOOPBACK, *METADATA, *wish.deny, *(IPv4Network(address) for address in single)]
    denied = sorted(ipaddress.collapse_addresses(networks))
    here = (IPv4Address("127.0.0.1"), *own)
    exempt = {
        (address, end.port)
        for end in wish.allow
        for address in (here if end.host in EVERYWHERE else found.get(end.host, ()))
    }
    return Access(tuple(denied), tuple(sorted(exempt)))


def fixed_rules() -> tuple[Message, ...]:
    """Of every uplink; its first rule, for local addresses, has moved behind those that follow from the decision."""
    server = (NAME_SERVER, 32)
    return (
        rule(LOCALS, table=LOCAL),
        rule(NAMES, to=server, port=(UDP, DNS), table=MAIN),
        rule(NAMES, to=server, port=(TCP, DNS), table=MAIN),
        rule(ANSWERS, link=OUTSIDE, table=TO_ENVIRONMENTS),
        # its own: the word that something is denied
        rule(UPLINK, link="lo", table=TO_ENVIRONMENTS),
        rule(UPLINK_OUT, link="lo", table=MAIN),
    )


def rules(access: Access) -> dict[object, Message]:
    """By what they say, so that two decisions can be compared."""
    found: dict[object, Message] = {}
    for address, port in access.exempt:
        found[address, port] = rule(EXEMPT, to=(address.packed, 32), port=(TCP, port), table=MAIN)
    for network in access.denied:
        found[network] = rule(DENIED, to=(network.network_address.packed, network.prefixlen))
    return found
