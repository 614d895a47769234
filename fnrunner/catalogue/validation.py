"""What a function's configuration may be, in Lambda's words. Source: Lambda API reference and recorded answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from fnrunner.catalogue import constraint
from fnrunner.catalogue.constraint import Problems
from fnrunner.catalogue.errors import InvalidParameterValue, ValidationFailed
from fnrunner.catalogue.runtime import check_runtime
from fnrunner.model import arn, limits
from fnrunner.model.function import Function

FUNCTION_NAME = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?"
    r"([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?"
)
ROLE = r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"
LOG_GROUP = r"[\.\-_/#A-Za-z0-9]+"
VARIABLE = r"[a-zA-Z]([a-zA-Z0-9_])+"
ARCHITECTURES = ("x86_64", "arm64")
SNAP_STARTS = ("PublishedVersions", "None")
TRACING_MODES = ("Active", "PassThrough")
LOG_FORMATS = ("JSON", "Text")
APPLICATION_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
SYSTEM_LEVELS = ("DEBUG", "INFO", "WARN")

_RESERVED = frozenset({
    "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV", "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR",
})  # fmt: skip
ONLY_IMAGE = "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."
_WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"
_CANNOT_CONFIGURE = (
    "Lambda was unable to configure your environment variables because the environment variables you have provided "
)


def check_function(function: Function) -> None:
    """Everything about a function but its code. Raises ValidationFailed with every broken constraint, or
    InvalidParameterValue with the first fault of another kind.
    """
    check_name(function.name)
    if function.image is not None:
        if function.runtime or function.handler or function.layers:
            raise InvalidParameterValue(ONLY_IMAGE)
        if function.snap_start != "None":
            raise InvalidParameterValue("SnapStart is not supported for functions with packageType Image.")
    elif not function.runtime or not function.handler:
        raise InvalidParameterValue(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages."
        )
    if problems := _problems(function):
        raise ValidationFailed(problems)
    if function.image is None:
        check_runtime(function.runtime)
    check_environment(function.environment, wraps=function.runtime.startswith(("nodejs", "python")))
    check_tags(function.tags)
    _check_levels(function)
    _check_snap_start(function)
    if function.dead_letter_arn:
        _check_dead_letter(function.dead_letter_arn)


def check_name(name: str) -> None:
    """Raises ValidationFailed, InvalidParameterValue."""
    if problems := constraint.matches("functionName", name, FUNCTION_NAME):
        raise ValidationFailed(problems)
    if problems := constraint.at_most("functionName", name, 64):
        raise InvalidParameterValue(f"1 validation error detected: {problems[0]}")
    if problems := constraint.matches("functionName", name, "[a-zA-Z0-9-_]+"):
        raise ValidationFailed(problems)


def check_environment(variables: Mapping[str, str], *, wraps: bool = False) -> None:
    """``wraps``: the runtime runs wrapper scripts. Values appear only in the answer that Lambda, too, gives with them.

    Raises InvalidParameterValue, ValidationFailed.
    """
    if _WRAPPER in variables and not wraps:
        raise InvalidParameterValue(
            f"{_WRAPPER} is not supported: this release of fnrunner wraps Node.js and Python runtimes only."
        )
    if reserved := [name for name in variables if _is_reserved(name)]:
        raise InvalidParameterValue(
            f"{_CANNOT_CONFIGURE}contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(reserved)}"
        )
    if any(re.fullmatch(VARIABLE, name) is None for name in variables):
        shown = "{" + ", ".join(f"{name}=***" for name in variables) + "}"
        rule = f"Map keys must satisfy constraint: [Member must satisfy regular expression pattern: {VARIABLE}]"
        raise ValidationFailed([constraint.broken("environment.variables", shown, rule)])
    for name, value in variables.items():
        if "\0" in value or not _is_text(value):
            raise InvalidParameterValue(
                f"The value of the environment variable {name} holds NUL or is not Unicode text."
            )
    measured = json.dumps(dict(variables), separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) > limits.ENVIRONMENT_BYTES:
        raise InvalidParameterValue(f"{_CANNOT_CONFIGURE}exceeded the 4KB limit. String measured: {measured}")


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises InvalidParameterValue."""
    if len(tags) > limits.TAGS:
        raise InvalidParameterValue("Number of tags exceeds resource tag limit.")
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or len(value) > 256 or key.lower().startswith("aws:"):
            raise InvalidParameterValue(
                f"The tag {key[:130]!r} is invalid: keys have 1 to 128 characters and do not begin with aws:, values have "
                "at most 256."
            )
        if not (_is_text(key) and _is_text(value)) or "\0" in key + value:
            raise InvalidParameterValue("A tag holds NUL or is not Unicode text.")


def _problems(function: Function) -> Problems:
    return [
        *constraint.present("role", function.role),
        *(constraint.matches("role", function.role, ROLE) if function.role else ()),
        *constraint.at_most("handler", function.handler, limits.HANDLER_CHARS),
        *(constraint.matches("handler", function.handler, r"[^\s]+") if function.image is None else ()),
        *constraint.at_most("description", function.description, limits.DESCRIPTION_CHARS),
        *constraint.between("timeout", function.timeout.total_seconds(), *limits.TIMEOUT_S),
        *constraint.between("memorySize", function.memory_mb, *limits.MEMORY_MB),
        *constraint.between("ephemeralStorage.size", function.ephemeral_storage_mb, *limits.EPHEMERAL_STORAGE_MB),
        *_architecture(function.architecture),
        *constraint.one_of("tracingConfig.mode", function.tracing_mode, TRACING_MODES),
        *constraint.one_of("snapStart.applyOn", function.snap_start, SNAP_STARTS),
        *constraint.one_of("loggingConfig.logFormat", function.log_format, LOG_FORMATS),
        *_level("applicationLogLevel", function.application_log_level, APPLICATION_LEVELS),
        *_level("systemLogLevel", function.system_log_level, SYSTEM_LEVELS),
        *constraint.at_most("loggingConfig.logGroup", function.log_group, 512),
        *constraint.matches("loggingConfig.logGroup", function.log_group, LOG_GROUP),
    ]


def _architecture(architecture: str) -> Problems:
    if architecture in ARCHITECTURES:
        return []
    rule = f"Member must satisfy enum value set: [{', '.join(ARCHITECTURES)}]"
    rule = f"Member must satisfy constraint: [{rule}, Member must not be null]"
    return [constraint.broken("architectures", f"[{architecture}]", rule)]


def _level(name: str, level: str, choices: tuple[str, ...]) -> Problems:
    return constraint.one_of(f"loggingConfig.{name}", level, choices) if level else []


def _check_levels(function: Function) -> None:
    if function.log_format == "Text" and (function.application_log_level or function.system_log_level):
        raise InvalidParameterValue(
            'LogLevel is not supported when LogFormat is set to "Text". Remove LogLevel from your request or change the '
            'LogFormat to "JSON" and try again.'
        )


def _check_snap_start(function: Function) -> None:
    if function.snap_start == "None":
        return
    if not function.runtime.startswith("python"):
        raise InvalidParameterValue(f"{function.runtime} is not supported for SnapStart enabled functions.")
    if function.ephemeral_storage_mb > limits.EPHEMERAL_STORAGE_MB[0]:
        raise InvalidParameterValue(
            f"SnapStart does not support an EphemeralStorage of more than {limits.EPHEMERAL_STORAGE_MB[0]} MB."
        )


def _check_dead_letter(target: str) -> None:
    try:
        service = arn.parse(target).service
    except arn.InvalidArn:
        service = ""
    if service not in ("sqs", "sns"):
        raise InvalidParameterValue(f"The dead-letter target {target} is neither an SQS queue nor an SNS topic.")


def _is_reserved(name: str) -> bool:
    return name in _RESERVED or (name.startswith("AWS_LAMBDA_") and name != "AWS_LAMBDA_DOTNET_PREJIT")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
