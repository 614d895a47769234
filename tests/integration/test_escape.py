"""A function that tries to get out of its environment: each attempt, and what stopped it (``pytest -s`` prints the list).

An attempt is a piece of code that must raise or return nothing of what it was after. What is not promised is not here: the
network of the host is shared.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fnrunner.model.invocation import Succeeded
from tests.integration.environment_kit import Kit, invocation, kit, processes_of

SECRET = "only-its-neighbour-knows"

PRELUDE = """
import ctypes, glob, json, os, resource, signal, socket, struct, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def call(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

def read(path):
    with open(path, "rb") as file:
        return file.read(200_000)

def handler(event, context):
    found = {}
    for name, code in event.items():
        scope = dict(globals())
        try:
            exec(code, scope)
            found[name] = ["got", str(scope.get("got"))[:200]]
        except BaseException as error:
            found[name] = ["stopped", f"{type(error).__name__}: {error}"]
    return found
"""

ATTEMPTS = {
    "read the host's password hashes": "got = read('/etc/shadow')",
    "read the home of its user outside": f"got = os.listdir({str(Path.home() / '.config')!r})",
    "read the host's logs": "got = os.listdir('/var/log')",
    "read what the host runs": "got = os.listdir('/run')",
    "read another function's code": "got = read(CODE)",
    "find the directories of other environments": "got = os.listdir(ROOT)",
    "find the host's disks": "got = os.listdir('/sys/block')",
    "read the kernel's memory": "got = read('/proc/kcore')[:1] or call(-1)",
    "write to the system": "open('/usr/bin/evil', 'w')",
    "write to its code": "open('/var/task/evil', 'w')",
    "write to the runtime": "open('/var/runtime/evil', 'w')",
    "write to the root directory": "open('/evil', 'w')",
    "make the code writable": "call(libc.mount(b'none', b'/var/task', None, 4096 | 32, None))",
    "mount the host's disk": "call(libc.mount(b'/dev/vda', b'/tmp', b'ext4', 0, None))",
    "mount proc anew": "call(libc.mount(b'proc', b'/tmp', b'proc', 0, None))",
    "make a device of the host's disk": "os.mknod('/tmp/disk', 0o60600, os.makedev(254, 0))",
    "change its root": "os.chroot('/tmp')",
    "enter a namespace of its init": "call(libc.setns(os.open('/proc/1/ns/mnt', os.O_RDONLY), 0))",
    "make a user namespace": "call(libc.unshare(0x10000000))",
    "make one by clone": "call(libc.syscall(56 if os.uname().machine == 'x86_64' else 220, 0x10000011, 0, 0, 0, 0))",
    "make one by clone3": "call(libc.syscall(435, ctypes.create_string_buffer(88), 88))",
    "see a process outside": "got = [p for p in os.listdir('/proc') if p.isdigit() and int(p) > 500] or call(-1)",
    "signal a process outside": f"os.kill({os.getpid()}, 0)",
    "end its init": "os.kill(1, signal.SIGKILL); time.sleep(0.2); os.stat('/proc/1') and call(-1)",
    "open what its init has open": "got = [os.readlink(f'/proc/1/fd/{n}') for n in os.listdir('/proc/1/fd')]",
    "write to its init's memory": "open('/proc/1/mem', 'r+b')",
    "go where its init is": "os.chdir('/proc/1/cwd')",
    "take devices from everybody": "os.chmod('/dev/null', 0)",
    "read private keys": "got = os.listdir('/etc/ssl/private')",
    "trace a process": "call(libc.ptrace(16, 1, 0, 0))",
    "read a process's memory": "call(libc.process_vm_readv(1, 0, 0, 0, 0, 0))",
    "find its own variables in proc": "got = b'neighbour' in read('/proc/self/environ') or call(-1)",
    "raise its limit of files": "resource.setrlimit(resource.RLIMIT_NOFILE, (100_000, 100_000))",
    "lower its nice value": "os.nice(-10)",
    "become root": "os.setuid(0)",
    "become root through a program": "got = subprocess.run(['su', '-c', 'id'], stdin=subprocess.DEVNULL, check=True)",
    "gain capabilities": "got = int(read('/proc/self/status').split(b'CapEff:')[1].split()[0], 16) or call(-1)",
    "load code into the kernel": "call(libc.syscall(175 if os.uname().machine == 'x86_64' else 105, b'', 0, b''))",
    "use bpf": "call(libc.syscall(321 if os.uname().machine == 'x86_64' else 280, 0, 0, 0))",
    "use io_uring": "call(libc.syscall(425, 8, ctypes.create_string_buffer(120)))",
    "watch the processor": "call(libc.syscall(298 if os.uname().machine == 'x86_64' else 241, 0, 0, 0, 0, 0))",
    "use the kernel's keys": "call(libc.syscall(250 if os.uname().machine == 'x86_64' else 219, 0, -3, 0))",
    "open a raw packet socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "open a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "speak to the hypervisor": "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    "set the clock": "time.clock_settime(time.CLOCK_REALTIME, 0)",
    "name the host": "socket.sethostname('evil')",
    "switch the kernel's settings": "open('/proc/sys/kernel/core_pattern', 'w').write('|/tmp/evil')",
    "reboot": "open('/proc/sysrq-trigger', 'w').write('b')",
    "leave its control group": "got = os.listdir('/sys/fs/cgroup')",
    "see its control group's place": "got = 'fnrunner' in open('/proc/self/cgroup').read() or call(-1)",
    "reach shared memory of others": "got = [l for l in open('/proc/sysvipc/shm')][1:] or call(-1)",
}


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit("namespace", tmp_path) as made:
        yield made


async def test_what_a_function_tries_is_stopped(made: Kit) -> None:
    neighbour = await made.started(PRELUDE, variables={"SECRET": SECRET})
    assert processes_of(neighbour)
    other = made.code.parent / "other"
    shutil.copytree(made.code, other)
    prelude = f"CODE, ROOT = {str(other / 'f.py')!r}, {str(made.root)!r}\n" + PRELUDE
    environment = await made.started(prelude, variables={"OWN": "neighbour"})
    answer = (await environment.invoke(invocation(json.dumps(ATTEMPTS).encode()))).outcome
    assert isinstance(answer, Succeeded), answer
    found = json.loads(answer.payload)
    print()
    for name, (what, why) in found.items():
        print(f"{name:<45} {why if what == 'stopped' else f'GOT {why}'}")
    assert {name: why for name, (what, why) in found.items() if what != "stopped"} == {}
    assert found.keys() == ATTEMPTS.keys()


SEARCH = """
    import re

    def handler(codes, context):
        # a class for each byte: what is searched for is nowhere in one piece, unless it was there
        wanted = re.compile(b"".join(b"[%c]" % code for code in codes))
        found = []
        with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
            for line in maps:
                span, rights, *_ = line.split()
                first, last = (int(part, 16) for part in span.split("-"))
                if "r" not in rights or "[v" in line:
                    continue
                memory.seek(first)
                if wanted.search(memory.read(last - first)):
                    found.append(line)
        return found
"""


async def test_no_secret_of_another_function_is_in_what_was_inherited(made: Kit) -> None:
    codes = json.dumps(list(SECRET.encode())).encode()
    owner = await made.started(SEARCH, variables={"SECRET": SECRET})
    other = await made.started(SEARCH)
    for environment, has_it in ((owner, True), (other, False)):
        answer = (await environment.invoke(invocation(codes))).outcome
        assert isinstance(answer, Succeeded), answer
        assert bool(json.loads(answer.payload)) is has_it


async def test_whoever_forks_away_ends_with_the_environment(made: Kit) -> None:
    environment = await made.started("""
        import os, signal, time
        def handler(event, context):
            for _ in range(3):
                if os.fork() == 0:
                    os.setsid()
                    for number in range(1, 65):
                        try:
                            signal.signal(number, signal.SIG_IGN)
                        except (OSError, ValueError):
                            pass
                    if os.fork() == 0:
                        time.sleep(1000)
                    os._exit(0)
            time.sleep(0.3)
    """)
    await environment.invoke(invocation())
    assert len(processes_of(environment)) >= 4
    await environment.stop()
    assert processes_of(environment) == []
