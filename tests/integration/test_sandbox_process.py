"""The process sandbox: what is private, what is limited, and what is left when a worker is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fnrunner.model.invocation import Succeeded
from fnrunner.runtimes.python import PythonRuntime
from fnrunner.runtimes.runtime import RuntimeUnavailable
from fnrunner.sandbox import cgroups
from fnrunner.sandbox.process import ProcessSandbox
from fnrunner.sandbox.sandbox import Command, Limits, SandboxUnavailable
from fnrunner.worker.environment import Environment, EnvironmentState
from tests.integration.environment_kit import (
    Kit,
    full_sandbox,
    home_of,
    invocation,
    kit,
    make_spec,
    processes_of,
    processes_with,
)

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit("full", tmp_path) as made:
        yield made


@pytest.fixture(params=["namespace", "full", "bare"])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit(request.param, tmp_path) as made:
        yield made


def needs_mounts(kit: Kit) -> None:
    if not kit.sandbox.describe().mount_namespace:
        pytest.skip("this host permits no mount namespace")


async def answer(environment: Environment, event: object = None) -> object:
    outcome = (await environment.invoke(invocation(json.dumps(event).encode()))).outcome
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.payload)


async def test_the_report_names_a_mechanism_or_a_gap_for_everything(made: Kit) -> None:
    report = made.sandbox.describe()
    assert report.memory == ("cgroup" if report.cgroup_version else "RLIMIT_DATA and polling")
    assert report.cpu in ("cgroup weight", "nice")
    network = report.network == "the host's"
    assert len(report.gaps) == network + (not report.cgroup_version) + (report.cpu == "nice") + (
        not report.mount_namespace
    )


async def test_tmp_is_private_lasts_and_vanishes(made: Kit) -> None:
    source = """
        import os, tempfile
        def handler(event, context):
            path = os.path.join(tempfile.gettempdir(), "mine")
            before = os.listdir(tempfile.gettempdir())
            open(path, "w").close()
            os.mkdir(path + str(len(before)), 0)
            return before
        """
    first, second = await made.started(source), await made.started(source)
    assert await answer(first) == []
    assert await answer(second) == []
    assert sorted(await answer(first)) == ["mine", "mine0"]  # type: ignore[call-overload]
    assert not Path("/tmp/mine0").exists()
    await first.stop()
    left = [path.name for path in made.root.iterdir()]
    assert any(name.endswith(home_of(second)) for name in left)
    assert not any(name.endswith(home_of(first)) for name in left)


async def test_the_code_is_at_var_task_and_cannot_be_changed(full: Kit) -> None:
    needs_mounts(full)
    had = Path("/var/task").exists()
    environment = await full.started(
        """
        import os
        def handler(event, context):
            failed = []
            for path in ("/var/task/new", "/var/task/f.py", "/var/runtime/new", "/var/new"):
                try:
                    open(path, "a").close()
                except OSError as error:
                    failed.append(error.strerror)
            return [os.getcwd(), __file__, sorted(os.listdir("/var/task")), failed]
        """
    )
    assert await answer(environment) == ["/var/task", "/var/task/f.py", ["f.py"], ["Read-only file system"] * 4]
    assert Path("/var/task").exists() == had


async def test_mounts_of_a_function_do_not_reach_the_host(full: Kit) -> None:
    needs_mounts(full)
    before = Path("/proc/self/mounts").read_text()
    await full.started("def handler(event, context): pass")
    assert Path("/proc/self/mounts").read_text() == before


async def test_limits_are_set(made: Kit) -> None:
    environment = await made.started(
        """
        import resource
        def handler(event, context):
            names = ("RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_STACK", "RLIMIT_FSIZE")
            return [resource.getrlimit(getattr(resource, name))[0] for name in names]
        """,
        ephemeral_storage_mb=600,
    )
    assert await answer(environment) == [1024, 0, 8 << 20, 600 << 20]


async def test_environments_weigh_by_memory_and_all_of_them_together_a_bounded_share(full: Kit) -> None:
    if full.sandbox.describe().cpu != "cgroup weight":
        pytest.skip("this host permits no cpu cgroup")
    source = "def handler(event, context): pass"
    small, large = await full.started(source), await full.started(source, memory_mb=1024)
    groups = [group_of(processes_of(environment)[0]) for environment in (small, large)]
    assert [weight_of(group) for group in groups] == [1024, 8192]
    assert groups[0].parent == groups[1].parent
    assert weight_of(groups[0].parent) == 2048 * (os.cpu_count() or 1)
    await small.stop()
    assert groups[1].parent.exists()
    await large.stop()
    assert not groups[1].parent.exists(), "the group around them goes with the last one"


def group_of(pid: int) -> Path:
    """Where the process's share of the processor is set."""
    paths = cgroups.parse_membership(Path(f"/proc/{pid}/cgroup").read_text())
    if "cpu" in paths:
        return cgroups.MOUNT / "cpu" / paths["cpu"].lstrip("/")
    return cgroups.MOUNT / paths[""].lstrip("/")


def weight_of(group: Path) -> int:
    """In version 1's units."""
    shares = group / "cpu.shares"
    return int(shares.read_text()) if shares.exists() else int((group / "cpu.weight").read_text()) * 1024 // 100


async def test_a_limit_of_the_processor_holds_once_the_function_is_initialised(tmp_path: Path) -> None:
    async with kit("full", tmp_path) as full:
        if full.sandbox.describe().cpu != "cgroup weight":
            pytest.skip("this host permits no cpu cgroup")
        full.sandbox._cpu_limit = True
        assert full.sandbox.describe().cpu == "cgroup limit"
        environment = await full.started(
            """
            import time
            def handler(event, context):
                started, used = time.monotonic(), time.process_time()
                while time.monotonic() < started + 1:
                    pass
                return time.process_time() - used
            """,
            memory_mb=177,
        )
        used_s = await answer(environment)
        assert isinstance(used_s, float)
        assert used_s < 0.3, "a tenth of a processor, and what was left of a period"


def test_a_limit_that_the_host_cannot_keep_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "discover", lambda: None)
    with pytest.raises(SandboxUnavailable, match="FNRUNNER_CPU_LIMIT=on needs a writable cgroup"):
        ProcessSandbox.on_this_host(tmp_path / "sandbox", cpu_limit=True)
    assert ProcessSandbox.on_this_host(tmp_path / "sandbox").describe().cpu == "nice"


async def test_without_a_group_functions_are_less_urgent_than_the_worker(tmp_path: Path) -> None:
    async with kit("bare", tmp_path) as bare:
        environment = await bare.started("import os\ndef handler(event, context): return os.nice(0)")
        assert await answer(environment) == os.nice(0) + 5


async def test_a_function_holds_no_file_of_the_worker(made: Kit) -> None:
    environment = await made.started(
        """
        import os, stat
        def handler(event, context):
            kinds = []
            for fd in range(1024):
                try:
                    kinds.append(stat.S_IFMT(os.fstat(fd).st_mode))
                except OSError:
                    pass
            return kinds == [stat.S_IFCHR, stat.S_IFIFO, stat.S_IFIFO, stat.S_IFSOCK]
        """
    )
    assert await answer(environment) is True


async def run_command(sandbox: ProcessSandbox, code: Path, source: str, limits: Limits, output_fd: int) -> int:
    layout = sandbox.layout("one", code_directory=str(code), runtime_directory=str(code), interpreter="/usr/bin/x")
    process = await sandbox.start(
        Command(
            environment_id="one",
            argv=(PythonRuntime().interpreter("python3.11"), "-I", "-c", textwrap.dedent(source)),
            variables={},
            code_directory=str(code),
            runtime_directory=str(code),
            layout=layout,
            limits=limits,
            output_fd=output_fd,
            inherited_fds=(),
        )
    )
    try:
        async with asyncio.timeout(20):
            return await process.wait()
    finally:
        await process.remove()
        await process.remove()


LIMITS = Limits(memory_mb=256, file_mb=1, processes=10, open_files=64)


async def test_a_fork_bomb_stays_within_its_processes(full: Kit, tmp_path: Path) -> None:
    if not full.sandbox.describe().cgroup_version:
        pytest.skip("this host permits no cgroup")
    full.code.mkdir()
    with (tmp_path / "output").open("wb") as output:
        source = """
            import os, sys, time
            made = 0
            try:
                while True:
                    if os.fork() == 0:
                        time.sleep(1000)
                    made += 1
            except BlockingIOError:
                sys.exit(made)
            """
        assert await run_command(full.sandbox, full.code, source, LIMITS, output.fileno()) == 9
    assert list(full.root.iterdir()) == []


async def test_a_file_over_the_limit_cannot_be_written(made: Kit, tmp_path: Path) -> None:
    made.code.mkdir()
    with (tmp_path / "output").open("wb") as output:
        source = """
            import tempfile, errno, sys
            try:
                tempfile.TemporaryFile(buffering=0).write(b"x" * (1 << 20))
                file = tempfile.TemporaryFile(buffering=0)
                file.truncate((1 << 20) + 1)
            except OSError as error:
                sys.exit(42 if error.errno == errno.EFBIG else 1)
            """
        assert await run_command(made.sandbox, made.code, source, LIMITS, output.fileno()) == 42


async def test_a_program_that_does_not_exist_is_the_hosts_fault(made: Kit) -> None:
    class Missing(PythonRuntime):
        def interpreter(self, name: str) -> str:
            return "/nowhere/python"

    made.code.mkdir()
    environment = Environment(make_spec(made.code), made.sandbox, Missing(), cold_reason="first")
    with pytest.raises(SandboxUnavailable, match="No such file or directory"):
        await environment.start()
    assert environment.state is EnvironmentState.GONE


async def test_a_runtime_that_is_not_installed_is_named(made: Kit) -> None:
    made.code.mkdir()
    spec = replace(make_spec(made.code), runtime="python3.99")
    environment = Environment(spec, made.sandbox, PythonRuntime(), cold_reason="first")
    with pytest.raises(RuntimeUnavailable, match=r"apt-get install python3\.99"):
        await environment.start()
    assert environment.state is EnvironmentState.GONE


def test_a_root_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SandboxUnavailable, match="choose another --data-dir"):
        ProcessSandbox.on_this_host(tmp_path / "file" / "root")


WORKER = """
import asyncio, sys
from pathlib import Path
from tests.integration.environment_kit import Kit, full_sandbox, home_of, invocation, namespace_sandbox
from fnrunner.sandbox.process import ProcessSandbox

SOURCE = '''
import os, time
def handler(event, context):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            print("detached", flush=True)
            time.sleep(1000)
        os._exit(0)
    os.wait()
    while True:  # too busy to see that the worker is gone
        pass
'''

async def main(kind, directory):
    root = directory / "sandbox"
    root.mkdir()
    bare = ProcessSandbox(root, cgroups=None, mount_namespace=False)
    made = {"bare": lambda: bare, "full": lambda: full_sandbox(root), "namespace": lambda: namespace_sandbox(root)}
    kit = Kit(made[kind](), root, directory / "code")
    environment = await kit.started(SOURCE)
    await environment.invoke(invocation(), on_log=lambda _: print(home_of(environment), flush=True))

asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
"""


@pytest.mark.parametrize("kind", ["namespace", "full", "bare"])
async def test_a_killed_worker_takes_its_functions_along_and_the_next_one_sweeps_the_rest(
    kind: str, tmp_path: Path
) -> None:
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WORKER,
        kind,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert worker.stdout is not None
    environment_id = (await worker.stdout.readline()).decode().strip()
    root = tmp_path / "sandbox"
    sandbox = ProcessSandbox(root, cgroups=None, mount_namespace=False) if kind == "bare" else full_sandbox(root)
    assert sandbox.sweep() == 0
    # the namespace's init process is one of them, and nobody outlives it
    before, after = (3, 0) if kind == "namespace" else (2, 1)
    assert len(processes_with(environment_id)) == before
    worker.send_signal(signal.SIGKILL)
    await worker.wait()
    deadline = time.monotonic() + 10
    while len(processes_with(environment_id)) > after and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert len(processes_with(environment_id)) == after, "the runtime itself dies with its worker"
    assert sandbox.sweep() > 0
    while processes_with(environment_id) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert processes_with(environment_id) == []
    assert list(root.iterdir()) == []
    assert sandbox.sweep() == 0
    worker._transport.close()  # type: ignore[attr-defined]
