"""The worker's side of the network: one namespace that all environments are connected to, its way out, and who is denied.

A thread keeps it: the plumber and slirp4netns are started again when they end, and who is denied follows the host's addresses
and the names of the broker and the store. Environments that live keep their network through all of that; their open
connections end with a slirp4netns that ends, and new ones are refused at once until there is another.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import socket
import struct
import threading
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

from fnrunner.sandbox import slirp
from fnrunner.sandbox.destination import LOOPBACK, OUTSIDE, Access, NetworkWish, decide, fixed_rules, rules
from fnrunner.sandbox.plumber import GATEWAY, NAME_SERVER
from fnrunner.sandbox.plumbing import NetworkUnavailable, Plumbing
from fnrunner.sandbox.rtnetlink import (
    ADDRESSES_CHANGED,
    LOCAL,
    Channel,
    Message,
    address,
    answer_at_once,
    rule,
    switch_on,
    without,
)
from fnrunner.sandbox.rtnetlink import LOOPBACK as LO
from fnrunner.sandbox.slirp import Slirp, SlirpFailed

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 30.0
AGAIN_FIRST_S, AGAIN_LAST_S = 0.1, 10.0
STEADY_S = 10.0
"""What ended sooner is not started again at once."""

CLOSING_S = 5.0
RESOLVER = Path("/etc/resolv.conf")
SIOCGIFINDEX = 0x8933


class Uplink:
    """Started by ``start``; ends with ``close``, and with the worker. ``resolver`` is the file that environments have for
    /etc/resolv.conf."""

    def __init__(self, directory: Path, wish: NetworkWish, plumbing: Plumbing) -> None:
        """Use ``start``."""
        self._wish, self._plumbing = wish, plumbing
        self._slirp: Slirp | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._rules: dict[object, Message] = {}
        self._found: dict[str, tuple[IPv4Address, ...]] = {}
        self._unknown: frozenset[str] = frozenset()
        self._host = Channel(groups=ADDRESSES_CHANGED)
        self._stopping, self._stop = os.pipe()
        self.resolver = directory / "resolv.conf"

    @classmethod
    def start(cls, directory: Path, wish: NetworkWish, python: str) -> Self:
        """``directory`` is where its file goes, and exists; ``python`` is an interpreter. Raises NetworkUnavailable."""
        if lacking := slirp.lacking():
            raise NetworkUnavailable(lacking)
        uplink = cls(directory, wish, Plumbing.start(python))
        try:
            uplink._connect()
        except BaseException as error:
            uplink.close()
            if isinstance(error, OSError | SlirpFailed):
                raise NetworkUnavailable(str(error)) from error
            raise
        return uplink

    @property
    def name(self) -> str:
        return "private, through slirp4netns"

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Those that ``argument`` speaks of, for a spawner to inherit."""
        return tuple(number for number in (self._plumbing.requests, self._plumbing.user) if number >= 0)

    @property
    def argument(self) -> str:
        """What a spawner is told, see :meth:`fnrunner.sandbox.network.Network.told`."""
        return f"{self._plumbing.requests},{self._plumbing.user}"

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the plumber and of slirp4netns, as far as there are any at this moment."""
        running = self._slirp
        return (self._plumbing.pid, *((running.pid,) if running else ()))

    def close(self) -> None:
        """Environments that still run have no way out any more. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            os.write(self._stop, b".")
            # it may wait for an answer of the name server
            self._thread.join(CLOSING_S)
        if self._slirp is not None:
            self._slirp.close()
            self._slirp = None
        self._plumbing.close()
        self._host.close()
        self.resolver.unlink(missing_ok=True)
        for descriptor in (self._stopping, self._stop):
            os.close(descriptor)

    def _connect(self) -> None:
        channel = self._plumbing.channel
        channel.change(switch_on(LO), address(LO, GATEWAY), *fixed_rules())
        channel.change(without(rule(0, table=LOCAL)))
        self._refresh()
        self._open()
        self._thread = threading.Thread(target=self._keep, name="uplink", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        """Raises SlirpFailed, OSError."""
        channel = self._plumbing.channel
        started = Slirp.start(self._plumbing.network, self._plumbing.user)
        try:
            channel.change(answer_at_once(_index(channel.socket, OUTSIDE)))
        except BaseException:
            started.close()
            raise
        self._slirp = started

    def _keep(self) -> None:
        wait, since = AGAIN_FIRST_S, time.monotonic()
        while not self._stopped(LOOK_AGAIN_S if self._slirp and self._plumbing.pid else wait):
            try:
                self._host.forget()
                if self._plumbing.ended:
                    log.warning("the process that connects functions to their network ended; starting another")
                    self._plumbing.restart()
                    self._plumbing.tell(self._decide())
                self._refresh()
                if self._slirp is not None and self._slirp.ended:
                    log.warning("slirp4netns (%d), the network of functions, ended; starting another", self._slirp.pid)
                    self._slirp.close()
                    self._slirp = None
                    if time.monotonic() - since < STEADY_S:
                        wait = min(wait * 2, AGAIN_LAST_S)
                        continue
                if self._slirp is None:
                    self._open()
                    since = time.monotonic()
                    log.info("functions have a network again")
                if time.monotonic() - since > STEADY_S:
                    wait = AGAIN_FIRST_S
            except (OSError, SlirpFailed, NetworkUnavailable) as error:
                log.error("functions may have no network: %s. Trying again in %.1f s", error, wait)
                wait = min(wait * 2, AGAIN_LAST_S)

    def _stopped(self, within: float) -> bool:
        """Wait until something has happened, and say whether it is the end."""
        watched = [self._stopping, self._host.socket.fileno(), self._plumbing.pidfd]
        watched += [self._slirp.pidfd] if self._slirp else []
        readable, _, _ = select.select([number for number in watched if number >= 0], [], [], within)
        return self._stopping in readable

    def _refresh(self) -> None:
        """Look up who is meant, and let the rules follow: a new one holds before an old one is gone. Raises OSError."""
        self._look_up()
        access = self._decide()
        wanted = rules(access)
        added = [message for name, message in wanted.items() if name not in self._rules]
        gone = [without(message) for name, message in self._rules.items() if name not in wanted]
        if added or gone:
            self._plumbing.channel.change(*added, *gone)
            self._plumbing.tell(access)
            self._rules = wanted
        text = resolver_of(_read(RESOLVER))
        if _read(self.resolver) != text:
            # in place: environments have it mounted
            self.resolver.write_text(text)
            self.resolver.chmod(0o644)

    def _decide(self) -> Access:
        with contextlib.closing(Channel()) as host:
            own = [IPv4Address(packed) for packed in host.addresses() if len(packed) == 4]
        return decide(self._wish, [each for each in own if each not in LOOPBACK], self._found)

    def _look_up(self) -> None:
        """What is not found keeps the addresses that it had."""
        unknown = set()
        for name in self._wish.hosts:
            if found := addresses_of(name):
                self._found[name] = found
            else:
                unknown.add(name)
        if missing := sorted(unknown - self._unknown):
            log.warning("functions are not kept from, or let to, %s: no such host is known now", ", ".join(missing))
        self._unknown = frozenset(unknown)


def resolver_of(host: str) -> str:
    """The text of an environment's resolv.conf, from the host's: the host's name servers are asked on its behalf.

    >>> resolver_of("nameserver 127.0.0.53\\noptions edns0\\nsearch corp.test\\n")
    'nameserver 198.18.0.3\\noptions edns0\\nsearch corp.test\\n'
    """
    kept = [line for line in host.splitlines() if line.split()[:1] in (["search"], ["domain"], ["options"])]
    return "\n".join((f"nameserver {IPv4Address(NAME_SERVER)}", *kept, ""))


def addresses_of(host: str) -> tuple[IPv4Address, ...]:
    """Its IPv4 addresses; none where it is not known."""
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(IPv4Address(entry[4][0]) for entry in found))


def _index(any_socket: socket.socket, name: str) -> int:
    """The number of a link in the namespace of the socket. Raises OSError."""
    asked = struct.pack("16si20x", name.encode(), 0)
    return int(struct.unpack_from("16si", fcntl.ioctl(any_socket, SIOCGIFINDEX, asked))[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
