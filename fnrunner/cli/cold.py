"""`fnrunner cold`: how often a function starts cold, why, how long that takes, and what takes the time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import Client, admin_path
from fnrunner.cli.logs import age
from fnrunner.cli.output import Output, clean, moment, span

REASONS = {
    "first": "nothing of it was there",
    "scaled": "all that were there were busy",
    "reload": "its code or configuration had changed",
    "recycled": "the one before was too old, too long unused, or used too much memory",
    "crashed": "the one before ended, ran out of time or memory, or failed",
}
SHOWN_PACKAGES = 8


def register(app: click.Group) -> None:
    app.add_command(cold)


@click.command("cold", short_help="Show why and how slowly a function starts.")
@click.argument("name", metavar="NAME")
@click.option(
    "--since", "since", metavar="AGE", default="1d", show_default=True, help="How far back: 30s, 10m, 2h, 1d."
)
@option.as_json
@option.endpoint
def cold(name: str, since: str, as_json: bool, endpoint_url: str) -> None:
    """Show how often a function started in a new environment, why, how long that took, and what was imported.

    With --json: {"function", "runs", "cold", "reasons": {reason: count}, "starts": [{"at_ms", "version", "reason", "init_ms",
    "imports", "event_id", "log_stream"}]}; the last 100 starts.
    """
    since_ms = max(0, int((time.time() - age(since).total_seconds()) * 1000))
    client, output = Client(endpoint_url), Output(as_json)
    found = client.get(admin_path(name, "cold-starts"), since_ms=since_ms, limit=100)
    if as_json:
        output.json(found)
        return
    for line in page(found, since):
        output.line(line)


def page(found: Mapping[str, Any], since: str) -> Iterator[str]:
    """The page, for people."""
    runs, count = found["runs"], found["cold"]
    if not runs:
        yield f"{found['function']} has not run in the last {since}."
        return
    yield f"{found['function']}: {count} of {runs} runs in the last {since} began in a new environment ({count / runs:.1%})"
    for reason, times in found["reasons"].items():
        yield f"  {times:>6}  {reason:<9} {REASONS.get(reason, '')}".rstrip()
    durations = sorted(start["init_ms"] for start in found["starts"] if start["init_ms"] is not None)
    if durations:
        yield ""
        yield (
            f"Initialisation, of the last {len(durations)}: half within {span(_at(durations, 0.5))}, "
            f"99% within {span(_at(durations, 0.99))}, the longest {span(durations[-1])}"
        )
    yield from _imports(found["starts"])
    last = found["starts"][-5:]
    if last:
        yield ""
        yield "The last of them"
    for start in last:
        init = f"init {span(start['init_ms'])}" if start["init_ms"] is not None else "no init measured"
        yield f"  {moment(start['at_ms'])}  {start['reason']:<9} {init}  {clean(start['event_id'])}"


def described(imports: Mapping[str, Any]) -> str:
    """What was imported, on one line: ``boto3 12 ms, botocore 80 ms``, and when."""
    packages = ", ".join(f"{clean(name)} {span(ms)}" for name, ms in imports["imports"][:SHOWN_PACKAGES])
    when = " (once, when it was made a snapshot)" if imports["copied"] else ""
    return f"{packages}{when}" if packages else ""


def _imports(starts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    newest = next((start["imports"] for start in reversed(starts) if start["imports"]), None)
    if newest is None or not newest["imports"]:
        return
    when = "once, for the snapshot that environments are copies of" if newest["copied"] else "at each start"
    yield ""
    yield f"What the newest imported, {when}; each package without what it imports itself"
    longest = max(ms for _, ms in newest["imports"])
    for name, ms in newest["imports"]:
        bar = "#" * max(1, round(20 * ms / longest)) if longest else ""
        yield f"  {clean(name):<24} {span(ms):>10}  {bar}".rstrip()


def _at(ordered: Sequence[float], share: float) -> float:
    """The value that so large a share does not exceed.

    >>> _at([1.0, 2.0, 3.0], 0.5), _at([1.0, 2.0, 3.0], 0.99)
    (2.0, 3.0)
    """
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
