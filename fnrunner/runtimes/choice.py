"""All runtimes as one, chosen by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fnrunner.model.invocation import EnvironmentSpec
from fnrunner.runtimes.image import ImageRuntime
from fnrunner.runtimes.node import NodeRuntime
from fnrunner.runtimes.provided import ProvidedRuntime
from fnrunner.runtimes.python import PythonRuntime
from fnrunner.runtimes.runtime import Launch, Layout, Runtime, RuntimeUnknown


class Runtimes:
    """Implements Runtime: each name is served by the first of ``several`` that serves it. All share one directory."""

    def __init__(self, several: Sequence[Runtime] | None = None, *, lets_stand_in: bool = False) -> None:
        """``several`` are Python, Node.js, provided.* and images by default. Of those, with ``lets_stand_in``, a near
        version of the same language stands in for one that is missing.
        """
        usual = (
            PythonRuntime(lets_stand_in=lets_stand_in),
            NodeRuntime(lets_stand_in=lets_stand_in),
            ProvidedRuntime(),
            ImageRuntime(),
        )
        self._several = usual if several is None else tuple(several)

    @property
    def runtime_directory(self) -> str:
        return self._several[0].runtime_directory

    def serves(self, name: str) -> bool:
        return any(runtime.serves(name) for runtime in self._several)

    def available(self) -> Mapping[str, str]:
        return {name: path for runtime in self._several for name, path in runtime.available().items()}

    def stand_ins(self) -> Mapping[str, str]:
        return {name: other for runtime in self._several for name, other in runtime.stand_ins().items()}

    def run_by(self) -> dict[str, str]:
        """Every runtime name that functions can ask for here, and the one that runs it: itself, or what stands in."""
        return {**{name: name for name in self.available()}, **self.stand_ins()}

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
