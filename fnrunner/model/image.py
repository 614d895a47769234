"""A function whose code is a container image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What a function changes of its image. None leaves what the image says; an empty tuple is none at all."""

    entry_point: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    working_directory: str = ""


@dataclass(frozen=True, slots=True)
class ImageCode:
    """``uri`` as it was given, ``digest`` the SHA-256 in hex of the manifest that it named then."""

    uri: str
    digest: str
    config: ImageConfig = ImageConfig()


@dataclass(frozen=True, slots=True)
class Image:
    """An image on this host, ready to run. ``root`` is its unpacked root directory, ``argv`` its process, ``variables``
    what it sets of the environment.
    """

    root: str
    argv: tuple[str, ...]
    working_directory: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
