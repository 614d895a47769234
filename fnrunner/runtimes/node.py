"""nodejs20.x, nodejs22.x and nodejs24.x: finds Node of each major version and starts fnrunner's runtime client with it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from fnrunner.model.invocation import EnvironmentSpec
from fnrunner.runtimes import runtime_api_launch, stand_in
from fnrunner.runtimes.runtime import Launch, Layout, RuntimeUnavailable, RuntimeUnknown, found_of
from fnrunner.runtimes.runtime_api_launch import SCRIPT
from fnrunner.runtimes.variables import default_variables, function_variables, wrapper_of

NAMES = ("nodejs20.x", "nodejs22.x", "nodejs24.x")
CLIENT = "node_runtime/index.mjs"
MEGABYTES_OF_OLD_SPACE = 0.9
"""Of the function's memory, so much is for what lives long, as on Lambda; the rest is for everything else of Node."""
_READ_AT_START = re.compile(
    r"(NODE_|LD_|UV_|LC_|ICU_|OPENSSL_|SSL_|MALLOC_|GLIBC_|RES_|V8_)|(LANG|LANGUAGE|LOCALDOMAIN|LOCPATH|TZ|TZDIR|NO_COLOR|FORCE_COLOR)$"
)
"""Variables of Node, V8, libuv, OpenSSL, ICU, the dynamic linker and the C library that are read when a process starts."""

_VERSION = re.compile(r"v(\d+)\.\d+\.\d+\s*")
_ASKING_S = 10


class NodeRuntime:
    """Implements Runtime. What was found is remembered: make a new one after installing a version."""

    def __init__(
        self,
        *,
        path: str | None = None,
        home: Path | None = None,
        opt_root: str | None = None,
        lets_stand_in: bool = False,
    ) -> None:
        """``path`` is searched like ``PATH`` (the default). Below ``home`` (the user's) version managers keep theirs. With
        ``lets_stand_in`` a missing version is run by the nearest one of :data:`NAMES`.
        """
        self._path = path
        self._lets_stand_in = lets_stand_in
        self._substitutes: dict[str, str] = {}
        self._stand_ins = stand_in.StandIns()
        self._home = home
        self._opt_root = opt_root
        self._found: dict[str, str] = {}
        self._majors: dict[Path, str] = {}

    @property
    def runtime_directory(self) -> str:
        return str(Path(__file__).resolve().parent)

    def serves(self, name: str) -> bool:
        return name in NAMES

    def available(self) -> Mapping[str, str]:
        return found_of(NAMES, self._installed)

    def stand_ins(self) -> Mapping[str, str]:
        return found_of((name for name in NAMES if self._installed(name) is None), self._substitute)

    def interpreter(self, name: str) -> str:
        if not self.serves(name):
            raise RuntimeUnknown(f"{name!r} is no Node.js runtime: use {', '.join(NAMES)}")
        if name not in self._substitutes and (found := self._installed(name)) is not None:
            return found
        if (other := self._substitute(name)) is not None:
            self._stand_ins.say(name, other)
            return self._found[other]
        major = _major(name)
        raise RuntimeUnavailable(
            f"{name} is not on this host: it needs Node.js {major}. Install it so that `node --version` says "
            f"v{major} (nvm install {major}, or nodejs.org), "
            f"choose a runtime that `fnrunner doctor` lists{stand_in.else_remedy(self._lets_stand_in)}"
        )

    def launch(
        self, spec: EnvironmentSpec, layout: Layout, *, interpreter: str, control_fd: int, log_stream: str
    ) -> Launch:
        variables = dict(default_variables(layout))
        variables["NODE_PATH"] = node_path(_major(spec.runtime), layout, self._opt_root or layout.opt)
        known = dict(variables)
        variables |= function_variables(spec, layout, log_stream)
        old_space_mb = int(spec.memory_mb * MEGABYTES_OF_OLD_SPACE)
        client = f"{layout.runtime_directory}/{CLIENT}"
        argv: tuple[str, ...] = (interpreter, f"--max-old-space-size={old_space_mb}", client)
        if wrapper := wrapper_of(spec, replace(layout, opt=self._opt_root or layout.opt)):
            argv = (wrapper, *argv)
        command = runtime_api_launch.command(
            spec, layout, control_fd=control_fd, opt_root=self._opt_root or layout.opt, argv=argv
        )
        early = None if wrapper else early_variables(known, variables)
        return Launch(command, MappingProxyType(variables), script=SCRIPT, programs=(interpreter,), early=early)

    def _installed(self, name: str) -> str | None:
        """The Node of exactly this major version."""
        if name not in self._found:
            major = _major(name)
            right = (candidate for candidate in self._candidates(major) if self._major_of(candidate) == major)
            if (candidate := next(right, None)) is None:
                return None
            runtime_api_launch.prepare()
            self._found[name] = str(candidate.resolve())
        return self._found[name]

    def _substitute(self, name: str) -> str | None:
        """The name of what is installed and may stand in for this one, which is not."""
        if self._lets_stand_in and name not in self._substitutes:
            majors = stand_in.by_nearness(int(_major(name)), (int(_major(one)) for one in NAMES))
            others = (f"nodejs{major}.x" for major in majors)
            if (other := next((other for other in others if self._installed(other)), None)) is not None:
                self._substitutes[name] = other
        return self._substitutes.get(name)

    def _candidates(self, major: str) -> Iterator[Path]:
        for name in ("node", f"node{major}", f"node-{major}", "nodejs"):
            if found := shutil.which(name, path=self._path):
                yield Path(found)
        home = self._home or Path.home()
        for pattern in (
            f".nvm/versions/node/v{major}.*/bin/node",
            f".local/share/fnm/node-versions/v{major}.*/installation/bin/node",
            f".volta/tools/image/node/{major}.*/bin/node",
            f".asdf/installs/nodejs/{major}.*/bin/node",
            f".nodenv/versions/{major}.*/bin/node",
            f".local/share/mise/installs/node/{major}.*/bin/node",
        ):
            yield from sorted(home.glob(pattern), key=_numbers, reverse=True)
        yield from (Path(f"/usr/local/node{major}/bin/node"), Path(f"/opt/node{major}/bin/node"))

    def _major_of(self, candidate: Path) -> str:
        """The major version that it says it is; empty when it does not run."""
        if candidate not in self._majors:
            try:
                said = subprocess.run([candidate, "--version"], capture_output=True, timeout=_ASKING_S, check=False)
                match = _VERSION.fullmatch(said.stdout.decode("ascii", "replace"))
            except (OSError, subprocess.TimeoutExpired):
                match = None
            self._majors[candidate] = match[1] if match else ""
        return self._majors[candidate]


def node_path(major: str, layout: Layout, opt_root: str) -> str:
    """Where ``require`` looks, layers first. Source: Lambda's NODE_PATH.

    >>> node_path("20", Layout("/var/task", "/var/runtime", "/tmp"), "/opt").split(":")[:2]
    ['/opt/nodejs/node20/node_modules', '/opt/nodejs/node_modules']
    """
    runtime = layout.runtime_directory
    layers = f"{opt_root}/nodejs/node{major}/node_modules:{opt_root}/nodejs/node_modules"
    return f"{layers}:{runtime}/node_modules:{runtime}:{layout.task_root}"


def early_variables(known: Mapping[str, str], variables: Mapping[str, str]) -> Mapping[str, str] | None:
    """``known`` of all functions, where Node may be started with it and take the others later; otherwise None.

    >>> early_variables({"TZ": ":UTC"}, {"TZ": ":UTC", "NODE_ENV": "production", "TABLE": "orders"})
    {'TZ': ':UTC'}
    >>> early_variables({"TZ": ":UTC"}, {"TZ": ":UTC", "NODE_OPTIONS": "--enable-source-maps"})
    >>> early_variables({"TZ": ":UTC"}, {"TZ": "Europe/Vienna"})
    """
    read_at_start = {name for name in variables.keys() | known.keys() if _READ_AT_START.match(name)} - {"NODE_ENV"}
    return known if all(known.get(name) == variables.get(name) for name in read_at_start) else None


def _major(name: str) -> str:
    return name.removeprefix("nodejs").removesuffix(".x")


def _numbers(path: Path) -> tuple[int, ...]:
    """For sorting: the version in a path."""
    return tuple(int(part) for part in re.findall(r"\d+", str(path)))
