"""Container images: the image's own process speaks the Runtime API, as it does on Lambda."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fnrunner.model.invocation import EnvironmentSpec
from fnrunner.runtimes import runtime_api_launch
from fnrunner.runtimes.runtime import Launch, Layout, RuntimeUnknown
from fnrunner.runtimes.variables import USUAL_TMP, platform_variables

NAME = "image"
"""Of the runtime of a function that has no runtime, because it is an image."""
_USUAL = MappingProxyType({
    "LANG": "en_US.UTF-8",
    "TZ": ":UTC",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    "HOME": USUAL_TMP,
})  # fmt: skip
"""What neither image nor function need set."""


class ImageRuntime:
    """Implements Runtime. What is needed besides Python comes with the image."""

    @property
    def runtime_directory(self) -> str:
        return str(Path(__file__).resolve().parent)

    def serves(self, name: str) -> bool:
        return name == NAME

    def available(self) -> Mapping[str, str]:
        """Nothing that a function can ask for by name."""
        return {}

    def stand_ins(self) -> Mapping[str, str]:
        return {}

    def interpreter(self, name: str) -> str:
        """The Python that serves the Runtime API."""
        if not self.serves(name):
            raise RuntimeUnknown(f"{name!r} is no image")
        runtime_api_launch.prepare()
        return runtime_api_launch.host_python()

    def launch(
        self, spec: EnvironmentSpec, layout: Layout, *, interpreter: str, control_fd: int, log_stream: str
    ) -> Launch:
        if spec.image is None:
            raise RuntimeUnknown("the function has no image")
        image = spec.image
        platform = platform_variables(spec, layout, log_stream)
        # an image knows where its code and its runtime are, and names its handler in its command
        for name in ("LAMBDA_RUNTIME_DIR", "_HANDLER"):
            del platform[name]
        platform["AWS_EXECUTION_ENV"] = "AWS_Lambda_Image"
        variables = {**_USUAL, **image.variables, **spec.variables, **platform}
        argv = runtime_api_launch.command(spec, layout, control_fd=control_fd, argv=image.argv)
        return Launch(argv, MappingProxyType(variables), script=runtime_api_launch.SCRIPT)
