"""Who connects: a process of this environment, or another one of the host that shares its network.

The kernel says which socket a connection comes from; the processes that this environment sees say whose it is. With a pid
namespace these are its own and no others, so nobody else can take a function's events or answer them. Without one every
process of the host is seen, and there is nothing to tell apart: then nobody is asked.
"""

from __future__ import annotations

import os
import sys

INIT = 1
MAPPED = "0000000000000000FFFF0000" if sys.byteorder == "little" else "00000000000000000000FFFF"
"""What an IPv4 address in IPv6 begins with, as the kernel shows it."""


def alone() -> bool:
    """Whether this environment has a pid namespace of its own: its parent is the first process of it."""
    return os.getppid() == INIT


def is_inside(client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Whether the socket ``client`` that is connected to ``server`` belongs to a process that is seen here."""
    inode = _inode(client, server)
    return inode != 0 and _is_held(f"socket:[{inode}]")


def is_there(client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Whether somebody still holds the socket ``client``. One that only will not send any more can still hear."""
    return _inode(client, server) != 0


def _inode(client: tuple[str, int], server: tuple[str, int]) -> int:
    """The client's socket; 0 when it is closed."""
    wanted = [address_in_proc(*client), address_in_proc(*server)]
    # a socket of both families is listed with those of the second
    for name, prefix in (("tcp", ""), ("tcp6", MAPPED)):
        ends = [prefix + address for address in wanted]
        try:
            with open(f"/proc/net/{name}") as table:
                for line in table:
                    fields = line.split()
                    if fields[1:3] == ends:
                        return int(fields[9])
        except FileNotFoundError:
            continue  # this host knows no IPv6
    return 0


def address_in_proc(host: str, port: int) -> str:
    """An IPv4 address as ``/proc/net/tcp`` shows it.

    >>> address_in_proc("127.0.0.1", 80)
    '0100007F:0050'
    """
    digits = bytes(int(part) for part in host.split("."))
    number = int.from_bytes(digits, sys.byteorder)
    return f"{number:08X}:{port:04X}"


def _is_held(link: str) -> bool:
    """Whether any process has this open. One that keeps others from looking into it is not believed."""
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        folder = f"/proc/{pid}/fd"
        try:
            names = os.listdir(folder)
        except OSError:
            continue  # it has ended, or may not be looked into
        for name in names:
            try:
                if os.readlink(f"{folder}/{name}") == link:
                    return True
            except OSError:
                continue  # closed meanwhile
    return False
