"""What the sandbox decides without touching the host: kept logs, frames, names, trees, cgroup files."""

from __future__ import annotations

import doctest
import os
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.sandbox import cgroups, output, process_tree
from fnrunner.sandbox.cgroups import Cgroup, Hierarchy
from fnrunner.sandbox.output import BoundedLog
from fnrunner.sandbox.ownership import Owner
from fnrunner.sandbox.process_tree import Entry


@pytest.mark.parametrize("module", [cgroups, output, process_tree])
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


@given(st.lists(st.binary(max_size=40)), st.integers(1, 20))
def test_a_bounded_log_keeps_both_ends_and_counts_the_middle(chunks: list[bytes], half: int) -> None:
    log = BoundedLog(half)
    for chunk in chunks:
        log.write(chunk)
    whole = b"".join(chunks)
    kept, dropped = log.take()
    assert dropped == max(0, len(whole) - 2 * half)
    assert kept == (whole if not dropped else whole[:half] + whole[-half:])
    assert log.take() == (b"", 0)


def test_descendants_session_and_marked_are_members_and_others_are_not() -> None:
    table = {
        10: Entry(1, 10, 10, 1),
        11: Entry(10, 10, 10, 1),
        12: Entry(1, 10, 10, 1),
        13: Entry(1, 13, 13, 1),
        14: Entry(13, 13, 13, 1),
        20: Entry(1, 20, 20, 1),
    }
    assert process_tree.members(table, root=10, marked=frozenset({13, 99})) == {10, 11, 12, 13, 14}


OWNER = Owner("0123abcd", 5, 77, 1000)


def test_names_of_another_boot_or_a_reused_pid_are_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fnrunner.sandbox.ownership.start_time", {77: 1000, 78: 2000}.get)
    assert not OWNER.abandoned(OWNER.name("e"))
    assert not OWNER.abandoned(Owner("0123abcd", 5, 78, 2000).name("e"))
    assert OWNER.abandoned(Owner("0123abcd", 5, 78, 1999).name("e"))
    assert OWNER.abandoned(Owner("0123abcd", 5, 79, 1).name("e"))
    assert OWNER.abandoned(Owner("ffffffff", 5, 77, 1000).name("e"))


def test_names_of_other_pid_namespaces_and_foreign_names_are_left_alone() -> None:
    assert not OWNER.abandoned(Owner("0123abcd", 6, 79, 1).name("e"))
    assert not OWNER.abandoned("fnrunner-worker")
    assert not OWNER.abandoned("docker")


@pytest.mark.parametrize(
    ("version", "file", "text"),
    [
        (1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
        (2, "memory.events", "oom 4\noom_kill 3\n"),
    ],
)
def test_oom_kills_are_read_in_both_versions(version: int, file: str, text: str, tmp_path: Path) -> None:
    group = Cgroup(version, (tmp_path,))
    assert group.oom_kills() == 0
    (tmp_path / file).write_text(text)
    assert group.oom_kills() == 3


def test_version_2_sets_memory_swap_and_pids(tmp_path: Path) -> None:
    (tmp_path / "memory.swap.max").write_text("max")
    Cgroup(2, (tmp_path,)).limit(128, 10)
    assert (tmp_path / "memory.max").read_text() == str(128 << 20)
    assert (tmp_path / "memory.swap.max").read_text() == "0"
    assert (tmp_path / "pids.max").read_text() == "10"


def test_version_1_limits_memory_and_swap_together(tmp_path: Path) -> None:
    memory, pids = tmp_path / "memory", tmp_path / "pids"
    memory.mkdir()
    pids.mkdir()
    (memory / "memory.memsw.limit_in_bytes").write_text("")
    Cgroup(1, (memory, pids)).limit(128, 10)
    assert (memory / "memory.memsw.limit_in_bytes").read_text() == str(128 << 20)
    assert (pids / "pids.max").read_text() == "10"


def test_version_2_makes_environments_within_one_group_that_passes_controllers_on(tmp_path: Path) -> None:
    hierarchy = Hierarchy(2, (tmp_path,), (tmp_path,), cpu=True)
    group = hierarchy.create("one", within="all", memory_mb=256, processes=10)
    group.limit_cpu(Fraction(1, 4))
    assert group.directories == (tmp_path / "all" / "one",)
    assert (tmp_path / "all" / "cgroup.subtree_control").read_text() == "+cpu"
    assert (tmp_path / "all" / "cpu.weight").read_text() == str(200 * (os.cpu_count() or 1))
    assert (group.memory / "cpu.weight").read_text() == "200"
    assert (group.memory / "cpu.max").read_text() == "25000 100000"
    assert (group.memory / "pids.max").read_text() == "10"
    assert group.entrances == (str(tmp_path / "all" / "one" / "cgroup.procs"),)


def test_version_2_without_the_cpu_controller_sets_no_weight(tmp_path: Path) -> None:
    group = Hierarchy(2, (tmp_path,), (tmp_path,)).create("one", within="all", memory_mb=256, processes=10)
    assert (tmp_path / "all" / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert not list(tmp_path.rglob("cpu.*"))
    assert (group.memory / "memory.max").read_text() == str(256 << 20)


def test_version_1_weighs_and_limits_in_the_cpu_hierarchy_alone(tmp_path: Path) -> None:
    parents = tuple(tmp_path / name for name in ("memory", "pids", "cpu"))
    for parent in parents:
        parent.mkdir()
    hierarchy = Hierarchy(1, parents, parents, cpu=True)
    group = hierarchy.create("one", within="all", memory_mb=10_240, processes=10)
    group.limit_cpu(Fraction(2))
    assert (tmp_path / "cpu" / "all" / "cpu.shares").read_text() == str(2048 * (os.cpu_count() or 1))
    assert (tmp_path / "cpu" / "all" / "one" / "cpu.shares").read_text() == str(80 * 1024)
    assert (tmp_path / "cpu" / "all" / "one" / "cpu.cfs_quota_us").read_text() == "200000"
    assert (tmp_path / "pids" / "all" / "one" / "pids.max").read_text() == "10"
    assert not list((tmp_path / "memory").rglob("cpu.*"))
    assert len(group.entrances) == 3


def test_groups_of_the_dead_are_found_before_the_group_around_them(tmp_path: Path) -> None:
    around, within = OWNER.name("functions"), OWNER.name("e")
    (tmp_path / around / within).mkdir(parents=True)
    later = Owner("ffffffff", 5, 1, 1)
    found = [group.memory.name for group in Hierarchy(2, (tmp_path,), (tmp_path,)).abandoned(later)]
    assert found == [within, around]


def test_a_host_without_writable_groups_has_none(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("0::/\n")
    assert cgroups.discover(tmp_path / "nothing", membership) is None
    assert cgroups.discover(tmp_path, tmp_path / "missing") is None


def test_the_parents_group_is_used_where_a_service_cannot_pass_controllers_on(tmp_path: Path) -> None:
    membership = tmp_path / "membership"
    membership.write_text("0::/system.slice/fnrunner.service\n")
    service = tmp_path / "system.slice" / "fnrunner.service"
    service.mkdir(parents=True)
    (service.parent / "cgroup.subtree_control").write_text("cpu memory pids\n")
    (service / "cgroup.subtree_control").mkdir()  # writing to it fails, as with processes inside
    hierarchy = cgroups.discover(tmp_path, membership)
    assert hierarchy is not None
    assert (hierarchy.version, hierarchy.parents) == (2, (service.parent,))


def test_a_group_is_made_also_when_the_last_of_the_others_has_just_taken_away_what_is_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_common = Hierarchy._make_common
    taken_away: list[Path] = []

    def raced(self: Hierarchy, directory: Path) -> None:
        make_common(self, directory)
        if not taken_away:
            taken_away.append(directory)
            directory.rmdir()

    monkeypatch.setattr(Hierarchy, "_make_common", raced)
    parents = (tmp_path / "memory", tmp_path / "pids")
    for parent in parents:
        parent.mkdir()
    group = Hierarchy(1, parents, parents).make("one", within="all")
    assert taken_away == [tmp_path / "memory" / "all"]
    assert all(directory.is_dir() for directory in group.directories)


def test_version_2_passes_on_to_a_group_that_somebody_else_has_only_made(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    Hierarchy(2, (tmp_path,), (tmp_path,)).make("one", within="all")
    assert (tmp_path / "all" / "cgroup.subtree_control").read_text() == "+memory +pids"
