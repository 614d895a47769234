"""Which process an image and a function's ImageConfig make together. Pure.

>>> image({"Entrypoint": ["/run"], "Cmd": ["app.handler"], "Env": ["A=b=c"]}, ImageConfig(command=("other",)), "/r")
Image(root='/r', argv=('/run', 'other'), working_directory='/')

Source: OCI image specification, config; Lambda, container image settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fnrunner.model.image import Image, ImageConfig
from fnrunner.sandbox.oci.errors import ImageRefused


def image(config: Mapping[str, Any], override: ImageConfig, root: str) -> Image:
    """``config`` is the ``config`` of the image's configuration. Raises ImageRefused where nothing is to be run.

    Who overrides the entry point gets the image's command only where it is not overridden with it, as on Lambda.
    """
    entry_point = _texts(config, "Entrypoint") if override.entry_point is None else override.entry_point
    command = _texts(config, "Cmd") if override.command is None else override.command
    argv = (*entry_point, *command)
    if not argv or not argv[0]:
        raise ImageRefused("the image has neither ENTRYPOINT nor CMD: set ImageConfig's EntryPoint")
    directory = override.working_directory or _text(config.get("WorkingDir")) or "/"
    if not directory.startswith("/"):
        directory = f"/{directory}"
    pairs = (pair.partition("=") for pair in _texts(config, "Env"))
    variables = {name: value for name, _, value in pairs if name}
    if any("\0" in text for text in (*argv, directory, *variables, *variables.values())):
        raise ImageRefused("the image's configuration holds a NUL")
    return Image(root, argv, directory, variables)


def _texts(config: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = config.get(name) or ()
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise ImageRefused(f"the image's {name} is no list of texts")
    return tuple(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
