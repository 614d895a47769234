"""``python -m tests.bench``: fnrunner beside Celery, Dramatiq, Taskiq and FastStream on one private RabbitMQ.

Numbers, not tests: nothing passes or fails by them. ``procedure`` says how one system is measured, ``subject`` what a system
must offer, ``completions`` how runs are counted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from tests.bench import report
from tests.bench.celery_peer import CeleryPeer
from tests.bench.completions import Completions
from tests.bench.dramatiq_peer import DramatiqPeer
from tests.bench.faststream_peer import FastStreamPeer
from tests.bench.fnrunner_subject import FnrunnerSubject
from tests.bench.measurement import Result
from tests.bench.procedure import Plan, measure
from tests.bench.subject import Ground, Subject
from tests.bench.taskiq_peer import TaskiqPeer
from tests.rabbitmq_server import RabbitMQServer, available

SUBJECTS: dict[str, Callable[[Ground], Subject]] = {
    "fnrunner": FnrunnerSubject,
    "dramatiq": DramatiqPeer,
    "faststream": FastStreamPeer,
    "taskiq": TaskiqPeer,
    "celery": CeleryPeer,
}
DRAINING_S = 40.0
CAPACITY = 16
VISIBLE = Path("/dev/shm")
"""Memory that sandboxed functions see too; they have a /tmp of their own."""


def main(words: Sequence[str] | None = None) -> int:
    options = _options(words)
    if not available():
        print("RabbitMQ is missing: `make system`, or apt-get install rabbitmq-server", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan = Plan(
        events=options.events,
        rounds=options.rounds,
        calls=options.calls,
        accepts=options.accepts,
        budget_s=DRAINING_S,
        capacity=options.capacity,
    )
    console = Console(width=None if sys.stdout.isatty() else 140)
    load_before, started = os.getloadavg(), time.monotonic()
    results, rabbitmq = _measure_all(options.systems, plan, console)
    surroundings = report.Surroundings(
        rabbitmq=rabbitmq,
        python=report.python_version(),
        processors=len(os.sched_getaffinity(0)),
        load_before=load_before,
        load_after=os.getloadavg(),
        seconds=time.monotonic() - started,
    )
    report.show(results, surroundings, plan, console)
    if options.json:
        report.save(results, surroundings, plan, options.json)
    return 1 if any(result.failure for result in results) else 0


def _measure_all(systems: Sequence[str], plan: Plan, console: Console) -> tuple[list[Result], str]:
    """The results in the order asked for, and RabbitMQ's version."""
    results = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fnrunner-bench-")))
        shared = tempfile.TemporaryDirectory(prefix="fnrunner-bench-", dir=VISIBLE if VISIBLE.is_dir() else "/var/tmp")
        visible = Path(stack.enter_context(shared))
        server = stack.enter_context(RabbitMQServer(directory / "rabbitmq"))
        for system in systems:
            console.print(f"measuring {system} …", style="dim")
            ground = Ground(server.url, Completions(visible / system), directory, plan.capacity)
            results.append(measure(SUBJECTS[system](ground), ground, plan))
        return results, server.control("version").strip()


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=10_000, help="events of one round (10,000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of draining, the median counts (3)")
    parser.add_argument("--calls", type=int, default=1_000, help="synchronous calls at each concurrency (1,000)")
    parser.add_argument("--accepts", type=int, default=2_000, help="events sent over HTTP (2,000)")
    parser.add_argument(
        "--capacity", type=int, default=CAPACITY, help=f"environments of one fnrunner worker ({CAPACITY}, its default)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument(
        "systems", nargs="*", metavar="SYSTEM", default=list(SUBJECTS), help=f"some of {', '.join(SUBJECTS)}; all"
    )
    options = parser.parse_args(words)
    if unknown := set(options.systems) - set(SUBJECTS):
        parser.error(f"no such system: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
