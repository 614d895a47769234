"""An environment's network, from within: ask for a cable, wait until it is there.

Runs in the processes of the namespace sandbox; standard library only, Python 3.9 and later. The one that is asked is the
worker's :mod:`~fnrunner.sandbox.plumber`, who works while the environment's root directory is put together.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct

from fnrunner.sandbox.kernel import CLONE_NEWNET, CLONE_NEWUSER, SHARED, check, join, libc

PATIENCE_S = 10.0
OWN = "/proc/self/ns/net"
SIOCSIFFLAGS = 0x8914
UP = 1
CONNECTED = b"+"
NO_NETWORK = "no network: "


class Network:
    """What a spawner knows of it. ``namespaces`` are the flags with which environments are cloned, for this part.

    ``plumber`` is -1 where environments have only loopback; without ``own`` they have the host's network.
    """

    def __init__(self, own: bool = False, plumber: int = -1) -> None:
        self.own, self.plumber = own, plumber
        self.namespaces = CLONE_NEWNET if own else 0
        self._answer = -1

    @classmethod
    def told(cls, text: str) -> Network:
        """From a spawner's argument: nothing, or ``PLUMBER,USER``, descriptors that are -1 where there is none.

        Environments can be connected only by who made the user namespace above theirs: this process goes there.
        """
        if not text:
            return cls()
        plumber, user = (int(part) for part in text.split(","))
        if user >= 0:
            join(user, CLONE_NEWUSER)
            os.close(user)
        if plumber >= 0:
            os.set_inheritable(plumber, False)
        return cls(True, plumber)

    @property
    def descriptors(self) -> list[int]:
        """What stays open where an environment begins; give their new numbers to ``moved``."""
        return [descriptor for descriptor in (self.plumber, self._answer) if descriptor >= 0]

    def moved(self, descriptors: list[int]) -> list[int]:
        """Its own are the first of these; the others."""
        count = len(self.descriptors)
        own, others = descriptors[:count], descriptors[count:]
        if self._answer >= 0:
            self._answer = own.pop()
        if self.plumber >= 0:
            self.plumber = own.pop()
        return others

    def close(self) -> None:
        """Nobody is going to ask any more."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.plumber = self._answer = -1

    def ask(self) -> None:
        """First of all, by the first process of the environment. Raises OSError."""
        if not self.own:
            return
        if self.plumber < 0:
            switch_on_loopback()
            return
        self._answer, said = os.pipe()
        network = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        with socket.socket(fileno=os.dup(self.plumber)) as plumber:
            try:
                socket.send_fds(plumber, [b"n"], [network, said])
            finally:
                os.close(network)
                os.close(said)

    def wait(self) -> None:
        """Last of all. Raises OSError: there is no network, and why."""
        if self._answer < 0:
            return
        if not (said := self._said()):
            # the plumber ended over it, another one is on the way; what was begun is thrown away
            check(libc.unshare(CLONE_NEWNET), "a network of its own")
            self.ask()
            said = self._said()
        if said != CONNECTED:
            why = said.decode("utf-8", "replace") or "who makes it has ended"
            raise OSError(errno.ENETDOWN, f"{NO_NETWORK}{why}")

    def _said(self) -> bytes:
        """Nothing: the one that was to answer has ended."""
        try:
            ready, _, _ = select.select([self._answer], [], [], PATIENCE_S)
            return os.read(self._answer, 1024) if ready else b"it takes too long"
        finally:
            os.close(self._answer)
            self._answer = -1


def kinds(own: bool) -> list[str]:
    """The names of the namespaces that an environment shares with nobody, where a network of its own is one of them or not."""
    return [name for name in SHARED if own or name != "net"]


def switch_on_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", UP))
