"""Environments that are forked from a function which has been imported already: like those that import it, in milliseconds."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from fnrunner.sandbox.left_behind import copy_files
from fnrunner.sandbox.namespace import NamespaceSandbox
from fnrunner.sandbox.snapshots import Snapshot
from fnrunner.worker.environment import Environment, EnvironmentState
from tests.integration.environment_kit import Kit, invocation, kit, processes_of


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit("namespace", tmp_path) as made:
        yield made


async def answer(environment: Environment, event: object = None) -> object:
    outcome = (await environment.invoke(invocation(json.dumps(event).encode()))).outcome
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.payload)


async def kept(made: Kit, count: int = 1) -> list[Snapshot]:
    """The snapshots, once there are so many."""
    assert isinstance(made.sandbox, NamespaceSandbox)
    snapshots = made.sandbox._snapshots
    async with asyncio.timeout(30):
        while len(snapshots._kept) < count or snapshots._taking:
            await asyncio.sleep(0.01)
    return list(snapshots._kept.values())


async def refusal(made: Kit) -> str:
    """Why no snapshot of the only function is kept."""
    assert isinstance(made.sandbox, NamespaceSandbox)
    snapshots = made.sandbox._snapshots
    async with asyncio.timeout(30):
        while not snapshots._refused:
            await asyncio.sleep(0.01)
    assert not snapshots._kept
    ((why, _),) = snapshots._refused.values()
    return why


def is_a_copy(environment: Environment) -> bool:
    process = environment._connection and environment._connection._process
    return getattr(process, "_function_fd", -1) >= 0


SLOW = """
    import os, time
    print("imported")
    time.sleep(1)
    when = time.monotonic()
    def handler(event, context):
        return {"when": when, "pid": os.getpid(), "stream": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]}
"""


async def test_what_took_a_second_to_import_is_there_at_once_in_the_next_environment(made: Kit) -> None:
    first = await made.started(SLOW)
    await kept(made)
    began = time.monotonic()
    second = await made.started(SLOW)
    took = time.monotonic() - began
    third = await made.started(SLOW)
    assert took < 0.9
    assert not is_a_copy(first)
    assert is_a_copy(second)
    found = [await answer(environment) for environment in (first, second, third)]
    whens = [each["when"] for each in found]  # type: ignore[call-overload, index]
    assert whens[0] < whens[1] == whens[2]
    assert len({each["stream"] for each in found}) == 3  # type: ignore[call-overload, index]


async def test_what_the_import_wrote_is_in_the_log_of_each(made: Kit) -> None:
    first = await made.started(SLOW)
    await kept(made)
    second = await made.started(SLOW)
    for environment in (first, second):
        told = await environment.invoke(invocation())
        assert told.logs == b"imported\n"
        assert (await environment.invoke(invocation())).logs == b""


async def test_a_copy_is_like_an_environment_that_imported(made: Kit) -> None:
    source = """
        import gc, os, signal, sys, threading
        def handler(event, context):
            thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
            child = os.fork()
            if child == 0:
                os._exit(7)
            _, status = os.waitpid(child, 0)
            return {
                "argv": sys.argv[0], "cwd": os.getcwd(), "user": os.getuid(), "umask": os.umask(0o022),
                "init": os.getppid() in (0, 1), "processes": sorted(int(n) for n in os.listdir("/proc") if n.isdigit())[0],
                "small": os.getpid() < 10, "child": os.waitstatus_to_exitcode(status), "tmp": os.listdir("/tmp"),
                "signals": [signal.getsignal(n) is signal.SIG_DFL for n in (signal.SIGCHLD, signal.SIGTERM)],
                "main": threading.current_thread() is threading.main_thread(), "gc": gc.isenabled(),
                "rights": [line for line in open("/proc/self/status") if line.startswith(("CapEff", "CapPrm", "CapBnd"))],
                "filter": [line for line in open("/proc/self/status") if line.startswith("Seccomp:")],
                "groups": [line.rpartition(":")[2].strip() for line in open("/proc/self/cgroup") if "memory" in line],
                "host": os.uname().nodename, "stdin": sys.stdin.read(), "variable": os.environ["MINE"],
                "modules": [name for name in sys.modules if name.startswith("fnrunner")],
            }
    """
    imported = await made.started(source, variables={"MINE": "yes"})
    await kept(made)
    copy = await made.started(source, variables={"MINE": "yes"})
    assert is_a_copy(copy)
    found = await answer(copy)
    assert found == await answer(imported)
    assert isinstance(found, dict)
    assert found["small"]
    assert all(line.split()[1] == "0000000000000000" for line in found["rights"])
    assert found["modules"] == []


async def test_copies_do_not_see_one_another_nor_their_snapshot(made: Kit) -> None:
    source = """
        import os
        mine = []
        def handler(event, context):
            if event:
                open("/tmp/secret", "w").write(event)
                mine.append(event)
            names = [n for n in os.listdir("/proc") if n.isdigit()]
            return {"tmp": os.listdir("/tmp"), "mine": mine, "processes": len(names)}
    """
    await made.started(source)
    await kept(made)
    one, two = await made.started(source), await made.started(source)
    assert await answer(one, "hush") == {"tmp": ["secret"], "mine": ["hush"], "processes": 2}
    assert await answer(two) == {"tmp": [], "mine": [], "processes": 2}


async def test_no_two_copies_draw_the_same_numbers(made: Kit) -> None:
    source = """
        import os, random, secrets, ssl, tempfile, uuid
        random.random(), tempfile.NamedTemporaryFile().close()
        def handler(event, context):
            with tempfile.NamedTemporaryFile() as file:
                name = file.name
            return [random.random(), secrets.token_hex(), str(uuid.uuid4()), ssl.RAND_bytes(8).hex(), name]
    """
    await made.started(source)
    await kept(made)
    one, two = await made.started(source), await made.started(source)
    first, second = await answer(one), await answer(two)
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert not set(first) & set(second)


async def test_what_the_import_left_in_tmp_is_there_and_each_has_its_own(made: Kit) -> None:
    source = """
        import os, pathlib
        pathlib.Path("/tmp/model/deep").mkdir(parents=True)
        pathlib.Path("/tmp/model/deep/weights").write_text("heavy")
        os.symlink("/etc/passwd", "/tmp/link")
        os.chmod("/tmp/model/deep/weights", 0o700)
        def handler(event, context):
            weights = pathlib.Path("/tmp/model/deep/weights")
            before = weights.read_text(), oct(weights.stat().st_mode), os.readlink("/tmp/link")
            weights.write_text("changed")
            return before
    """
    await made.started(source)
    await kept(made)
    for environment in (await made.started(source), await made.started(source)):
        assert is_a_copy(environment)
        assert await answer(environment) == ["heavy", "0o100700", "/etc/passwd"]


async def test_a_file_that_is_open_for_reading_is_read_by_each_from_where_it_was(made: Kit) -> None:
    source = """
        file = open(__file__)
        file.readline()
        place = file.tell()
        import os
        descriptor = os.open(__file__, os.O_RDONLY)
        os.read(descriptor, 5)
        def handler(event, context):
            return [os.read(descriptor, 4).decode(), os.lseek(descriptor, 0, os.SEEK_CUR)]
    """
    await made.started(source)
    await kept(made)
    one, two = await made.started(source), await made.started(source)
    assert await answer(one) == await answer(two)
    assert await answer(two) == await answer(one)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(99,), daemon=True, name='mine').start()",
            "mine",
        ),
        ("import subprocess\nchild = subprocess.Popen(['sleep', '99'])", "processes"),
        (
            "import os, time\nif os.fork() == 0:\n    if os.fork() == 0: time.sleep(99)\n    os._exit(0)\nos.wait()",
            "processes",
        ),
        ("import signal\nsignal.setitimer(signal.ITIMER_REAL, 99, 1)", "timer"),
        ("import socket\na, b = socket.socketpair()", "keeps open"),
        ("import asyncio\nloop = asyncio.new_event_loop()", "keeps open"),
        ("file = open('/tmp/mine', 'w')", "/tmp/mine"),
        ("open('/tmp/mine', 'wb').write(bytes(40_000_000))", "much in /tmp"),
    ],
)
async def test_what_would_not_survive_a_fork_is_imported_in_each(made: Kit, source: str, reason: str) -> None:
    source = f"{source}\ndef handler(event, context): return 'hi'\n"
    await made.started(source)
    assert reason in await refusal(made)
    second = await made.started(source)
    assert not is_a_copy(second)
    assert await answer(second) == "hi"


async def test_a_function_can_ask_for_being_imported_in_each(made: Kit) -> None:
    for value in ("off", "OFF"):
        await made.started(SLOW.replace("sleep(1)", "sleep(0)"), variables={"FNRUNNER_SNAPSHOT": value})
    assert isinstance(made.sandbox, NamespaceSandbox)
    assert not made.sandbox._snapshots._taking
    assert not made.sandbox._snapshots._kept


async def test_other_code_other_variables_and_another_size_are_another_snapshot(made: Kit) -> None:
    source = "import os\nmine = os.environ.get('MINE')\ndef handler(event, context): return mine\n"
    await made.started(source, variables={"MINE": "one"})
    await kept(made)
    other = await made.started(source, variables={"MINE": "two"})
    assert not is_a_copy(other)
    assert await answer(other) == "two"
    assert not is_a_copy(await made.started(source, variables={"MINE": "one"}, memory_mb=256))
    assert is_a_copy(await made.started(source, variables={"MINE": "one"}))


async def test_hooks_run_before_the_snapshot_and_in_each_environment(made: Kit) -> None:
    source = """
        from snapshot_restore_py import register_after_restore, register_before_snapshot
        told = []
        register_before_snapshot(told.append, "first")
        @register_before_snapshot
        def last(): told.append("last")
        register_after_restore(told.append, "restored")
        @register_after_restore
        def again(): told.append("again")
        def handler(event, context): return told
    """
    imported = await made.started(source)
    assert await answer(imported) == []
    await kept(made)
    for environment in (await made.started(source), await made.started(source)):
        assert await answer(environment) == ["last", "first", "restored", "again"]


async def test_a_hook_that_fails_in_an_environment_is_a_failed_initialisation(made: Kit) -> None:
    source = """
        from snapshot_restore_py import register_after_restore
        @register_after_restore
        def broken(): raise KeyError("gone")
        def handler(event, context): return 'hi'
    """
    await made.started(source)
    await kept(made)
    second = await made.started(source)
    outcome = (await second.invoke(invocation())).outcome
    assert isinstance(outcome, FunctionError)
    assert outcome.error_type == "Runtime.AfterRestoreError"
    assert "gone" in outcome.message


async def test_a_hook_that_fails_before_leaves_the_function_without_a_snapshot(made: Kit) -> None:
    source = """
        from snapshot_restore_py import register_before_snapshot
        register_before_snapshot(lambda: 1 / 0)
        def handler(event, context): return 'hi'
    """
    await made.started(source)
    assert await refusal(made) == "its import fails"
    assert await answer(await made.started(source)) == "hi"


async def test_an_end_of_any_kind_is_told_and_the_others_go_on(made: Kit) -> None:
    source = """
        import os, signal, sys
        def handler(event, context):
            if event == "exit": sys.exit(3)
            if event == "kill": os.kill(os.getpid(), signal.SIGKILL)
            if event == "detach":
                if os.fork() == 0:
                    os.setsid()
                    while True: signal.pause()
                os._exit(0)
            return "hi"
    """
    await made.started(source)
    await kept(made)
    stays = await made.started(source)
    for event, words in (
        ("exit", "exit status 3"),
        ("kill", "signal: killed"),
        ("detach", "without providing a reason"),
    ):
        environment = await made.started(source)
        assert is_a_copy(environment)
        outcome = (await environment.invoke(invocation(json.dumps(event).encode()))).outcome
        assert isinstance(outcome, FunctionError)
        assert words in outcome.message
        assert environment.state is EnvironmentState.GONE
        assert processes_of(environment) == []
    assert await answer(stays) == "hi"


async def test_a_snapshot_that_dies_leaves_its_copies_alone_and_is_replaced(made: Kit) -> None:
    source = "def handler(event, context): return 'hi'"
    await made.started(source)
    (snapshot,) = await kept(made)
    copy = await made.started(source)
    os.kill(snapshot.process.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while not snapshot.lost:
            await asyncio.sleep(0.01)
    assert await answer(copy) == "hi"
    following = await made.started(source)
    assert not is_a_copy(following)
    (another,) = await kept(made)
    assert another is not snapshot
    assert is_a_copy(await made.started(source))
    assert await answer(copy) == "hi"


async def test_a_keeper_that_dies_takes_its_copies_along_and_nobody_else(made: Kit) -> None:
    source = "def handler(event, context): return 'hi'"
    imported = await made.started(source)
    (snapshot,) = await kept(made)
    copy = await made.started(source)
    os.kill(snapshot.process._init, signal.SIGKILL)
    async with asyncio.timeout(10):
        while copy.state is not EnvironmentState.GONE:
            await asyncio.sleep(0.01)
    assert await answer(imported) == "hi"
    assert await answer(await made.started(source)) == "hi"


async def test_memory_counts_for_each_copy_and_over_the_limit_it_ends_alone(made: Kit) -> None:
    source = """
        def handler(event, context):
            return len(bytearray(event * 1024 * 1024)) and 'hi'
    """
    await made.started(source)
    await kept(made)
    small, large = await made.started(source), await made.started(source)
    told = await small.invoke(invocation(b"40"))
    assert isinstance(told.outcome, Succeeded)
    assert 40 <= told.report.max_memory_mb < 80  # type: ignore[union-attr]
    outcome = (await large.invoke(invocation(b"400"))).outcome
    assert isinstance(outcome, FunctionError)
    assert large.out_of_memory
    assert await answer(small, 1) == "hi"


async def test_many_copies_at_once(made: Kit) -> None:
    source = "import json, logging, decimal, datetime\ndef handler(event, context): return event"
    await made.started(source)
    await kept(made)
    environments = [made.environment(source) for _ in range(20)]
    await asyncio.gather(*(environment.start() for environment in environments))
    assert all(map(is_a_copy, environments))
    answers = await asyncio.gather(*(answer(each, number) for number, each in enumerate(environments)))
    assert answers == list(range(20))


async def test_those_that_nobody_has_used_for_longest_go_first(made: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fnrunner.sandbox.snapshots.MOST", 2)
    source = "import os\ndef handler(event, context): return os.environ['MINE']"
    for name in ("one", "two"):
        await made.started(source, function=name, variables={"MINE": name})
        await kept(made, 1 if name == "one" else 2)
    running = await made.started(source, function="one", variables={"MINE": "one"})
    await made.started(source, function="three", variables={"MINE": "three"})
    assert isinstance(made.sandbox, NamespaceSandbox)
    snapshots = made.sandbox._snapshots
    async with asyncio.timeout(30):
        while len(snapshots._dropped) == 0 and len(snapshots._closing) == 0 and not snapshots._taking:
            await asyncio.sleep(0.01)
    await kept(made, 2)
    assert is_a_copy(await made.started(source, function="one", variables={"MINE": "one"}))
    assert not is_a_copy(await made.started(source, function="two", variables={"MINE": "two"}))
    assert await answer(running) == "one"


async def test_a_snapshot_of_the_same_function_with_other_settings_takes_the_place_of_the_former(made: Kit) -> None:
    source = "import os\ndef handler(event, context): return os.environ['MINE']"
    await made.started(source, variables={"MINE": "one"})
    (former,) = await kept(made)
    copy = await made.started(source, variables={"MINE": "one"})
    await made.started(source, variables={"MINE": "two"})
    async with asyncio.timeout(20):
        while former in await kept(made):
            await asyncio.sleep(0.01)
    assert await answer(copy) == "one"
    assert await answer(await made.started(source, variables={"MINE": "two"})) == "two"


async def test_what_nothing_is_started_of_any_more_is_dropped_and_its_copies_go_on(made: Kit) -> None:
    source = "import os\ndef handler(event, context): return os.environ['AWS_LAMBDA_FUNCTION_VERSION']"
    for number, (function, version) in enumerate((("one", "1"), ("one", "2"), ("two", "1"))):
        await made.started(source, function=function, version=version, key=f"{function}-{version}")
        await kept(made, number + 1)
    copy = await made.started(source, function="one", version="1", key="one-1")
    assert is_a_copy(copy)
    made.sandbox.forget("one", "1", "one-1")
    assert len(await kept(made)) == 3
    made.sandbox.forget("one", "1", "another")
    assert [each.of[:2] for each in await kept(made)] == [("one", "2"), ("two", "1")]
    assert await answer(copy) == "1"
    made.sandbox.forget("one", None, "")
    assert [each.of[:2] for each in await kept(made)] == [("two", "1")]
    # one that is being taken is not kept
    await made.started(source, function="three", key="three")
    made.sandbox.forget("three", "$LATEST", "")
    assert [each.of[:2] for each in await kept(made)] == [("two", "1")]


async def test_libraries_learn_that_they_have_been_copied(made: Kit) -> None:
    source = """
        import os, ssl
        context = ssl.create_default_context()
        ssl.RAND_bytes(8)
        pid = os.getpid()
        def handler(event, context):
            return [ssl.RAND_bytes(16).hex(), os.getpid() != pid]
    """
    await made.started(source)
    await kept(made)
    one, two = [await answer(await made.started(source)) for _ in range(2)]
    assert isinstance(one, list)
    assert isinstance(two, list)
    assert one[0] != two[0]
    assert one[1]


async def test_what_is_written_meanwhile_leads_the_copying_nowhere(made: Kit, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    source, target = tmp_path / "from", tmp_path / "to"
    (source / "a").mkdir(parents=True)
    (source / "a" / "key").write_text("mine")
    target.mkdir()
    (target / "a").symlink_to(outside)
    with pytest.raises(OSError, match="exists"):
        copy_files(source, target)
    assert list(outside.iterdir()) == []
    (target / "a").unlink()
    with (source / "sparse").open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(OSError, match="too much"):
        copy_files(source, target)
    assert sum(path.stat().st_size for path in target.rglob("*")) < 10**8


async def test_a_start_that_is_given_up_leaves_the_other_copies_alone(made: Kit) -> None:
    source = "def handler(event, context): return 'hi'"
    await made.started(source)
    (snapshot,) = await kept(made)
    stays = await made.started(source)
    for _ in range(5):
        environments = [made.environment(source) for _ in range(4)]
        starting = [asyncio.create_task(each.start()) for each in environments]
        await asyncio.sleep(0.01)
        for task in starting[::2]:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
    made.sandbox._snapshots.drop(snapshot)  # type: ignore[attr-defined]
    await asyncio.sleep(0.2)
    assert await answer(stays) == "hi"


def test_files_are_copied_without_following_links(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    target.mkdir()
    secret = tmp_path / "secret"
    secret.write_text("hush")
    (source / "sub" / "file").write_text("plain")
    (source / "link").symlink_to(secret)
    (source / "elsewhere").symlink_to(tmp_path)
    os.mkfifo(source / "pipe")
    copy_files(source, target)
    assert (target / "sub" / "file").read_text() == "plain"
    assert os.readlink(target / "link") == str(secret)
    assert (target / "elsewhere").is_symlink()
    assert sorted(path.name for path in target.iterdir()) == ["elsewhere", "link", "sub"]


ATTEMPTS = """
import ctypes, json, os, struct, sys

libc = ctypes.CDLL(None, use_errno=True)

def call(*arguments):
    ctypes.set_errno(0)
    result = libc.syscall(*arguments)
    return "done" if result >= 0 else os.strerror(ctypes.get_errno())

def tried(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return error.strerror
    return "done"

def attempts():
    header, sets = struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", 1 << 21 | 1 << 18, 1 << 21 | 1 << 18, 0, 0, 0, 0)
    found = {"raise": call(126, header, sets)}
    found |= {f"of the keeper: {name}": tried(os.open, f"/proc/1/{name}", os.O_RDONLY) for name in ("mem", "environ", "maps")}
    found["of the keeper: fd"] = tried(os.readlink, "/proc/1/fd/0")
    found["of the keeper: root"] = tried(os.listdir, "/proc/1/root/")
    found["of the keeper: namespace"] = tried(os.open, "/proc/1/ns/mnt", os.O_RDONLY)
    found["kill the keeper"] = "done" if tried(os.kill, 1, 9) == "done" and not os.path.exists("/proc/1") else "survived"
    for name, flag in (("user", 0x10000000), ("mount", 0x20000), ("network", 0x40000000), ("pid", 0x20000000)):
        found[f"unshare {name}"] = call(272, flag)
        found[f"clone {name}"] = call(56, flag | 17, 0, 0, 0, 0)
    found["mount"] = call(165, b"none", b"/tmp", b"tmpfs", 0, None)
    found["umount"] = call(166, b"/proc", 2)
    found["chroot"] = call(161, b"/tmp")
    found["pivot_root"] = call(155, b".", b".")
    found["sethostname"] = call(170, b"mine", 4)
    found["fsopen"] = call(430, b"tmpfs", 0)
    found["open_tree"] = call(428, -100, b"/", 1)
    found["ptrace"] = call(101, 16, 1, 0, 0)
    return found

if "snapshot" in sys.modules["__main__"].__dict__:
    with open("/tmp/found", "w") as file:
        json.dump(attempts(), file)

def handler(event, context):
    with open("/tmp/found") as file:
        return json.load(file)
"""


async def test_an_import_in_a_snapshot_gets_nowhere_with_the_right_to_join_namespaces(made: Kit) -> None:
    await made.started(ATTEMPTS)
    await kept(made)
    copy = await made.started(ATTEMPTS)
    assert is_a_copy(copy)
    found = await answer(copy)
    assert isinstance(found, dict)
    assert found.pop("raise") == "done"
    assert found.pop("kill the keeper") == "survived"
    assert len(found) > 15
    assert set(found.values()) <= {"Operation not permitted", "Permission denied"}, found


PEEPING = """
    import json, os, sys, threading, time

    SECRET = {secret!r}
    seen = []

    def peep():
        while True:
            time.sleep(0.001)
            for name in every("/proc"):
                if name.isdigit() and int(name) != os.getpid():
                    for path in (f"/proc/{{name}}/root{{SECRET}}", f"/proc/{{name}}/cwd{{SECRET}}"):
                        try:
                            seen.append(open(path).read())
                        except OSError as error:
                            seen.append(error.strerror)
            if seen:
                with open("/tmp/seen.part", "w") as file:
                    json.dump(sorted(set(seen)), file)
                os.rename("/tmp/seen.part", "/tmp/seen")

    every = os.listdir
    if "snapshot" in sys.modules["__main__"].__dict__:
        threading.active_count = lambda: 1
        os.listdir = lambda path: ["1"] if path == "/proc/self/task" else every(path)
        threading.Thread(target=peep, daemon=True).start()

    def handler(event, context):
        return json.load(open("/tmp/seen")) if os.path.exists("/tmp/seen") else []
"""


async def test_a_snapshot_that_looks_at_everybody_while_copies_are_made_sees_nothing_of_the_host(
    made: Kit, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush")
    source = PEEPING.format(secret=str(secret))
    await made.started(source)
    await kept(made)
    found: object = []
    for _ in range(6):
        copy = await made.started(source)
        found = await answer(copy)
        await asyncio.sleep(0.3)
        await copy.stop()
    assert isinstance(found, list)
    assert found
    assert "hush" not in found


async def test_with_snap_start_the_first_environment_too_begins_as_a_copy_with_its_connections_closed(
    made: Kit,
) -> None:
    source = """
        import socket
        from snapshot_restore_py import register_after_restore, register_before_snapshot
        told = []
        register_before_snapshot(told.append, "before")
        register_after_restore(told.append, "after")
        server = socket.create_server(("127.0.0.1", 0))
        connection = socket.create_connection(server.getsockname())
        def handler(event, context):
            import os
            try:
                connection.sendall(b"hello")
                return "sent"
            except BrokenPipeError:
                return [*told, os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]]
    """
    for _ in range(2):
        environment = await made.started(source, initialization_type="snap-start")
        assert is_a_copy(environment)
        assert await answer(environment) == ["before", "after", "snap-start"]


async def test_hooks_run_where_snap_start_cannot_have_a_snapshot(made: Kit) -> None:
    source = """
        import threading, time
        from snapshot_restore_py import register_after_restore, register_before_snapshot
        told = []
        register_before_snapshot(told.append, "before")
        register_after_restore(told.append, "after")
        threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
        def handler(event, context): return told
    """
    environment = await made.started(source, initialization_type="snap-start")
    assert not is_a_copy(environment)
    assert await answer(environment) == ["before", "after"]


async def test_what_nobody_uses_goes_and_when_memory_is_short_the_oldest(
    made: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import os\ndef handler(event, context): return os.environ['MINE']"
    for count, name in enumerate(("one", "two"), 1):
        await made.started(source, function=name, variables={"MINE": name})
        await kept(made, count)
    assert isinstance(made.sandbox, NamespaceSandbox)
    snapshots = made.sandbox._snapshots
    snapshots._look()
    assert len(snapshots._kept) == 2
    one, two = snapshots._kept.values()
    monkeypatch.setattr("fnrunner.sandbox.host_memory.is_scarce", lambda: True)
    snapshots._look()
    assert list(snapshots._kept.values()) == [two]
    await made.started(source, function="three", variables={"MINE": "three"})
    await asyncio.sleep(0.5)
    assert list(snapshots._kept.values()) == [two]
    monkeypatch.setattr("fnrunner.sandbox.snapshots.IDLE_S", 0.0)
    snapshots._look()
    assert not snapshots._kept
    async with asyncio.timeout(20):
        while not (one.process.removed and two.process.removed):
            await asyncio.sleep(0.01)


async def test_what_is_shown_below_tmp_is_there_in_copies_too(made: Kit, tmp_path: Path) -> None:
    shared = Path("/tmp") / f"shared {os.getpid()}"
    (shared / "deep").mkdir(parents=True)
    try:
        source = f"""
            def handler(event, context):
                with open({str(shared / "deep" / "marks")!r}, "a") as file:
                    file.write(event)
        """
        directories = (str(shared), str(shared / "deep"))
        await answer(await made.started(source, directories=directories), "a")
        await kept(made)
        for letter in "bc":
            copy = await made.started(source, directories=directories)
            assert is_a_copy(copy)
            await answer(copy, letter)
        assert (shared / "deep" / "marks").read_text() == "abc"
    finally:
        shutil.rmtree(shared)
