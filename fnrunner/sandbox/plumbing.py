"""The worker's side of the plumber: start it, tell it what is denied, start it again."""

from __future__ import annotations

import inspect
import marshal
import os
import socket
import subprocess
from pathlib import Path
from typing import Self

from fnrunner.sandbox.destination import Access
from fnrunner.sandbox.rtnetlink import Channel

PROGRAM = Path(__file__).resolve().with_name("plumber.py")
START_S = 15.0


class NetworkUnavailable(Exception):
    """Functions cannot have a network of their own here. Run `fnrunner doctor`."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or ""))


class Plumbing:
    """A plumber and its uplink. ``requests`` is where environments ask; it outlives a plumber, and so do what they ask.

    ``network`` and ``user`` are descriptors of the uplink's namespaces, ``user`` -1 where it has none of its own. ``channel``
    changes the uplink. ``pidfd`` becomes readable when the plumber ends.
    """

    def __init__(self, python: str) -> None:
        """Use ``start``."""
        self._python = python
        requests, self._answered = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.requests = requests.detach()
        self.network = self.user = self.pidfd = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self.channel: Channel

    @classmethod
    def start(cls, python: str) -> Self:
        """Raises NetworkUnavailable."""
        plumbing = cls(python)
        try:
            routes, plumbing.network, *user = plumbing._begin()
        except BaseException:
            plumbing.close()
            raise
        plumbing.user = user[0] if user else -1
        plumbing.channel = Channel(routes)
        return plumbing

    @property
    def pid(self) -> int:
        """0 where none could be started again."""
        return self._process.pid if self._process else 0

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def restart(self) -> None:
        """In the same uplink. It knows nothing of what was told before. Raises NetworkUnavailable."""
        self._end()
        self._begin(str(self.network), str(self.user))

    def tell(self, access: Access) -> None:
        """Those that are connected from now on are denied this. Raises OSError."""
        assert self._control is not None
        try:
            self._control.send(marshal.dumps(access.packed()))
        except (BrokenPipeError, ConnectionError):
            pass  # it has ended: another one is started, and told

    def close(self) -> None:
        """Once."""
        self._end()
        self._answered.close()
        if hasattr(self, "channel"):
            self.channel.close()
        for descriptor in (self.requests, self.network, self.user):
            if descriptor >= 0:
                os.close(descriptor)

    def _begin(self, *uplink: str) -> list[int]:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        passed = [theirs.fileno(), self._answered.fileno(), *(int(number) for number in uplink if int(number) >= 0)]
        command = [self._python, "-I", "-S", "-B", str(PROGRAM), *(str(number) for number in passed[:2]), *uplink]
        with theirs:
            try:
                self._process = subprocess.Popen(
                    command, pass_fds=passed, stdin=subprocess.DEVNULL, cwd="/", env={}, start_new_session=True
                )
            except OSError as error:
                raise NetworkUnavailable(f"{self._python} could not be started: {error}") from error
        self.pidfd = os.pidfd_open(self._process.pid)
        self._control.settimeout(START_S)
        try:
            said, descriptors, _, _ = socket.recv_fds(self._control, 4096, 3)
        except OSError as error:
            said, descriptors = str(error).encode(), []
        self._control.settimeout(None)
        if said != b".":
            self._end()
            why = said.decode("utf-8", "replace") or "the process that makes it ended"
            raise NetworkUnavailable(
                f"no network namespace can be made ({why}): sysctl user.max_net_namespaces; in a container: privileged"
            )
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return descriptors

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
