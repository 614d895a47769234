"""The record of a stack on the server, and holding it while it is deployed.

Whoever holds a stack renews that every few seconds. Before each step it is asked whether the renewal still stands: a
deployer that slept too long (a laptop that was closed) stops, because somebody else may have gone on in its place.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fnrunner.cli.client import ADMIN, Client, segment
from fnrunner.cli.deploy.package import Package
from fnrunner.cli.deploy.stack_record import Owned, Record
from fnrunner.cli.error import CliError, ServerRefused

HELD_S = 30
RENEWED_S = 5


class StackInUse(CliError):
    """Somebody else deploys the stack now."""

    status = 4


class HoldLost(CliError):
    """The stack was not renewed in time, so that somebody else may deploy it now. Run it again."""


class Hold:
    """A stack that is held. ``check`` before each step."""

    def __init__(self, client: Client, name: str, holder: str) -> None:
        self._client = client
        self._path = f"{ADMIN}/stacks/{segment(name)}"
        self._holder = holder
        self._until = time.monotonic() + HELD_S
        self._stopped = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="renewing", daemon=True)

    def check(self) -> None:
        """Raises HoldLost."""
        if time.monotonic() >= self._until:
            raise HoldLost(
                "The stack was held for too short: nothing has been heard from the server for long",
                "Run the same command again: it goes on from what is there.",
            )

    def save(self, record: Record) -> None:
        """Replace the record. Raises ServerRefused, HoldLost."""
        self.check()
        self._client.send("PUT", self._path, {"holder": self._holder, "document": record.document()})

    def remove(self) -> None:
        self.check()
        self._client.call("DELETE", self._path, query={"holder": self._holder})

    def start(self) -> None:
        self._renewing.start()

    def stop(self) -> None:
        """Nobody holds it any more; when the server is away, it runs out by itself."""
        self._stopped.set()
        if self._renewing.is_alive():
            self._renewing.join(timeout=HELD_S)
        try:
            self._client.send("POST", f"{self._path}/release", {"holder": self._holder})
        except CliError:
            pass

    def _renew(self) -> None:
        while not self._stopped.wait(RENEWED_S):
            begun = time.monotonic()
            try:
                self._client.send("POST", f"{self._path}/hold", {"holder": self._holder, "seconds": HELD_S})
            except CliError:
                continue
            self._until = begun + HELD_S


class StackServer:
    def __init__(self, client: Client) -> None:
        self._client = client

    def every(self) -> list[Record]:
        """By name."""
        return [Record.of(one) for one in self._client.get(f"{ADMIN}/stacks")["stacks"]]

    def others(self, name: str) -> list[Record]:
        """All but the one of this name."""
        return [one for one in self.every() if one.name != name]

    def find(self, name: str) -> Record:
        """The record; an empty one where there is no such stack."""
        found = self._client.find(f"{ADMIN}/stacks/{segment(name)}")
        return Record(name) if found is None else Record.of(found)

    def owners(self) -> dict[Owned, str]:
        """Which stack each resource belongs to."""
        return {one: record.name for record in self.every() for one in (*record.owned, *record.creating)}

    @contextmanager
    def held(self, name: str) -> Iterator[tuple[Hold, Record]]:
        """The stack is this process's, with its record as it is now. Raises StackInUse."""
        holder = this_process()
        record = Record.of(self._hold(name, holder))
        hold = Hold(self._client, name, holder)
        hold.start()
        try:
            yield hold, record
        finally:
            hold.stop()

    def _hold(self, name: str, holder: str) -> dict[str, object]:
        path, wanted = f"{ADMIN}/stacks/{segment(name)}/hold", {"holder": holder, "seconds": HELD_S}
        known = self.find(name)
        if known.holder and is_dead(known.holder):
            wanted["instead_of"] = known.holder
        try:
            answer: dict[str, object] = self._client.send("POST", path, wanted)
        except ServerRefused as error:
            if error.http_status == 409:
                raise StackInUse(
                    f"{error}", "Wait until that has ended, and run it again; `fnrunner stack show` tells more."
                ) from error
            raise
        return answer

    def upload(self, package: Package) -> str:
        """The digest under which the server keeps it, for an hour or while a stack names it."""
        reply = self._client.call(
            "PUT", f"{ADMIN}/stack-code", body=package.data, headers={"Content-Type": "application/zip"}
        )
        return str(reply.json()["digest"])

    def download(self, name: str, digest: str) -> Package:
        """The package that a stack's record names."""
        return Package.of(self._client.call("GET", f"{ADMIN}/stacks/{segment(name)}/code/{digest}").body)


def this_process() -> str:
    """HOST, the boot, the process and when it began: nobody else has this name, even after a restart."""
    return f"{socket.gethostname()} {_boot()} {os.getpid()} {_begun(os.getpid())}"


def is_dead(holder: str) -> bool:
    """Whether a holder was a process of this host, and is one no more. What cannot be known counts as alive."""
    host, _, rest = holder.partition(" ")
    boot, _, process = rest.partition(" ")
    pid, _, begun = process.partition(" ")
    if host != socket.gethostname() or not _boot() or not pid.isdecimal():
        return False
    return boot != _boot() or _begun(int(pid)) != begun


def _boot() -> str:
    """The boot of this host and the namespace that process ids are counted in; empty where that cannot be known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _begun(pid: int) -> str:
    """Clock ticks since the boot; empty when there is no such process."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # state "Z": it has been killed, and nobody has waited for it yet
    return "" if after_name[0] == "Z" else after_name[19]
