"""A function as Lambda describes it, to the letter: keys, casing, which keys are absent, how times are written.

>>> from datetime import datetime, UTC
>>> lambda_time(datetime(2025, 1, 2, 3, 4, 5, 678900, tzinfo=UTC))
'2025-01-02T03:04:05.678+0000'

Source: Lambda API, FunctionConfiguration.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fnrunner.api import image
from fnrunner.model import limits
from fnrunner.model.alias import Alias
from fnrunner.model.arn import Home
from fnrunner.model.function import AttachedLayer, EventInvokeConfig, Function, State, UpdateStatus
from fnrunner.model.signing import Signature

_BUSY = "The function is being created.", "Creating"


def lambda_time(moment: datetime) -> str:
    """Milliseconds, and ``+0000`` where others write ``Z``."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"


def configuration(function: Function, home: Home, *, qualifier: str = "") -> dict[str, Any]:
    """The configuration with its state. ``qualifier`` is the one the caller gave: the ARN ends in it."""
    document = listed(function, home, qualifier=qualifier)
    document["State"] = function.state.value
    if function.state is State.PENDING:
        document["StateReason"], document["StateReasonCode"] = _BUSY
    document["LastUpdateStatus"] = function.update_status.value
    if function.update_status is UpdateStatus.IN_PROGRESS:
        document["LastUpdateStatusReason"], document["LastUpdateStatusReasonCode"] = _BUSY
    return document


def listed(function: Function, home: Home, *, qualifier: str = "") -> dict[str, Any]:
    """The configuration as lists have it: without state and status."""
    document: dict[str, Any] = {
        "FunctionName": function.name,
        "FunctionArn": home.function(function.name, qualifier),
        "Runtime": function.runtime,
        "Role": function.role,
        "Handler": function.handler,
        "CodeSize": function.code.size_bytes,
        "Description": function.description,
        "Timeout": int(function.timeout.total_seconds()),
        "MemorySize": function.memory_mb,
        "LastModified": lambda_time(function.last_modified),
        "CodeSha256": function.code.sha256,
        "Version": function.version,
        "TracingConfig": {"Mode": function.tracing_mode},
        "RevisionId": function.revision_id,
        "PackageType": "Zip" if function.image is None else "Image",
        "Architectures": [function.architecture],
        "EphemeralStorage": {"Size": function.ephemeral_storage_mb},
        "SnapStart": _snap_start(function),
        "LoggingConfig": _logging(function),
    }
    if function.image is not None:
        # an image says what it runs
        del document["Runtime"], document["Handler"]
        document |= {"CodeSha256": function.code.digest, **image.described(function.image)}
    if function.has_environment:
        document["Environment"] = _environment(function)
    if function.kms_key_arn:
        document["KMSKeyArn"] = function.kms_key_arn
    if function.dead_letter_arn:
        document["DeadLetterConfig"] = {"TargetArn": function.dead_letter_arn}
    if function.layers:
        document["Layers"] = [_layer(layer) for layer in function.layers]
    return document | _signature(function.signature)


def _snap_start(function: Function) -> dict[str, Any]:
    """On for versions that were published with it."""
    return {"ApplyOn": function.snap_start, "OptimizationStatus": "On" if function.is_snapped else "Off"}


def _layer(layer: AttachedLayer) -> dict[str, Any]:
    return {"Arn": layer.arn, "CodeSize": layer.code.size_bytes, **_signature(layer.signature)}


def _signature(signature: Signature | None) -> dict[str, Any]:
    """Of what is signed, and known to be genuine."""
    if signature is None or signature.fault:
        return {}
    return {"SigningProfileVersionArn": signature.profile, "SigningJobArn": signature.job}


def _logging(function: Function) -> dict[str, Any]:
    group = function.log_group or f"/aws/lambda/{function.name}"
    if function.log_format != "JSON":
        return {"LogFormat": function.log_format, "LogGroup": group}
    return {
        "LogFormat": "JSON",
        "ApplicationLogLevel": function.application_log_level or "INFO",
        "SystemLogLevel": function.system_log_level or "INFO",
        "LogGroup": group,
    }


def alias(named: Alias, home: Home) -> dict[str, Any]:
    """``RoutingConfig`` is absent where all invocations run one version."""
    document: dict[str, Any] = {
        "AliasArn": home.function(named.function, named.name),
        "Name": named.name,
        "FunctionVersion": named.version,
        "Description": named.description,
        "RevisionId": named.revision_id,
    }
    if named.additional is not None:
        document["RoutingConfig"] = {"AdditionalVersionWeights": {named.additional.version: named.additional.weight}}
    return document


def event_invoke_config(config: EventInvokeConfig, home: Home) -> dict[str, Any]:
    """Here, and only here, a time is epoch seconds; numbers that were never set are absent."""
    document: dict[str, Any] = {
        "LastModified": config.last_modified.timestamp(),
        "FunctionArn": home.function(config.function, config.qualifier or limits.LATEST),
        "DestinationConfig": {
            "OnSuccess": {"Destination": config.on_success} if config.on_success else {},
            "OnFailure": {"Destination": config.on_failure} if config.on_failure else {},
        },
    }
    if config.max_retries is not None:
        document["MaximumRetryAttempts"] = config.max_retries
    if config.max_age is not None:
        document["MaximumEventAgeInSeconds"] = int(config.max_age.total_seconds())
    return document


def _environment(function: Function) -> dict[str, Any]:
    """With the reason in place of variables that cannot be decrypted."""
    if not function.environment_error:
        return {"Variables": dict(function.environment)}
    code, _, why = function.environment_error.partition(": ")
    message = f"Lambda was unable to decrypt your environment variables. {why}"
    return {"Error": {"ErrorCode": code, "Message": message}}
