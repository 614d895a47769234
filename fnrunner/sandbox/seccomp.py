"""Which system calls a function may not make: a filter for the kernel, as bytes. Pure.

What is refused is of no use to a function and much of it has been the way out of containers: mounting, namespaces, loading
code into the kernel, other processes' memory, keys, the clock, io_uring, sockets that reach around the network. It gets
EPERM, as if it lacked the right; ``clone3`` gets ENOSYS, because its flags are in memory where no filter can look, and C
libraries then use ``clone``. System calls of another architecture's numbers end the process.

The program is built here and not by libseccomp because it is installed between fork and exec by interpreters of every
version, within a cold start of milliseconds. Sources: the kernel's seccomp_filter.rst and unistd.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

EPERM, ENOSYS = 1, 38
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, EQUAL, AT_LEAST, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
NUMBER_AT, ARCHITECTURE_AT, FIRST_ARGUMENT_AT, SECOND_ARGUMENT_AT = 0, 4, 16, 24

NEW_NAMESPACES: Final = 0x7E020000
"""Flags of clone: mount, cgroup, uts, ipc, user, pid and network namespaces."""

NEW_CGROUP: Final = 0x02000000

FAMILIES: Final = (15, 17, 29, 38, 40, 44)
"""Sockets of AF_KEY, AF_PACKET, AF_CAN, AF_ALG, AF_VSOCK and AF_XDP."""

X32 = 0x40000000
UNKNOWN: Final = 467
"""What kernels have added since then, open_tree_attr first, is not there: whoever knows how to do without does so."""

OF_NAMESPACES: Final = 0xB700
"""The type of requests that lead from one namespace to others."""


@dataclass(frozen=True, slots=True)
class Machine:
    """``audit`` is the kernel's name of the architecture; ``refused`` are numbers of system calls."""

    audit: int
    clone: int
    clone3: int
    socket: int
    setns: int
    unshare: int
    ioctl: int
    refused: tuple[int, ...]


def _machine(audit: int, calls: tuple[int, int, int, int, int, int], numbers: str, more: str = "") -> Machine:
    found = tuple(int(number) for number in f"{numbers} {more}".split())
    return Machine(audit, *calls, found)


MACHINES: Final[Mapping[str, Machine]] = MappingProxyType(
    {
        "x86_64": _machine(
            0xC000003E, (56, 435, 41, 308, 272, 16),
            "163 248 321 161 305 227 176 300 313 431 432 430 433 175 426 427 425 312 320 246 250 212 165 442 429 303 180 304 "
            "428 298 438 155 440 310 311 101 179 443 169 249 171 170 308 164 168 167 103 166 272 323 153 159 256 279",
            # sysfs, _sysctl, uselib, ustat, iopl, ioperm, create_module, get_kernel_syms, query_module
            "139 156 134 136 172 173 174 177 178",
        ),
        "aarch64": _machine(
            0xC00000B7, (220, 435, 198, 268, 97, 29),
            "89 217 280 51 266 112 106 262 273 431 432 430 433 105 426 427 425 272 294 104 219 18 40 442 429 264 42 265 "
            "428 241 438 41 440 270 271 117 60 443 142 218 162 161 268 170 225 224 116 39 97 282 58 171 238 239",
        ),
    }
)  # fmt: skip


def program(machine: str, *, joins: bool = False) -> bytes | None:
    """The filter for a machine as ``uname -m`` names it, as an array of ``struct sock_filter``; None where none is known.

    With ``joins``, for a process that others are forked from, namespaces can be joined whose descriptors it is given, and a
    cgroup namespace can be made.

    >>> len(program("x86_64")) % 8, program("vax") is None
    (0, True)
    """
    known = MACHINES.get(machine)
    return None if known is None else b"".join(_instructions(known, joins))


def _instructions(machine: Machine, joins: bool) -> list[bytes]:
    checks = _checks(machine, joins)
    # allow, refuse, unknown, kill follow the checks, in this order
    ends = {"allow": len(checks), "refuse": len(checks) + 1, "unknown": len(checks) + 2, "kill": len(checks) + 3}

    def distance(target: str | int, here: int) -> int:
        return (ends[target] if isinstance(target, str) else here + 1 + target) - here - 1

    program = [
        struct.pack("<HBBI", code, distance(yes, here), distance(no, here), value)
        for here, (code, value, yes, no) in enumerate(checks)
    ]
    answers = (ALLOW, ERRNO | EPERM, ERRNO | ENOSYS, KILL_PROCESS)
    return program + [struct.pack("<HBBI", RETURN, 0, 0, value) for value in answers]


def _checks(machine: Machine, joins: bool) -> list[tuple[int, int, str | int, str | int]]:
    """Operation, operand, where to go on when it holds and when not: an end, or how many to pass over."""
    checks: list[tuple[int, int, str | int, str | int]] = [
        (LOAD, ARCHITECTURE_AT, 0, 0),
        (EQUAL, machine.audit, 0, "kill"),
        (LOAD, NUMBER_AT, 0, 0),
        (AT_LEAST, X32, "kill", 0),
        (AT_LEAST, UNKNOWN, "unknown", 0),
        (EQUAL, machine.ioctl, 0, 3),
        (LOAD, SECOND_ARGUMENT_AT, 0, 0),
        (AND, 0xFF00, 0, 0),
        (EQUAL, OF_NAMESPACES, "refuse", "allow"),
        (EQUAL, machine.clone3, "unknown", 0),
        (EQUAL, machine.clone, 0, 2),
        (LOAD, FIRST_ARGUMENT_AT, 0, 0),
        (ANY_BIT, NEW_NAMESPACES, "refuse", "allow"),
        (EQUAL, machine.socket, 0, len(FAMILIES) + 1),
        (LOAD, FIRST_ARGUMENT_AT, 0, 0),
        *((EQUAL, family, "refuse", 0) for family in FAMILIES[:-1]),
        (EQUAL, FAMILIES[-1], "refuse", "allow"),
    ]
    if joins:
        checks += [
            (EQUAL, machine.setns, "allow", 0),
            (EQUAL, machine.unshare, 0, 2),
            (LOAD, FIRST_ARGUMENT_AT, 0, 0),
            (EQUAL, NEW_CGROUP, "allow", "refuse"),
        ]
    checks += [(EQUAL, number, "refuse", 0) for number in machine.refused[:-1]]
    checks.append((EQUAL, machine.refused[-1], "refuse", "allow"))
    return checks
