"""Making the package of each function: its own files over what its requirements need. Faults of all are shown together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fnrunner.cli.deploy import dependency, image
from fnrunner.cli.deploy.package import Entry, Package, of_file, of_folder, pack
from fnrunner.cli.deploy.spec import CodeSource, FunctionSpec, LayerSpec
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

    def build_layers(self, specs: tuple[LayerSpec, ...]) -> dict[str, Package]:
        """The content of each layer by its name. Raises UsageFault when it cannot be packaged, InstallFailed."""
        return {spec.name: self._layer(spec) for spec in specs}

    def _layer(self, spec: LayerSpec) -> Package:
        path = spec.code.path
        if path is None or (path.suffix == ".zip" and path.is_file()):
            return Package.of(path.read_bytes()) if path else pack({})
        if not path.is_dir():
            raise UsageFault(f"{spec.name}: {path} is no folder or .zip file", "A layer's ContentUri is one of these.")
        own = of_folder(path)
        if not spec.runtime:
            return pack(own)
        architectures = spec.parameters.get("CompatibleArchitectures") or ["x86_64"]
        required = self._required(path, dependency.Target(spec.runtime, architectures[0]))
        sources = {name: entry for name, entry in own.items() if name != dependency.FILE}
        return pack({f"python/{name}": entry for name, entry in {**required, **sources}.items()})

    def build(self, spec: FunctionSpec) -> Package:
        """Raises UsageFault when the code cannot be packaged or does not hold the handler, InstallFailed."""
        if spec.code.image:
            return image.package(spec.code.image)
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
