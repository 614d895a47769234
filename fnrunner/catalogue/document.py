"""Functions, aliases, event-invoke configurations and notifications as JSON documents, and back.

A reader passes over keys that it does not know and takes defaults for those it misses, so that releases that differ by
one can share a store. Durations are ``_s`` seconds, times ISO 8601.

>>> load_bucket_notification(dump({"id": "n", "bucket": "b", "function": "f", "new": 1})).bucket
'b'
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from fnrunner.model.alias import Additional, Alias
from fnrunner.model.function import (
    AttachedLayer,
    Code,
    EventInvokeConfig,
    Function,
    Notification,
    State,
    UpdateStatus,
)
from fnrunner.model.image import ImageCode, ImageConfig
from fnrunner.model.signing import Signature

Document = Mapping[str, Any]

_PLAIN = frozenset({field.name for field in fields(Function)}) - {
    "code", "timeout", "environment", "tags", "state", "update_status", "last_modified", "layers", "signature", "image",
}  # fmt: skip


def dump(document: Document) -> str:
    """Compact JSON in ASCII: text columns take neither NUL nor halves of surrogate pairs, escapes they take."""
    return json.dumps(document, separators=(",", ":"))


def dump_function(function: Function) -> str:
    plain = {name: getattr(function, name) for name in sorted(_PLAIN)}
    return dump(
        plain
        | {
            "code": dump_code(function.code),
            "layers": [_attached(layer) for layer in function.layers],
            "signature": dump_signature(function.signature),
            "image": dump_image(function.image),
            "timeout_s": function.timeout.total_seconds(),
            "environment": dict(function.environment),
            "tags": dict(function.tags),
            "state": function.state.value,
            "update_status": function.update_status.value,
            "last_modified": function.last_modified.isoformat(),
        }
    )


def load_function(text: str) -> Function:
    """Raises KeyError or ValueError for what no release wrote."""
    document = json.loads(text)
    values: dict[str, Any] = {name: document[name] for name in _PLAIN if name in document}
    for name in ("environment", "tags"):
        values[name] = MappingProxyType(dict(document.get(name, {})))
    if "timeout_s" in document:
        values["timeout"] = timedelta(seconds=document["timeout_s"])
    if "state" in document:
        values["state"] = State(document["state"])
    if "update_status" in document:
        values["update_status"] = UpdateStatus(document["update_status"])
    if "last_modified" in document:
        values["last_modified"] = datetime.fromisoformat(document["last_modified"])
    values["signature"] = load_signature(document.get("signature"))
    values["image"] = load_image(document.get("image"))
    values["layers"] = tuple(_load_attached(layer) for layer in document.get("layers", ()))
    return Function(**values, code=load_code(document["code"]))


def dump_code(code: Code) -> Document:
    return {"digest": code.digest, "size_bytes": code.size_bytes, "unzipped_bytes": code.unzipped_bytes}


def load_code(document: Document) -> Code:
    return Code(document["digest"], document["size_bytes"], document.get("unzipped_bytes", 0))


def dump_image(image: ImageCode | None) -> Document | None:
    if image is None:
        return None
    config = image.config
    return {
        "uri": image.uri,
        "digest": image.digest,
        "entry_point": None if config.entry_point is None else list(config.entry_point),
        "command": None if config.command is None else list(config.command),
        "working_directory": config.working_directory,
    }


def load_image(document: Document | None) -> ImageCode | None:
    if document is None:
        return None
    entry_point, command = document.get("entry_point"), document.get("command")
    config = ImageConfig(
        None if entry_point is None else tuple(entry_point),
        None if command is None else tuple(command),
        document.get("working_directory", ""),
    )
    return ImageCode(document["uri"], document["digest"], config)


def dump_signature(signature: Signature | None) -> Document | None:
    if signature is None:
        return None
    return {
        "profile": signature.profile,
        "job": signature.job,
        "expires": signature.expires.isoformat() if signature.expires else None,
        "fault": signature.fault,
    }


def load_signature(document: Document | None) -> Signature | None:
    if document is None:
        return None
    expires = document.get("expires")
    return Signature(
        document["profile"],
        document["job"],
        datetime.fromisoformat(expires) if expires else None,
        document.get("fault", ""),
    )


def _attached(layer: AttachedLayer) -> Document:
    return {
        "arn": layer.arn,
        "code": dump_code(layer.code),
        "signature": dump_signature(layer.signature),
    }


def _load_attached(document: Document) -> AttachedLayer:
    return AttachedLayer(
        document["arn"],
        load_code(document["code"]),
        signature=load_signature(document.get("signature")),
    )


def dump_alias(alias: Alias) -> str:
    additional = alias.additional
    return dump(
        {
            "function": alias.function,
            "name": alias.name,
            "version": alias.version,
            "description": alias.description,
            "additional": None if additional is None else {"version": additional.version, "weight": additional.weight},
            "revision_id": alias.revision_id,
        }
    )


def load_alias(text: str) -> Alias:
    """Raises KeyError or ValueError for what no release wrote."""
    document = json.loads(text)
    additional = document.get("additional")
    return Alias(
        function=document["function"],
        name=document["name"],
        version=document["version"],
        description=document.get("description", ""),
        additional=None if additional is None else Additional(additional["version"], additional["weight"]),
        revision_id=document.get("revision_id", ""),
    )


def dump_event_invoke_config(config: EventInvokeConfig) -> str:
    return dump(
        {
            "function": config.function,
            "qualifier": config.qualifier,
            "max_retries": config.max_retries,
            "max_age_s": None if config.max_age is None else config.max_age.total_seconds(),
            "on_success": config.on_success,
            "on_failure": config.on_failure,
            "last_modified": config.last_modified.isoformat(),
        }
    )


def load_event_invoke_config(text: str) -> EventInvokeConfig:
    """Raises KeyError or ValueError for what no release wrote."""
    document = json.loads(text)
    age = document.get("max_age_s")
    return EventInvokeConfig(
        function=document["function"],
        qualifier=document["qualifier"],
        max_retries=document.get("max_retries"),
        max_age=None if age is None else timedelta(seconds=age),
        on_success=document.get("on_success", ""),
        on_failure=document.get("on_failure", ""),
        last_modified=datetime.fromisoformat(document["last_modified"]),
    )


def dump_bucket_notification(notification: Notification) -> str:
    values = {field.name: getattr(notification, field.name) for field in fields(notification)}
    return dump(values | {"events": list(notification.events)})


def load_bucket_notification(text: str) -> Notification:
    """Raises TypeError or ValueError for what no release wrote."""
    known = {field.name for field in fields(Notification)}
    values = {name: value for name, value in json.loads(text).items() if name in known}
    if "events" in values:
        values["events"] = tuple(values["events"])
    return Notification(**values)
