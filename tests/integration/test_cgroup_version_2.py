"""Control groups of version 2 as the kernel has them, also on hosts that limit memory with version 1.

Which controllers version 2 has there depends on what version 1 has left: passing on is tried with one of those.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fnrunner.sandbox import cgroups
from fnrunner.sandbox.cgroups import WORKER_LEAF, Cgroup, passing_on
from fnrunner.sandbox.freezer import Freezer

COUNTING = "i=0; while :; do i=$((i+1)); echo $i > {file}; done"


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("cgroup2")
    mounted = subprocess.run(["mount", "-t", "cgroup2", "none", str(place)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"control groups of version 2 cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def group(mount: Path) -> Iterator[Path]:
    """A group of the test's own, which is removed with all in it; what is passed on to it is afterwards as before."""
    passes_on = mount / "cgroup.subtree_control"
    before = set(passes_on.read_text().split())
    made = mount / f"fnrunner-test-{os.getpid()}-{time.monotonic_ns()}"
    made.mkdir()
    yield made
    for directory, _, _ in os.walk(made, topdown=False):
        Cgroup(2, (Path(directory),)).kill_now()
        with contextlib.suppress(FileNotFoundError):
            Path(directory).rmdir()
    for name in set(passes_on.read_text().split()) - before:
        passes_on.write_text(f"-{name}")


@pytest.fixture
def running(group: Path) -> Iterator[Callable[[str, Path], subprocess.Popen[bytes]]]:
    """Starts a shell in a group."""
    started: list[subprocess.Popen[bytes]] = []

    def run(script: str, within: Path) -> subprocess.Popen[bytes]:
        joined = f"echo 0 > {within / 'cgroup.procs'}; echo joined; {script}"
        process = subprocess.Popen(["sh", "-c", joined], stdout=subprocess.PIPE, start_new_session=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"joined\n"
        process.stdout.close()
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def controller(group: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One that version 2 has here, taken for those that are needed."""
    found = (group / "cgroup.controllers").read_text().split() or (
        group.parent / "cgroup.controllers"
    ).read_text().split()
    if not found:
        pytest.skip("version 1 has all controllers here")
    (group.parent / "cgroup.subtree_control").write_text(f"+{found[0]}")
    monkeypatch.setattr(cgroups, "_NEEDED", (found[0],))
    return found[0]


Running = Callable[[str, Path], "subprocess.Popen[bytes]"]


def counted(path: Path) -> int:
    for _ in range(3000):
        if path.exists() and (text := path.read_text().strip()):
            return int(text)
        time.sleep(0.01)
    raise AssertionError("it does not count")


def test_what_is_frozen_does_nothing_goes_on_afterwards_and_dies_while_it_is_frozen(
    group: Path, running: Running, tmp_path: Path
) -> None:
    number = tmp_path / "number"
    process = running(COUNTING.format(file=number), group)
    counted(number)
    cgroup = Cgroup(2, (group,))
    freezer = Freezer(cgroup, list)
    freezer.freeze()
    deadline = time.monotonic() + 60
    while "frozen 1" not in (group / "cgroup.events").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    before = number.read_text()
    time.sleep(0.1)
    assert number.read_text() == before
    freezer.thaw()
    now = ""
    while now in ("", before) and time.monotonic() < deadline:
        time.sleep(0.01)
        now = number.read_text()
    assert now not in ("", before)
    freezer.freeze()
    cgroup.kill_once(cgroup.pids())
    assert process.wait(60) == -signal.SIGKILL


def test_everybody_in_a_group_is_killed_at_once_and_it_can_be_removed(group: Path, running: Running) -> None:
    within = group / "one"
    within.mkdir()
    process = running("sleep 99 & sleep 99 & setsid sleep 99 & wait", within)
    deadline = time.monotonic() + 60
    while len(Cgroup(2, (within,)).pids()) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(Cgroup(2, (within,)).pids()) == 4
    Cgroup(2, (within,)).kill_now()
    assert process.wait(60) == -signal.SIGKILL
    assert not within.exists()


def test_a_delegated_group_passes_on_once_its_processes_are_in_a_leaf(
    group: Path, running: Running, controller: str
) -> None:
    process = running("exec sleep 99", group)
    assert passing_on(group.parent, group) == group.parent, "not this process's to arrange"
    os.setxattr(group, "user.delegate", b"1")
    assert passing_on(group.parent, group) == group
    assert (group / "cgroup.subtree_control").read_text().split() == [controller]
    leaf = group / WORKER_LEAF
    assert (leaf / "cgroup.procs").read_text().split() == [str(process.pid)]
    assert passing_on(group.parent, leaf) == group, "as the next process of the same service finds it"


def test_a_leaf_that_was_made_by_who_delegates_lets_the_group_around_it_pass_on(
    group: Path, running: Running, controller: str
) -> None:
    leaf = group / "main"
    leaf.mkdir()
    running("exec sleep 99", leaf)
    os.setxattr(group, "user.delegate", b"1")
    assert passing_on(group.parent, leaf) == group
    assert (group / "cgroup.subtree_control").read_text().split() == [controller]
