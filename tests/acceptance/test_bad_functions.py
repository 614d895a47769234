"""Functions that do what no function should, in each kind of runtime, from outside: each ends as on Lambda, and the worker
and everybody else go on.

``FNRUNNER_TEST_LOG_MB=1024`` makes the log without a line's end a gigabyte; without it it has 24 megabytes.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from fnrunner.runtimes import runtime_api_launch
from tests.installation import ROLE, Installation, eventually
from tests.integration.runtime_api_kit import CLIENT

LOG_MB = int(os.environ.get("FNRUNNER_TEST_LOG_MB", "24"))
WITHIN_S = 4
KINDS = ("python3.11", "nodejs20.x", "provided.al2023")

PYTHON = """
import json, os, signal, subprocess, sys, threading, time

def until_refused(one):
    made = []
    try:
        while len(made) < 5000:
            made.append(one())
    except (OSError, RuntimeError):
        pass
    return len(made)

def eat():
    kept = []
    while True:
        kept.append(bytearray(4 << 20))

def handler(event, context=None):
    do = event["do"]
    if do == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if do == "processes":
        return until_refused(lambda: subprocess.Popen(["sleep", "600"])) < 1024
    if do == "threads":
        def thread():
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        return until_refused(thread) < 1024
    if do == "descriptors":
        return until_refused(lambda: os.open("/dev/null", os.O_RDONLY)) < 1024
    if do == "child":
        subprocess.run([sys.executable, "-c", "kept = []\\nwhile True: kept.append(bytearray(4 << 20))"])
    if do == "log":
        for _ in range(event["mb"]):
            os.write(1, b"x" * (1 << 20))
    if do == "binary":
        os.write(1, bytes(range(256)) + b"\\x1b[31mred\\x1b[0m\\n")
    if do == "large":
        return "x" * (7 << 20)
    if do == "unserialisable":
        return {1, 2}
    if do == "exit":
        os._exit(3)
    return "well"
"""
NODE = """
const { spawn, spawnSync } = require('node:child_process');
const { openSync, writeSync } = require('node:fs');
const { Worker } = require('node:worker_threads');

const untilRefused = async (one) => {
  let made = 0;
  try { for (; made < 5000; made++) await one(); } catch { /* that is the end of it */ }
  return made;
};
const started = (child) => new Promise((yes, no) => {
  child.on('error', no); child.on('spawn', yes); child.on('online', yes);
});
const say = (bytes) => { for (let at = 0; at < bytes.length;) {
  try { at += writeSync(1, bytes, at); } catch (error) { if (error.code !== 'EAGAIN') throw error; }
} };

exports.handler = async (event) => {
  switch (event.do) {
    case 'hang': process.on('SIGTERM', () => {}); for (;;);
    case 'processes': return await untilRefused(() => started(spawn('sleep', ['600'], { stdio: 'ignore' }))) < 1024;
    case 'threads': return await untilRefused(() => started(new Worker('setInterval(() => {}, 9000)', { eval: true }))) < 1024;
    case 'descriptors': return await untilRefused(() => openSync('/dev/null')) < 1024;
    case 'child':
      spawnSync(process.execPath, ['-e', 'const kept = []; for (;;) kept.push(Buffer.alloc(4 << 20, 1))']); return 'well';
    case 'log': for (let n = 0; n < event.mb; n++) say(Buffer.alloc(1 << 20, 'x')); return 'well';
    case 'binary':
      say(Buffer.from([...Array(256).keys()])); say(Buffer.from('\\x1b[31mred\\x1b[0m\\n')); return 'well';
    case 'large': return 'x'.repeat(7 << 20);
    case 'unserialisable': { const cycle = {}; cycle.cycle = cycle; return cycle; }
    case 'exit': process.exit(3);
    default: return 'well';
  }
};
"""
BOOTSTRAP = """
def answered(event, headers):
    result = handler(event)
    return "no JSON" if isinstance(result, set) else json.dumps(result)
serve(answered)
"""
BREAK_THE_API = r"""
import random
api, told = Api(), []
id, _, _ = api.next()
told.append(api.respond("never-heard-of", "1")[0])
told.append(api.error("never-heard-of", "{}")[0])
for rubbish in (b"\x00\xff\x16\x03\x01\r\n\r\n", b"GET /\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"X" * 2_000_000,
                b"POST /2018-06-01/runtime/invocation/x/response HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):
    try:
        raw(rubbish)
    except OSError:
        pass
seed = random.Random(1)
for _ in range(300):
    with socket.create_connection((HOST, int(PORT))) as one:
        one.sendall(seed.randbytes(seed.randrange(200)) if seed.random() < 0.5 else
                    b"POST /2018-06-01/runtime/invocation/" + seed.randbytes(20) + b" HTTP/1.1\r\nA: b\r\n\r\n")
told.append(api.respond(id, "[1]")[0])
told.append(api.respond(id, "[2]")[0])
told.append(api.error(id, "{}")[0])
id, _, _ = api.next()
api.respond(id, json.dumps(told))
serve(lambda event, headers: '"well"')
"""
IN_INIT = {
    "python3.11": {
        "import": "import no_such_module\ndef handler(event, context): pass",
        "exit": "import os\nos._exit(4)\ndef handler(event, context): pass",
        "hang": "import time\ntime.sleep(600)\ndef handler(event, context): pass",
    },
    "nodejs20.x": {
        "import": "require('no-such-module'); exports.handler = async () => 1;",
        "exit": "process.exit(4); exports.handler = async () => 1;",
        "hang": "for (;;); exports.handler = async () => 1;",
    },
    "provided.al2023": {"import": "import no_such_module", "exit": "os._exit(4)", "hang": "time.sleep(600)"},
}


@pytest.fixture(scope="module")
def dev() -> Iterator[Installation]:
    with TemporaryDirectory() as directory, Installation(Path(directory)) as found:
        found.start("dev")
        found.deploy("neighbour", "def handler(event, context): return event")
        yield found
        assert found.processes["dev"].poll() is None


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    runtime: str = request.param
    if runtime.startswith("nodejs") and shutil.which("node") is None:
        pytest.skip("no Node.js is on this host")
    return runtime


def deploy(dev: Installation, name: str, runtime: str, source: str, **more: Any) -> None:
    """``source`` is Python for python and provided, JavaScript for node."""
    file = {"p": "app.py", "n": "app.js"}[runtime[0]]
    if runtime.startswith("provided"):
        file, source = "bootstrap", f"#!{runtime_api_launch.host_python()}\n{CLIENT}\n{source}"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        entry = zipfile.ZipInfo(file)
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, source)
    dev.client().create_function(
        FunctionName=name,
        Runtime=runtime,
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": made.getvalue()},
        **{"MemorySize": 256, "Timeout": WITHIN_S, **more},
    )


def allow(dev: Installation, name: str, seconds: int) -> None:
    dev.client().update_function_configuration(FunctionName=name, Timeout=seconds)
    dev.client().get_waiter("function_updated_v2").wait(FunctionName=name)


def kind_of(dev: Installation, name: str, event: object) -> Any:
    """What was answered, or the type of the error. The neighbour answers all the while."""
    status, error, body = dev.call(name, event)
    assert status == 200, body
    assert dev.call("neighbour", "still here") == (200, "", "still here")
    return body["errorType"] if error else body


BOUNDED = (True, "Runtime.ExitError", "Sandbox.Timedout")
"""It was refused more, or its environment ended over it."""
EXPECTED = {
    "hang": ("Sandbox.Timedout",),
    "child": ("well", "Runtime.ExitError"),
    "log": ("well",),
    "binary": ("well",),
    "large": ("Function.ResponseSizeTooLarge",),
    "unserialisable": ("Runtime.MarshalError", "Error"),
    # these last as long as their environment: what needs a process or a descriptor comes before them
    "threads": BOUNDED,
    "processes": BOUNDED,
    "descriptors": (True,),
    "exit": ("Runtime.ExitError",),
}


def test_whatever_a_handler_does_it_ends_as_on_lambda_and_others_go_on(dev: Installation, kind: str) -> None:
    name = kind.partition(".")[0]
    deploy(dev, name, kind, NODE if kind.startswith("nodejs") else PYTHON + BOOTSTRAP * kind.startswith("provided"))
    expected = dict(EXPECTED)
    if kind.startswith("provided"):
        # its bytes are its own affair
        del expected["unserialisable"]
    for do, allowed in expected.items():
        if do in ("log", "binary"):
            allow(dev, name, {"log": 120, "binary": WITHIN_S}[do])
        found = kind_of(dev, name, {"do": do, "mb": LOG_MB})
        assert found in allowed, (do, found)
        assert kind_of(dev, name, {"do": ""}) == "well", do


@pytest.mark.parametrize("way", ["import", "exit"])
def test_an_initialisation_that_fails_is_told_by_the_first_invocation(dev: Installation, kind: str, way: str) -> None:
    name = f"{kind.partition('.')[0]}-{way}"
    deploy(dev, name, kind, IN_INIT[kind][way])
    missing = way == "import" and not kind.startswith("provided")
    assert kind_of(dev, name, {}) == ("Runtime.ImportModuleError" if missing else "Runtime.ExitError")


def test_an_initialisation_that_hangs_is_repeated_after_ten_seconds_within_the_functions_time(
    dev: Installation,
) -> None:
    kinds = [kind for kind in KINDS if kind != "nodejs20.x" or shutil.which("node")]
    names = [f"{kind.partition('.')[0]}-hang" for kind in kinds]
    for name, kind in zip(names, kinds, strict=True):
        deploy(dev, name, kind, IN_INIT[kind]["hang"], Timeout=1)
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        # together: each takes eleven seconds
        found = list(pool.map(lambda name: kind_of(dev, name, {}), names))
    assert found == ["Sandbox.Timedout"] * len(names)
    assert time.monotonic() - began >= 11
    for name in names:
        log = json.dumps(dev.admin(f"functions/{name}/logs"))
        assert "INIT_REPORT" in log, log
        assert "Task timed out after 1.00 seconds" in log, log


def test_no_use_of_the_runtime_api_harms_anybody(dev: Installation) -> None:
    deploy(dev, "api", "provided.al2023", BREAK_THE_API, Timeout=60)
    assert kind_of(dev, "api", {}) == [1]
    assert kind_of(dev, "api", {}) == [400, 400, 202, 403, 403]
    # under load another environment may begin with the same
    eventually(lambda: kind_of(dev, "api", {}) == "well")
