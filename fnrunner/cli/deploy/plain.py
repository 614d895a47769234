"""CloudFormation's own functions and layers, in the words of SAM's: the same things, said otherwise. Pure.

>>> from fnrunner.cli.deploy.source import read
>>> faults = Faults("t.yaml")
>>> node = read("{Code: {ZipFile: x = 1}, Tags: [{Key: a, Value: b}]}", faults)
>>> sorted(as_serverless("AWS::Lambda::Function", node, "F", faults)[1].entries())
['InlineCode', 'Tags']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.resource import FUNCTION, LAYER
from fnrunner.cli.deploy.source import Node

PLAIN_FUNCTION = "AWS::Lambda::Function"
PLAIN_LAYER = "AWS::Lambda::LayerVersion"
_BUCKET = "is in a bucket, which is not supported: CodeUri of an AWS::Serverless::Function is a local folder or file"


def as_serverless(kind: str, properties: Node, where: str, faults: Faults) -> tuple[str, Node]:
    """The type and the properties in SAM's words; what is SAM's already is as it was."""
    if kind not in _WORDS:
        return kind, properties
    serverless, words = _WORDS[kind]
    entries = dict[str, Node]()
    for name, child in properties.entries().items():
        entries |= words.get(name, _same(name))(child, f"{where}.Properties.{name}", faults)
    return serverless, Node(properties.line, entries)


Word = Callable[[Node, str, Faults], dict[str, Node]]


def _same(name: str) -> Word:
    return lambda node, where, faults: {name: node}


def _code(node: Node, where: str, faults: Faults) -> dict[str, Node]:
    """The source itself, or where it lies, as `aws cloudformation package` takes it."""
    if node.is_scalar:
        return {"CodeUri": node}
    entries = node.entries()
    if "ZipFile" in entries:
        return {"InlineCode": entries["ZipFile"]}
    if "ImageUri" in entries:
        return {"ImageUri": entries["ImageUri"]}
    faults.add(node.line, where, _BUCKET if "S3Bucket" in entries else "has neither ZipFile nor a local path")
    return {"InlineCode": Node(node.line, "", "")}


def _content(node: Node, where: str, faults: Faults) -> dict[str, Node]:
    if not node.is_scalar:
        faults.add(node.line, where, "is in a bucket, which is not supported: a local folder or file is")
        return {"ContentUri": Node(node.line, ".", ".")}
    return {"ContentUri": node}


def _tags(node: Node, where: str, faults: Faults) -> dict[str, Node]:
    """A list of keys and values, as a mapping."""
    tags = {}
    for index, item in enumerate(node.elements()):
        entries = item.entries()
        if "Key" in entries and "Value" in entries:
            tags[entries["Key"].text] = entries["Value"]
        else:
            faults.add(item.line, f"{where}[{index}]", "has no Key and Value, which it needs")
    return {"Tags": Node(node.line, tags)}


def _dead_letters(node: Node, where: str, faults: Faults) -> dict[str, Node]:
    target = node.entries().get("TargetArn")
    return {"DeadLetterConfig": target} if target is not None else {}


TYPES = (PLAIN_FUNCTION, PLAIN_LAYER)
_WORDS: Mapping[str, tuple[str, Mapping[str, Word]]] = {
    PLAIN_FUNCTION: (FUNCTION, {"Code": _code, "Tags": _tags, "DeadLetterConfig": _dead_letters,
                                "TracingConfig": lambda node, where, faults: {"Tracing": node.entries().get("Mode", node)}}),
    PLAIN_LAYER: (LAYER, {"Content": _content}),
}  # fmt: skip
