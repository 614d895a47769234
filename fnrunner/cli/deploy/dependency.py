"""What ``requirements.txt`` asks for, installed once for each text and runtime, and kept.

The cache is a folder a key (``$XDG_CACHE_HOME/fnrunner/packages``). Versions that are not pinned stay as they were first
installed until ``requirements.txt`` changes or ``--no-cache`` is given.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from fnrunner.cli.deploy import cache
from fnrunner.cli.deploy.package import Entry, of_installed
from fnrunner.cli.error import UsageFault
from fnrunner.runtimes.python import PythonRuntime
from fnrunner.runtimes.runtime import RuntimesError

FILE = "requirements.txt"
PLATFORMS = {
    "x86_64": ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64"),
    "arm64": ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """What is installed for: ``runtime`` such as ``python3.12``, ``architecture`` x86_64 or arm64."""

    runtime: str
    architecture: str


class InstallFailed(UsageFault):
    """pip could not install the requirements."""


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where installed requirements are kept."""
    return cache.folder(environ, "packages")


def wanted(requirements: Path) -> bool:
    """Whether the file asks for anything."""
    return requirements.is_file() and bool(_lines(requirements.read_text()))


def install(requirements: Path, target: Target, *, cache: Path, use_cache: bool = True) -> dict[str, Entry]:
    """Files of everything the requirements need. Raises InstallFailed with pip's last lines."""
    folder = cache / _key(requirements, target)
    if use_cache and folder.is_dir() and not _local(requirements):
        return of_installed(folder)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="installing-") as scratch:
        fresh = Path(scratch) / "packages"
        _run_pip(requirements, target, fresh)
        shutil.rmtree(folder, ignore_errors=True)
        # A rename is all or nothing: an installation that broke off is never taken for a whole one.
        fresh.rename(folder)
    return of_installed(folder)


def interpreter(runtime: str) -> str | None:
    """An interpreter of the runtime on this host that has pip, or None."""
    if f"python{sys.version_info[0]}.{sys.version_info[1]}" == runtime:
        return sys.executable
    try:
        found = PythonRuntime().interpreter(runtime)
        done = subprocess.run([found, "-m", "pip", "--version"], capture_output=True, timeout=60, check=False)
    except (RuntimesError, OSError, subprocess.TimeoutExpired):
        return None
    return found if done.returncode == 0 else None


def pip_command(requirements: Path, target: Target, folder: Path, found: str | None) -> list[str]:
    """The pip to run: the runtime's own, else this one, told to fetch wheels for the other version."""
    command = [
        found or sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
        "--no-compile", "--target", str(folder), "--requirement", str(requirements.absolute()),
    ]  # fmt: skip
    machine = "arm64" if os.uname().machine in ("aarch64", "arm64") else "x86_64"
    if found is None or target.architecture != machine:
        command += ["--only-binary", ":all:", "--implementation", "cp"]
        command += ["--python-version", target.runtime.removeprefix("python")]
        for platform in PLATFORMS[target.architecture]:
            command += ["--platform", platform]
    return command


def _run_pip(requirements: Path, target: Target, folder: Path) -> None:
    command = pip_command(requirements, target, folder, interpreter(target.runtime))
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=requirements.parent)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()][-3:]
        raise InstallFailed(
            f"{requirements}: pip could not install it for {target.runtime}: {' '.join(said)}",
            "Correct the requirement it names; `pip download -r requirements.txt` shows all that pip says.",
        )
    folder.mkdir(exist_ok=True)


def _lines(text: str) -> list[str]:
    return [line for raw in text.splitlines() if (line := re.sub(r"(^|\s)#.*", "", raw).strip())]


def _key(requirements: Path, target: Target) -> str:
    digest = sha256(f"{target.runtime} {target.architecture}\n".encode())
    for file in _files(requirements):
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()


def _files(requirements: Path, seen: frozenset[Path] = frozenset()) -> list[Path]:
    """The file and those it includes with ``-r`` and ``-c``."""
    if requirements in seen or not requirements.is_file():
        return []
    files = [requirements]
    for line in _lines(requirements.read_text()):
        if match := re.match(r"(?:-r|-c|--requirement|--constraint)[\s=]*(\S+)", line):
            files += _files((requirements.parent / match[1]).resolve(), seen | {requirements})
    return files


def _local(requirements: Path) -> bool:
    """Whether it names paths of this host, whose content can change while the text does not."""
    pattern = re.compile(r"(-e|--editable|\.{0,2}/|\.$|file:|.*@\s*file:)")
    return any(pattern.match(line) for file in _files(requirements) for line in _lines(file.read_text()))
