"""The network of functions: what they reach, what they do not, and what happens when a part of it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from fnrunner.model.invocation import Succeeded
from fnrunner.sandbox import choice, plumbing, slirp
from fnrunner.sandbox.destination import Endpoint, NetworkWish
from fnrunner.sandbox.namespace import NamespaceSandbox
from fnrunner.sandbox.rtnetlink import LOOPBACK, Channel, address
from fnrunner.sandbox.sandbox import SandboxUnavailable
from fnrunner.worker.environment import Environment
from tests.integration.environment_kit import Kit, invocation, kit
from tests.integration.network_world import HOST, OUTSIDE, SERVICE, World, packed, world

CONNECT = """
    import os, socket, time
    servers = []
    def handler(event, context):
        if "serve" in event:
            servers.append(socket.create_server(("0.0.0.0", event["serve"])))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                any_socket.connect(("198.18.0.3", 53))
                return any_socket.getsockname()[0]
        if "name" in event:
            try:
                return socket.gethostbyname(event["name"])
            except OSError as error:
                return str(error)
        found = {}
        for host, port in event["connect"]:
            begun = time.monotonic()
            try:
                with socket.create_connection((host, port), 5) as connection:
                    found[host] = connection.recv(100).decode()
            except OSError as error:
                found[host] = os.strerror(error.errno) if error.errno else str(error)
            assert time.monotonic() - begun < 4, host
        return found
"""
DENIED = "Permission denied"
UNREACHABLE = "Network is unreachable"


async def ask(environment: Environment, event: object) -> Any:
    outcome = (await environment.invoke(invocation(json.dumps(event).encode()))).outcome
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.payload)


async def reached(environment: Environment, *places: tuple[str, int]) -> dict[str, str]:
    return dict(await ask(environment, {"connect": places}))


async def eventually(tried: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await tried():
            await asyncio.sleep(0.05)


@pytest.fixture
def host() -> Iterator[World]:
    if lacking := slirp.lacking():
        pytest.skip(lacking)
    with world() as made:
        yield made


@pytest.fixture
async def made(host: World, tmp_path: Path) -> AsyncIterator[Kit]:
    wish = NetworkWish(
        "private",
        allow=(Endpoint("127.0.0.1", 9000), Endpoint(HOST, 5432)),
        services=(OUTSIDE,),
        deny=(IPv4Network("198.51.100.8/32"),),
    )
    async with kit("namespace", tmp_path, wish) as made:
        yield made
        # the kit counts what is left open
        host.silence()


def uplink_of(made: Kit) -> Any:
    assert isinstance(made.sandbox, NamespaceSandbox)
    return made.sandbox._network


async def test_what_is_outside_is_reached_and_what_is_allowed_of_the_host(host: World, made: Kit) -> None:
    host.listen("0.0.0.0", 80, outside=True)
    for place in (("127.0.0.1", 9000), ("127.0.0.1", 9001), (HOST, 5432)):
        host.listen(*place)
    environment = await made.started(CONNECT)
    found = await reached(environment, (SERVICE, 80), ("127.0.0.1", 9000), (HOST, 5432))
    # as any program of the host would be seen
    assert found == {SERVICE: f"hello {HOST}", "127.0.0.1": "hello 127.0.0.1", HOST: f"hello {HOST}"}
    found = await reached(environment, (OUTSIDE, 80), ("127.0.0.1", 9001), (HOST, 9000), ("198.51.100.8", 80))
    assert found == {OUTSIDE: DENIED, "127.0.0.1": "Connection refused", HOST: DENIED, "198.51.100.8": DENIED}


async def test_an_environment_serves_itself_and_nobody_else(made: Kit) -> None:
    one, two = await made.started(CONNECT), await made.started(CONNECT)
    # the same port: their loopbacks are two
    first, second = await ask(one, {"serve": 8080}), await ask(two, {"serve": 8080})
    assert first != second
    source = CONNECT.replace("recv(100).decode()", "getpeername()[0]")
    three = await made.started(source)
    assert await reached(three, (first, 8080), (second, 8080)) == {first: DENIED, second: DENIED}
    own = await ask(three, {"serve": 8080})
    assert await reached(three, (own, 8080), ("127.0.0.1", 8080)) == {own: own, "127.0.0.1": "127.0.0.1"}


async def test_names_are_resolved_by_the_hosts_name_servers(
    host: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resolv.conf").write_text(f"nameserver {SERVICE}\n")
    program = tmp_path / "bin" / "slirp4netns"
    program.parent.mkdir()
    there = f"mount --make-rprivate / && mount --bind {tmp_path}/resolv.conf /etc/resolv.conf"
    program.write_text(
        f'#!/bin/sh\nexec unshare -m sh -c \'{there} && exec {shutil.which("slirp4netns")} "$@"\' - "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    host.answer_names(SERVICE, {"shop.test": "198.51.100.9"}, outside=True)
    async with kit("namespace", tmp_path, NetworkWish("private")) as made:
        environment = await made.started(CONNECT)
        assert await ask(environment, {"name": "shop.test"}) == "198.51.100.9"
        assert "not known" in await ask(environment, {"name": "nowhere.test"})


async def test_only_loopback_is_a_network_too(host: World, tmp_path: Path) -> None:
    host.listen("0.0.0.0", 80, outside=True)
    host.listen("127.0.0.1", 9000)
    async with kit("namespace", tmp_path, NetworkWish("none")) as made:
        assert made.sandbox.describe().network == "loopback only"
        environment = await made.started(CONNECT.replace("recv(100).decode()", "getpeername()[0]"))
        assert await reached(environment, (SERVICE, 80), (HOST, 80)) == {SERVICE: UNREACHABLE, HOST: UNREACHABLE}
        assert await reached(environment, ("127.0.0.1", 9000)) == {"127.0.0.1": "Connection refused"}


async def test_the_hosts_network_is_had_by_who_wants_it(host: World, tmp_path: Path) -> None:
    host.listen("127.0.0.1", 9001)
    async with kit("namespace", tmp_path, NetworkWish("host")) as made:
        report = made.sandbox.describe()
        assert report.network == "the host's"
        assert [gap for gap in report.gaps if "network" in gap]
        assert await reached(await made.started(CONNECT), ("127.0.0.1", 9001)) == {"127.0.0.1": "hello 127.0.0.1"}


async def test_a_router_that_is_killed_is_replaced_and_meanwhile_connections_fail_at_once(
    host: World, made: Kit, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    host.listen(SERVICE, 80, outside=True)
    environment = await made.started(CONNECT)
    uplink = uplink_of(made)
    monkeypatch.setattr(slirp, "PROGRAM", "no-such-program")
    os.kill(uplink.pids[1], signal.SIGKILL)

    async def is_missed() -> bool:
        return "functions may have no network" in caplog.text

    await eventually(is_missed)
    assert await reached(environment, (SERVICE, 80)) == {SERVICE: UNREACHABLE}
    monkeypatch.undo()

    async def works() -> bool:
        return await reached(environment, (SERVICE, 80)) == {SERVICE: f"hello {HOST}"}

    await eventually(works)
    assert "slirp4netns" in caplog.text
    assert "functions have a network again" in caplog.text
    assert await reached(await made.started(CONNECT), (SERVICE, 80), (OUTSIDE, 80)) == {
        SERVICE: f"hello {HOST}",
        OUTSIDE: DENIED,
    }


async def test_a_plumber_that_is_killed_is_replaced_and_knows_what_is_denied(
    host: World, made: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    host.listen("0.0.0.0", 80, outside=True)
    before = await made.started(CONNECT)
    plumber = uplink_of(made).pids[0]
    os.kill(plumber, signal.SIGKILL)
    # what waited has a network already, what is made now waits for the next plumber
    for _ in range(4):
        environment = await made.started(CONNECT)
        assert await reached(environment, (SERVICE, 80), (OUTSIDE, 80)) == {SERVICE: f"hello {HOST}", OUTSIDE: DENIED}
    assert await reached(before, (SERVICE, 80)) == {SERVICE: f"hello {HOST}"}
    assert "the process that connects functions to their network ended" in caplog.text
    assert uplink_of(made).pids[0] != plumber


async def test_an_address_that_the_host_gets_later_is_denied_to_those_that_live(host: World, made: Kit) -> None:
    later = "203.0.113.77"
    environment = await made.started(CONNECT)
    channel = Channel()
    channel.change(address(LOOPBACK, packed(later)))
    channel.close()
    host.listen(later, 80)

    async def is_denied() -> bool:
        return (await reached(environment, (later, 80)))[later] == "No route to host"

    await eventually(is_denied)
    assert await reached(await fresh(made), (later, 80)) == {later: DENIED}


async def fresh(made: Kit) -> Environment:
    """None that was made before now."""
    for _ in range(4):
        environment = await made.started(CONNECT)
    return environment


async def test_copies_of_a_function_have_networks_of_their_own(host: World, made: Kit) -> None:
    host.listen(SERVICE, 80, outside=True)
    original = await made.started(CONNECT)
    addresses = []
    for environment in [await copied(made), await copied(made)]:
        addresses.append(await ask(environment, {"serve": 8080}))
        assert await reached(environment, (SERVICE, 80)) == {SERVICE: f"hello {HOST}"}
    assert len(set(addresses)) == 2
    assert await reached(original, *((each, 8080) for each in addresses)) == dict.fromkeys(addresses, DENIED)


async def copied(made: Kit) -> Environment:
    """One that was forked from a snapshot, which is taken some time after the first."""
    for _ in range(50):
        environment = await made.started(CONNECT)
        connection: Any = environment._connection
        if connection._process._function_fd >= 0:
            return environment
        await environment.stop()
        await asyncio.sleep(0.2)
    raise AssertionError("no snapshot was taken")


async def test_nothing_is_left_of_a_network_when_its_environment_ends(host: World, made: Kit) -> None:
    uplink = uplink_of(made)

    def links() -> int:
        lines = Path(f"/proc/{uplink.pids[0]}/net/dev").read_text().splitlines()
        return sum(line.lstrip().startswith("f") and ":" in line for line in lines)

    environments = [await made.started(CONNECT) for _ in range(8)]
    assert links() >= 8
    for each in environments:
        await each.stop()

    async def are_gone() -> bool:
        # but those of processes that wait for the next one
        return links() <= 5

    await eventually(are_gone)


def test_everything_ends_with_a_worker_that_is_killed(host: World, tmp_path: Path) -> None:
    source = (
        "import sys, time\nfrom pathlib import Path\nfrom fnrunner.sandbox.destination import NetworkWish\n"
        "from fnrunner.sandbox.namespace import NamespaceSandbox\n"
        "made = NamespaceSandbox.on_this_host(Path(sys.argv[1]), network=NetworkWish('private'))\n"
        "print(*made._network.pids, flush=True)\ntime.sleep(1000)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", source, str(tmp_path / "sandbox")], stdout=subprocess.PIPE, text=True
    )
    with worker:
        assert worker.stdout is not None
        parts = [int(pid) for pid in worker.stdout.readline().split()]
        assert len(parts) == 2
        parts = [os.pidfd_open(pid) for pid in parts]
        worker.kill()
    for part in parts:
        readable, _, _ = select.select([part], [], [], 20)
        os.close(part)
        assert readable == [part]


@pytest.mark.parametrize("lacks", ["program", "device", "links"])
async def test_a_host_that_lacks_something_says_so_and_goes_on_with_its_own_network(
    lacks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacking := slirp.lacking():
        pytest.skip(lacking)
    if lacks == "program":
        monkeypatch.setattr(slirp, "_path", lambda: str(tmp_path))
    elif lacks == "device":
        monkeypatch.setattr(slirp, "TUN", tmp_path / "tun")
    else:
        monkeypatch.setattr(plumbing, "PROGRAM", without_virtual_links(tmp_path))
    said = {"program": "apt-get install slirp4netns", "device": "modprobe tun", "links": "modprobe veth"}[lacks]
    root = tmp_path / "sandbox"
    sandbox = choice.on_this_host(root, "namespace")
    report = sandbox.describe()
    sandbox.close()
    assert report.network == "the host's"
    assert len([gap for gap in report.gaps if "network" in gap and said in gap]) == 1
    with pytest.raises(SandboxUnavailable, match=said):
        choice.on_this_host(root, network=NetworkWish("private"))
    assert list(root.iterdir()) == []


def without_virtual_links(directory: Path) -> Path:
    """A plumber whose kernel knows no such kind."""
    program = directory / "plumber.py"
    program.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from fnrunner.sandbox import plumber\n"
        "known = plumber.pair\n"
        "def pair(*arguments, **more):\n"
        "    message = known(*arguments, **more)\n"
        "    message.body = message.body.replace(b'veth', b'vxxx')\n"
        "    return message\n"
        "plumber.pair = pair\n"
        "plumber.main()\n"
    )
    return program


def test_without_namespaces_there_is_no_network_of_ones_own(tmp_path: Path) -> None:
    for mode in ("private", "none"):
        with pytest.raises(SandboxUnavailable, match=mode):
            choice.on_this_host(tmp_path, "process", network=NetworkWish(mode))


PROBE = f"""
import os, socket
for host, port in (({SERVICE!r}, 80), ({OUTSIDE!r}, 80), ("127.0.0.1", 9000), ("127.0.0.1", 9001), ({HOST!r}, 22)):
    try:
        with socket.create_connection((host, port), 5) as connection:
            print(host, connection.recv(100).decode())
    except OSError as error:
        print(host, os.strerror(error.errno))
print(os.getuid(), open("/proc/self/status").read().split("CapEff:")[1].split()[0], open("/etc/resolv.conf").read().split()[1])
"""


def as_nobody(directory: Path, mode: str, *, tun: bool) -> list[str]:
    """What an ordinary user's environment finds; skips where this installation cannot be seen by one."""
    repository = Path(__file__).parents[2]
    program = Path(__file__).with_name("network_unprivileged.py")
    variables = {"PYTHONPATH": str(repository)}
    wanted = "import sys, fnrunner.sandbox.namespace; sys.exit(sys.version_info < (3, 11))"
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            tried = subprocess.run(
                [python, "-B", "-c", wanted], capture_output=True, check=False, cwd="/", env=variables,
                user=65534, group=65534, extra_groups=[],
            )  # fmt: skip
            if tried.returncode == 0:
                break
        except OSError:
            continue
    else:
        pytest.skip("no interpreter here can be run by an ordinary user")
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    os.chown(place, 65534, 65534)
    node = directory / "tun"
    os.mknod(node, 0o20666 if tun else 0o20600, os.makedev(10, 200))
    node.chmod(0o666 if tun else 0o600)
    script = (
        f"mount --make-rprivate / && mount --bind {node} /dev/net/tun && "
        'exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"'
    )
    command = ["unshare", "-m", "sh", "-c", script, "-", python, "-B", str(program), str(place), mode, OUTSIDE, PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd="/", env=variables)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_ordinary_user_has_networks_for_functions_too(host: World, tmp_path: Path) -> None:
    host.listen("0.0.0.0", 80, outside=True)
    for place in (("127.0.0.1", 9000), ("127.0.0.1", 9001), (HOST, 22)):
        host.listen(*place)
    described, *found = as_nobody(tmp_path, "private", tun=True)
    assert json.loads(described)[:2] == [65534, "private, through slirp4netns"]
    assert found == [
        f"{SERVICE} hello {HOST}",
        f"{OUTSIDE} {DENIED}",
        "127.0.0.1 hello 127.0.0.1",
        "127.0.0.1 Connection refused",
        f"{HOST} {DENIED}",
        "993 0000000000000000 198.18.0.3",
    ]


def test_an_ordinary_user_who_may_not_open_the_device_is_told_how(host: World, tmp_path: Path) -> None:
    host.listen("127.0.0.1", 9001)
    described, *found = as_nobody(tmp_path, "auto", tun=False)
    _, network, gaps = json.loads(described)
    assert network == "the host's"
    assert any("chmod 666 /dev/net/tun" in gap for gap in gaps)
    assert "127.0.0.1 hello 127.0.0.1" in found
