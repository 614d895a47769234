"""slirp4netns: a process that is the router of a network namespace, and opens ordinary sockets of the host for it.

It is chosen over pasta because it answers several addresses behind it, where pasta knows one guest only, and because
distributions have had it for longer. It runs with the worker's rights, cut down to a file system without files and to the
system calls that it needs, and ends when the worker does.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from fnrunner.sandbox.destination import OUTSIDE
from fnrunner.sandbox.plumber import MTU

PROGRAM = "slirp4netns"
TUN = Path("/dev/net/tun")
NETWORK = "198.18.0.0/24"
"""Of its own addresses: 2 is the host's loopback and switched off, 3 the name server, 100 the uplink's."""

CONFINED = ("--enable-sandbox", "--enable-seccomp")
READY_S = 10.0


class SlirpFailed(Exception):
    """slirp4netns did not start."""


def lacking() -> str:
    """What it needs and this host has not, with the remedy; empty where it can be tried."""
    if shutil.which(PROGRAM, path=_path()) is None:
        return f"{PROGRAM} is not installed: apt-get install {PROGRAM}, or your distribution's package of that name"
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"{TUN} is missing: modprobe tun; in a container: --device {TUN}"
    except OSError as error:
        return f"{TUN} cannot be opened ({error.strerror}): chmod 666 {TUN}"
    return ""


def _path() -> str:
    # administrators' programs are not on everybody's path
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/bin", "/usr/bin", "/usr/sbin", "/sbin"))


class Slirp:
    """One process; ``pidfd`` becomes readable when it ends."""

    def __init__(self, process: subprocess.Popen[bytes], leash: int) -> None:
        """Use ``start``."""
        self._process = process
        self._leash = leash
        self.pidfd = os.pidfd_open(process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @classmethod
    def start(cls, network: int, user: int) -> Self:
        """Descriptors of the namespace and of its user namespace, which is -1 where that is the own one. Returns once there
        is a way out. Raises SlirpFailed."""
        try:
            return cls._start(network, user, CONFINED)
        except SlirpFailed:
            # a host may forbid the one or the other
            return cls._start(network, user, ())

    @classmethod
    def _start(cls, network: int, user: int, flags: tuple[str, ...]) -> Self:
        program = shutil.which(PROGRAM, path=_path())
        if program is None:
            raise SlirpFailed(lacking())
        leash, its_leash = os.pipe()
        ready, its_ready = os.pipe()
        command = [
            program, "--configure", f"--mtu={MTU}", f"--cidr={NETWORK}", "--disable-host-loopback", *flags,
            f"--ready-fd={its_ready}", f"--exit-fd={leash}", "--netns-type=path",
        ]  # fmt: skip
        passed = [leash, its_ready, network]
        if user >= 0:
            command.append(f"--userns-path=/proc/self/fd/{user}")
            passed.append(user)
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(
                    [*command, f"/proc/self/fd/{network}", OUTSIDE], pass_fds=passed, cwd="/", start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=said, stderr=said, env={"PATH": _path()},
                )  # fmt: skip
            except OSError as error:
                os.close(its_leash)
                os.close(ready)
                raise SlirpFailed(f"{program}: {error.strerror}") from error
            finally:
                os.close(leash)
                os.close(its_ready)
            slirp = cls(process, its_leash)
            try:
                if not _is_ready(ready, slirp.pidfd):
                    raise SlirpFailed(f"{PROGRAM} did not come up ({_last_words(said.fileno())})")
            except BaseException:
                slirp.close()
                raise
            finally:
                os.close(ready)
        return slirp

    def close(self) -> None:
        """End it. Once."""
        os.close(self._leash)
        self._process.kill()
        self._process.wait()
        os.close(self.pidfd)


def _is_ready(ready: int, pidfd: int) -> bool:
    deadline = time.monotonic() + READY_S
    while (left := deadline - time.monotonic()) > 0:
        readable, _, _ = select.select([ready, pidfd], [], [], left)
        if ready in readable:
            return os.read(ready, 1) == b"1"
        if pidfd in readable:
            return False
    return False


def _last_words(file: int) -> str:
    lines = [
        line for line in os.pread(file, 65_536, 0).decode("utf-8", "replace").splitlines() if "WARNING" not in line
    ]
    return "; ".join(lines[-3:]) or "it said nothing"
