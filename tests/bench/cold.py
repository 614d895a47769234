"""How long a cold start takes: from asking for an environment until its first answer, isolation on, one after another.

``python -m tests.bench.cold [--samples N]`` prints p50 and p99 in milliseconds of a bare Python handler, of one that imports
boto3 from its package, and of Node.js where there is one; beside each sandbox of fnrunner the same handler by a fresh
interpreter in bubblewrap, and in a container where Docker and ``python:3.13-slim`` are. Kinds take turns, so that what else
the host does meets all of them. Then the time from none to a hundred environments at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from fnrunner.runtimes.choice import Runtimes
from fnrunner.sandbox.choice import on_this_host
from fnrunner.sandbox.process import ProcessSandbox
from fnrunner.worker.environment import Environment
from tests.integration.environment_kit import invocation, make_spec

IMAGE = "python:3.13-slim"
MANY = 100
Sample = Callable[[], Awaitable[None]]

PYTHON = "def handler(event, context):\n    return 'hi'\n"
BOTO3 = "import boto3\n" + PYTHON
NODE = "exports.handler = async () => 'hi'\n"
CALL = "import sys; sys.path.insert(0, '/var/task'); import f; print(f.handler({}, None))"


class Subjects:
    """What is measured, by name; each call is one cold start with one answer."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
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
        if _has_image():
            found["python, container"] = self._container(self._packages["python"])
        return found

    @property
    def _python(self) -> str:
        return f"python{sys.version_info.major}.{sys.version_info.minor}"

    def environment(self, sandbox: ProcessSandbox, code: Path, runtime: str) -> Environment:
        spec = make_spec(code, runtime=runtime, memory_mb=256)
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


async def measured(samples: int) -> dict[str, dict[str, float]]:
    with TemporaryDirectory(dir="/var/tmp") as directory:
        subjects = Subjects(Path(directory))
        times: dict[str, list[float]] = {}
        try:
            every = subjects.all()
            for number in range(-2, samples):
                for name, sample in every.items():
                    began = time.perf_counter()
                    await sample()
                    took = (time.perf_counter() - began) * 1000
                    await subjects.tidy()
                    if number >= 0:  # the first two fill the host's caches
                        times.setdefault(name, []).append(took)
            found = {name: _told(sorted(each)) for name, each in times.items()}
            found[f"0 to {MANY} environments"] = {"s": round(await subjects.hundred_s(), 2)}
            return found
        finally:
            await subjects.close()


def _told(times: Sequence[float]) -> dict[str, float]:
    return {"p50_ms": round(times[len(times) // 2], 1), "p99_ms": round(times[len(times) * 99 // 100], 1)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100)
    print(json.dumps(asyncio.run(measured(parser.parse_args(arguments).samples)), indent=1))


if __name__ == "__main__":
    main()
