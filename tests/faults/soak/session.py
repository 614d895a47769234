"""One run of a plan from an empty system to a verdict: start, disturb, come to rest, mend, redrive, check."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tests.faults.soak import affliction, checker, function, history, plan
from tests.faults.soak.affliction import Situation
from tests.faults.soak.broker_side import Copyist
from tests.faults.soak.duplicate import details
from tests.faults.soak.evidence import Evidence
from tests.faults.soak.fault import Struck
from tests.faults.soak.generator import Generator
from tests.faults.soak.history import ACKNOWLEDGED, MENDED, Answered, History
from tests.faults.soak.memory import Peaks, peak_mb
from tests.faults.soak.nemesis import Nemesis
from tests.faults.soak.operation import Behaviour
from tests.faults.soak.plan import Plan
from tests.faults.soak.run_log import RunLog
from tests.faults.soak.summary import Summary, summarise
from tests.faults.soak.system import PROGRAM, System
from tests.faults.soak.tally import Tally
from tests.faults.soak.witness import Balances, Witness
from tests.rabbitmq_server import RabbitMQServer

SENDERS, FLOOD_SENDERS = 12, 8
READY_S = 300.0
STANDSTILL_S = 90.0
"""How long nothing may move before what is still open counts as lost: longer than every retry, backoff and heartbeat."""
LOOK_S = 0.5
PLAN, HISTORY, EVIDENCE = "plan.jsonl", "history.jsonl", "evidence.json"

Say = Callable[[str], None]


class Session:
    """Everything it makes is below ``directory``, which functions must be able to see: not below /tmp.

    ``standstill_s`` is how long nothing may move before what is still open counts as lost.
    """

    def __init__(
        self,
        directory: Path,
        of: Plan,
        say: Say,
        *,
        rabbitmq: RabbitMQServer | None = None,
        worker_program: Sequence[str] = PROGRAM,
        standstill_s: float = STANDSTILL_S,
    ) -> None:
        self.directory = directory
        self.plan = of
        self.tally = Tally()
        self.struck: list[Struck] = []
        self.ended: list[str] = []
        self._say = say
        self._standstill_s = standstill_s
        self._lock = threading.Lock()
        plan.save(of, directory / PLAN)
        self.history = History(directory / HISTORY)
        self.system = System(directory, of.terms, self._remark, rabbitmq=rabbitmq, worker_program=worker_program)
        self._log = RunLog(self.system.runs / function.LOG)

    def run(self) -> Summary:
        """Blocks until the verdict. Raises NotInTime when the system does not come back after the last fault."""
        with ExitStack() as stack:
            stack.callback(self.history.close)
            stack.enter_context(self.system)
            stack.callback(self._keep_logs)
            peaks = Peaks(lambda: self.system.pids)
            peaks.start()
            stack.callback(peaks.stop)
            started = time.monotonic()
            self._disturb(started)
            sent = time.monotonic()
            self.system.all_ready(READY_S)
            self._come_to_rest()
            rested = time.monotonic()
            evidence = self._testify()
            peaks.mb["generator"] = peak_mb("self")
        return summarise(
            self.plan, self.tally, evidence, self._judge(evidence), ended=self.ended, peaks_mb=peaks.mb,
            accepting_s=sent - started, running_s=rested - started,
            files=(self.history.file, self.system.runs / function.LOG),
        )  # fmt: skip

    def _keep_logs(self) -> None:
        """What the processes wrote: its place may go with the system."""
        for log in self.system.installation.directory.glob("*.log"):
            shutil.copy(log, self.directory / log.name)

    def _disturb(self, start: float) -> None:
        """Send while the nemesis is at work; both are over afterwards and every fault is undone."""
        terms = self.plan.terms
        generator = Generator(self.system.installation.port, self._answered)
        copyist = Copyist(self.system.rabbitmq, lambda: list(generator.recent)) if self.system.rabbitmq else None
        nemesis = Nemesis(Situation(self.system, copyist), self.plan.faults, self._was_struck)
        over = threading.Event()
        follower = threading.Thread(target=self._follow, args=(over, nemesis, start), name="progress", daemon=True)
        follower.start()
        nemesis.start(start, terms.duration_s)
        try:
            if terms.flood:
                generator.flood(self.plan.operations(), terms.events, FLOOD_SENDERS)
                nemesis.halt()
            else:
                generator.at_their_times(self.plan.operations(), start, SENDERS)
                nemesis.wait()
        finally:
            generator.stop()
            generator.close()
            nemesis.halt()
            over.set()
            follower.join()

    def _follow(self, over: threading.Event, nemesis: Nemesis, start: float) -> None:
        said = 0.0
        while not over.wait(LOOK_S):
            self._read_runs()
            if time.monotonic() - said >= 5:
                said = time.monotonic()
                self._progress(start, ", ".join(sorted(nemesis.active)))

    def _progress(self, start: float, now: str) -> None:
        accepted, past = self.tally.outcomes[ACKNOWLEDGED], time.monotonic() - start
        self._say(
            f"{past:7.0f} s  {accepted} accepted ({accepted / past:,.0f}/s), {self.tally.done} done, "
            f"{len(self.struck)} faults{', now ' + now if now else ''}"
        )

    def _come_to_rest(self) -> None:
        """Until every accepted event has succeeded or is a dead letter, or nothing moves any more."""
        moved, seen = time.monotonic(), (-1, -1)
        while time.monotonic() - moved < self._standstill_s:
            self._read_runs()
            open_ = self.tally.outcomes[ACKNOWLEDGED] - self.tally.done
            if (now := (self.tally.runs, open_)) != seen:
                moved, seen = time.monotonic(), now
                self._progress_of_rest(open_)
                time.sleep(LOOK_S)
                continue
            # nothing has run for a moment: perhaps that is because all is over
            if self._is_over():
                return
            time.sleep(1.0)

    def _progress_of_rest(self, open_: int) -> None:
        self._say(f"coming to rest: {self.tally.done} done, {open_} open or given up, {self.tally.runs} runs")

    def _is_over(self) -> bool:
        """Whether what has not succeeded is what has been given up, or was in a queue that was deleted."""
        try:
            functions = self.system.installation.admin("audit")["functions"]
        except AssertionError:
            return False
        lost = 0
        if any(fault.function for fault in self.struck):
            lost = self.tally.unfinished(Behaviour.DOOMED)
            functions = [one for one in functions if one["function"] != affliction.DOOMED]
        if any(one["in_flight"] or one["missing"] for one in functions):
            return False
        given_up = sum(one["dead_lettered"] + one["expired"] for one in functions)
        return bool(self.tally.outcomes[ACKNOWLEDGED] - self.tally.done - lost <= given_up)

    def _testify(self) -> Evidence:
        """Ask, mend, redrive, and ask again."""
        witness = Witness(self.system.installation)
        before = witness.balances()
        letters = witness.letters(before)
        self._say(f"mending, and redriving {len(letters)} dead letters")
        self._read_runs()
        self.history.mark(MENDED)
        self.tally.mended_ns = time.monotonic_ns()
        (self.system.runs / function.MENDED).touch()
        witness.redrive(before)
        after = self._redriven(witness)
        self._read_runs()
        suspicious = checker.suspects(self.tally)
        evidence = Evidence(
            tuple(self.struck), tuple(letters), before, after,
            witness.stories([self.tally.event_id(number) for number in suspicious]),
            tuple(one["event_id"] for name in witness.with_letters(after) for one in witness.held(name)),
        )  # fmt: skip
        (self.directory / EVIDENCE).write_text(json.dumps(asdict(evidence)))
        return evidence

    def _redriven(self, witness: Witness) -> Balances:
        until = time.monotonic() + self._standstill_s
        while True:
            after = witness.balances()
            open_ = sum(
                one["in_flight"] + one["missing"] + one["dead_lettered"]
                for name, one in after.items()
                if name != affliction.DOOMED
            )
            if not open_ or time.monotonic() > until:
                return after
            time.sleep(1.0)

    def _judge(self, evidence: Evidence) -> checker.Verdict:
        suspicious = checker.suspects(self.tally)
        answers = (one for one in history.read(self.history.file) if isinstance(one, Answered))
        runs = RunLog(self.system.runs / function.LOG).fresh()
        return checker.check(self.tally, evidence, details(suspicious, answers, runs))

    def _answered(self, one: Answered) -> None:
        self.history.answered(one)
        with self._lock:
            self.tally.answered(one)

    def _read_runs(self) -> None:
        for line in self._log.fresh():
            with self._lock:
                self.tally.ran(line)

    def _was_struck(self, fault: Struck) -> None:
        self.history.struck(fault)
        self.struck.append(fault)
        if fault.problem:
            self._say(f"{fault.kind} of {fault.target} could not be carried out: {fault.problem}")

    def _remark(self, name: str, **more: object) -> None:
        self.history.mark(name, **more)
        self.ended.append(f"{name}: {more}")
        self._say(f"{name}: {more}")
