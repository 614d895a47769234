"""How long a cold start takes: from asking for an environment until its first answer, isolation on, one after another.

``python -m tests.bench.cold [--samples N] [--npm DIRECTORY]`` prints p10, p50 and p99 in milliseconds of a bare Python handler,
of one that imports boto3 from its package, and of Node.js where there is one; beside each sandbox of fnrunner the same handler
by a fresh interpreter in bubblewrap, in a container where Docker and ``python:3.13-slim`` are, and the first invocation of a
function in serverless-offline, which has one for each sample. Kinds take turns, so that what else the host does meets all of
them. Then the time from none to a hundred environments at once. ``--npm`` keeps what npm installs. What is not there is named
and left out.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from fnrunner.runtimes.choice import Runtimes
from fnrunner.sandbox.choice import on_this_host
from fnrunner.sandbox.process import ProcessSandbox
from fnrunner.worker.environment import Environment
from tests.bench import serverless_offline
from tests.integration.environment_kit import invocation, make_spec

IMAGE = "python:3.13-slim"
MANY = 100
FILLING = 2
"""Rounds that are not counted: they fill the host's caches, and the function's snapshot is taken after the first."""

BETWEEN_S = 0.05
"""What a sample leaves behind for others, such as namespaces to be dissolved, is not what the next one costs."""

Sample = Callable[[], Awaitable[None]]

PYTHON = "def handler(event, context):\n    return 'hi'\n"
BOTO3 = "import boto3\n" + PYTHON
NODE = "exports.handler = async () => 'hi'\n"
CALL = "import sys; sys.path.insert(0, '/var/task'); import f; print(f.handler({}, None))"


class Subjects:
    """What is measured, by name; each call is one cold start with one answer. ``missing``: what could not be, and why."""

    def __init__(self, directory: Path, npm: Path, samples: int) -> None:
        self._directory, self._npm, self._samples = directory, npm, samples
        self._closing = AsyncExitStack()
        self.missing: dict[str, str] = {}
        self.versions = {"python": platform.python_version()}
        self._runtimes = Runtimes()
        self._sandboxes: list[ProcessSandbox] = []
        self._ended: Environment | None = None
        self._packages = {
            "python": self._package("python", {"f.py": PYTHON}),
            "boto3": self._package("boto3", {"f.py": BOTO3}, "boto3"),
            "node": self._package("node", {"f.js": NODE}),
        }

    def _package(self, name: str, files: dict[str, str], *requirements: str) -> Path:
        code = self._directory / name
        code.mkdir()
        if requirements:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(code), *requirements]
            subprocess.run(command, check=True)
            subprocess.run([sys.executable, "-m", "compileall", "-q", str(code)], check=False)
        for file, text in files.items():
            (code / file).write_text(text)
        return code

    def all(self) -> dict[str, Sample]:
        found: dict[str, Sample] = {}
        node = next((name for name in self._runtimes.available() if name.startswith("nodejs")), None)
        for kind in ("namespace", "process"):
            sandbox = on_this_host(self._directory / f"environments-{kind}", kind)
            self._sandboxes.append(sandbox)
            for name in ("python", "boto3", *(["node"] if node else [])):
                runtime = node if name == "node" and node else self._python
                found[f"{name}, {kind}"] = self._started(sandbox, self._packages[name], runtime)
        for name in ("python", "boto3"):
            if shutil.which("bwrap"):
                found[f"{name}, bubblewrap"] = self._bubblewrap(self._packages[name])
            else:
                self.missing[f"{name}, bubblewrap"] = "bwrap is not on this host"
        if _has_image():
            found["python, container"] = self._container(self._packages["python"])
        else:
            self.missing["python, container"] = f"Docker has no {IMAGE}"
        return found | self._serverless()

    def _serverless(self) -> dict[str, Sample]:
        """A function for each sample: its first invocation starts an interpreter or a thread."""
        sources = {"python": (self._python, PYTHON), "boto3": (self._python, BOTO3), "node": ("nodejs20.x", NODE)}
        functions = {
            f"{name}-{number}": source for name, source in sources.items() for number in range(FILLING + self._samples)
        }
        try:
            serverless_offline.install(self._npm)
            offline = self._closing.enter_context(
                serverless_offline.ServerlessOffline(
                    self._directory / "serverless", self._npm, functions, python_path=self._packages["boto3"]
                )
            )
        except serverless_offline.NotThere as why:
            self.missing["serverless-offline"] = str(why)
            return {}
        self.versions |= serverless_offline.versions(self._npm)
        return {f"{name}, serverless-offline": self._first_calls(offline, name) for name in sources}

    def _first_calls(self, offline: serverless_offline.ServerlessOffline, name: str) -> Sample:
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{offline.lambda_port}", timeout=60)
        self._closing.push_async_callback(client.aclose)
        numbers = itertools.count()

        async def sample() -> None:
            answer = await client.post(offline.path(f"{name}-{next(numbers)}"), content=b"{}")
            assert answer.text == '"hi"', answer.text

        return sample

    @property
    def _python(self) -> str:
        return f"python{sys.version_info.major}.{sys.version_info.minor}"

    def environment(self, sandbox: ProcessSandbox, code: Path, runtime: str) -> Environment:
        spec = make_spec(code, runtime=runtime, memory_mb=256, function=code.name)
        return Environment(spec, sandbox, self._runtimes, cold_reason="first")

    def _started(self, sandbox: ProcessSandbox, code: Path, runtime: str) -> Sample:
        async def sample() -> None:
            environment = self.environment(sandbox, code, runtime)
            await environment.start()
            answer = await environment.invoke(invocation())
            assert getattr(answer.outcome, "payload", b"") == b'"hi"', answer
            self._ended = environment

        return sample

    async def tidy(self) -> None:
        """What is no part of a cold start."""
        environment, self._ended = self._ended, None
        if environment is not None:
            await environment.stop()

    async def hundred_s(self) -> float:
        """Seconds until a hundred environments of the bare handler are ready."""
        sandbox = self._sandboxes[0]
        made = [self.environment(sandbox, self._packages["python"], self._python) for _ in range(MANY)]
        began = time.perf_counter()
        await asyncio.gather(*(environment.start() for environment in made))
        took = time.perf_counter() - began
        await asyncio.gather(*(environment.stop() for environment in made))
        return took

    def _bubblewrap(self, code: Path) -> Sample:
        interpreter = self._runtimes.interpreter(self._python)
        home = str(Path(interpreter).parent.parent)
        command = [
            "bwrap", "--unshare-all", "--share-net", "--die-with-parent", "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr",
            "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/bin", "/bin",
            *(() if home == "/usr" else ("--ro-bind", home, home)), "--ro-bind", str(code), "/var/task",
            "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", interpreter, "-I", "-c", CALL,
        ]  # fmt: skip
        return _program(command)

    @staticmethod
    def _container(code: Path) -> Sample:
        return _program(["docker", "run", "--rm", "-v", f"{code}:/var/task:ro", IMAGE, "python", "-I", "-c", CALL])

    async def close(self) -> None:
        await self._closing.aclose()
        for sandbox in self._sandboxes:
            await sandbox.wind_down()


def _program(command: Sequence[str]) -> Sample:
    async def sample() -> None:
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        said, _ = await process.communicate()
        assert said == b"hi\n", (command, said)

    return sample


def _has_image() -> bool:
    if shutil.which("docker") is None:
        return False
    return not subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False).returncode


async def measured(samples: int, npm: Path | None) -> dict[str, object]:
    with TemporaryDirectory(dir="/var/tmp") as made:
        directory = Path(made)
        subjects = Subjects(directory, npm or directory / "npm", samples)
        times: dict[str, list[float]] = {}
        try:
            every = subjects.all()
            for number in range(-FILLING, samples):
                for name, sample in every.items():
                    began = time.perf_counter()
                    await sample()
                    took = (time.perf_counter() - began) * 1000
                    await subjects.tidy()
                    await asyncio.sleep(BETWEEN_S)
                    if number >= 0:
                        times.setdefault(name, []).append(took)
            found: dict[str, object] = {name: _told(sorted(each)) for name, each in times.items()}
            found[f"0 to {MANY} environments"] = {"s": round(await subjects.hundred_s(), 2)}
        finally:
            await subjects.close()
    load = [round(one, 1) for one in os.getloadavg()]
    host = {"versions": subjects.versions, "processors": os.cpu_count(), "load": load}
    return found | host | ({"missing": subjects.missing} if subjects.missing else {})


def _told(times: Sequence[float]) -> dict[str, float]:
    return {f"p{part}_ms": round(times[len(times) * part // 100], 1) for part in (10, 50, 99)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--npm", type=Path, help="where npm installs, kept")
    asked = parser.parse_args(arguments)
    print(json.dumps(asyncio.run(measured(asked.samples, asked.npm)), indent=1))


if __name__ == "__main__":
    main()
