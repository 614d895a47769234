"""Which runtimes this release takes, and what is said of the others.

Source: Runtime in the Lambda API's model, and AWS's answers for runtimes that it retired.
"""

from __future__ import annotations

from fnrunner.catalogue.errors import InvalidParameterValue

SUPPORTED = (
    *(f"python3.{minor}" for minor in range(8, 16)),
    *("nodejs20.x", "nodejs22.x", "nodejs24.x", "provided.al2", "provided.al2023"),
)
"""A worker needs the interpreter of a function's runtime on its host; ``fnrunner doctor`` lists those that it has."""

_RETIRED = frozenset({
    "nodejs", "nodejs4.3", "nodejs4.3-edge", "nodejs6.10", "nodejs8.10", "nodejs10.x", "nodejs12.x",
    "nodejs14.x", "java8", "python2.7", "python3.6", "python3.7", "dotnetcore1.0", "dotnetcore2.0",
    "dotnetcore2.1", "dotnetcore3.1", "go1.x", "ruby2.5", "ruby2.7", "provided",
})  # fmt: skip
_ONLY_ON_AWS = frozenset({
    "nodejs16.x", "nodejs18.x", "nodejs26.x", "java8.al2",
    "java8.al2023", "java11", "java11.al2023", "java17", "java17.al2023", "java21", "java25", "dotnet6",
    "dotnet8", "dotnet10", "ruby3.2", "ruby3.3", "ruby3.4", "ruby4.0", "custom",
})  # fmt: skip


class UnsupportedRuntime(InvalidParameterValue):
    """This release of fnrunner runs Python, Node.js and one's own runtimes. Choose one of them."""


def check_runtime(runtime: str) -> None:
    """Raises InvalidParameterValue, UnsupportedRuntime."""
    choices = ", ".join(SUPPORTED)
    if runtime in SUPPORTED:
        return
    if runtime in _RETIRED:
        raise InvalidParameterValue(
            f"The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda functions. "
            "We recommend you use a supported runtime while creating or updating functions."
        )
    if runtime in _ONLY_ON_AWS:
        raise UnsupportedRuntime(
            f"The runtime {runtime} is not supported: this release of fnrunner runs Python, Node.js and provided.*. "
            f"Use one of [{choices}]."
        )
    raise InvalidParameterValue(
        f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{choices}] "
        "or be a valid ARN"
    )
