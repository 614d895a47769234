"""The idempotency helper in real processes that race and are killed, on SQLite and on PostgreSQL.

``FNRUNNER_TEST_IDEMPOTENCY_KILLS`` sets how often a process is killed; the default keeps the suite quick.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from fnrunner.runtimes.python import PythonRuntime
from fnrunner.runtimes.runtime import RuntimeUnavailable
from tests.postgres_server import PostgresServer

PROGRAM = Path(__file__).with_name("idempotency_process.py")
LIBRARY = Path(__file__).parents[2] / "fnrunner" / "runtimes" / "python_library"
KILLS = int(os.environ.get("FNRUNNER_TEST_IDEMPOTENCY_KILLS", "8"))
KEYS = 40


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What names a store that is empty: no file and no table yet."""
    if request.param == "sqlite":
        return str(tmp_path / ".idempotency.sqlite")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database()


def start(*words: str, python: str = sys.executable, **variables: str) -> subprocess.Popen[str]:
    """The program, ready to go."""
    environ = {**os.environ, "PYTHONPATH": str(LIBRARY), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    process = subprocess.Popen(
        [python, str(PROGRAM), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def printed(process: subprocess.Popen[str]) -> list[str]:
    """What a process has printed when it has ended, well or by a kill."""
    found, _ = process.communicate(timeout=120)
    assert process.returncode in (0, -9), f"it ended with {process.returncode}"
    return found.split()


def interpreters() -> list[str]:
    runtime, found = PythonRuntime(), []
    for name in ("python3.11", "python3.12", "python3.13"):
        try:
            found.append(runtime.interpreter(name))
        except RuntimeUnavailable:
            continue
    return found


@contextmanager
def connected(store: str) -> Iterator[sqlite3.Connection | psycopg.Connection]:
    """For looking, and for making the table of effects."""
    if store.startswith("postgresql:"):
        with psycopg.connect(store, autocommit=True) as connection:
            yield connection
    else:
        with closing(sqlite3.connect(store, timeout=60, isolation_level=None)) as connection:
            yield connection


def test_of_many_processes_on_a_new_store_one_runs_and_all_have_its_result(store: str, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    # psycopg is installed for the interpreter of the tests; SQLite is raced by every interpreter there is
    pythons = [sys.executable] if store.startswith("postgresql:") else interpreters()
    processes = [start("race", store, "r-1", str(effects), python=pythons[n % len(pythons)]) for n in range(5)]
    go(*processes)
    results = {tuple(printed(process)) for process in processes}
    (effect,) = effects.read_text().split()
    assert results == {(effect,)}


def test_a_transaction_commits_effect_and_record_together_however_often_it_is_killed(store: str) -> None:
    with connected(store) as connection:
        connection.execute("CREATE TABLE effect (key INTEGER, pid INTEGER)")
    dice = random.Random(20_261)
    for round_ in range(KILLS // 2 + 1):
        processes = [start("transact", store, str(KEYS), str(round_ + 1000 * n)) for n in range(2)]
        go(*processes)
        if round_ < KILLS // 2:
            for process in processes:
                assert process.stdout is not None
                for _ in range(dice.randrange(KEYS)):
                    process.stdout.readline()
                process.kill()
            for process in processes:
                printed(process)
    for process in processes:
        assert len(printed(process)) == 3 * KEYS
    with connected(store) as connection:
        effects = Counter(key for (key,) in connection.execute("SELECT key FROM effect").fetchall())
    assert effects == Counter(range(KEYS))


def test_what_is_complete_is_never_run_again_however_often_it_is_killed(store: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    dice = random.Random(20_262)
    # the margin is nothing and the lease short, so that a killed one's record is taken over within the test
    for kill in range(KILLS // 2 + 1):
        process = start("guard", store, str(KEYS), str(kill), str(log), LEASE_S="0.7")
        go(process)
        if kill < KILLS // 2:
            assert process.stdout is not None
            for _ in range(dice.randrange(KEYS)):
                process.stdout.readline()
            time.sleep(dice.random() / 200)
            process.kill()
            printed(process)
    assert len(printed(process)) == KEYS
    runs: Counter[str] = Counter()
    complete = set()
    for line in log.read_text().splitlines():
        what, key = line.split()
        if what == "complete":
            complete.add(key)
            continue
        assert key not in complete, f"{key} ran again after it was complete"
        runs[key] += 1
    assert len(complete) == KEYS
    assert sum(runs.values()) <= KEYS + KILLS // 2, "a kill repeats the one effect that it interrupted"


MODES = """
import sqlite3, sys
from fnrunner_idempotency import IdempotencyTransactionError, once

path = sys.argv[1]
auto, manual = [sqlite3.connect(path, autocommit=mode) for mode in (True, False)]
auto.execute("CREATE TABLE effect (n INTEGER)")
for expected in (True, False):
    with once(auto, "k") as first:
        assert bool(first) is expected
        auto.execute("INSERT INTO effect VALUES (1)")
assert not auto.in_transaction
for connection, options in ((manual, {}), (auto, {"commit": False})):
    try:
        with once(connection, "k", **options):
            raise AssertionError("it ran")
    except IdempotencyTransactionError as error:
        print(error)
with once(manual, "l", commit=False) as first:
    assert first
    manual.execute("INSERT INTO effect VALUES (2)")
manual.rollback()
with once(manual, "l", commit=False) as first:
    assert first
manual.commit()
with once(auto, "l") as first:
    assert not first
print(auto.execute("SELECT sum(n) FROM effect").fetchone()[0])
manual.close()
auto.close()
"""


def test_the_transaction_modes_of_newer_pythons_are_known(tmp_path: Path) -> None:
    newer = [python for python in interpreters() if not python.endswith("3.11")]
    if not newer:
        pytest.skip("Python 3.12 or later (pyenv install 3.12)")
    for number, python in enumerate(newer):
        done = subprocess.run(
            [python, "-W", "error", "-c", MODES, str(tmp_path / f"{number}")],
            env={"PYTHONPATH": str(LIBRARY), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        open_always, commits_itself, effects = done.stdout.splitlines()
        assert "autocommit=False always has one" in open_always
        assert "commits each statement by itself" in commits_itself
        assert effects == "2"


def test_a_killed_ones_record_is_taken_over_when_its_lease_ends(store: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    killed = start("race", store, "r-2", str(log))
    go(killed)
    while not log.exists():
        time.sleep(0.01)
    killed.kill()
    printed(killed)
    with connected(store) as connection:
        # its lease would end with its deadline; that it has come is what is said here
        connection.execute("UPDATE fnrunner_idempotency SET lease_ms = 0")
    second = start("race", store, "r-2", str(log))
    go(second)
    assert printed(second) == [str(second.pid)]
    assert log.read_text().split() == [str(killed.pid), str(second.pid)]
