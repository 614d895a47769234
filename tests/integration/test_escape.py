"""A function that tries to get out of its environment: each attempt, and what stopped it (``pytest -s`` prints the list).

An attempt is a piece of code that must raise or return nothing of what it was after. What is not promised is not here.
Those on the network are made on a host of the test's own, where everything they are after does listen.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fnrunner.model.invocation import Succeeded
from fnrunner.sandbox.destination import NetworkWish
from fnrunner.worker.environment import Environment
from tests.integration.environment_kit import Kit, invocation, kit, processes_of
from tests.integration.network_world import HOST, METADATA, OUTSIDE, SERVICE, world

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


ON_THE_NETWORK = {
    "reach the broker": f"got = call_at({OUTSIDE!r}, 5672)",
    "reach the broker's management": f"got = call_at({OUTSIDE!r}, 15672)",
    "reach the store": f"got = call_at({SERVICE!r}, 5432)",
    "ask for the cloud's metadata": f"got = call_at({METADATA!r}, 80)",
    "ask for it through the router": "got = call_at('198.18.0.2', 80)",
    "reach what listens on the host's loopback": "got = call_at('127.0.0.1', 5672)",
    "reach it through the router": "got = call_at('198.18.0.2', 5672)",
    "reach it through the name server": "got = call_at('198.18.0.3', 5672)",
    "reach it by another loopback address": "got = call_at('127.0.0.2', 5672)",
    "reach what listens on the host's address": f"got = call_at({HOST!r}, 22)",
    "reach it by the address of everywhere": "got = call_at('0.0.0.0', 22)",
    "reach it by IPv6": "got = call_at('::1', 22)",
    "reach it by mapped IPv4": f"got = call_at('::ffff:{HOST}', 22)",
    "reach another environment": "got = call_at(OTHER, 8080)",
    "reach it with an address of its own": (
        "s = socket.socket(); s.bind((OTHER, 0)); s.settimeout(2); s.connect((OTHER, 8080))"
    ),
    "speak to the host's abstract sockets": ("s = socket.socket(socket.AF_UNIX); s.connect('\\0' + ABSTRACT)"),
    "send a datagram to the host": (
        f"s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(({HOST!r}, 53)); s.send(b'?'); s.send(b'?')"
    ),
    "go around the routes": (
        f"s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1); s.connect(({HOST!r}, 22))"
    ),
    "mark its packets": "socket.socket().setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1)",
    "ask for metadata by way of its link": f"got = call_by_link({METADATA!r}, 80)",
    "reach the broker by way of its link": f"got = call_by_link({OUTSIDE!r}, 5672)",
    "reach the host by way of its link": f"got = call_by_link({HOST!r}, 22)",
    "reach the host's loopback by way of its link": "got = call_by_link('127.0.0.1', 5672)",
    "reach another environment by way of its link": "got = call_by_link(OTHER, 8080)",
    "open a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "open a packet socket": "socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)",
    "remove a route": "got = netlink(25, struct.pack('=BBBBBBBBI', 2, 0, 0, 0, 254, 0, 0, 0, 0))",
    "add a rule": "got = netlink(32, struct.pack('=BBBBBBBBI', 2, 0, 0, 0, 254, 0, 0, 1, 0))",
    "give itself an address": (
        "a = socket.inet_aton('198.19.0.9'); got = netlink(20, struct.pack('=BBBBI', 2, 32, 0, 0, 2) "
        "+ struct.pack('=HH', 8, 2) + a)"
    ),
    "switch its link off": "got = netlink(16, struct.pack('=BBHiII', 0, 0, 0, 2, 0, 1))",
    "change the kernel's settings of it": "open('/proc/sys/net/ipv4/ip_forward', 'w').write('1')",
    "enter the network of its init": "call(libc.setns(os.open('/proc/1/ns/net', os.O_RDONLY), 0))",
    "enter its own network anew": "call(libc.setns(os.open('/proc/self/ns/net', os.O_RDONLY), 0))",
    "make a network": "call(libc.unshare(0x40000000))",
    "find who connects environments": (
        "got = [l for p in glob.glob('/proc/[0-9]*/fd/*') for l in [os.readlink(p)] if 'net:' in l] or call(-1)"
    ),
    "use a tap": "os.open('/dev/net/tun', os.O_RDWR)",
}

NETWORK_PRELUDE = """
def call_at(host, port):
    with socket.create_connection((host, port), 3) as connection:
        return connection.recv(100)

def call_by_link(host, port):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'eth0')
        connection.settimeout(3)
        connection.connect((host, port))
        return connection.recv(100)

def netlink(kind, body):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as channel:
        channel.send(struct.pack('=IHHII', 16 + len(body), kind, 0x605, 1, 0) + body)
        number = -struct.unpack_from('=i', channel.recv(4096), 16)[0]
        if number:
            raise OSError(number, os.strerror(number))
        return 'done'
"""

SERVING = """
import socket
def handler(event, context):
    global server
    server = socket.create_server(("0.0.0.0", 8080))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        any_socket.connect(("198.18.0.3", 53))
        return any_socket.getsockname()[0]
"""


async def test_what_a_function_tries_on_the_network_is_stopped(tmp_path: Path) -> None:
    wish = NetworkWish("private", services=(OUTSIDE, SERVICE))
    with world() as host:
        for place in (("127.0.0.1", 5672), ("127.0.0.2", 5672), ("127.0.0.1", 80), (HOST, 22), (HOST, 5672)):
            host.listen(*place)
        for place in ((OUTSIDE, 5672), (OUTSIDE, 15672), (SERVICE, 5432), (METADATA, 80)):
            host.listen(*place, outside=True)
        abstract = f"fnrunner-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"\0{abstract}")
            listening.listen()
            async with kit("namespace", tmp_path, wish) as made:
                neighbour = await made.started(SERVING)
                answer = (await neighbour.invoke(invocation())).outcome
                assert isinstance(answer, Succeeded), answer
                prelude = (
                    f"OTHER, ABSTRACT = {json.loads(answer.payload)!r}, {abstract!r}\n" + PRELUDE + NETWORK_PRELUDE
                )
                await all_stopped(await made.started(prelude), ON_THE_NETWORK)
        # all of it was there to be reached
        with socket.create_connection((OUTSIDE, 5672), 5) as connection:
            assert connection.recv(100)


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
    await all_stopped(await made.started(prelude, variables={"OWN": "neighbour"}), ATTEMPTS)


async def all_stopped(environment: Environment, attempts: dict[str, str]) -> None:
    answer = (await environment.invoke(invocation(json.dumps(attempts).encode()))).outcome
    assert isinstance(answer, Succeeded), answer
    found = json.loads(answer.payload)
    print()
    for name, (what, why) in found.items():
        print(f"{name:<45} {why if what == 'stopped' else f'GOT {why}'}")
    assert {name: why for name, (what, why) in found.items() if what != "stopped"} == {}
    assert found.keys() == attempts.keys()


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
