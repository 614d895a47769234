"""`fnrunner invoke --debug`: a fresh event in an environment on this machine, under a debugger."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from fnrunner.cli import debug, local_function, serve
from fnrunner.cli.client import Client
from fnrunner.cli.debug import LogPrinter
from fnrunner.cli.error import FAILED
from fnrunner.cli.output import Output


def invoke_debug(
    client: Client, name: str, body: bytes, *, qualifier: str, port: int | None, code: Path | None, output: Output
) -> int:
    """Print the response as `invoke` does, the log on standard error while it is written; the exit status.

    Nothing is recorded: no attempt, no log, no retry.
    """
    from fnrunner.local.run import LocalRun
    from fnrunner.model.invocation import FunctionError, Invocation
    from fnrunner.sandbox.network_wish import network_wish

    settings = serve.read()
    debug.stop_as_for_ctrl_c()
    deployed = local_function.fetch(client, name, qualifier)
    debugging = debug.debugging(port, str(deployed.configuration["Runtime"]))
    zipped = (
        local_function.package(code, deployed.configuration)
        if code
        else local_function.download(client, deployed.location)
    )
    printer = LogPrinter(output.note)
    invocation = Invocation(request_id=str(uuid4()), payload=body, deadline_ms=0, invoked_arn=deployed.arn)
    with local_function.unpacked(zipped) as directory, local_function.layers(client, deployed) as layers:
        seen = local_function.visible(client, settings.mounts)
        spec = local_function.spec_of(deployed, directory, seen, layers)
        network = network_wish(settings, api_here=True)
        wanted = LocalRun(
            spec,
            invocation,
            debugging=debugging,
            sandbox=settings.sandbox,
            network=network,
            lets_stand_in=settings.stand_in,
        )
        on_log = (lambda data: None) if output.as_json else printer.write
        answer, outcome = debug.run(wanted, output, source=code, on_log=on_log)
    printer.end()
    failed = isinstance(outcome, FunctionError)
    if output.as_json:
        from fnrunner.cli.invoke import value_of

        output.json(
            {
                "status_code": 200,
                "request_id": invocation.request_id,
                "executed_version": deployed.version,
                "function_error": "Unhandled" if failed else None,
                "payload": value_of(outcome.payload),
                "log": answer.logs.decode(errors="replace") or None,
            }
        )
        return FAILED if failed else 0
    payload = outcome.payload
    output.raw(payload if payload.endswith(b"\n") else payload + b"\n")
    return FAILED if failed else 0
