"""What a template may say: a table of readers for each type of resource. Whatever is not in a table is refused by name.

A reader takes a resolved node and gives the value in the shape of the Lambda API, or adds a fault and gives None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.source import Node
from fnrunner.model import arn, limits

Reader = Callable[[Node, str, Faults], Any]


def text(pattern: str = "", *, takes: str = "a text") -> Reader:
    """A scalar as it was written."""

    def read(node: Node, where: str, faults: Faults) -> str | None:
        if not node.is_scalar or node.value is None:
            faults.add(node.line, where, f"is {node.kind}: it takes {takes}")
            return None
        if pattern and not re.fullmatch(pattern, node.text, re.DOTALL):
            faults.add(node.line, where, f"is {node.text!r}: it takes {takes}")
            return None
        return node.text

    return read


def runtime(node: Node, where: str, faults: Faults) -> str | None:
    """A runtime of this release; whether the workers have its interpreter is for the deployment to say."""
    from fnrunner.runtimes import node as node_runtime
    from fnrunner.runtimes import provided
    from fnrunner.runtimes.choice import Runtimes
    from fnrunner.runtimes.python import OLDEST_MINOR

    if node.is_scalar and Runtimes().serves(node.text):
        return node.text
    others = ", ".join((*node_runtime.NAMES, *provided.NAMES))
    faults.add(node.line, where, f"is {node.kind}: it takes python3.{OLDEST_MINOR} or later, {others}")
    return None


def whole(low: int, high: int) -> Reader:
    """A whole number, also as a text (a parameter's value is one)."""

    def read(node: Node, where: str, faults: Faults) -> int | None:
        if node.is_scalar and re.fullmatch(r"\d{1,9}", node.text) and low <= int(node.text) <= high:
            return int(node.text)
        faults.add(node.line, where, f"is {node.kind}: it takes a whole number from {low} to {high}")
        return None

    return read


def one_of(*choices: str) -> Reader:
    return text("|".join(map(re.escape, choices)), takes=" or ".join(choices))


def texts(key: str, *, takes: str) -> Reader:
    """A mapping of names to texts."""

    def read(node: Node, where: str, faults: Faults) -> dict[str, str]:
        if not isinstance(node.value, dict):
            faults.add(node.line, where, f"is {node.kind}: it takes a mapping of names to texts")
            return {}
        values = {}
        for name, child in node.value.items():
            if not re.fullmatch(key, name):
                faults.add(child.line, f"{where}.{name}", f"is no name here: it takes {takes}")
            elif not child.is_scalar:
                faults.add(child.line, f"{where}.{name}", f"is {child.kind}: it takes a text")
            else:
                values[name] = child.text
        return values

    return read


def items(reader: Reader) -> Reader:
    """A list; a single value stands for a list of one."""

    def read(node: Node, where: str, faults: Faults) -> list[Any]:
        if isinstance(node.value, tuple):
            return [reader(child, f"{where}[{i}]", faults) for i, child in enumerate(node.value)]
        return [reader(node, where, faults)]

    return read


def section(readers: Mapping[str, Reader], *, required: tuple[str, ...] = ()) -> Reader:
    """A mapping with these keys and no others."""

    def read(node: Node, where: str, faults: Faults) -> dict[str, Any]:
        if not isinstance(node.value, dict):
            faults.add(node.line, where, f"is {node.kind}: it takes a mapping")
            return {}
        values = {}
        for name, child in node.value.items():
            path = f"{where}.{name}"
            if name not in readers:
                faults.add(child.line, path, "is not supported")
            elif child.value is not None:
                values[name] = readers[name](child, path, faults)
        for name in required:
            if name not in node.value:
                faults.add(node.line, where, f"has no {name}, which it needs")
        return values

    return read


def arn_of(*services: str) -> Reader:
    """An ARN of one of the services."""

    def read(node: Node, where: str, faults: Faults) -> str | None:
        try:
            if arn.parse(node.text).service in services:
                return node.text
        except arn.InvalidArn:
            pass
        faults.add(node.line, where, f"is {node.kind}: it takes an ARN of {' or '.join(services)}")
        return None

    return read


_DESTINATIONS = {"SQS": "sqs", "SNS": "sns", "Lambda": "lambda"}


def destination(*types: str, target: str) -> Reader:
    """``{Type, <target>}``, given back as the ARN alone."""
    shape = section({"Type": one_of(*types), target: text(takes="an ARN")}, required=("Type", target))

    def read(node: Node, where: str, faults: Faults) -> str | None:
        values = shape(node, where, faults)
        if not (kind := values.get("Type")) or target not in values:
            return None
        result = arn_of(_DESTINATIONS[kind])(node.entries()[target], f"{where}.{target}", faults)
        return str(result) if result else None

    return read


_TRUTH = text("(?i)true|false", takes="true or false")


def truth(node: Node, where: str, faults: Faults) -> bool | None:
    read: str | None = _TRUTH(node, where, faults)
    return None if read is None else read.lower() == "true"


def preference(node: Node, where: str, faults: Faults) -> dict[str, Any]:
    """DeploymentPreference: all at once, which is what an alias that names one version does, and so does one that is off.

    Moving events over time needs somebody who goes on when the deployer has ended, and who can be asked for a way back.
    """
    entries = node.entries()
    off = "Enabled" in entries and entries["Enabled"].text.lower() == "false"
    kind = entries.get("Type")
    if kind is not None and kind.text not in ("", "AllAtOnce") and not off:
        what = (
            f"is {kind.kind}, which is not supported: AllAtOnce is. To move events step by step, make the versions and "
            "the alias resources of their own (AWS::Lambda::Version, AWS::Lambda::Alias with RoutingConfig) and deploy them"
        )
        faults.add(kind.line, f"{where}.Type", what)
    # what a deployment preference that is off says besides is not done on AWS either
    more = dict.fromkeys(("Alarms", "Hooks", "Role", "TriggerConfigurations", "PassthroughCondition"), _anything)
    inner = section({"Type": text(), "Enabled": truth, **(more if off else {})})
    read: dict[str, Any] = inner(node, where, faults)
    return read


def _anything(node: Node, where: str, faults: Faults) -> None:
    return None


_LEVEL = one_of("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
SHARED: dict[str, Reader] = {
    "AutoPublishAlias": text(
        r"(?!^[0-9]+$)[a-zA-Z0-9-_]{1,128}", takes="an alias: 1 to 128 of a-z A-Z 0-9 - _, no number"
    ),
    "AutoPublishAliasAllProperties": truth,
    "Architectures": items(one_of("x86_64", "arm64")),
    "CodeUri": text(takes="a folder, a .py file or a .zip file"),
    "DeploymentPreference": preference,
    "DeadLetterQueue": destination("SQS", "SNS", target="TargetArn"),
    "Description": text(rf".{{0,{limits.DESCRIPTION_CHARS}}}", takes=f"at most {limits.DESCRIPTION_CHARS} characters"),
    "Environment": section({"Variables": texts(r"[a-zA-Z]\w+", takes="letters, digits and _, at least two")}),
    "EphemeralStorage": section({"Size": whole(*limits.EPHEMERAL_STORAGE_MB)}, required=("Size",)),
    "EventInvokeConfig": section(
        {
            "MaximumEventAgeInSeconds": whole(*limits.EVENT_AGE_S),
            "MaximumRetryAttempts": whole(*limits.MAX_RETRIES),
            "DestinationConfig": section(
                {
                    "OnSuccess": destination("SQS", "SNS", "Lambda", target="Destination"),
                    "OnFailure": destination("SQS", "SNS", "Lambda", target="Destination"),
                }
            ),
        }
    ),
    "Handler": text(rf"[^\s]{{1,{limits.HANDLER_CHARS}}}", takes="MODULE.FUNCTION without spaces"),
    "LoggingConfig": section(
        {
            "LogFormat": one_of("Text", "JSON"),
            "ApplicationLogLevel": _LEVEL,
            "SystemLogLevel": one_of("DEBUG", "INFO", "WARN"),
            "LogGroup": text(r"[\.\-_/#A-Za-z0-9]{1,512}", takes="a log group's name"),
        }
    ),
    "Layers": items(
        text(r"arn:[^:]+:lambda:[^:]*:[^:]*:layer:[a-zA-Z0-9-_]{1,140}:\d+|<.*>", takes="the ARN of a layer's version")
    ),
    "MemorySize": whole(*limits.MEMORY_MB),
    "ImageConfig": section({"Command": items(text()), "EntryPoint": items(text()), "WorkingDirectory": text()}),
    "ImageUri": text(r"\S{1,1024}", takes="an image: docker://HOST/NAME:TAG, oci:DIRECTORY:TAG, docker-archive:FILE"),
    "PackageType": one_of("Zip", "Image"),
    "ProvisionedConcurrencyConfig": section(
        {"ProvisionedConcurrentExecutions": whole(1, 1_000_000)}, required=("ProvisionedConcurrentExecutions",)
    ),
    "ReservedConcurrentExecutions": whole(0, limits.MOST_ACCOUNT_CONCURRENCY - limits.UNRESERVED_MINIMUM),
    "Role": arn_of("iam"),
    "Runtime": runtime,
    "Tags": texts(r".{1,128}", takes="at most 128 characters"),
    "Tracing": one_of("Active", "PassThrough"),
    "Timeout": whole(*limits.TIMEOUT_S),
}
"""What ``Globals.Function`` and a function's properties have in common."""


def output(node: Node, where: str, faults: Faults) -> str | None:
    """What an output shows: a list as its texts with commas."""
    if isinstance(node.value, tuple) and all(child.is_scalar for child in node.value):
        return ",".join(child.text for child in node.value)
    value: str | None = text()(node, where, faults)
    return value


_EXPORT = section({"Name": text(r"[A-Za-z0-9:-]{1,255}", takes="1 to 255 of A-Z a-z 0-9 : -")}, required=("Name",))
OUTPUT = section({"Description": text(), "Value": output, "Export": _EXPORT}, required=("Value",))
