"""provided.al2 and provided.al2023: the function's own executable ``bootstrap``, which speaks the Runtime API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fnrunner.model.invocation import EnvironmentSpec
from fnrunner.runtimes import runtime_api_launch
from fnrunner.runtimes.runtime import Launch, Layout, RuntimeUnknown
from fnrunner.runtimes.variables import function_variables

NAMES = ("provided.al2", "provided.al2023")


class ProvidedRuntime:
    """Implements Runtime. Every host has it: what is needed besides Python comes with the function."""

    def __init__(self, *, opt_root: str | None = None) -> None:
        """``opt_root`` is where layers and extensions are, inside the environment."""
        self._opt_root = opt_root

    @property
    def runtime_directory(self) -> str:
        return str(Path(__file__).resolve().parent)

    def serves(self, name: str) -> bool:
        return name in NAMES

    def available(self) -> Mapping[str, str]:
        return {name: self.interpreter(name) for name in NAMES}

    def stand_ins(self) -> Mapping[str, str]:
        return {}

    def interpreter(self, name: str) -> str:
        """The Python that serves the Runtime API."""
        if not self.serves(name):
            raise RuntimeUnknown(f"{name!r} is no runtime of one's own: use {' or '.join(NAMES)}")
        runtime_api_launch.prepare()
        return runtime_api_launch.host_python()

    def launch(
        self, spec: EnvironmentSpec, layout: Layout, *, interpreter: str, control_fd: int, log_stream: str
    ) -> Launch:
        variables = dict(function_variables(spec, layout, log_stream))
        # Lambda sets it for its own languages only
        del variables["AWS_EXECUTION_ENV"]
        argv = runtime_api_launch.command(spec, layout, control_fd=control_fd, opt_root=self._opt_root or layout.opt)
        return Launch(argv, MappingProxyType(variables), script=runtime_api_launch.SCRIPT)
