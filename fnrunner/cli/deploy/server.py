"""What a deployment asks the server and tells it, in the server's shapes."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from fnrunner.cli.client import ADMIN, FUNCTIONS, Client, Progress, function_path, segment
from fnrunner.cli.deploy import image
from fnrunner.cli.deploy.api import ApiPlan
from fnrunner.cli.deploy.naming import policy_arn
from fnrunner.cli.deploy.package import Package
from fnrunner.cli.deploy.plan import Current, PermissionThere, notification_document
from fnrunner.cli.deploy.release_server import ReleaseServer
from fnrunner.cli.deploy.role_server import RoleServer
from fnrunner.cli.deploy.spec import (
    STATEMENT,
    FunctionSpec,
    LayerSpec,
    NotificationSpec,
    PermissionSpec,
    QueueSpec,
    StreamSpec,
)
from fnrunner.cli.deploy.stack_record import Owned
from fnrunner.cli.deploy.trigger import TriggerStep
from fnrunner.cli.deploy.trigger_server import TriggerServer
from fnrunner.cli.error import CliError, ServerRefused
from fnrunner.cli.function import event_invoke_path, notifications, notifications_path
from fnrunner.cli.queue import queue_path
from fnrunner.cli.stream import stream_path
from fnrunner.model.arn import Home

CONCURRENCY = "/2017-10-31/functions"
LAYERS = "/2018-10-31/layers"
TAGS = "/2017-03-31/tags"
_PLACES = {
    "http_api": "http-apis", "queue": "queues", "stream": "streams", "topic": "topics", "bucket": "buckets"
}  # fmt: skip
PATIENCE = timedelta(seconds=120)


class NotActive(CliError):
    """The function did not become active."""


class Server:
    """``waited`` bounds how long a function may take to become active."""

    def __init__(self, client: Client, waited: timedelta = PATIENCE, own: Collection[str] = ()) -> None:
        self._client = client
        self._waited = waited
        self._triggers = TriggerServer(client, own=own)
        self.roles = RoleServer(client.endpoint_url)
        self.releases = ReleaseServer(client)

    def owning(self, functions: Collection[str]) -> Server:
        """The same, for a stack whose functions may take schedules over from one another."""
        return Server(self._client, self._waited, functions)

    def home(self) -> Home:
        """The region and account that the server answers for."""
        status = self._client.get(f"{ADMIN}/status")
        return Home(status["region"], status["account"])

    def enforces(self) -> bool:
        """Whether permissions are enforced, so that roles mean something."""
        return str(self._client.get(f"{ADMIN}/status").get("auth", "off")) == "iam"

    def workers(self) -> list[dict[str, Any]]:
        """The workers, as the status has them."""
        return list(self._client.get(f"{ADMIN}/status")["workers"])

    def directories(self) -> dict[str, str]:
        """The directory of every bucket."""
        return {item["name"]: item["directory"] for item in self._client.get(f"{ADMIN}/buckets")["buckets"]}

    def queues(self) -> dict[str, dict[str, Any]]:
        """The queues that were created here, with their attributes."""
        found = self._client.get(f"{ADMIN}/queues")["queues"]
        return {item["name"]: item.get("attributes") or {} for item in found}

    def streams(self) -> dict[str, int]:
        """The streams that were created here, with the number of their partitions."""
        return {item["name"]: len(item["partitions"]) for item in self._client.get(f"{ADMIN}/streams")["streams"]}

    def topics(self) -> set[str]:
        return {item["name"] for item in self._client.get(f"{ADMIN}/topics")["topics"]}

    def apis(self) -> list[dict[str, Any]]:
        """The HTTP APIs with their routes, and where they answer."""
        return list(self._client.get(f"{ADMIN}/http-apis")["http_apis"])

    def api_url(self, name: str) -> str:
        """Where an API answers, with its stage; empty when it is not there."""
        found = {api["name"]: api["endpoint"] for api in self.apis()}
        return str(found.get(name, ""))

    def urls(self) -> dict[str, str]:
        """The function URLs by function."""
        return {item["function"]: item["url"] for item in self._client.get(f"{ADMIN}/urls")["urls"]}

    def current(self, name: str, *, triggers: bool = False, wanted: FunctionSpec | None = None) -> Current:
        """A function as it is now; ``triggers``: with what invokes it; ``wanted``: with the aliases that this one has."""
        alias = wanted.qualifier if wanted else ""
        there = self._triggers.there(name) if triggers else ()
        if not (found := self._client.find(function_path(name))):
            return Current(triggers=there)
        configuration = image.in_terms_of_packages(found["Configuration"], found["Code"])
        layers = [layer["Arn"] for layer in configuration.get("Layers") or ()]
        return Current(
            configuration={**configuration, "Layers": layers},
            tags=found.get("Tags", {}),
            reserved_concurrency=found.get("Concurrency", {}).get("ReservedConcurrentExecutions"),
            event_invoke=self._client.find(event_invoke_path(name), Qualifier=alias or None),
            notifications=tuple(notifications(self._client, name)),
            triggers=there,
            alias=self.releases.alias(name, alias) if alias else None,
            permissions=tuple(self._permissions(name, wanted.qualifiers if wanted else ())) if triggers else (),
            aliases=self.releases.states(name, (one.name for one in wanted.aliases)) if wanted else {},
        )

    def _permissions(self, name: str, qualifiers: tuple[str, ...]) -> Iterator[PermissionThere]:
        """Of the function, and of its versions and aliases."""
        for qualifier in dict.fromkeys(("", *qualifiers)):
            if found := self._client.find(function_path(name, "policy"), Qualifier=qualifier or None):
                for statement in json.loads(found["Policy"])["Statement"]:
                    if str(statement.get("Sid", "")).startswith(STATEMENT):
                        yield PermissionThere(statement["Sid"], qualifier)

    def add_permission(self, name: str, wanted: PermissionSpec) -> None:
        body = {"StatementId": wanted.id, **wanted.parameters}
        query = {"Qualifier": wanted.qualifier or None}
        self._client.send("POST", function_path(name, "policy"), body, query=query)

    def remove_permission(self, name: str, there: PermissionThere) -> None:
        query = {"Qualifier": there.qualifier or None}
        self._client.call("DELETE", function_path(name, "policy", segment(there.id)), query=query)

    def layer_arn(self, name: str, digest: str) -> str:
        """The newest version of a layer that has this content; empty: none has."""
        path = f"{LAYERS}/{segment(name)}/versions"
        for version in self._client.pages(path, "LayerVersions"):
            found = self._client.get(f"{path}/{version['Version']}")
            if b64decode(found["Content"]["CodeSha256"]).hex() == digest:
                return str(found["LayerVersionArn"])
        return ""

    def publish_layer(self, spec: LayerSpec, package: Package, progress: Progress) -> str:
        """The ARN of the version with this content: each call makes a new one, unless there is one."""
        if arn := self.layer_arn(spec.name, package.digest):
            return arn
        body = {"Content": {"ZipFile": b64encode(package.data).decode()}, **spec.parameters}
        made = self._client.send("POST", f"{LAYERS}/{segment(spec.name)}/versions", body, progress=progress)
        return str(made["LayerVersionArn"])

    def remove_layer(self, name: str, digest: str) -> None:
        """Every version with this content. Functions that have it keep it."""
        while arn := self.layer_arn(name, digest):
            self._client.call("DELETE", f"{LAYERS}/{segment(name)}/versions/{arn.rpartition(':')[2]}")

    def remove(self, one: Owned) -> None:
        """Take it away; passed over when it is not there. Raises ServerRefused."""
        if one.kind == "function":
            # what reads queues and streams for it does not go with it, as on Lambda
            self._triggers.remove_mappings(one.name)
        if one.kind == "role":
            self.roles.remove(one.name)
            return
        if one.kind == "policy":
            self.roles.policies.remove(policy_arn(one.name, self.home()))
            return
        name, _, rest = one.name.partition(":")
        if one.kind == "layer":
            self.remove_layer(name, rest)
            return
        if one.kind == "alias":
            self.releases.remove_alias(name, rest)
            return
        if one.kind == "version":
            self.releases.remove_version(name, rest)
            return
        path = function_path(one.name) if one.kind == "function" else f"{ADMIN}/{_PLACES[one.kind]}/{segment(one.name)}"
        try:
            self._client.call("DELETE", path)
        except ServerRefused as error:
            if error.http_status != 404:
                raise

    def arn(self, name: str) -> str:
        """The ARN of a function."""
        return str(self._client.get(function_path(name, "configuration"))["FunctionArn"])

    def put_queue(self, spec: QueueSpec) -> None:
        self._client.send("PUT", queue_path(spec.name), dict(spec.attributes))

    def create_stream(self, spec: StreamSpec) -> None:
        self._client.send("PUT", stream_path(spec.name), {"partitions": spec.partitions})

    def create_topic(self, name: str) -> None:
        self._client.send("PUT", f"{ADMIN}/topics/{segment(name)}", {})

    def put_api(self, plan: ApiPlan) -> None:
        """Made, replaced, or taken away."""
        path = f"{ADMIN}/http-apis/{segment(plan.name)}"
        if plan.document is None:
            self._client.call("DELETE", path)
        else:
            self._client.send("PUT", path, dict(plan.document))

    def apply_trigger(self, function: str, step: TriggerStep) -> None:
        self._triggers.apply(function, step)

    def create_bucket(self, name: str) -> str:
        """Its directory, which the server chooses."""
        return str(self._client.send("PUT", f"{ADMIN}/buckets/{segment(name)}", {})["directory"])

    def create(self, spec: FunctionSpec, package: Package, progress: Progress) -> str:
        """The ARN of the new function, once it is active."""
        body = {
            "FunctionName": spec.name,
            **_given(spec.configuration),
            "Code": _code(spec, package),
            "PackageType": "Image" if spec.code.image else "Zip",
            **({"Architectures": [spec.architecture]} if spec.architecture else {}),
            **({"Tags": dict(spec.tags)} if spec.tags else {}),
        }
        made = self._client.send("POST", FUNCTIONS, body, progress=progress)
        self._await_active(spec.name)
        return str(made["FunctionArn"])

    def update_code(self, spec: FunctionSpec, package: Package, progress: Progress) -> None:
        body: dict[str, Any] = _code(spec, package)
        if spec.architecture:
            body["Architectures"] = [spec.architecture]
        self._client.send("PUT", function_path(spec.name, "code"), body, progress=progress)
        self._await_active(spec.name)

    def update_configuration(self, spec: FunctionSpec) -> None:
        self._client.send("PUT", function_path(spec.name, "configuration"), dict(spec.configuration))
        self._await_active(spec.name)

    def update_tags(self, arn: str, wanted: Mapping[str, str], gone: list[str]) -> None:
        path = f"{TAGS}/{segment(arn)}"
        if wanted:
            self._client.send("POST", path, {"Tags": dict(wanted)})
        if gone:
            self._client.call("DELETE", f"{path}?{urlencode([('tagKeys', key) for key in gone])}")

    def put_event_invoke(self, name: str, wanted: Mapping[str, Any] | None, qualifier: str = "") -> None:
        """None takes the configuration away."""
        query = {"Qualifier": qualifier or None}
        if wanted is None:
            self._client.call("DELETE", event_invoke_path(name), query=query)
        else:
            self._client.send("PUT", event_invoke_path(name), dict(wanted), query=query)

    def put_concurrency(self, name: str, wanted: int | None) -> None:
        """None takes the cap away."""
        path = function_path(name, "concurrency").replace(FUNCTIONS, CONCURRENCY, 1)
        if wanted is None:
            self._client.call("DELETE", path)
        else:
            self._client.send("PUT", path, {"ReservedConcurrentExecutions": wanted})

    def put_notifications(self, name: str, wanted: tuple[NotificationSpec, ...]) -> None:
        documents = [notification_document(name, item) for item in wanted]
        self._client.send("PUT", notifications_path(name), {"notifications": documents})

    def _await_active(self, name: str) -> None:
        """Raises NotActive when the function failed, or does not get there in time."""
        deadline = time.monotonic() + self._waited.total_seconds()
        pause = 0.02
        while True:
            now = self._client.get(function_path(name, "configuration"))
            state, update = now.get("State", "Active"), now.get("LastUpdateStatus", "Successful")
            if state == "Active" and update == "Successful":
                return
            if "Failed" in (state, update) or time.monotonic() > deadline:
                reason = now.get("StateReason") or now.get("LastUpdateStatusReason") or "it takes too long"
                raise NotActive(
                    f"{name} is not active: {reason}",
                    f"`fnrunner functions show {name}` and `fnrunner doctor` tell more.",
                )
            time.sleep(pause)
            pause = min(2 * pause, 1.0)


def _given(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Without what says "nothing": creating has no use for taking away."""
    nothing: tuple[Any, ...] = (None, "", [], {"TargetArn": ""}, {"Variables": {}})
    return {key: value for key, value in configuration.items() if value not in nothing}


def _code(spec: FunctionSpec, package: Package) -> dict[str, Any]:
    return image.source(package) if spec.code.image else {"ZipFile": b64encode(package.data).decode()}
