"""`fnrunner doctor`: what this host can run and how the server is, each gap with its remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client
from fnrunner.cli.error import FAILED, ServerRefused, ServerUnreachable
from fnrunner.cli.output import Output, clean

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

    With --json: {"ok", "findings": [{"part", "verdict", "detail", "remedy"}]}; verdict is ok, gap or fault.
    """
    from fnrunner.cli import host
    from fnrunner.settings import Settings, SettingsError

    output = Output(as_json)
    findings: list[Finding] = []
    try:
        settings = Settings.read(os.environ)
        findings += host.look(settings.data_dir)
    except SettingsError as error:
        remedy = "correct it, or unset it"
        findings += [host.Finding("settings", host.Verdict.FAULT, text, remedy) for text in error.problems]
    findings += server(Client(endpoint_url))
    well = not any(finding.verdict is host.Verdict.FAULT for finding in findings)
    if as_json:
        output.json({"ok": well, "findings": [_document(finding) for finding in findings]})
    for finding in findings:
        word = finding.verdict.value
        output.line(f"{output.paint(f'{word:<6}', COLOURS[word])}{finding.part:<20} {clean(finding.detail)}")
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
    for problem in status["health"]["problems"]:
        yield Finding(problem["part"], Verdict.FAULT, problem["message"], problem["remedy"])
    broker, store, workers = status["broker"], status["store"], status["workers"]
    reason = f": {broker['reason']}" if broker["reason"] else ""
    yield Finding("broker", Verdict.OK, f"{broker['kind']}, {broker['state']}{reason}")
    yield Finding(
        "store",
        Verdict.FAULT if store["fault"] else Verdict.OK,
        f"{store['kind']}{': ' + store['fault'] if store['fault'] else ''}",
        "check FNRUNNER_STORE_URL and that the database runs" if store["fault"] else "",
    )
    alive = [worker for worker in workers if worker["state"] == "alive"]
    yield Finding(
        "workers",
        Verdict.OK if alive else Verdict.FAULT,
        f"{len(alive)} alive with room for {sum(worker['capacity'] for worker in alive)} environments",
        "" if alive else "start one with `fnrunner worker`, or everything with `fnrunner dev`",
    )
    for worker in workers:
        if worker["state"] != "alive":
            detail = f"{worker['id']} on {worker['host']} is {worker['state']}"
            yield Finding("worker", Verdict.GAP, detail, "look at its host and its log; its events go to others")


def _document(finding: Finding) -> dict[str, str]:
    return {
        "part": finding.part,
        "verdict": finding.verdict.value,
        "detail": finding.detail,
        "remedy": finding.remedy,
    }
