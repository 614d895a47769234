"""`fnrunner doctor`: what this host can run and how the server is, each gap with its remedy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client
from fnrunner.cli.error import FAILED, ServerRefused, ServerUnreachable
from fnrunner.cli.output import Output, clean, natural, size

if TYPE_CHECKING:
    from fnrunner.cli.host import Finding

COLOURS = {"ok": "green", "gap": "yellow", "fault": "red"}


def register(app: click.Group) -> None:
    app.add_command(doctor)


@click.command("doctor")
@option.as_json
@option.endpoint
def doctor(as_json: bool, endpoint_url: str) -> int:
    """Look at this host and at the server. Exit status 1 when something does not work; a gap alone is no fault.

    With --json: {"ok", "findings": [{"part", "verdict", "detail", "remedy", "code"}]}; verdict is ok, gap or fault, and code
    names a problem of the server, such as broker-blocked.
    """
    from fnrunner.cli import host
    from fnrunner.sandbox.network_wish import network_wish
    from fnrunner.settings import Settings, SettingsError

    output = Output(as_json)
    findings: list[Finding] = []
    try:
        settings = Settings.read(os.environ)
        findings += host.look(
            settings.data_dir,
            sandbox=settings.sandbox,
            cpu_limit=settings.cpu_limit,
            network=network_wish(settings),
            lets_stand_in=settings.stand_in,
        )
    except SettingsError as error:
        remedy = "correct it, or unset it"
        findings += [host.Finding("settings", host.Verdict.FAULT, text, remedy) for text in error.problems]
    findings += server(Client(endpoint_url))
    well = not any(finding.verdict is host.Verdict.FAULT for finding in findings)
    if as_json:
        output.json({"ok": well, "findings": [_document(finding) for finding in findings]})
    for finding in findings:
        word = finding.verdict.value
        code = f" [{clean(finding.code)}]" if finding.code else ""
        output.line(f"{output.paint(f'{word:<6}', COLOURS[word])}{finding.part:<20} {clean(finding.detail)}{code}")
        if finding.remedy:
            output.line(f"{'':<26} -> {clean(finding.remedy)}")
    return 0 if well else FAILED


def server(client: Client) -> Iterator[Finding]:
    """How the server says it is. A server that is not there is a gap: this host may be fine without one."""
    from fnrunner.cli.host import Finding, Verdict

    try:
        status = client.get(f"{ADMIN}/status")
    except ServerUnreachable as error:
        yield Finding("server", Verdict.GAP, str(error), error.remedy)
        return
    except ServerRefused as error:
        yield Finding("server", Verdict.FAULT, str(error), error.remedy)
        return
    yield from told(status)


def told(status: Mapping[str, Any]) -> Iterator[Finding]:
    """What a status says, part for part."""
    from fnrunner import __version__
    from fnrunner.cli.host import Finding, Verdict

    same = status["version"] == __version__
    yield Finding(
        "server",
        Verdict.OK if same else Verdict.GAP,
        f"fnrunner {status['version']} on Python {status['python']}: {', '.join(status['health']['roles']) or 'no role'}",
        "" if same else f"this command is {__version__}: use the same release on both sides",
    )
    problems = status["health"]["problems"]
    yield from (_fault(problem) for problem in problems)
    faulty = {problem["part"] for problem in problems}
    yield from (one for one in _parts(status) if one.verdict is not Verdict.OK or one.part not in faulty)


def _parts(status: Mapping[str, Any]) -> Iterator[Finding]:
    """What the status has of each part. What it finds well may be the very part whose problem the server tells."""
    from fnrunner.cli.host import FREE_BYTES, Finding, Verdict

    for process in status.get("processes", ()):
        # of a process that is silent nobody knows; the one that answers has said its own above
        if process["state"] != "silent" and "api" not in process["roles"]:
            yield from (_fault(problem, process["id"]) for problem in process["problems"])
    broker, store, workers = status["broker"], status["store"], status["workers"]
    reason = f": {broker['reason']}" if broker["reason"] else ""
    connected = broker["state"] == "connected"
    yield Finding(
        "broker",
        Verdict.OK if connected else Verdict.FAULT,
        f"{broker['kind']}, {broker['state']}{reason}",
        "" if connected else "start the broker, or free its memory or disk",
    )
    yield Finding(
        "store",
        Verdict.FAULT if store["fault"] else Verdict.OK,
        f"{store['kind']}{': ' + store['fault'] if store['fault'] else ''}",
        "check FNRUNNER_STORE_URL and that the database runs" if store["fault"] else "",
    )
    if (disk := status.get("data_dir")) and disk["free_bytes"] is not None:
        detail = f"{disk['path']} on the server's host, {status['host']}: {size(disk['free_bytes'])} free"
        low = disk["free_bytes"] < FREE_BYTES
        remedy = "make room there, or set FNRUNNER_DATA_DIR for the server" if low else ""
        yield Finding("server's data", Verdict.GAP if low else Verdict.OK, detail, remedy)
    alive = [worker for worker in workers if worker["state"] == "alive"]
    yield Finding(
        "workers",
        Verdict.OK if alive else Verdict.FAULT,
        f"{len(alive)} alive with room for {sum(worker['capacity'] for worker in alive)} environments",
        "" if alive else "start one with `fnrunner worker`, or everything with `fnrunner dev`",
    )
    for have, hosts in sorted(_runtimes(alive).items()):
        yield Finding("workers' runtimes", Verdict.OK, f"{', '.join(have)} on {', '.join(sorted(hosts))}")
    for worker in workers:
        if worker["state"] == "draining":
            detail = f"{worker['id']} on {worker['host']} is draining: it takes nothing new, and ends"
            yield Finding("worker", Verdict.GAP, detail, "nothing, where it was told to stop")
        elif worker["state"] != "alive":
            detail = f"{worker['id']} on {worker['host']} is {worker['state']}"
            yield Finding("worker", Verdict.GAP, detail, "look at its host and its log; its events go to others")
    for worker in alive:
        if instead := {name: other for name, other in worker.get("runtimes", {}).items() if other != name}:
            words = ", ".join(f"{other} for {name}" for name, other in instead.items())
            detail = f"on the host of {worker['id']}, {worker['host']}, others stand in: {words}"
            remedy = "nothing, where no function asks for it; else install it there, and start the worker again"
            yield Finding("runtimes", Verdict.GAP, detail, remedy)


def _runtimes(workers: Iterable[Mapping[str, Any]]) -> dict[tuple[str, ...], set[str]]:
    """What functions may ask for, with the hosts that have just that: those that others stand in for are said apart."""
    hosts: dict[tuple[str, ...], set[str]] = {}
    for worker in workers:
        own = [name for name, by in worker.get("runtimes", {}).items() if name == by]
        if own:
            hosts.setdefault(tuple(sorted(own, key=natural)), set()).add(worker["host"])
    return hosts


def _fault(problem: Mapping[str, str], process: str = "") -> Finding:
    """A problem of the server that answers, or of another process."""
    from fnrunner.cli.host import Finding, Verdict

    message = f"{process}: {problem['message']}" if process else problem["message"]
    return Finding(problem["part"], Verdict.FAULT, message, problem["remedy"], problem.get("code", ""))


def _document(finding: Finding) -> dict[str, str]:
    return {
        "part": finding.part,
        "verdict": finding.verdict.value,
        "detail": finding.detail,
        "remedy": finding.remedy,
        "code": finding.code,
    }
