"""The numbers for people (tables) and for programs (one JSON document)."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.measurement import Latency, Result
from tests.bench.procedure import ACCEPT_CONCURRENCY, Plan

OURS = "fnrunner"
METHOD = (
    "Draining: workers warm and halted while the queue is filled; events per second from the first run's end to the last "
    "run's end, read from one file that every measured function appends its clock to; the median of the rounds.",
    "Every message is persistent on a durable queue and acknowledged after its run. fnrunner's queue is filled through its "
    "broker port with the envelopes its API makes, without the ledger's rows of acceptance.",
    "Only fnrunner isolates the function in a process of its own, with limits and a timeout, and records every attempt.",
    "Calls: from a client process on this machine. Ratios are fnrunner divided by the other.",
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where it was measured: load averages over 1, 5 and 15 minutes."""

    rabbitmq: str
    python: str
    processors: int
    load_before: tuple[float, ...]
    load_after: tuple[float, ...]
    seconds: float


def show(results: Sequence[Result], surroundings: Surroundings, plan: Plan, console: Console) -> None:
    """Print it all."""
    console.print(_drains(results, plan))
    console.print(_calls(results))
    for result in results:
        if result.accepted_per_s is not None:
            rate = f"{result.accepted_per_s:,.0f}"
            console.print(
                f"{result.system} accepts {rate} events/s over HTTP "
                f"(confirmed by the broker and in the ledger; {ACCEPT_CONCURRENCY} connections, no worker running)"
            )
        if result.left:
            console.print(f"[red]{result.system}: {result.left} messages were left in the queue")
        if result.failure:
            console.print(f"[red]{result.system} could not be measured to the end:[/] ", end="")
            console.print(result.failure, markup=False)
    console.print()
    for result in results:
        shown = ", ".join(f"{name} {number}" for name, number in result.versions.items())
        console.print(f"[bold]{result.system}[/] ({shown}): {result.configuration}", highlight=False)
    console.print()
    for line in METHOD:
        console.print(line, highlight=False)
    console.print(
        f"RabbitMQ {surroundings.rabbitmq}, Python {surroundings.python}, {surroundings.processors} processors; load "
        f"average before {_load(surroundings.load_before)}, after {_load(surroundings.load_after)}; "
        f"{surroundings.seconds:.0f} s in all",
        highlight=False,
    )


def _load(averages: Sequence[float]) -> str:
    return " ".join(f"{each:.1f}" for each in averages)


def _drains(results: Sequence[Result], plan: Plan) -> Table:
    table = Table(title=f"Asynchronous: draining {plan.events:,} events", title_justify="left")
    table.add_column("system")
    for title in ("events/s", "rounds", "fnrunner ÷ it", "load"):
        table.add_column(title, justify="right")
    ours = next((result.drained_per_s for result in results if result.system == OURS), None)
    for result in results:
        drained = result.drained_per_s
        table.add_row(
            result.system,
            "failed" if drained is None else f"{drained:,.0f}",
            " ".join(f"{drain.per_s:,.0f}" for drain in result.drains),
            f"{ours / drained:.2f}" if ours and drained and result.system != OURS else "",
            f"{result.load[0]:.1f}",
        )
    return table


def _calls(results: Sequence[Result]) -> Table:
    table = Table(title="Synchronous calls", title_justify="left")
    for title in ("system", "path"):
        table.add_column(title)
    for title in ("at once", "p50 ms", "p99 ms", "calls/s", "fnrunner p50 ÷ it", "fnrunner p99 ÷ it"):
        table.add_column(title, justify="right")
    ours = _ours(results)
    for result in results:
        for path in result.paths:
            if path.absent:
                table.add_row(result.system, path.absent)
            for each in path.latencies:
                best = ours.get(each.concurrency) if result.system != OURS else None
                table.add_row(
                    result.system,
                    path.name,
                    str(each.concurrency),
                    f"{each.p50_ms:.2f}",
                    f"{each.p99_ms:.2f}",
                    f"{each.per_s:,.0f}",
                    f"{best.p50_ms / each.p50_ms:.2f}" if best else "",
                    f"{best.p99_ms / each.p99_ms:.2f}" if best else "",
                )
    return table


def _ours(results: Sequence[Result]) -> dict[int, Latency]:
    """By concurrency, on the path that is comparable with the others': the last one, by the broker alone."""
    paths = next((result.paths for result in results if result.system == OURS), ())
    return {each.concurrency: each for each in paths[-1].latencies} if paths else {}


def save(results: Sequence[Result], surroundings: Surroundings, plan: Plan, file: Path) -> None:
    """Write the JSON document: ``plan``, ``surroundings``, ``results`` with ``drained_per_s`` and ``ratio`` to fnrunner."""
    ours = next((result.drained_per_s for result in results if result.system == OURS), None)
    document = {
        "plan": asdict(plan),
        "surroundings": asdict(surroundings),
        "results": [
            {
                **asdict(result),
                "drained_per_s": result.drained_per_s,
                "ratio": ours / result.drained_per_s if ours and result.drained_per_s else None,
            }
            for result in results
        ],
    }
    file.write_text(json.dumps(document, indent=2) + "\n")


def python_version() -> str:
    return platform.python_version()
