"""`fnrunner replay`: run a recorded event again on this machine, with a debugger or a fixed clock if wanted."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fnrunner.cli import debug, local_function, option, serve
from fnrunner.cli.client import ADMIN, Client, segment
from fnrunner.cli.debug import LogPrinter
from fnrunner.cli.error import FAILED, CliError, ServerRefused, UsageFault
from fnrunner.cli.local_function import Deployed
from fnrunner.cli.output import Output
from fnrunner.cli.replay_page import Code, Replayed, Setting, closing, document, heading

if TYPE_CHECKING:
    from fnrunner.model.invocation import Invocation

OF_EVENT = -1
"""The seed that is made of the event's id."""

_NOT_KEPT = {
    "succeeded": "it succeeded",
    "purged": "its dead letter was purged",
    "in flight": "it is in flight, and with the broker until it has succeeded or is a dead letter",
    **dict.fromkeys(("failed", "throttled", "faulted", "died"), "its caller waited for the answer"),
}


def register(app: click.Group) -> None:
    app.add_command(replay)


@click.command("replay", short_help="Run a recorded event again on this machine.")
@click.argument("event_id", metavar="ID")
@click.option("--event", "-e", "event", metavar="JSON|@FILE|-", help="Another payload than the recorded one.")
@click.option("--original", "original", is_flag=True, help="The payload that failed, where it was edited since.")
@debug.code_option
@click.option(
    "--qualifier", "qualifier", metavar="Q", default="", help="Another version or alias than the one that ran."
)
@debug.debug_option
@debug.port_option
@click.option(
    "--repeatable",
    "seed",
    metavar="[SEED]",
    type=click.IntRange(OF_EVENT, 2**64),
    is_flag=False,
    flag_value=OF_EVENT,
    help="Time, randomness and UUIDs are the same in every run; write it behind ID.",
)
@option.as_json
@option.endpoint
def replay(
    event_id: str,
    event: str | None,
    original: bool,
    code: Path | None,
    qualifier: str,
    debugged: bool,
    debug_port: int | None,
    seed: int | None,
    as_json: bool,
    endpoint_url: str,
) -> int:
    """Run a failed event again here: the code that ran, its payload, request id, ARN, variables, memory and timeout.

    Nothing is settled: no attempt is written down, and the dead letter stays. What the function does to other systems it
    does again. Configuration is what the function has now; FNRUNNER_SANDBOX and FNRUNNER_MOUNTS hold as for a worker. Exit
    status 1 on a function error.

    --repeatable: the clock starts when the event was accepted and moves a millisecond with each reading, and by what is
    slept; random, secrets, os.urandom, uuid1, uuid4 and the order of sets follow from SEED (by default, from ID). Not
    covered: monotonic clocks, threads, the network, and C libraries that ask the system.

    With --json: {"event_id", "function", "version", "code", "request_id", "outcome", "error_type", "error_message",
    "stack_trace", "payload", "log", "duration_ms", "init_ms", "max_memory_mb", "recorded", "comparison", "seed",
    "redrive"}; "comparison" is same, other message, other error, succeeded or nothing recorded.
    """
    if debug_port is not None and not debugged:
        raise UsageFault("--debug-port: there is no debugger without --debug", "Add --debug.")
    if original and event is not None:
        raise UsageFault("--original and --event are two payloads", "Leave out either.")
    client, output = Client(endpoint_url), Output(as_json)
    recording = _recording(client, event_id)
    payload = option.document(event, "--event") if event is not None else _payload(recording, original)
    deployed = local_function.fetch(client, recording["function"], qualifier or _ran(recording))
    chosen = _code(client, recording, deployed, qualifier=qualifier, path=code)
    setting = Setting(
        payload=payload,
        given=event is not None,
        original=original,
        debug=debugged,
        seed=_seed(seed, event_id),
    )
    return _run(client, recording, deployed, chosen, setting, source=code, port=debug_port, output=output)


def _run(
    client: Client,
    recording: dict[str, Any],
    deployed: Deployed,
    chosen: _Chosen,
    setting: Setting,
    *,
    source: Path | None,
    port: int | None,
    output: Output,
) -> int:
    from fnrunner.local.run import LocalRun
    from fnrunner.model.invocation import FunctionError
    from fnrunner.runtimes.local import Repeatable
    from fnrunner.sandbox.network_wish import network_wish

    settings = serve.read()
    debug.stop_as_for_ctrl_c()
    debugging = debug.debugging(port, str(deployed.configuration["Runtime"])) if setting.debug else None
    start_us = int(recording["accepted_at_ms"]) * 1000
    repeatable = None if setting.seed is None else Repeatable(setting.seed, start_us)
    for line in heading(recording, deployed.configuration, chosen.code, setting):
        output.line(line)
    printer = LogPrinter(output.line, "    | ")
    with local_function.unpacked(chosen.zipped) as directory, local_function.layers(client, deployed) as layers:
        seen = local_function.visible(client, settings.mounts)
        spec = local_function.spec_of(deployed, directory, seen, layers)
        invocation = _invocation(recording, deployed, setting.payload)
        wanted = LocalRun(
            spec,
            invocation,
            debugging,
            repeatable,
            settings.sandbox,
            network_wish(settings, api_here=True),
            lets_stand_in=settings.stand_in,
        )
        answer, outcome = debug.run(wanted, output, source=source, on_log=printer.write)
    printer.end()
    replayed = Replayed.of(answer, outcome)
    if output.as_json:
        output.json(document(recording, deployed.configuration, chosen.code, setting, replayed))
    for text, colours in closing(recording, chosen.code, setting, replayed):
        output.line(output.paint(text, *colours))
    return FAILED if isinstance(outcome, FunctionError) else 0


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The zip that is run, and what there is to say of it."""

    zipped: bytes
    code: Code


def _recording(client: Client, event_id: str) -> dict[str, Any]:
    found = client.find(f"{ADMIN}/events/{segment(event_id)}/recording")
    if found is None:
        raise ServerRefused(
            f"Nothing is known of {event_id}",
            "Check the id: `fnrunner logs NAME --json` and `fnrunner dlq ls NAME` show ids. Old events are forgotten.",
            http_status=404,
        )
    return dict(found)


def _payload(recording: dict[str, Any], original: bool) -> bytes:
    """Raises ServerRefused where none is kept, and CliError where a function could not be given it."""
    event_id, name = recording["event_id"], recording["function"]
    key = "original" if original and recording["edited"] else "payload"
    if f"{key}_base64" in recording:
        payload = b64decode(recording[f"{key}_base64"])
    elif key in recording:
        payload = str(recording[key]).encode()
    else:
        because = _NOT_KEPT.get(recording["state"], f"its state is: {recording['state']}")
        raise ServerRefused(
            f"The payload of {event_id} is not kept: {because}. Dead letters keep payloads; events that succeeded, and "
            "calls whose caller waited for the answer, do not",
            "Give the payload with --event JSON, @FILE or -.",
        )
    try:
        json.loads(payload)
    except ValueError as error:
        raise CliError(
            f"The payload of {event_id} is not JSON, and no function can be given it: {error}",
            f"`fnrunner dlq edit {name} {event_id}` corrects it; --event JSON gives another.",
        ) from error
    return payload


def _ran(recording: dict[str, Any]) -> str:
    """The version that ran last, or what would be run."""
    return str(recording["version"] or recording["qualifier"])


def _code(
    client: Client, recording: dict[str, Any], deployed: Deployed, *, qualifier: str, path: Path | None
) -> _Chosen:
    """The code that failed, unless other code is asked for. Raises ServerRefused when it is not kept any more."""
    configuration = deployed.configuration
    if path is not None:
        zipped = local_function.package(path, configuration)
        return _Chosen(zipped, Code("local", hashlib.sha256(zipped).hexdigest(), str(path.resolve())))
    digest = str(recording["digest"])
    current = not digest or local_function.sha256_of(digest) == configuration["CodeSha256"]
    if qualifier or current:
        zipped = local_function.download(client, deployed.location)
        kind = "recorded" if current and digest else "current"
        return _Chosen(zipped, Code(kind, hashlib.sha256(zipped).hexdigest()))
    try:
        zipped = local_function.download(client, str(recording["code"]))
    except ServerRefused as error:
        if error.http_status != 404:
            raise
        raise ServerRefused(
            f"The code that ran ({digest[:12]}) is not kept any more: {deployed.name} was deployed again since",
            f"--qualifier '{deployed.version}' runs the code it has now, --code DIR code of yours.",
            http_status=404,
        ) from error
    return _Chosen(zipped, Code("recorded", digest))


def _invocation(recording: dict[str, Any], deployed: Deployed, payload: bytes) -> Invocation:
    from fnrunner.model.invocation import Invocation

    unqualified = ":".join(deployed.arn.split(":")[:7])
    qualifier = recording["qualifier"]
    return Invocation(
        request_id=recording["event_id"],
        payload=payload,
        deadline_ms=0,
        invoked_arn=recording["invoked_arn"] or (f"{unqualified}:{qualifier}" if qualifier else unqualified),
        client_context=recording["client_context"],
        xray=recording["xray"],
        traceparent=recording["traceparent"],
        tracestate=recording["tracestate"],
    )


def _seed(given: int | None, event_id: str) -> int | None:
    if given == OF_EVENT:
        return int.from_bytes(hashlib.sha256(event_id.encode()).digest()[:4])
    return given
