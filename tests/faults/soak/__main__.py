"""Run a plan from the command line; exit status 1 when something does not balance, 2 when it could not be run."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests import postgres_server, rabbitmq_server
from tests.faults.soak import plan
from tests.faults.soak.plan import Plan, PlanUnreadable, Terms
from tests.faults.soak.session import PLAN, Session
from tests.faults.soak.shrink import minimal
from tests.faults.soak.summary import Summary
from tests.faults.soak.system import abilities

PLACE = Path("/var/tmp")  # functions have a /tmp of their own
FLOOD_FAULT_EVERY_S = 20.0
FLOOD_MOST_S = 6 * 3600.0


class Unable(Exception):
    """The run cannot be made here; the message says what is missing."""


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long faults and events come (default 2)")
    parser.add_argument("--events", type=int, default=0, help="send so many as fast as they are accepted, then end")
    parser.add_argument("--rate", type=float, default=20.0, help="operations a second, without --events")
    parser.add_argument("--fault-every", type=float, default=0.0, help="seconds between two faults (default 4, or 20)")
    parser.add_argument("--broker", choices=("rabbitmq", "embedded"), default="rabbitmq")
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--replay", type=Path, metavar="FILE", help="the plan.jsonl of an earlier run")
    parser.add_argument("--without", default="", metavar="N,N", help="faults of the plan to leave out, by number")
    parser.add_argument("--shrink", type=int, default=0, metavar="RUNS", help="when it fails, run at most so many more "
                        "times to find fewer faults that suffice")  # fmt: skip
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where plan, history and logs are to be left")
    parser.add_argument("--plan-only", action="store_true", help="write the plan to standard output, run nothing")
    parser.add_argument("--json", action="store_true", help="the summary as JSON on standard output")
    return parser.parse_args(words)


def planned(given: argparse.Namespace) -> Plan:
    """The plan that was asked for. Raises Unable, PlanUnreadable, OSError."""
    if given.replay:
        found = plan.load(given.replay)
    else:
        if given.broker == "embedded" and given.workers != 2:
            raise Unable("the embedded broker has one process for everything: leave --workers out")
        flood = given.events > 0
        terms = Terms(
            seed=given.seed,
            duration_s=FLOOD_MOST_S if flood else given.minutes * 60,
            events=given.events,
            rate=given.rate,
            fault_every_s=given.fault_every or (FLOOD_FAULT_EVERY_S if flood else 4.0),
            workers=given.workers,
            broker=given.broker,
            store=given.store,
        )
        found = plan.make(replace(terms, abilities=abilities(terms)))
    if lacking := set(found.terms.abilities) - set(abilities(found.terms)):
        raise Unable(f"the plan needs what this host has not: {', '.join(sorted(lacking))}")
    if found.terms.broker == "rabbitmq" and not rabbitmq_server.available():
        raise Unable("rabbitmq-server is missing: apt-get install rabbitmq-server")
    if found.terms.store == "postgresql" and not postgres_server.available():
        raise Unable("PostgreSQL is missing: apt-get install postgresql")
    return found.without({int(number) for number in given.without.split(",") if number})


def run(of: Plan, keep: Path | None) -> Summary:
    """One run in a directory of its own, which is left where something does not balance or ``keep`` is given."""
    directory = Path(tempfile.mkdtemp(prefix="fnrunner-soak-", dir=PLACE))
    try:
        summary = Session(directory, of, say).run()
    except BaseException:
        say(f"what was written is in {directory}")
        raise
    if keep:
        shutil.copytree(directory, keep, dirs_exist_ok=True)
    if summary.balanced or keep:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        say(f"what was written is in {directory}; run it again with --replay {directory / PLAN}")
    return summary


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(words: Sequence[str]) -> int:
    given = arguments(words)
    # Whoever ends the run must find nothing of it left: every process and mount is undone on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        of = planned(given)
    except (Unable, PlanUnreadable, OSError, ValueError) as error:
        say(f"{error}")
        return 2
    if given.plan_only:
        plan.save(of, Path("/dev/stdout"))
        return 0
    say(f"seed {of.terms.seed}, {len(of.faults)} faults; abilities: {', '.join(of.terms.abilities)}")
    summary = run(of, given.keep)
    print(json.dumps(summary.document, indent=2) if given.json else "\n".join(summary.lines()))
    if not summary.balanced and given.shrink:
        numbers = [fault.number for fault in of.faults]
        left = minimal(numbers, lambda some: not run(of.only(set(some)), None).balanced, most_tries=given.shrink)
        say(f"it still fails with only the faults {', '.join(map(str, left))}")
    return 0 if summary.balanced else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
