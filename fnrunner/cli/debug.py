"""Running a function on this machine, with a debugger if wanted: the options, how to attach, and the run itself."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fnrunner.cli.error import CliError
from fnrunner.cli.output import Output, clean

if TYPE_CHECKING:
    from fnrunner.local.run import Attachment, Debugging, LocalRun
    from fnrunner.model.invocation import Answer, FunctionError, Succeeded

PORT = 5678
"""debugpy's own default."""

LOOPBACK = "127.0.0.1"
WORKSPACE = "${workspaceFolder}"
STOPPING = (signal.SIGTERM, signal.SIGHUP)

debug_option = click.option(
    "--debug",
    "debugged",
    is_flag=True,
    help="Run it under debugpy and wait for a debugger; the timeout is not applied.",
)
port_option = click.option(
    "--debug-port",
    "debug_port",
    type=click.IntRange(0, 65535),
    metavar="P",
    help=f"Where the debugger listens; 0 takes a free port. [default: {PORT}]",
)
code_option = click.option(
    "--code",
    "code",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Run this source instead of the deployed code.",
)


def debugging(port: int | None, runtime: str) -> Debugging:
    """What a debugger needs. Raises CliError where debugpy is missing or too new for the runtime, or the port is taken."""
    from fnrunner.local.run import Debugging

    package = package_of("debugpy")
    if package is None:
        raise CliError(
            "--debug needs debugpy, which is not installed beside fnrunner", "pip install 'fnrunner[debug]' adds it."
        )
    _check_runs(runtime)
    wanted = PORT if port is None else port
    _check_free(wanted)
    return Debugging(package, wanted)


def package_of(name: str) -> str | None:
    """The directory of an installed package, without importing it."""
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        return None
    return str(Path(next(iter(found.submodule_search_locations))).resolve())


def _check_runs(runtime: str) -> None:
    """The function's interpreter imports the package from here, whatever version it has. Raises CliError."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        found = metadata("debugpy")
    except PackageNotFoundError:
        return
    if too_old(runtime, found["Requires-Python"] or ""):
        raise CliError(
            f"debugpy {found['Version']} needs Python {found['Requires-Python']}, and the function runs on {runtime}",
            "Install an older debugpy beside fnrunner, or leave out --debug.",
        )


def too_old(runtime: str, requirement: str) -> bool:
    """Whether a Python runtime is older than ``>=3.N`` asks for.

    >>> too_old("python3.9", ">=3.10"), too_old("python3.12", ">=3.10"), too_old("nodejs20.x", ">=3.10")
    (True, False, False)
    """
    least, has = re.fullmatch(r">=3\.(\d+)", requirement), re.fullmatch(r"python3\.(\d+)", runtime)
    return least is not None and has is not None and int(has[1]) < int(least[1])


def _check_free(port: int) -> None:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise CliError(
                f"The debugger cannot listen on {LOOPBACK}:{port}: {error.strerror}",
                "Choose another with --debug-port, or 0 for any that is free.",
            ) from error


def launch_json(name: str, attachment: Attachment, source: Path | None) -> dict[str, Any]:
    """What .vscode/launch.json takes. Without a source directory, the folder that is open there is the source."""
    local = WORKSPACE if source is None else str(source.resolve() if source.is_dir() else source.resolve().parent)
    return {
        "version": "0.2.0",
        "configurations": [
            {
                "name": f"fnrunner: {name}",
                "type": "debugpy",
                "request": "attach",
                "connect": {"host": attachment.host, "port": attachment.port},
                "pathMappings": [{"localRoot": local, "remoteRoot": attachment.code_directory}],
            }
        ],
    }


def how_to_attach(name: str, attachment: Attachment, source: Path | None) -> str:
    """One line that says what to do, and the file that it needs."""
    return (
        f"The debugger listens on {attachment.host}:{attachment.port}: in VS Code, press F5 with this in "
        f".vscode/launch.json. Nothing runs before; there is no timeout (24 h); Ctrl-C gives up.\n"
        f"{json.dumps(launch_json(name, attachment, source), indent=2)}"
    )


def run(
    wanted: LocalRun, output: Output, *, source: Path | None, on_log: Callable[[bytes], None]
) -> tuple[Answer, Succeeded | FunctionError]:
    """Run it here, now; what came of it. Raises CliError where it could not be run at all, and click.Abort when stopped."""
    import asyncio

    from fnrunner.local import run as local_run
    from fnrunner.model.invocation import FunctionError, Succeeded
    from fnrunner.runtimes.runtime import RuntimesError
    from fnrunner.sandbox.sandbox import SandboxError

    def on_listening(attachment: Attachment) -> None:
        output.note(how_to_attach(wanted.spec.function, attachment, source))

    async def until_stopped() -> Answer:
        task = asyncio.ensure_future(local_run.perform(wanted, on_log=on_log, on_listening=on_listening))
        # as for Ctrl-C, which cancels: what was started is ended first
        for number in STOPPING:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await task

    try:
        answer = asyncio.run(until_stopped())
    except asyncio.CancelledError as error:
        raise click.Abort from error
    except (SandboxError, RuntimesError) as error:
        raise CliError(clean(str(error)), "`fnrunner doctor` lists what this machine can run.") from error
    if isinstance(answer.outcome, Succeeded | FunctionError):
        return answer, answer.outcome
    raise CliError(
        f"It could not be run here: {getattr(answer.outcome, 'message', answer.outcome)}",
        "`fnrunner doctor` lists what this machine can run.",
    )


def stop_as_for_ctrl_c() -> None:
    """From now on a terminal that closes, or a polite kill, lets files be removed as Ctrl-C does."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in STOPPING:
        signal.signal(number, stop)


class LogPrinter:
    """Prints what comes in pieces by whole lines, each behind ``prefix``."""

    def __init__(self, show: Callable[[str], None], prefix: str = "") -> None:
        self._show = show
        self._prefix = prefix
        self._rest = b""

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._print(line)

    def end(self) -> None:
        """A last line without its end."""
        if self._rest:
            self._print(self._rest)
            self._rest = b""

    def _print(self, line: bytes) -> None:
        self._show(f"{self._prefix}{clean(line.decode(errors='replace'))}")
