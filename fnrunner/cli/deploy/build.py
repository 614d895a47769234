"""Making the package of each function: its own files over what its requirements need. Faults of all are shown together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fnrunner.cli.deploy import dependency
from fnrunner.cli.deploy.package import Entry, Package, of_file, of_folder, pack
from fnrunner.cli.deploy.spec import CodeSource, FunctionSpec
from fnrunner.cli.error import CliError, UsageFault

INLINE = "index.py"


@dataclass(slots=True)
class Builder:
    """``cache`` is where installed requirements are kept; what was built once in this run is not built again."""

    cache: Path
    use_cache: bool = True
    _built: dict[tuple[CodeSource, dependency.Target], Package] = field(default_factory=dict)

    def build_all(self, specs: tuple[FunctionSpec, ...]) -> dict[str, Package]:
        """The package of each function by its name. Raises UsageFault with every function's fault."""
        packages: dict[str, Package] = {}
        faults: list[CliError] = []
        for spec in specs:
            try:
                packages[spec.name] = self.build(spec)
            except CliError as error:
                faults.append(error)
        if faults:
            raise UsageFault("\n".join(map(str, faults)), faults[0].remedy) from faults[0]
        return packages

    def build(self, spec: FunctionSpec) -> Package:
        """Raises UsageFault when the code cannot be packaged or does not hold the handler, InstallFailed."""
        target = dependency.Target(str(spec.configuration["Runtime"]), spec.architecture or "x86_64")
        key = (spec.code, target)
        if key not in self._built:
            self._built[key] = self._package(spec.code, target)
        package = self._built[key]
        check_handler(spec, package)
        return package

    def _package(self, code: CodeSource, target: dependency.Target) -> Package:
        if code.path is None:
            return pack({INLINE: Entry(code.inline.encode())})
        if code.path.suffix == ".zip" and code.path.is_file():
            return Package.of(code.path.read_bytes())
        own = of_folder(code.path) if code.path.is_dir() else of_file(code.path)
        return pack({**self._required(code.path, target), **own})

    def _required(self, path: Path, target: dependency.Target) -> Mapping[str, Entry]:
        requirements = (path if path.is_dir() else path.parent) / dependency.FILE
        if not dependency.wanted(requirements):
            return {}
        if not target.runtime.startswith("python3."):
            raise UsageFault(
                f"{requirements}: requirements of {target.runtime} cannot be installed",
                "Package them yourself, as a zip.",
            )
        return dependency.install(requirements, target, cache=self.cache, use_cache=self.use_cache)


def check_handler(spec: FunctionSpec, package: Package) -> None:
    """Raises UsageFault when a Python handler's module is not in the package: the function could not start."""
    handler = str(spec.configuration["Handler"])
    if not str(spec.configuration["Runtime"]).startswith("python3."):
        return
    module, dot, _ = handler.rpartition(".")
    base = module.replace(".", "/")
    if not dot or not any(name == f"{base}/__init__.py" or name.startswith(f"{base}.") for name in package.names):
        raise UsageFault(
            f"{spec.name}: the handler {handler} is in no file of the package",
            "A handler is MODULE.FUNCTION: app.handler is the function handler in app.py.",
        )
