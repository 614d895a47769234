"""All runtimes as one, chosen by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fnrunner.model.invocation import EnvironmentSpec
from fnrunner.runtimes.node import NodeRuntime
from fnrunner.runtimes.provided import ProvidedRuntime
from fnrunner.runtimes.python import PythonRuntime
from fnrunner.runtimes.runtime import Launch, Layout, Runtime, RuntimeUnknown


class Runtimes:
    """Implements Runtime: each name is served by the first of ``several`` that serves it. All share one directory."""

    def __init__(self, several: Sequence[Runtime] | None = None) -> None:
        """``several`` are Python, Node.js and provided.* by default."""
        self._several = (PythonRuntime(), NodeRuntime(), ProvidedRuntime()) if several is None else tuple(several)

    @property
    def runtime_directory(self) -> str:
        return self._several[0].runtime_directory

    def serves(self, name: str) -> bool:
        return any(runtime.serves(name) for runtime in self._several)

    def available(self) -> Mapping[str, str]:
        return {name: path for runtime in self._several for name, path in runtime.available().items()}

    def interpreter(self, name: str) -> str:
        return self._of(name).interpreter(name)

    def launch(
        self, spec: EnvironmentSpec, layout: Layout, *, interpreter: str, control_fd: int, log_stream: str
    ) -> Launch:
        return self._of(spec.runtime).launch(
            spec, layout, interpreter=interpreter, control_fd=control_fd, log_stream=log_stream
        )

    def _of(self, name: str) -> Runtime:
        for runtime in self._several:
            if runtime.serves(name):
                return runtime
        raise RuntimeUnknown(f"{name!r} is no runtime of this release: choose one that `fnrunner doctor` lists")
