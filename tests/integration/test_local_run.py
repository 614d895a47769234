"""One invocation on this machine: repeatable on every interpreter, debugged in every sandbox, and nothing left of it.

Interpreters are fnrunner's own, the oldest and the newest of this host; with FNRUNNER_TEST_INTERPRETERS=all every one.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest

from fnrunner.cli import debug
from fnrunner.local import run as local_run
from fnrunner.local.run import Attachment, Debugging, LocalRun, perform
from fnrunner.model.invocation import Answer, FunctionError
from fnrunner.runtimes.local import Repeatable
from fnrunner.runtimes.python import PythonRuntime
from fnrunner.sandbox.process import ProcessSandbox
from fnrunner.sandbox.sandbox import Sandbox
from tests.dap_client import DapClient
from tests.installation import RUNTIME
from tests.integration.environment_kit import invocation, make_spec
from tests.leftover import environments_of

AT_MS = 1_700_000_000_000

REPEATED = """\
import asyncio, datetime, os, random, secrets, sys, tempfile, threading, time, uuid

early = random.random()

def child():
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(write, (os.urandom(4) + random.randbytes(4)).hex().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return os.read(read, 99).decode()

def handler(event, context):
    began = time.time()
    time.sleep(0.02)
    slept = time.time()
    asyncio.run(asyncio.sleep(0.02))
    woke = time.time()
    utc = datetime.timezone.utc
    class Own(datetime.datetime):
        pass
    random.seed()
    return {
        "began": began, "slept": slept - began, "woke": woke - slept, "early": early,
        "moments": [
            datetime.datetime.now(utc).timestamp(), datetime.datetime.now().timestamp(), Own.now(utc).timestamp(),
            datetime.datetime.today().timestamp(), time.time_ns() / 1e9, time.clock_gettime(time.CLOCK_REALTIME),
            time.mktime(time.localtime()), time.mktime(time.strptime(time.ctime())), time.mktime(time.strptime(time.asctime())),
            time.mktime(time.strptime(time.strftime("%c"), "%c")), datetime.datetime.now(utc).timestamp(),
        ],
        "days": [str(datetime.date.today()), str(datetime.datetime.utcnow())[:10], list(time.gmtime()[:3])],
        "kinds": [type(Own.now()).__name__, isinstance(datetime.datetime.fromtimestamp(0), datetime.datetime)],
        "random": [
            random.random(), random.Random().random(), random.SystemRandom().random(), secrets.token_hex(4),
            os.urandom(4).hex(), os.getrandom(4).hex(), str(uuid.uuid4()), str(uuid.uuid1()), tempfile.mktemp(dir="/"),
        ],
        "children": [child(), child()],
        "order": list({"a", "b", "c", "d", "e", "f"}),
        "left": context.get_remaining_time_in_millis(),
        "path": sys.path[:2], "variables": [os.environ.get(n) for n in ("PYTHONPATH", "PYTHONHASHSEED", "_FNRUNNER_LOCAL")],
        "monotonic": time.monotonic() - context_monotonic < 60,
    }

context_monotonic = time.monotonic()
"""
FOUND = list(PythonRuntime().available())
INTERPRETERS = (
    FOUND if os.environ.get("FNRUNNER_TEST_INTERPRETERS") == "all" else sorted({RUNTIME, FOUND[0], FOUND[-1]})
)


def code(directory: Path, source: str) -> Path:
    (directory / "f.py").write_text(source)
    return directory


async def answered(wanted: LocalRun, **more: Any) -> Any:
    answer = await perform(wanted, **more)
    assert not isinstance(answer.outcome, FunctionError), answer
    return json.loads(answer.outcome.payload)  # type: ignore[union-attr]


@pytest.mark.parametrize("runtime", INTERPRETERS)
async def test_every_interpreter_repeats_time_and_randomness(runtime: str, tmp_path: Path) -> None:
    spec = make_spec(code(tmp_path, REPEATED), runtime=runtime, variables={"PYTHONPATH": "lib"})
    wanted = LocalRun(spec, invocation(), repeatable=Repeatable(7, AT_MS * 1000))
    first = await answered(wanted)
    assert await answered(wanted) == first
    assert 0 <= first["began"] - AT_MS / 1000 < 0.5
    assert first["slept"] == pytest.approx(0.021, abs=0.001)
    assert first["woke"] == pytest.approx(0.021, abs=0.001)
    assert all(-1 < moment - first["began"] < 2 for moment in first["moments"])
    assert first["moments"][0] < first["moments"][-1]
    assert first["days"] == ["2023-11-14", "2023-11-14", [2023, 11, 14]]
    assert first["kinds"] == ["Own", True]
    assert first["children"][0] != first["children"][1]
    assert 18_000 < first["left"] < 20_000
    assert first["path"][1] == "lib"
    assert first["variables"] == ["lib", None, None]
    assert first["monotonic"]
    other = await answered(replace(wanted, repeatable=Repeatable(8, AT_MS * 1000)))
    assert other["moments"] == first["moments"]
    assert all(a != b for a, b in zip(other["random"], first["random"], strict=True))


async def test_without_repeatable_nothing_is_fixed(tmp_path: Path) -> None:
    wanted = LocalRun(make_spec(code(tmp_path, REPEATED), runtime=RUNTIME), invocation())
    first, second = await answered(wanted), await answered(wanted)
    assert first["began"] > AT_MS / 1000 + 1_000
    assert all(a != b for a, b in zip(second["random"], first["random"], strict=True))


class Editor:
    """Attaches as soon as the debugger listens, looks at one breakpoint, and goes on."""

    def __init__(self, directory: Path, line: int) -> None:
        self.directory = directory
        self.line = line
        self.attachment: Attachment | None = None
        self.seen: dict[str, str] = {}
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded)

    def attach(self, attachment: Attachment) -> None:
        self.attachment = attachment
        self._thread.start()

    def done(self) -> dict[str, str]:
        self._thread.join(60)
        if self.error is not None:
            raise self.error
        return self.seen

    def _guarded(self) -> None:
        try:
            self._look()
        except BaseException as error:
            self.error = error

    def _look(self) -> None:
        assert self.attachment is not None
        file = str(self.directory / "f.py")
        [configuration] = debug.launch_json("f", self.attachment, self.directory)["configurations"]
        with DapClient(self.attachment.host, self.attachment.port) as client:
            client.attach(configuration, {file: [self.line]})
            thread = client.event("stopped")["threadId"]
            frame = client.frame(thread)
            assert (frame["line"], frame["source"]["path"]) == (self.line, file)
            self.seen = client.variables(frame["id"])
            client.request("continue", threadId=thread)


@asynccontextmanager
async def bare_sandbox(directory: Path, kind: str, network: object) -> AsyncIterator[Sandbox]:
    """What every host gives: the code lies where it lies."""
    directory.mkdir()
    yield ProcessSandbox(directory, cgroups=None, mount_namespace=False)


@pytest.mark.parametrize("kind", ["auto", "process", "bare"])
async def test_a_breakpoint_is_hit_in_every_sandbox(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "bare":
        monkeypatch.setattr(local_run, "sandbox_in", bare_sandbox)
    await _debugged(RUNTIME, tmp_path, "process" if kind == "bare" else kind)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", [name for name in INTERPRETERS if name != RUNTIME])
async def test_a_breakpoint_is_hit_on_other_interpreters_than_fnrunners(runtime: str, tmp_path: Path) -> None:
    pytest.importorskip("debugpy")
    if debug.too_old(runtime, metadata("debugpy")["Requires-Python"]):
        pytest.skip("the installed debugpy does not run there")
    await _debugged(runtime, tmp_path)


async def _debugged(runtime: str, directory: Path, sandbox: str = "auto") -> None:
    """The same repeatable answer as without a debugger, and nothing said in the log."""
    pytest.importorskip("debugpy")
    source = REPEATED.replace("    began = time.time()\n", "    word = event['word']\n    began = time.time()\n")
    line = source.splitlines().index("    began = time.time()") + 1
    spec = make_spec(code(directory, source), runtime=runtime, timeout=timedelta(seconds=1))
    wanted = LocalRun(spec, invocation(b'{"word": "read"}'), repeatable=Repeatable(7, AT_MS * 1000), sandbox=sandbox)
    package = debug.package_of("debugpy")
    assert package is not None
    editor = Editor(directory, line)
    answer: Answer = await perform(replace(wanted, debugging=Debugging(package, 0)), on_listening=editor.attach)
    assert editor.done()["word"] == "'read'"
    assert editor.attachment is not None
    assert answer.logs == b""
    usual = await answered(wanted)
    found = json.loads(answer.outcome.payload)  # type: ignore[union-attr]
    # 24 hours instead of a second: the timeout is not applied
    assert found.pop("left") - usual.pop("left") == (24 * 3600 - 1) * 1000
    assert found == usual
    assert environments_of(os.getpid()) == []
