"""What a run came to, for people and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.soak import history
from tests.faults.soak.checker import Finding, Verdict
from tests.faults.soak.duplicate import Detail, details
from tests.faults.soak.evidence import Evidence
from tests.faults.soak.fault import Struck
from tests.faults.soak.history import ACKNOWLEDGED, REFUSED, UNKNOWN, Answered
from tests.faults.soak.plan import Plan
from tests.faults.soak.run_log import RunLog
from tests.faults.soak.tally import Tally

MOST_SHOWN = 10
AROUND_S = 5.0


@dataclass(frozen=True, slots=True)
class Summary:
    """``around`` is the part of the history round each of the first findings, as lines. ``balanced`` is the verdict."""

    figures: Mapping[str, Any]
    findings: Sequence[Finding]
    around: Sequence[Sequence[str]]

    @property
    def balanced(self) -> bool:
        return not self.findings

    @property
    def missing(self) -> int:
        found: int = self.figures["missing"]
        return found

    @property
    def document(self) -> dict[str, Any]:
        shown = zip(_first(self.findings), self.around, strict=True)
        findings = [
            {"invariant": f.invariant, "op": f.number, "id": f.event_id, "text": f.text, "around": list(around)}
            for f, around in shown
        ]
        return {"balanced": self.balanced, **self.figures, "all_findings": len(self.findings), "findings": findings}

    def lines(self) -> Iterator[str]:
        for name, value in self.figures.items():
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else value
            yield f"{name.replace('_', ' '):22} {shown if shown != '' else 'none'}"
        if self.balanced:
            yield "everything balances"
            return
        yield f"{len(self.findings)} findings: " + _counted(Counter(finding.invariant for finding in self.findings))
        for finding, around in zip(_first(self.findings), self.around, strict=False):
            event = f" {finding.event_id or finding.number}" if finding.event_id or finding.number >= 0 else ""
            yield f"{finding.invariant}{event}: {finding.text}"
            yield from (f"    {line}" for line in around)


def summarise(
    plan: Plan,
    tally: Tally,
    evidence: Evidence,
    verdict: Verdict,
    *,
    ended: Sequence[str],
    peaks_mb: Mapping[str, int],
    accepting_s: float,
    running_s: float,
    files: tuple[Path, Path],
) -> Summary:
    """``files`` are the history and the log of runs, in which the first findings are looked up."""
    accepted = tally.outcomes[ACKNOWLEDGED]
    sums = {
        part: sum(one[part] for one in evidence.before.values()) for part in ("succeeded", "dead_lettered", "expired")
    }
    figures = {
        "seed": plan.terms.seed,
        "accepted": accepted,
        "refused": tally.outcomes[REFUSED],
        "unanswered": tally.outcomes[UNKNOWN],
        **sums,
        "missing": verdict.missing,
        "in_deleted_queues": verdict.excused,
        "runs": tally.runs,
        "duplicates_by_cause": dict(verdict.duplicates),
        "faults_by_kind": dict(Counter(fault.kind for fault in evidence.faults if not fault.problem)),
        "faults_that_failed": [f"{fault.kind}: {fault.problem}" for fault in evidence.faults if fault.problem],
        "ended_by_themselves": list(ended),
        "accepting_s": round(accepting_s, 1),
        "accepted_per_s": round(accepted / accepting_s, 1),
        "finished_s": round(running_s, 1),
        "finished_per_s": round(accepted / running_s, 1),
        "peak_memory_mb": dict(sorted(peaks_mb.items())),
    }
    shown = _first(verdict.findings)
    numbers = {finding.number for finding in shown if finding.number >= 0}
    answers = (one for one in history.read(files[0]) if isinstance(one, Answered))
    found = details(numbers, answers, RunLog(files[1]).fresh()) if numbers else {}
    around = [_around(found.get(finding.number), evidence.faults) for finding in shown]
    return Summary(figures, verdict.findings, around)


def _first(findings: Sequence[Finding]) -> list[Finding]:
    """Some of each invariant: a hundred of one must not hide the one of another."""
    by_rank = sorted(enumerate(findings), key=lambda pair: (_rank(pair[0], findings), pair[0]))
    return [finding for _, finding in by_rank[:MOST_SHOWN]]


def _rank(place: int, findings: Sequence[Finding]) -> int:
    return sum(other.invariant == findings[place].invariant for other in findings[:place][-MOST_SHOWN:])


def _around(detail: Detail | None, faults: Sequence[Struck]) -> list[str]:
    """What happened to one event and near it, in order of time."""
    if detail is None:
        return []
    told = []
    if detail.answer is not None:
        one = detail.answer
        told.append((one.sent, f"sent, {one.outcome} ({one.status}) after {one.answered - one.sent:.3f} s"))
    told += [(run.begin, f"ran as {run.event_id}: {run.state}") for run in detail.runs]
    if not told:
        return []
    first, last = min(at for at, _ in told) - AROUND_S, max(at for at, _ in told) + AROUND_S
    told += [
        (fault.begin, f"{fault.kind} of {fault.target} for {fault.end - fault.begin:.1f} s")
        for fault in faults
        if fault.begin <= last and fault.end >= first
    ]
    return [f"{at:.3f} {what}" for at, what in sorted(told)]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
