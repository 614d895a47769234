"""`fnrunner invoke`: one call of a function, its answer on standard output."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import click

from fnrunner.cli import debug, option
from fnrunner.cli.client import Client, Reply, function_path
from fnrunner.cli.concurrency import reserved
from fnrunner.cli.error import FAILED, ServerRefused, UsageFault
from fnrunner.cli.invoke_stream import invoke_stream
from fnrunner.cli.option import document
from fnrunner.cli.output import Output, clean
from fnrunner.cli.remedy import of_no_room
from fnrunner.cli.version import bare

# The longest a function may run, what a cold start and waiting for a slot may add, and some more.
PATIENCE = timedelta(seconds=900 + 60)


def register(app: click.Group) -> None:
    app.add_command(invoke)


@click.command("invoke")
@option.function_name
@click.option("--event", "-e", "event", metavar="JSON|@FILE|-", default="{}", help="The event.")
@click.option("--async", "asynchronous", is_flag=True, help="Accept the event, do not wait for it.")
@click.option("--stream", "stream", is_flag=True, help="Print the response while the function makes it.")
@click.option("--qualifier", "qualifier", metavar="Q", default="", help="A version or alias.")
@click.option("--tail", "tail", is_flag=True, help="Print the last 4 KB of the log on standard error.")
@debug.debug_option
@debug.port_option
@debug.code_option
@option.as_json
@option.endpoint
def invoke(
    name: str,
    event: str,
    asynchronous: bool,
    stream: bool,
    qualifier: str,
    tail: bool,
    debugged: bool,
    debug_port: int | None,
    code: Path | None,
    as_json: bool,
    endpoint_url: str,
) -> int:
    """Invoke a function and print its response. Exit status 1 on a function error.

    With --json: {"status_code", "request_id", "executed_version", "function_error", "payload", "log"}; with --stream as
    well, a line {"chunk"} for each piece and at last {"request_id", "executed_version", "error_code", "error_details",
    "log"}.

    With --debug the function runs on this machine, with the code and configuration that the server has (--code: with your
    code), and its whole log is printed. Nothing of that is recorded. It needs `pip install 'fnrunner[debug]'`.
    """
    if debugged:
        _check_debug({"--async": asynchronous, "--stream": stream, "--tail": tail})
        from fnrunner.cli.debug_invoke import invoke_debug

        body, output = document(event, "--event"), Output(as_json)
        return invoke_debug(
            Client(endpoint_url), name, body, qualifier=qualifier, port=debug_port, code=code, output=output
        )
    for given, text in ((debug_port, "--debug-port"), (code, "--code")):
        if given is not None:
            raise UsageFault(f"{text}: this is for a function that runs on this machine", "Add --debug.")
    if asynchronous and stream:
        raise UsageFault(
            "--stream: an asynchronous event has no response to wait for", "Leave out either --async or --stream."
        )
    if asynchronous and tail:
        raise UsageFault(
            "--tail: an asynchronous event has no log to wait for", f"Use `fnrunner logs {name} --follow`."
        )
    headers = {
        "X-Amz-Invocation-Type": "Event" if asynchronous else "RequestResponse",
        "Content-Type": "application/json",
    }
    if tail:
        headers["X-Amz-Log-Type"] = "Tail"
    client, body, output = Client(endpoint_url), document(event, "--event"), Output(as_json)
    with _throttled(client, name):
        if stream:
            return invoke_stream(client, name, body, headers, qualifier=qualifier, timeout=PATIENCE, output=output)
        reply = client.call(
            "POST",
            function_path(name, "invocations"),
            query={"Qualifier": qualifier or None},
            body=body,
            headers=headers,
            timeout=PATIENCE,
        )
    (_print_accepted if asynchronous else _print_answer)(output, reply)
    return FAILED if "x-amz-function-error" in reply.headers else 0


@contextmanager
def _throttled(client: Client, name: str) -> Iterator[None]:
    """A refusal for want of room says so when there can be none: waiting would not help then."""
    try:
        yield
    except ServerRefused as error:
        if error.http_status == 429 and reserved(client, bare(name)) == 0:
            raise ServerRefused(
                str(error), of_no_room(bare(name)), code=error.code, http_status=error.http_status
            ) from error
        raise


def _check_debug(options: dict[str, bool]) -> None:
    """Raises UsageFault for an option that means nothing with --debug."""
    for name, given in options.items():
        if given:
            raise UsageFault(
                f"{name} does not go with --debug: the answer is waited for and the whole log printed",
                f"Leave out {name}.",
            )


def _print_accepted(output: Output, reply: Reply) -> None:
    request_id = reply.headers.get("x-amzn-requestid", "")
    if output.as_json:
        output.json({"status_code": reply.status, "request_id": request_id})
        return
    output.line(request_id)
    output.note(f"Accepted. `fnrunner why {request_id}` tells what became of it.")


def _print_answer(output: Output, reply: Reply) -> None:
    log = base64.b64decode(reply.headers.get("x-amz-log-result", ""))
    error = reply.headers.get("x-amz-function-error", "")
    if output.as_json:
        output.json(
            {
                "status_code": reply.status,
                "request_id": reply.headers.get("x-amzn-requestid", ""),
                "executed_version": reply.headers.get("x-amz-executed-version", ""),
                "function_error": error or None,
                "payload": value_of(reply.body),
                "log": log.decode(errors="replace") or None,
            }
        )
        return
    if log:
        output.note(clean(log.decode(errors="replace")).rstrip("\n"))
    output.raw(reply.body if reply.body.endswith(b"\n") else reply.body + b"\n")
    if error:
        request_id = reply.headers.get("x-amzn-requestid", "")
        output.note(f"The function failed. `fnrunner why {request_id}` shows its log.")


def value_of(body: bytes) -> object:
    """The answer as JSON, or as text when the function returned something else."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
