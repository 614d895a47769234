"""Carry out a plan's faults at their times, and undo each: one thread for each target, so that its faults never meet."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from tests.faults.soak import affliction
from tests.faults.soak.affliction import Situation
from tests.faults.soak.fault import Fault, Struck

log = logging.getLogger(__name__)

LATE_S = 5.0
"""A fault that is due, and whose target another has kept for so long, still begins; later ones are left out."""


class Nemesis:
    """``told`` hears each fault when it has been undone. ``halt`` ends it early: what was done is undone."""

    def __init__(self, situation: Situation, faults: Sequence[Fault], told: Callable[[Struck], None]) -> None:
        self.left_out = 0
        self.active: set[str] = set()
        self._situation = situation
        self._told = told
        self._halt = threading.Event()
        by_target: dict[str, list[Fault]] = defaultdict(list)
        for fault in sorted(faults, key=lambda each: each.at_s):
            by_target[fault.target].append(fault)
        self._targets = by_target
        self._threads: list[threading.Thread] = []

    def start(self, start: float, duration_s: float) -> None:
        """``start`` is the monotonic time of the plan's beginning."""
        for target, faults in self._targets.items():
            thread = threading.Thread(
                target=self._haunt, args=(faults, start, start + duration_s), name=f"nemesis of {target}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def wait(self) -> None:
        """Until every fault has been undone."""
        for thread in self._threads:
            thread.join()

    def halt(self) -> None:
        """Begin nothing more, undo what is, and wait for that."""
        self._halt.set()
        self.wait()

    def _haunt(self, faults: Sequence[Fault], start: float, until: float) -> None:
        for fault in faults:
            if self._halt.wait(max(0.0, start + fault.at_s - time.monotonic())):
                return
            if time.monotonic() > until + LATE_S:
                self.left_out += 1
                continue
            self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        struck = affliction.Outcome()
        name = f"{fault.kind} {fault.target}"
        self.active.add(name)
        begin = time.monotonic()
        try:
            with affliction.OF[fault.kind](self._situation, fault, struck):
                self._halt.wait(fault.lasts_s)
        except Exception as error:  # the run goes on and says so: a fault that could not be undone shows by itself
            log.exception("%s could not be carried out", name)
            struck.problem = f"{type(error).__name__}: {error}"
        finally:
            self.active.discard(name)
        self._told(
            Struck(
                fault.number, fault.kind, fault.target, begin, time.monotonic(),
                tuple(struck.ids), struck.function, struck.problem,
            )
        )  # fmt: skip
