"""A layer: numbered versions of a zip that functions see below ``/opt``.

>>> from fnrunner.model.arn import Home
>>> ref = LayerRef.parse(Home().layer("numpy", 3))
>>> ref.name, ref.version
('numpy', 3)
>>> LayerRef.parse("numpy").name
'numpy'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from fnrunner.model.arn import InvalidArn
from fnrunner.model.function import Code
from fnrunner.model.signing import Signature

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ARN = re.compile(
    r"arn:aws[a-zA-Z-]*:lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):layer:(?P<name>[a-zA-Z0-9-_]{1,140})"
    r"(?::(?P<version>\d{1,18}))?"
)
_NAME = re.compile(r"[a-zA-Z0-9-_]{1,140}")


@dataclass(frozen=True, slots=True)
class LayerRef:
    """A layer as a caller named it: by name or ARN, ``version`` 0 where none was given. Empty region: the own one."""

    name: str
    version: int = 0
    region: str = ""
    account: str = ""

    @classmethod
    def parse(cls, text: str) -> LayerRef:
        """Raises InvalidArn."""
        if match := _ARN.fullmatch(text):
            return cls(match["name"], int(match["version"] or 0), match["region"], match["account"])
        if _NAME.fullmatch(text):
            return cls(text)
        raise InvalidArn(
            f"{text!r} names no layer: its ARN has the form arn:aws:lambda:REGION:ACCOUNT:layer:NAME:VERSION"
        )


@dataclass(frozen=True, slots=True)
class LayerVersion:
    """``version`` 0 has not been published. Runtimes and architectures are what its author says of it: not enforced."""

    name: str
    code: Code
    version: int = 0
    description: str = ""
    license_info: str = ""
    runtimes: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    signature: Signature | None = None
    created: datetime = EPOCH

    def suits(self, runtime: str = "", architecture: str = "") -> bool:
        """Whether it says so of itself; empty asks for nothing.

        >>> layer = LayerVersion("l", Code("", 0), runtimes=("python3.12",))
        >>> layer.suits("python3.12"), layer.suits("nodejs22.x"), layer.suits(), layer.suits("", "arm64")
        (True, False, True, False)
        """
        return (not runtime or runtime in self.runtimes) and (not architecture or architecture in self.architectures)
