"""serverless-offline (npm) as a peer: the same handlers behind its local Lambda endpoint."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import httpx

from tests.bench.processes import stop
from tests.rabbitmq_server import free_port

PACKAGES = ("serverless@3", "serverless-offline@13")
"""The last versions that need no account."""
START_S = 90.0
INSTALL_S = 600.0


class NotThere(Exception):
    """serverless-offline could not be had; the text says why."""


def install(directory: Path) -> None:
    """Raises NotThere."""
    if (directory / "node_modules" / ".bin" / "serverless").exists():
        return
    if shutil.which("npm") is None:
        raise NotThere("npm is not on this host")
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(directory), *PACKAGES]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotThere(f"npm did not install it within {INSTALL_S:.0f} s") from error
    if done.returncode:
        raise NotThere(f"npm could not install it: {done.stderr.strip()[-300:]}")


def versions(directory: Path) -> dict[str, str]:
    return {
        name: json.loads((directory / "node_modules" / name / "package.json").read_text())["version"]
        for name in ("serverless", "serverless-offline")
    }


class ServerlessOffline:
    """One server with one function for each handler. Each handler is the text of a module with a ``handler`` in it."""

    def __init__(
        self,
        directory: Path,
        installed: Path,
        functions: Mapping[str, tuple[str, str]],
        python_path: Path | None = None,
    ) -> None:
        """``functions``: runtime and source by name; ``python_path`` has what those of Python import."""
        self._directory, self._installed, self._functions = directory, installed, functions
        self._python_path = str(python_path or "")
        self.lambda_port, self._http_port, self._websocket_port = free_port(), free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def path(self, name: str) -> str:
        """Of a synchronous invocation on ``lambda_port``."""
        return f"/2015-03-31/functions/bench-dev-{name}/invocations"

    def __enter__(self) -> Self:
        """Raises NotThere."""
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "node_modules").symlink_to(self._installed / "node_modules")
        lines = ["service: bench", "frameworkVersion: '3'", "provider: {name: aws, runtime: nodejs20.x, stage: dev}"]
        lines += ["plugins: [serverless-offline]", "functions:"]
        for name, (runtime, source) in self._functions.items():
            (self._directory / f"{name}.{'py' if runtime.startswith('python') else 'js'}").write_text(source)
            lines.append(f"  {name}: {{handler: {name}.handler, runtime: {runtime}, timeout: 30}}")
        (self._directory / "serverless.yml").write_text("\n".join(lines) + "\n")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Raises NotThere."""
        ports = (
            "--lambdaPort",
            self.lambda_port,
            "--httpPort",
            self._http_port,
            "--websocketPort",
            self._websocket_port,
        )
        program = self._directory / "node_modules" / ".bin" / "serverless"
        command = [str(program), "offline", "start", "--host", "127.0.0.1", "--noTimeout", *map(str, ports)]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin", "HOME": str(self._directory),
                     "PYTHONPATH": self._python_path, "SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off",
                     "CI": "1"},
            )  # fmt: skip
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            try:
                httpx.get(f"http://127.0.0.1:{self.lambda_port}/", timeout=1)
            except httpx.HTTPError:
                time.sleep(0.1)
            else:
                return
        said = (self._directory / "log").read_text("utf-8", "replace")[-500:]
        self.close()
        raise NotThere(f"serverless-offline did not start: {said}")

    def close(self) -> None:
        """Idempotent."""
        if self._process is not None:
            stop([self._process])
            self._process = None
