"""Node.js that was started before it was known for which function: it is what one is that is started for the function."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes.util
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from fnrunner.runtimes.node import NodeRuntime
from fnrunner.sandbox.ahead import Waiter
from fnrunner.sandbox.namespace import NamespaceSandbox
from fnrunner.worker.environment import Environment
from tests.integration.environment_kit import Kit, invocation, kit, make_spec, processes_of, processes_with
from tests.integration.runtime_api_kit import script

AVAILABLE = NodeRuntime().available()
pytestmark = pytest.mark.skipif(not AVAILABLE, reason="no Node.js of a supported version is on this host")

FOUND = r"""
const fs = require('node:fs'), net = require('node:net'), path = require('node:path');
const text = (file) => fs.readFileSync(file, 'utf8');
const linked = () => fs.readdirSync('/proc/self/fd').map((fd) => {
  try { return fs.readlinkSync('/proc/self/fd/' + fd).replace(/\d+/g, 'N'); } catch { return 'gone'; }
}).sort();
const status = () => text('/proc/self/status').split('\n').filter((line) =>
  /^(Umask|Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Sig(Ign|Blk|Cgt)|Speculation|Cpus_allowed)/.test(line));
const priority = () => fs.readdirSync('/proc/self/task').map((id) => {
  const fields = text(`/proc/self/task/${id}/stat`).split(') ')[1].split(' ');
  return [fields[16], fields[38]];
});
const mounts = () => text('/proc/self/mountinfo').trim().split('\n').map((line) => {
  const [, , , root, place, options, ...others] = line.split(' ');
  return [place, root, options, others.join(' ').split(' - ')[0].replace(/\d+/g, 'N')].join(' ').replace(/[0-9a-f]{32}/g, 'ID');
}).sort();
const tried = (what) => { try { what(); return 'done'; } catch (error) { return error.code; } };
exports.handler = async (event) => event === 'early' ? text('/proc/self/environ').includes('=fd:') : {
  variables: { ...process.env, AWS_LAMBDA_RUNTIME_API: '', AWS_LAMBDA_LOG_STREAM_NAME: '', _X_AMZN_TRACE_ID: '' },
  argv: process.argv, execArgv: process.execArgv, execPath: process.execPath, cwd: process.cwd(), title: process.title,
  command: text('/proc/self/cmdline'), limits: text('/proc/self/limits'), status: status(), priority: priority(),
  oom: text('/proc/self/oom_score_adj'), group: text('/proc/self/cgroup').replace(/[0-9a-f]{32}/g, 'ID'), mounts: mounts(),
  descriptors: linked(), main: require.main && require.main.filename, cache: Object.keys(require.cache).sort(),
  paths: module.paths, globals: module.constructor.globalPaths, zone: new Date(0).toString(),
  locale: Intl.NumberFormat().resolvedOptions().locale,
  root: fs.readdirSync('/'), var: fs.readdirSync('/var'), opt: fs.readdirSync('/opt'), runtime: fs.readdirSync('/var/runtime'),
  tmp: fs.readdirSync('/tmp'), code: fs.readdirSync('/var/task'), handles: process.getActiveResourcesInfo().sort(),
  writing: ['/var/task/x', '/var/runtime/x', '/x', '/opt/x', '/tmp/x'].map((file) => tried(() => fs.writeFileSync(file, ''))),
  others: [1, process.ppid].map((pid) => tried(() => fs.readdirSync(`/proc/${pid}/root/`))),
  processes: fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).length,
  listeners: process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
  listening: text('/proc/net/tcp').split('\n').filter((line) => line.split(/\s+/)[4] === '0A').length, env: typeof fd,
};
let fd;
"""


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit("namespace", tmp_path) as made:
        yield made


def environment(made: Kit, source: str, *, name: str = "f.js", **spec: Any) -> Environment:
    made.code.mkdir(exist_ok=True)
    (made.code / name).write_text(source)
    found = Environment(
        make_spec(made.code, **{"runtime": next(iter(AVAILABLE)), "memory_mb": 256, **spec}),
        made.sandbox,
        NodeRuntime(),
        cold_reason="first",
    )
    made.made.append(found)
    return found


async def started(made: Kit, source: str, **more: Any) -> Environment:
    found = environment(made, source, **more)
    await found.start()
    return found


async def said(environment: Environment, event: Any = None) -> Any:
    answer = await environment.invoke(invocation(json.dumps(event).encode()))
    assert isinstance(answer.outcome, Succeeded), (answer.outcome, answer.logs)
    return json.loads(answer.outcome.payload)


def early_of(made: Kit) -> list[Waiter]:
    """Those that wait having begun."""
    assert isinstance(made.sandbox, NamespaceSandbox)
    kinds = [
        kind
        for spawner in made.sandbox._spawning._spawners.values()
        for name, kind in spawner.asking._ahead._kinds.items()
        if name
    ]
    return [waiter for kind in kinds for waiter in kind.waiting]


def inside(waiter: Waiter, program: bytes) -> list[int]:
    """The processes of its home that run this program."""
    pids = processes_with(waiter.home.directory.name)
    return [pid for pid in pids if program in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def ready(made: Kit, count: int = 1) -> list[int]:
    """Wait until so many have begun, and wait: the pids of Node."""
    async with asyncio.timeout(30):
        while True:
            found = [pid for waiter in early_of(made) for pid in inside(waiter, b"--max-old-space-size") if _reads(pid)]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


def _reads(pid: int) -> bool:
    """Whether it waits in a pipe, or in whatever where the kernel does not say; Python, which also has Node's arguments, does
    not count."""
    try:
        where = Path(f"/proc/{pid}/wchan").read_text()
        return ("pipe" in where or where == "0") and b"spawner" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


async def test_it_is_in_everything_as_one_that_was_started_for_the_function(made: Kit) -> None:
    variables = {"TABLE": "orders", "NODE_ENV": "production", "PATH": "/mine:/usr/bin"}
    first = await started(made, FOUND, variables=variables)
    await ready(made)
    second = await started(made, FOUND, variables=variables)
    assert [await said(first, "early"), await said(second, "early")] == [False, True]
    fresh, early = await said(first), await said(second)
    assert {name: (fresh[name], early[name]) for name in fresh if fresh[name] != early[name]} == {}
    assert fresh["variables"]["TABLE"] == "orders"


async def test_no_two_draw_the_same_numbers_and_none_knows_of_another(made: Kit) -> None:
    source = """
        const fs = require('node:fs');
        exports.handler = async () => [
          Math.random(), require('node:crypto').randomUUID(), process.env.SECRET, process.pid > 1,
          fs.readFileSync('/proc/self/environ', 'utf8') + fs.readFileSync(`/proc/${process.ppid}/environ`, 'utf8'),
        ];
    """
    await started(made, source, variables={"SECRET": "first-secret"})
    (waits,) = await ready(made)
    assert b"first-secret" not in Path(f"/proc/{waits}/environ").read_bytes()
    second = await said(await started(made, source, variables={"SECRET": "second-secret"}))
    await ready(made)
    third = await said(await started(made, source, variables={"SECRET": "third-secret"}))
    assert [second[2], third[2]] == ["second-secret", "third-secret"]
    assert second[0] != third[0]
    assert second[1] != third[1]
    assert "secret" not in second[4] + third[4]


@pytest.mark.parametrize(
    ("variables", "expression", "value"),
    [
        ({"NODE_OPTIONS": "--stack-trace-limit=3"}, "Error.stackTraceLimit", 3),
        ({"TZ": "Europe/Vienna"}, "new Date(0).getHours()", 1),
        ({"LD_LIBRARY_PATH": "/mine"}, "/=.mine/.test(require('fs').readFileSync('/proc/self/environ'))", True),
    ],
)  # fmt: skip
async def test_what_is_read_at_the_start_is_there_at_the_start(
    made: Kit, variables: dict[str, str], expression: str, value: object
) -> None:
    await started(made, FOUND)
    await ready(made)
    source = f"exports.handler = async (event) => {expression}"
    assert await said(await started(made, source, variables=variables)) == value
    assert len(early_of(made)) == 1


@pytest.mark.parametrize("program", [b"--max-old-space-size", b""], ids=["Node", "all of it"])
async def test_one_that_ends_while_it_waits_is_replaced_by_one_that_is_started(made: Kit, program: bytes) -> None:
    await started(made, FOUND)
    (waits,) = await ready(made)
    (waiter,) = early_of(made)
    pids = [waits] if program else inside(waiter, b"")
    for pid in pids:
        # some end with others
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while any(map(_alive, pids)):
            await asyncio.sleep(0.01)
    second = await started(made, FOUND)
    assert await said(second, "early") is False
    assert (await said(second))["cwd"] == "/var/task"


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] not in "ZX"
    except OSError:
        return False


async def test_layers_buckets_and_libraries_appear_in_one_that_waited(made: Kit, tmp_path: Path) -> None:
    layers, bucket = tmp_path / "layers", tmp_path / "bucket"
    (layers / "nodejs" / "node_modules" / "mine").mkdir(parents=True)
    (layers / "nodejs" / "node_modules" / "mine" / "index.js").write_text("exports.of = 'layer'")
    (layers / "lib").mkdir()
    bucket.mkdir()
    (made.code / "lib").mkdir(parents=True)
    library = ctypes.util.find_library("z")
    for place in (made.code / "lib" / "libone.so", layers / "lib" / "libtwo.so"):
        if shutil.which("gcc"):
            subprocess.run(["gcc", "-shared", "-o", str(place), "-x", "c", "-"], input=b"int one;", check=True)
    source = """
        const fs = require('node:fs');
        const loaded = (name) => {
          try { process.dlopen({ exports: {} }, name); } catch (error) { return /self-register/.test(error.message); }
        };
        exports.handler = async (directory) => {
          fs.writeFileSync(directory + '/written', 'by the function');
          return [require('mine').of, ...['libone.so', 'libtwo.so', 'libthree.so'].map(loaded)];
        };
    """
    spec: dict[str, Any] = {"layers_directory": str(layers), "directories": (str(bucket),)}
    await started(made, source, **spec)
    await ready(made)
    second = await started(made, source, **spec)
    has_gcc = shutil.which("gcc") is not None and library is not None
    assert early_used(second)
    assert await said(second, str(bucket)) == ["layer", has_gcc, has_gcc, False]
    assert (bucket / "written").read_text() == "by the function"


def early_used(environment: Environment) -> bool:
    """Whether it had begun before, by what its Node was started with."""
    return any(b"=fd:" in Path(f"/proc/{pid}/environ").read_bytes() for pid in processes_of(environment))


async def test_extensions_come_before_a_runtime_that_waited(made: Kit, tmp_path: Path) -> None:
    layers = tmp_path / "layers"
    register = "api = extension('INVOKE'); open('/tmp/registered', 'w').close()"
    script(layers / "extensions" / "slow", f"time.sleep(0.2); {register}\nwhile True: api.event()")
    source = """
        const was = require('fs').existsSync('/tmp/registered');
        exports.handler = async () => [was, process.env.TABLE];
    """
    await started(made, source, layers_directory=str(layers))
    await ready(made)
    second = await started(made, source, layers_directory=str(layers), variables={"TABLE": "orders"})
    assert early_used(second)
    assert await said(second) == [True, "orders"]


async def test_its_memory_is_limited_as_that_of_others(made: Kit) -> None:
    source = "exports.handler = async () => { const kept = []; for (;;) kept.push(Buffer.alloc(1 << 20, 1)); }"
    await started(made, source)
    await ready(made)
    second = await started(made, source)
    assert early_used(second)
    answer = await second.invoke(invocation())
    assert isinstance(answer.outcome, FunctionError), answer
    assert second.out_of_memory
