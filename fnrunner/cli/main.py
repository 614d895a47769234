"""The entry point: finds the command, runs it, and turns whatever comes of it into an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from fnrunner.cli import (
    audit,
    bucket,
    code_signing,
    cold,
    concurrency,
    credentials,
    dlq,
    doctor,
    function,
    invoke,
    key,
    layer,
    logs,
    mapping,
    option,
    queue,
    replay,
    schedule,
    serve,
    stack,
    status,
    stream,
    topic,
    url,
    why,
)
from fnrunner.cli.deploy import command as deploy
from fnrunner.cli.error import FAILED, INTERRUPTED, USAGE, CliError
from fnrunner.cli.iam import command as iam
from fnrunner.cli.output import Output, clean

BROKEN_PIPE = 141


@dataclass(slots=True)
class Debugging:
    """``traceback``: show where an error was raised instead of its two lines."""

    traceback: bool = False


class InOrder(click.Group):
    """A group that lists its commands in the order of the documentation."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def _print_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        context.invoke(version, as_json=False)
        context.exit()


@click.group(
    "fnrunner",
    cls=InOrder,
    epilog="Exit status: 0 ok; 1 the function failed, the audit does not balance, doctor found a fault; 2 wrong usage; "
    "3 the server cannot be reached; 4 the server refused; 75 a worker could not work for too long.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@click.option("--traceback", is_flag=True, help="Show where an error was raised.")
@click.pass_obj
def application(debugging: Debugging, traceback: bool) -> None:
    """Run AWS-Lambda-style functions on machines you own."""
    debugging.traceback = traceback


@click.command("version")
@option.as_json
def version(as_json: bool) -> None:
    """Print the version."""
    import platform

    from fnrunner import __version__

    output = Output(as_json)
    if as_json:
        output.json({"version": __version__, "python": platform.python_version()})
    output.line(f"fnrunner {__version__} (Python {platform.python_version()})")


for module in (
    serve,
    deploy,
    stack,
    invoke,
    function,
    logs,
    why,
    cold,
    dlq,
    replay,
    bucket,
    queue,
    stream,
    mapping,
    topic,
    schedule,
    url,
    layer,
    code_signing,
    concurrency,
    credentials,
    iam,
    key,
    audit,
    status,
    doctor,
):
    module.register(application)
application.add_command(version)


def main() -> None:
    """What the installed command runs."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit status. An error is two lines on standard error: the fault and the remedy."""
    debugging = Debugging()
    try:
        status = application.main(list(arguments), prog_name="fnrunner", standalone_mode=False, obj=debugging)
    except BrokenPipeError:
        # Whoever read our output has left, which is no error. Python's own flush at exit must find an open file.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:
        if debugging.traceback:
            raise
        return _explain(error)
    return status if isinstance(status, int) else 0


def _explain(error: Exception) -> int:
    match error:
        case CliError():
            return _say(clean(str(error)), clean(error.remedy), error.status)
        case click.exceptions.NoArgsIsHelpError():
            error.show()
            return USAGE
        case click.ClickException():
            context = getattr(error, "ctx", None)
            return _say(
                error.format_message(), f"Try `{context.command_path if context else 'fnrunner'} --help`.", USAGE
            )
        case OSError():
            return _say(f"{error.filename or 'fnrunner'}: {error.strerror or error}", "", FAILED)
        case _:
            return _say(
                f"{type(error).__name__}: {error}", "This is a fault of fnrunner: see it with --traceback.", FAILED
            )


def _say(fault: str, remedy: str, status: int) -> int:
    output = Output()
    output.note("\n".join(f"fnrunner: {line}" for line in fault.splitlines()))
    if remedy:
        output.note(remedy)
    return status


if __name__ == "__main__":
    main()
